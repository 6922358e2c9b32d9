//! Rows in an app's own buffers.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Region};
use crate::plan::LONGEST_TENSOR;

/// Where rows of f32 (of labels, u32) lie in an app's storage buffer: from the start of the buffer, or of a part of it,
/// one after the other. Nothing is copied. Sizes and offsets are in bytes, as everywhere in `wgpu`.
///
/// ```no_run
/// # fn f(model: &wgrad::Model, trainer: &mut wgrad::Trainer, device: &wgrad::wgpu::Device,
/// #      buffer: &wgrad::wgpu::Buffer, output: &wgrad::wgpu::Buffer, samples: &wgrad::wgpu::Buffer) -> wgrad::Result<()> {
/// use wgrad::Rows;
/// // The input is the second KiB of a buffer, the output all of another.
/// let forward = model.prepare_forward(buffer.slice(1024..2048), output, 64)?;
/// // Each sample is a struct of five f32: two features, then three targets.
/// let features = Rows::from(samples).stride(20);
/// let targets = Rows::from(samples.slice(8..)).stride(20);
/// let training = trainer.prepare_buffers(features, targets, 1000)?;
/// # Ok(())
/// # }
/// ```
///
/// Data to train on may start at any multiple of 4 bytes and have any stride: a kernel that gathers batches reads them, row
/// by row. What a network reads and writes directly, its kernels bind: it starts at a multiple of the device's
/// `min_storage_buffer_offset_alignment` (256 in WebGPU), and its rows stand side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    slice: wgpu::BufferSlice<'a>,
    stride: Option<u64>,
}

impl<'a> From<&'a wgpu::Buffer> for Rows<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        buffer.slice(..).into()
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for Rows<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self { slice, stride: None }
    }
}

/// Rows that a kernel finds by itself: a range to bind, and where in it they are, in words.
#[derive(Debug)]
pub(crate) struct Strided {
    pub region: Region,
    pub first: u32,
    pub stride: u32,
}

impl<'a> Rows<'a> {
    /// Bytes from the start of one row to the start of the next. Default: the length of a row.
    pub fn stride(self, bytes: u64) -> Self {
        Self { stride: Some(bytes), ..self }
    }

    pub(crate) fn buffer(&self) -> &'a wgpu::Buffer {
        self.slice.buffer()
    }

    /// The range for a kernel that is told where rows are.
    pub(crate) fn strided(&self, gpu: &Gpu, what: &str, rows: u32, words: u32) -> Result<Strided> {
        let what = format!("buffer of {what} for {rows} rows");
        check_storage(&what, self.buffer())?;
        let row = u64::from(words) * 4;
        let stride = self.stride.unwrap_or(row);
        let fault = |expected: String, actual: String| Err(Error::Shape { what: what.clone(), expected, actual });
        let offset = self.slice.offset();
        if !offset.is_multiple_of(4) || !stride.is_multiple_of(4) || stride < row {
            return fault(
                format!("an offset and a stride that are multiples of 4, the stride at least a row's {row} bytes"),
                format!("offset {offset}, stride {stride}"),
            );
        }
        let bytes = match rows.checked_sub(1) {
            None => u64::MAX,
            Some(gaps) => u64::from(gaps).saturating_mul(stride).saturating_add(row),
        };
        if self.slice.size() < bytes {
            let bytes = if rows == 0 { row } else { bytes };
            return fault(format!("at least 1 row and {bytes} bytes"), format!("{} bytes", self.slice.size()));
        }
        // What precedes the first row within the device's alignment is bound too.
        let before = offset % alignment(gpu);
        gpu.check_size(&what, before + bytes)?;
        if stride / 4 >= LONGEST_TENSOR {
            return Err(Error::LimitExceeded { what, needed: stride, limit: LONGEST_TENSOR * 4, unit: "bytes" });
        }
        let region = Region { buffer: self.buffer().clone(), offset: offset - before, bytes: before + bytes };
        Ok(Strided { region, first: (before / 4) as u32, stride: (stride / 4) as u32 })
    }

    /// The range for kernels that take rows of `words` words as they are.
    pub(crate) fn bound(&self, gpu: &Gpu, name: &str, words: u32) -> Result<Region> {
        let what = format!("buffer given as {name}");
        check_storage(&what, self.buffer())?;
        let (offset, alignment) = (self.slice.offset(), alignment(gpu));
        let fault = |expected: String, actual: String| Err(Error::Shape { what: what.clone(), expected, actual });
        if !offset.is_multiple_of(alignment) {
            return fault(
                format!(
                    "an offset that is a multiple of {alignment}, the device's min_storage_buffer_offset_alignment"
                ),
                offset.to_string(),
            );
        }
        match self.stride {
            Some(stride) if stride != u64::from(words) * 4 => {
                fault(format!("rows side by side: a stride of {}", words * 4), stride.to_string())
            }
            _ => Ok(Region { buffer: self.buffer().clone(), offset, bytes: self.slice.size() }),
        }
    }
}

fn alignment(gpu: &Gpu) -> u64 {
    gpu.device().limits().min_storage_buffer_offset_alignment.into()
}

/// Refuses an app's buffer that kernels could not bind.
fn check_storage(what: &str, buffer: &wgpu::Buffer) -> Result<()> {
    if buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Ok(());
    }
    let (expected, actual) = ("the usage STORAGE".into(), format!("{:?}", buffer.usage()));
    Err(Error::Shape { what: what.into(), expected, actual })
}

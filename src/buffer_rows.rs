//! Rows in an app's own buffers: any offset, any stride.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Region};
use crate::plan::LONGEST_TENSOR;

/// Where rows of f32 (of labels, u32) lie in an app's storage buffer: from the start of the buffer, or of a part of it,
/// one after the other. Sizes and offsets are in bytes, as everywhere in `wgpu`.
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
/// // So is what a network runs on: the outputs go where the targets are.
/// let forward = model.prepare_forward(features, targets, 1000)?;
/// # Ok(())
/// # }
/// ```
///
/// Rows start at any multiple of 4 bytes and have any stride of at least their length. No bytes before or between them are
/// written, and none behind them but for the rounding told of below.
///
/// Data to train on are read where they are, row by row. What a network reads and writes directly, its kernels bind, if the
/// rows stand side by side, start at a multiple of the device's `min_storage_buffer_offset_alignment` (256 in WebGPU) and
/// end, or have room to, at a multiple of 16 bytes; up to 12 bytes of that room are overwritten behind the last output.
/// Other rows are copied on the GPU, before the network reads them or once it has written them, as are outputs in a buffer
/// that the network reads too: a dispatch more at that end, and memory for so many rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    slice: wgpu::BufferSlice<'a>,
    stride: Option<u64>,
    bytes: bool,
}

impl<'a> From<&'a wgpu::Buffer> for Rows<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        buffer.slice(..).into()
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for Rows<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self { slice, stride: None, bytes: false }
    }
}

/// Rows as a kernel finds them: a range to bind, and where in it they are, in words.
#[derive(Debug)]
pub(crate) struct Strided {
    pub region: Region,
    pub first: u32,
    pub stride: u32,
    rows: u32,
    columns: u32,
    /// Whether the range that the app gave goes on to the next multiple of 16 bytes.
    padded: bool,
}

impl Strided {
    /// The range for kernels that take rows as they stand side by side, in whole vec4s: where it is that.
    pub(crate) fn packed(&self) -> Option<Region> {
        let bytes = self.region.bytes.next_multiple_of(16);
        let packed = self.first == 0 && self.stride == self.columns && self.padded;
        packed.then(|| Region { bytes, ..self.region.clone() })
    }

    /// Whether some word is of both.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        let (mut mine, mut others) = (0, 0);
        while self.region.buffer == other.region.buffer && mine < self.rows && others < other.rows {
            let (a, b) = (self.row(mine), other.row(others));
            match () {
                () if a.end <= b.start => mine += 1,
                () if b.end <= a.start => others += 1,
                () => return true,
            }
        }
        false
    }

    /// The words of a row, from the start of the buffer.
    fn row(&self, row: u32) -> std::ops::Range<u64> {
        let first = self.region.offset / 4 + u64::from(self.first);
        let start = first + u64::from(row) * u64::from(self.stride);
        start..start + u64::from(self.columns)
    }
}

impl<'a> Rows<'a> {
    /// Bytes from the start of one row to the start of the next. Default: the length of a row.
    pub fn stride(self, bytes: u64) -> Self {
        Self { stride: Some(bytes), ..self }
    }

    /// Rows of bytes instead of f32, each read as byte / 255: features to train on, such as 8-bit images. A row starts at a
    /// multiple of 4 bytes, and takes its length rounded up to one.
    pub fn bytes(self) -> Self {
        Self { bytes: true, ..self }
    }

    /// So many rows of features to train on, and whether they are bytes.
    pub(crate) fn features(&self, gpu: &Gpu, what: &str, rows: u32, columns: u32) -> Result<(Strided, bool)> {
        let words = if self.bytes { columns.div_ceil(4) } else { columns };
        Ok((self.place(gpu, what, rows, words)?, self.bytes))
    }

    /// So many rows, of so many words each.
    pub(crate) fn strided(&self, gpu: &Gpu, what: &str, rows: u32, columns: u32) -> Result<Strided> {
        if self.bytes {
            return Err(Error::shape(format!("buffer of {what}"), "rows of 32-bit numbers", "rows of bytes"));
        }
        self.place(gpu, what, rows, columns)
    }

    fn place(&self, gpu: &Gpu, what: &str, rows: u32, columns: u32) -> Result<Strided> {
        let named = format!("{what} for {rows} rows");
        let (what, buffer) = (format!("buffer of {named}"), self.slice.buffer());
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::shape(what, "the usage STORAGE", format!("{:?}", buffer.usage())));
        }
        let row = u64::from(columns) * 4;
        let stride = self.stride.unwrap_or(row);
        let offset = self.slice.offset();
        if !offset.is_multiple_of(4) || !stride.is_multiple_of(4) || stride < row {
            let expected =
                format!("an offset and a stride divisible by 4, and a stride of at least {row} bytes (one row)");
            return Err(Error::shape(what, expected, format!("offset {offset} and stride {stride}")));
        }
        let bytes = match rows.checked_sub(1) {
            None => u64::MAX,
            Some(gaps) => u64::from(gaps).saturating_mul(stride).saturating_add(row),
        };
        if self.slice.size() < bytes {
            let bytes = if rows == 0 { row } else { bytes };
            let actual = format!("{} bytes", self.slice.size());
            return Err(Error::shape(what, format!("at least 1 row and {bytes} bytes"), actual));
        }
        // What precedes the first row within the device's alignment is bound too.
        let before = offset % u64::from(gpu.device().limits().min_storage_buffer_offset_alignment);
        gpu.check_size(&named, before + bytes)?;
        if stride / 4 >= LONGEST_TENSOR {
            return Err(Error::LimitExceeded { what, needed: stride, limit: LONGEST_TENSOR * 4, unit: "bytes" });
        }
        gpu.check_buffer_is_ours(&what, buffer)?;
        Ok(Strided {
            region: Region { buffer: buffer.clone(), offset: offset - before, bytes: before + bytes },
            first: (before / 4) as u32,
            stride: (stride / 4) as u32,
            rows,
            columns,
            padded: self.slice.size() >= bytes.next_multiple_of(16),
        })
    }
}

//! Rows in an app's own buffers, with any offset and stride.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Region};
use crate::plan::LONGEST_TENSOR;

/// Rows of f32 (or of u32 labels) in an app's storage buffer. They begin at the start of the buffer or of a range of
/// it. Sizes and offsets are in bytes, as in `wgpu`.
///
/// ```no_run
/// # fn f(model: &wgrad::Model, trainer: &mut wgrad::Trainer, device: &wgrad::wgpu::Device,
/// #      buffer: &wgrad::wgpu::Buffer, output: &wgrad::wgpu::Buffer,
/// #      samples: &wgrad::wgpu::Buffer) -> wgrad::Result<()> {
/// use wgrad::Rows;
/// // The input is the second KiB of a buffer, the output all of another.
/// let forward = model.prepare_forward(buffer.slice(1024..2048), output, 64)?;
/// // Each sample is a struct of five f32: two features, then three targets.
/// let features = Rows::from(samples).stride(20);
/// let targets = Rows::from(samples.slice(8..)).stride(20);
/// let training = trainer.prepare_buffers(features, targets, 1000)?;
/// // A network can read the same features, and write its outputs over the targets.
/// let forward = model.prepare_forward(features, targets, 1000)?;
/// # Ok(())
/// # }
/// ```
///
/// The offset is any multiple of 4. The stride is at least the length of a row. Bytes before and between the rows are
/// never written. Bytes after the last row are written only in the case below.
///
/// Training data are read in place. A network's inputs and outputs are bound in place if all of these hold:
/// - The rows are adjacent.
/// - They start at a multiple of the device's `min_storage_buffer_offset_alignment` (256 in WebGPU).
/// - Their range extends to a multiple of 16 bytes. Up to 12 bytes after the last output row are overwritten then.
/// - An output does not share its buffer with an input or another output.
///
/// Otherwise the rows are copied on the GPU. Each such input or output costs an additional dispatch and memory for
/// its rows.
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

/// Rows as a kernel reads them: a range to bind, and the place of the rows in it, in words.
#[derive(Debug)]
pub(crate) struct Strided {
    pub region: Region,
    pub first: u32,
    pub stride: u32,
    rows: u32,
    columns: u32,
    /// Whether the app's range extends to the next multiple of 16 bytes.
    padded: bool,
}

impl Strided {
    /// The range of adjacent rows, in whole vec4s; `None` if the rows are not adjacent or the range is too short.
    pub(crate) fn packed(&self) -> Option<Region> {
        let bytes = self.region.bytes.next_multiple_of(16);
        let packed = self.first == 0 && self.stride == self.columns && self.padded;
        packed.then(|| Region { bytes, ..self.region.clone() })
    }

    /// Whether the rows share a word.
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

    /// The words of a row, counted from the start of the buffer.
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

    /// Rows of bytes instead of f32, each read as byte / 255: training features such as 8-bit images. A row starts at
    /// a multiple of 4 bytes; the default stride is its length rounded up to a multiple of 4.
    pub fn bytes(self) -> Self {
        Self { bytes: true, ..self }
    }

    /// Training features of `rows` rows, and whether they are bytes.
    pub(crate) fn features(&self, gpu: &Gpu, what: &str, rows: u32, columns: u32) -> Result<(Strided, bool)> {
        let words = if self.bytes { columns.div_ceil(4) } else { columns };
        Ok((self.place(gpu, what, rows, words)?, self.bytes))
    }

    /// Range and place of `rows` rows of `columns` words each.
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
        // The binding starts at an aligned offset, which may be before the first row.
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

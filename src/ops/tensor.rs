//! Tensors: views of buffers with a shape, strides and an element type.

use std::ops::Range;

pub use crate::shape::{MOST_DIMENSIONS, Shape};

/// Index of a buffer in [`Plan::buffers`](crate::Plan::buffers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// 32-bit floating-point numbers.
    #[default]
    F32,
    /// 32-bit unsigned integers, and structs of 32-bit words.
    U32,
    /// 32-bit signed integers.
    I32,
    /// Bytes, four per word.
    U8,
}

impl Dtype {
    /// Bytes per element.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::U8 => 1,
        }
    }

    /// Bytes of this number of elements, rounded up to whole 32-bit words.
    pub(crate) const fn bytes_of(self, elements: u64) -> u64 {
        (elements * self.bytes() as u64).next_multiple_of(4)
    }
}

/// Alignment of tensors in the parameter buffer, in f32 elements. 64 elements are 256 bytes, the alignment of
/// bindings that every device supports. The gaps hold zeros.
pub const PARAMETER_ALIGNMENT: u32 = 64;

/// A view of a buffer. Some buffers have a length that is known only at run time, and kernels bind them as a whole.
/// The shape of such a tensor is the shape of one row, unless an op accesses specific rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Buffer that holds the elements.
    pub buffer: BufferId,
    /// Element type.
    pub dtype: Dtype,
    /// First element, counted from the start of the buffer. It must lie at a multiple of 256 bytes if the plan knows
    /// the buffer's length. Some ops accept any offset; their documentation says so.
    pub offset: u32,
    /// Number of elements along each dimension.
    pub shape: Shape,
    /// Distance between neighbours along each dimension, in elements.
    pub strides: Shape,
}

impl Tensor {
    /// A row-major tensor at the start of a buffer.
    pub fn new(buffer: BufferId, dtype: Dtype, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self { buffer, dtype, offset: 0, shape, strides: shape.packed_strides() }
    }

    /// Number of elements.
    pub fn len(&self) -> u32 {
        self.shape.elements() as u32
    }

    /// Returns true if the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of the first dimension; 1 for a scalar.
    pub fn rows(&self) -> u32 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements per row: the product of all dimensions after the first.
    pub fn columns(&self) -> u32 {
        self.shape[1.min(self.shape.len())..].iter().product()
    }

    /// Size in bytes, rounded up to whole 32-bit words.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes_of(self.len().into())
    }

    /// 32-bit words of the buffer from the first element to the last, gaps included.
    pub(crate) fn words(&self) -> Range<usize> {
        let last: u32 =
            self.shape.iter().zip(self.strides.iter()).map(|(n, stride)| n.saturating_sub(1) * stride).sum();
        let each = self.dtype.bytes() as usize;
        let start = self.offset as usize * each / 4;
        let elements = if self.is_empty() { 0 } else { last as usize + 1 };
        start..start + (elements * each).div_ceil(4)
    }

    /// Returns true if the two tensors' word ranges overlap in one buffer.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        self.buffer == other.buffer && a.start < b.end && b.start < a.end
    }

    /// Contiguous elements of a packed tensor, as a tensor of one dimension.
    pub(crate) fn part(&self, start: u32, len: u32) -> Self {
        let part = Self::new(self.buffer, self.dtype, len);
        Self { offset: self.offset + start, ..part }
    }

    /// Returns true if the elements are contiguous and row-major.
    pub fn is_packed(&self) -> bool {
        self.strides == self.shape.packed_strides()
    }

    /// Reorders the dimensions: dimension `i` of the result is dimension `order[i]`. `[1, 0]` transposes a matrix.
    ///
    /// # Panics
    /// If `order` does not have one entry for each dimension.
    pub fn permuted(&self, order: &[usize]) -> Self {
        let of = |lengths: &Shape| Shape::of(&order.iter().map(|&i| lengths[i]).collect::<Vec<_>>());
        assert_eq!(order.len(), self.shape.len(), "the order of the dimensions of {:?}", self.shape);
        Self { shape: of(&self.shape), strides: of(&self.strides), ..*self }
    }

    /// Restricts one dimension to a range of elements.
    ///
    /// # Panics
    /// If the dimension does not exist or is too short.
    pub fn range(&self, dimension: usize, elements: Range<u32>) -> Self {
        let Range { start, end } = elements;
        assert!(start <= end && end <= self.shape[dimension], "{start}..{end} along {dimension} of {:?}", self.shape);
        let mut part = *self;
        part.offset += start * self.strides[dimension];
        part.shape.lengths[dimension] = end - start;
        part
    }

    /// Broadcasts the tensor to a shape, by the rules of [`Shape::broadcast`]. Repeated dimensions have stride 0.
    ///
    /// # Panics
    /// If the tensor cannot be broadcast to `shape`.
    pub fn repeated(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert_eq!(self.shape.broadcast(&shape), Some(shape), "{:?} repeated", self.shape);
        let missing = shape.len() - self.shape.len();
        let stride = |i: usize| match i.checked_sub(missing) {
            Some(i) if self.shape[i] != 1 => self.strides[i],
            _ => 0,
        };
        let strides = Shape::of(&(0..shape.len()).map(stride).collect::<Vec<_>>());
        Self { shape, strides, ..*self }
    }

    /// Binding of a tensor with any offset and strides, and the index of the tensor's first element in it. Bindings
    /// begin at multiples of 256 bytes. For 32-bit elements in buffers whose length the plan knows.
    pub(crate) fn bound(&self) -> (Self, u32) {
        let first = self.offset % PARAMETER_ALIGNMENT;
        if first == 0 && self.is_packed() {
            return (*self, 0);
        }
        let all = Self::new(self.buffer, self.dtype, first + self.words().len() as u32);
        (Self { offset: self.offset - first, ..all }, first)
    }

    /// Rows of the same shape. They begin at element `first` of the buffer and lie `stride` elements apart.
    pub fn strided(mut self, first: u32, stride: u32) -> Self {
        self.offset = first;
        self.strides.lengths[0] = stride;
        self
    }
}

/// Views a packed tensor as a matrix whose columns are the last dimension.
pub(crate) fn rows(tensor: Tensor) -> Tensor {
    let columns = tensor.shape.last().copied().unwrap_or(1);
    seen_as(tensor, [tensor.len() / columns, columns])
}

/// Views a packed tensor with another shape.
pub(crate) fn seen_as(tensor: Tensor, shape: impl Into<Shape>) -> Tensor {
    Tensor { offset: tensor.offset, ..Tensor::new(tensor.buffer, tensor.dtype, shape) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_row_major_and_bytes_whole_words() {
        let tensor = Tensor::new(BufferId(0), Dtype::F32, [2, 3, 4, 5, 6]);
        assert_eq!(tensor.strides[..], [360, 120, 30, 6, 1]);
        assert_eq!((tensor.len(), tensor.rows(), tensor.columns(), tensor.words()), (720, 2, 360, 0..720));
        let bytes = Tensor::new(BufferId(0), Dtype::U8, [3, 3]);
        assert_eq!((bytes.bytes(), bytes.words()), (12, 0..3));
        let strided = Tensor::new(BufferId(0), Dtype::F32, [3, 5]).strided(7, 9);
        assert_eq!((strided.words(), strided.bytes()), (7..7 + 2 * 9 + 5, 60));
        assert_eq!(tensor.part(8, 16).words(), 8..24);
        assert_eq!(Tensor::new(BufferId(0), Dtype::F32, [0, 5]).words(), 0..0);
    }

    #[test]
    fn views_are_of_the_same_elements() {
        let tensor = Tensor::new(BufferId(0), Dtype::F32, [4, 3, 50]);
        let part = tensor.range(2, 20..30);
        assert_eq!((part.offset, &part.shape[..], &part.strides[..]), (20, &[4, 3, 10][..], &[150, 50, 1][..]));
        let (bound, first) = part.range(0, 1..4).bound();
        assert_eq!((bound.offset, bound.len(), first), (128, 42 + 2 * 150 + 2 * 50 + 10, 42));
        assert_eq!(tensor.bound(), (tensor, 0));
        let turned = tensor.permuted(&[2, 0, 1]);
        assert_eq!((&turned.shape[..], &turned.strides[..]), (&[50, 4, 3][..], &[1, 150, 50][..]));
        assert!(!turned.is_packed() && !part.is_packed() && turned.permuted(&[1, 2, 0]).is_packed());
        let row = Tensor::new(BufferId(0), Dtype::F32, [3, 1]).repeated([4, 3, 50]);
        assert_eq!((row.strides, row.words()), ([0, 1, 0].into(), 0..3));
    }
}

//! Parts of buffers, with shape, strides and type.

use std::ops::Range;

pub use crate::shape::{MOST_DIMENSIONS, Shape};

/// Index of a buffer in [`Plan::buffers`](crate::Plan::buffers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// What the elements of a buffer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 32-bit unsigned integers, and structs of 32-bit words.
    U32,
    /// 32-bit signed integers.
    I32,
    /// Bytes, four to a word.
    U8,
}

impl Dtype {
    /// Of an element.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::U8 => 1,
        }
    }

    /// Bytes of so many elements, in whole 32-bit words.
    pub(crate) const fn bytes_of(self, elements: u64) -> u64 {
        (elements * self.bytes() as u64).next_multiple_of(4)
    }
}

/// Tensors in the parameter buffer start at multiples of this many f32: 256 bytes, where bindings may begin on every
/// device. The gaps hold zeros.
pub const PARAMETER_ALIGNMENT: u32 = 64;

/// A part of a buffer. Of a buffer whose length is known at run time only, of which kernels bind all, the shape is that
/// of one row, unless an op reaches for certain rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Of which buffer.
    pub buffer: BufferId,
    /// What its elements are.
    pub dtype: Dtype,
    /// The element of the buffer that it starts at; a multiple of 256 bytes where the plan knows the buffer's length,
    /// unless an op says that it takes any.
    pub offset: u32,
    /// How many elements along each dimension.
    pub shape: Shape,
    /// Elements from one to the next along each dimension.
    pub strides: Shape,
}

impl Tensor {
    /// From the buffer's start on, row-major.
    pub fn new(buffer: BufferId, dtype: Dtype, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self { buffer, dtype, offset: 0, shape, strides: shape.packed_strides() }
    }

    /// The number of elements.
    pub fn len(&self) -> u32 {
        self.shape.elements() as u32
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Along the first dimension.
    pub fn rows(&self) -> u32 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The elements of a row.
    pub fn columns(&self) -> u32 {
        self.shape[1.min(self.shape.len())..].iter().product()
    }

    /// Its elements, in whole 32-bit words.
    pub fn bytes(&self) -> u64 {
        self.dtype.bytes_of(self.len().into())
    }

    /// The 32-bit words of the buffer that it reaches over.
    pub(crate) fn words(&self) -> Range<usize> {
        let last: u32 =
            self.shape.iter().zip(self.strides.iter()).map(|(n, stride)| n.saturating_sub(1) * stride).sum();
        let each = self.dtype.bytes() as usize;
        let start = self.offset as usize * each / 4;
        let elements = if self.is_empty() { 0 } else { last as usize + 1 };
        start..start + (elements * each).div_ceil(4)
    }

    /// Whether both reach over a word of one buffer.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        self.buffer == other.buffer && a.start < b.end && b.start < a.end
    }

    /// Some of its elements, which stand side by side.
    pub(crate) fn part(&self, start: u32, len: u32) -> Self {
        let part = Self::new(self.buffer, self.dtype, len);
        Self { offset: self.offset + start, ..part }
    }

    /// Whether its elements stand side by side, row-major.
    pub fn is_packed(&self) -> bool {
        self.strides == self.shape.packed_strides()
    }

    /// The same elements, dimension `i` being that of number `order[i]`: a transpose, for `[1, 0]`.
    ///
    /// # Panics
    /// If `order` does not name each dimension.
    pub fn permuted(&self, order: &[usize]) -> Self {
        let of = |lengths: &Shape| Shape::of(&order.iter().map(|&i| lengths[i]).collect::<Vec<_>>());
        assert_eq!(order.len(), self.shape.len(), "the order of the dimensions of {:?}", self.shape);
        Self { shape: of(&self.shape), strides: of(&self.strides), ..*self }
    }

    /// Some of the elements along one dimension.
    ///
    /// # Panics
    /// If there is no such dimension, or if it is shorter.
    pub fn range(&self, dimension: usize, elements: Range<u32>) -> Self {
        let Range { start, end } = elements;
        assert!(start <= end && end <= self.shape[dimension], "{start}..{end} along {dimension} of {:?}", self.shape);
        let mut part = *self;
        part.offset += start * self.strides[dimension];
        part.shape.lengths[dimension] = end - start;
        part
    }

    /// Repeated along dimensions that it lacks, or of which it has one element, as in [`Shape::broadcast`]: such a
    /// dimension has the stride 0.
    ///
    /// # Panics
    /// If `shape` is not of its elements repeated.
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

    /// What an op binds of a tensor with any strides that begins at any element, and the element of that at which it
    /// begins: bindings begin at multiples of 256 bytes. Of 32-bit elements, in a buffer whose length the plan knows.
    pub(crate) fn bound(&self) -> (Self, u32) {
        let first = self.offset % PARAMETER_ALIGNMENT;
        if first == 0 && self.is_packed() {
            return (*self, 0);
        }
        let all = Self::new(self.buffer, self.dtype, first + self.words().len() as u32);
        (Self { offset: self.offset - first, ..all }, first)
    }

    /// Rows of the same shape that begin at an element of the buffer, `stride` elements apart.
    pub fn strided(mut self, first: u32, stride: u32) -> Self {
        self.offset = first;
        self.strides.lengths[0] = stride;
        self
    }
}

/// The same numbers as rows of the last dimension.
pub(crate) fn rows(tensor: Tensor) -> Tensor {
    let columns = tensor.shape.last().copied().unwrap_or(1);
    seen_as(tensor, [tensor.len() / columns, columns])
}

/// The same numbers, which stand side by side, with another shape.
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

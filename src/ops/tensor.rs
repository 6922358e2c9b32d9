//! Parts of buffers, with shape, strides and type.

use std::fmt;
use std::ops::{Deref, Range};

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

/// The most dimensions of a tensor: rows, and four of a sample.
pub const MOST_DIMENSIONS: usize = 5;

/// Up to [`MOST_DIMENSIONS`] lengths, the outermost first: rows, then the dimensions of a sample, channels last. Derefs
/// to a slice of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    lengths: [u32; MOST_DIMENSIONS],
    rank: u8,
}

impl Shape {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.iter().map(|&length| u64::from(length)).product()
    }

    /// Elements from one to the next along each dimension, where they stand side by side, row-major.
    fn packed_strides(mut self) -> Self {
        let mut stride = 1u32;
        for length in self.lengths[..self.rank.into()].iter_mut().rev() {
            let of_this = stride;
            stride = stride.saturating_mul(*length);
            *length = of_this;
        }
        self
    }
}

impl<const N: usize> From<[u32; N]> for Shape {
    fn from(shape: [u32; N]) -> Self {
        const { assert!(N <= MOST_DIMENSIONS) };
        shape[..].into()
    }
}

impl From<&[u32]> for Shape {
    /// Of at most [`MOST_DIMENSIONS`] lengths.
    fn from(shape: &[u32]) -> Self {
        let mut lengths = [1; MOST_DIMENSIONS];
        lengths[..shape.len()].copy_from_slice(shape);
        Self { lengths, rank: shape.len() as u8 }
    }
}

impl From<u32> for Shape {
    fn from(length: u32) -> Self {
        [length].into()
    }
}

impl Deref for Shape {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.lengths[..self.rank.into()]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

/// A part of a buffer. Of a buffer whose length is known at run time only, of which kernels bind all, the shape is that
/// of one row, unless an op reaches for certain rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Of which buffer.
    pub buffer: BufferId,
    /// What its elements are.
    pub dtype: Dtype,
    /// The element of the buffer that it starts at; a multiple of 256 bytes where the plan knows the buffer's length.
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

    /// Some of its elements, which stand side by side.
    pub(crate) fn part(&self, start: u32, len: u32) -> Self {
        let part = Self::new(self.buffer, self.dtype, len);
        Self { offset: self.offset + start, ..part }
    }

    /// Rows of the same shape that begin at an element of the buffer, `stride` elements apart.
    pub fn strided(mut self, first: u32, stride: u32) -> Self {
        self.offset = first;
        self.strides.lengths[0] = stride;
        self
    }
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
}

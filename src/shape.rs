//! Shapes of tensors.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Result};

/// The largest number of dimensions of a tensor: the batch, and four of a sample.
pub const MOST_DIMENSIONS: usize = 5;

/// The largest number of elements of a tensor, a row or the parameter buffer (4 GiB of f32). The kernels' 32-bit
/// indices set this limit.
pub const LONGEST_TENSOR: u64 = 1 << 30;

/// A shape: up to [`MOST_DIMENSIONS`] lengths, outermost first: the batch, then the dimensions of a sample, channels
/// last. It derefs to a slice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "files", serde(into = "Vec<u32>", try_from = "Vec<u32>"))]
pub struct Shape {
    pub(crate) lengths: [u32; MOST_DIMENSIONS],
    pub(crate) rank: u8,
}

impl Shape {
    /// A shape with few enough dimensions. The caller has checked this.
    pub(crate) fn of(shape: &[u32]) -> Self {
        let mut lengths = [1; MOST_DIMENSIONS];
        lengths[..shape.len()].copy_from_slice(shape);
        Self { lengths, rank: shape.len() as u8 }
    }

    /// The number of elements. `u64::MAX` if it overflows.
    pub fn elements(&self) -> u64 {
        self.iter().fold(1, |elements: u64, &length| elements.saturating_mul(length.into()))
    }

    /// The strides in elements of a packed row-major tensor.
    pub(crate) fn packed_strides(mut self) -> Self {
        let mut stride = 1u32;
        for length in self.lengths[..self.rank.into()].iter_mut().rev() {
            let of_this = stride;
            stride = stride.saturating_mul(*length);
            *length = of_this;
        }
        self
    }
}

impl Shape {
    /// The broadcast shape of two shapes, as in NumPy. They are aligned at the last dimension. A length of 1 or a
    /// missing dimension is repeated. `None` if the lengths differ otherwise.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.len().max(other.len());
        let length = |shape: &Self, i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
        let mut lengths = [1; MOST_DIMENSIONS];
        for (i, of_both) in lengths[..rank].iter_mut().enumerate() {
            *of_both = match (length(self, i), length(other, i)) {
                (a, b) if a == b => a,
                (1, other) | (other, 1) => other,
                _ => return None,
            };
        }
        Some(Self::of(&lengths[..rank]))
    }
}

impl<const N: usize> From<[u32; N]> for Shape {
    fn from(shape: [u32; N]) -> Self {
        const { assert!(N <= MOST_DIMENSIONS) };
        Self::of(&shape)
    }
}

impl TryFrom<&[u32]> for Shape {
    type Error = Error;

    fn try_from(shape: &[u32]) -> Result<Self> {
        if shape.len() <= MOST_DIMENSIONS {
            return Ok(Self::of(shape));
        }
        let expected = format!("at most {MOST_DIMENSIONS} dimensions");
        Err(Error::shape("shape", expected, format!("{shape:?}")))
    }
}

#[cfg(feature = "files")]
impl TryFrom<Vec<u32>> for Shape {
    type Error = Error;

    fn try_from(shape: Vec<u32>) -> Result<Self> {
        shape[..].try_into()
    }
}

#[cfg(feature = "files")]
impl From<Shape> for Vec<u32> {
    fn from(shape: Shape) -> Self {
        shape.to_vec()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_broadcast_as_in_numpy() {
        let of = |a: &[u32], b: &[u32]| Shape::of(a).broadcast(&Shape::of(b)).map(|shape| shape.to_vec());
        assert_eq!(of(&[4, 3], &[3]), Some(vec![4, 3]));
        assert_eq!(of(&[4, 1, 5], &[3, 1]), Some(vec![4, 3, 5]));
        assert_eq!(of(&[], &[2]), Some(vec![2]));
        assert_eq!(of(&[4, 3], &[4]), None);
    }

    #[test]
    fn a_shape_of_too_many_dimensions_is_refused() {
        let fault = Shape::try_from(&[1; 6][..]).unwrap_err().to_string();
        assert_eq!(fault, "shape: expected at most 5 dimensions, got [1, 1, 1, 1, 1, 1]");
        assert_eq!(Shape::of(&[u32::MAX; 3]).elements(), u64::MAX);
    }
}

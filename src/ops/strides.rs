//! Iteration over tensors with any strides: nested loops for kernels, element offsets for CPU twins.

use super::{Shape, Tensor, Uniform};

/// Nested loops over the elements of N tensors of equal shape, the innermost loop first. Dimensions that one stride
/// covers are merged into one loop, so packed tensors need only one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loops<const N: usize> {
    /// Length of each loop.
    pub lengths: Vec<u32>,
    /// Elements between two iterations, for each tensor.
    pub strides: Vec<[u32; N]>,
}

/// Uniform names for the loops: a name with the suffixes `_0` to `_4`.
macro_rules! for_each_loop {
    ($name:literal) => {
        [concat!($name, "_0"), concat!($name, "_1"), concat!($name, "_2"), concat!($name, "_3"), concat!($name, "_4")]
    };
}
pub(crate) use for_each_loop;

impl<const N: usize> Loops<N> {
    /// Loops over these dimensions, the outermost first. Each has a length and one stride for each tensor.
    pub fn new(dimensions: &[(u32, [u32; N])]) -> Self {
        let mut loops = Self { lengths: Vec::new(), strides: Vec::new() };
        for &(length, strides) in dimensions.iter().rev().filter(|(length, _)| *length != 1) {
            if let (Some(inner), Some(inner_strides)) = (loops.lengths.last_mut(), loops.strides.last())
                && (0..N).all(|i| u64::from(strides[i]) == u64::from(inner_strides[i]) * u64::from(*inner))
            {
                *inner *= length;
            } else {
                loops.lengths.push(length);
                loops.strides.push(strides);
            }
        }
        if loops.lengths.is_empty() {
            loops.lengths.push(1);
            loops.strides.push([0; N]);
        }
        loops
    }

    /// The same loops over vectors of four elements, and the first vector of each tensor. `firsts` are the first
    /// elements. Returns `None` if a tensor does not consist of whole vectors.
    pub fn in_fours(&self, firsts: [u32; N]) -> Option<(Self, [u32; N])> {
        self.in_vectors(4, firsts)
    }

    /// As [`in_fours`](Self::in_fours), for vectors of `width` elements.
    pub fn in_vectors(&self, width: u32, firsts: [u32; N]) -> Option<(Self, [u32; N])> {
        let is_whole = |numbers: &[u32]| numbers.iter().all(|number| number.is_multiple_of(width));
        let (innermost, others) = self.strides.split_first()?;
        let fits = self.lengths[0].is_multiple_of(width) && *innermost == [1; N];
        if !fits || !is_whole(&firsts) || !others.iter().all(|strides| is_whole(strides)) {
            return None;
        }
        let mut vectors = self.clone();
        vectors.lengths[0] /= width;
        vectors.strides[1..].iter_mut().flatten().for_each(|stride| *stride /= width);
        Some((vectors, firsts.map(|first| first / width)))
    }

    /// Number of loops.
    pub fn count(&self) -> u32 {
        self.lengths.len() as u32
    }

    /// Total number of iterations: the product of the lengths.
    pub fn iterations(&self) -> u32 {
        self.lengths.iter().product()
    }

    /// Uniforms of the loops: the length and the strides of each, under these names.
    pub fn uniforms(&self, length: [&'static str; 5], strides: [[&'static str; 5]; N]) -> Vec<Uniform> {
        let of_loop = |(i, (&of_this, steps)): (usize, (&u32, &[u32; N]))| {
            let steps = strides.iter().zip(*steps).map(move |(names, step)| (names[i], step.into()));
            std::iter::once((length[i], of_this.into())).chain(steps).collect::<Vec<Uniform>>()
        };
        self.lengths.iter().zip(&self.strides).enumerate().flat_map(of_loop).collect()
    }
}

/// Offsets of the elements from the first element, in row-major order.
pub(crate) fn element_offsets(shape: &[u32], strides: &[u32]) -> impl Iterator<Item = usize> + use<> {
    offsets(shape.iter().zip(strides).map(|(&length, &stride)| (length as usize, stride as usize)).collect())
}

/// [`element_offsets`] of dimensions of any length: the length and the stride of each.
pub(crate) fn offsets(mut dimensions: Vec<(usize, usize)>) -> impl Iterator<Item = usize> {
    dimensions.reverse();
    let mut at = vec![0; dimensions.len()];
    let mut next = 0;
    let elements = dimensions.iter().map(|(length, _)| length).product::<usize>();
    (0..elements).map(move |_| {
        let offset = next;
        for ((length, stride), at) in dimensions.iter().zip(&mut at) {
            *at += 1;
            next += stride;
            if *at < *length {
                break;
            }
            next -= *stride * *length;
            *at = 0;
        }
        offset
    })
}

/// Offsets of a tensor's elements in its binding ([`Tensor::bound`]), in row-major order.
pub(crate) fn binding_offsets(tensor: Tensor) -> impl Iterator<Item = usize> {
    let first = tensor.bound().1 as usize;
    element_offsets(&tensor.shape, &tensor.strides).map(move |offset| first + offset)
}

/// Strides of a reduced tensor along the dimensions before the reduction: 0 where its length is 1.
pub(crate) fn strides_of_kept(kept: &Tensor) -> Shape {
    let strides = kept.shape.iter().zip(kept.strides.iter());
    Shape::of(&strides.map(|(&length, &stride)| if length == 1 { 0 } else { stride }).collect::<Vec<_>>()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_that_one_stride_serves_are_one_loop() {
        // [2, 3, 4] packed, and a repeated row.
        let dimensions = [(2, [12, 0]), (3, [4, 0]), (4, [1, 1])];
        let loops = Loops::new(&dimensions);
        assert_eq!((&loops.lengths[..], &loops.strides[..]), (&[4, 6][..], &[[1, 1], [4, 0]][..]));
        let (fours, firsts) = loops.in_fours([8, 4]).unwrap();
        assert_eq!((&fours.lengths[..], &fours.strides[..], firsts), (&[1, 6][..], &[[1, 1], [1, 0]][..], [2, 1]));
        assert_eq!(loops.in_fours([8, 2]), None, "the second begins within a vector");
        let alike = Loops::new(&dimensions.map(|(length, [stride, _])| (length, [stride])));
        assert_eq!((alike.count(), alike.iterations(), &alike.strides[..]), (1, 24, &[[1]][..]));
        assert_eq!(Loops::new(&[(1, [7]), (1, [3])]), Loops { lengths: vec![1], strides: vec![[0]] });
        assert_eq!(Loops::<1>::new(&[]).iterations(), 1);
    }

    #[test]
    fn offsets_are_in_row_major_order() {
        assert_eq!(element_offsets(&[2, 3], &[1, 2]).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(element_offsets(&[2, 2, 2], &[0, 5, 1]).collect::<Vec<_>>(), [0, 1, 5, 6, 0, 1, 5, 6]);
        assert_eq!(element_offsets(&[], &[]).collect::<Vec<_>>(), [0]);
        assert_eq!(element_offsets(&[0, 3], &[3, 1]).count(), 0);
    }
}

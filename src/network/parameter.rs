//! Tensors of weights.

use crate::init::Init;

/// A tensor of weights: its name, its shape, and where it lies in the one parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Layer and role, as in `dense_1.weight`.
    pub name: String,
    /// Row-major shape: \[inputs, units\] for a dense weight, \[units\] for a bias.
    pub shape: Vec<u32>,
    /// Index of its first number in the parameter buffer, in f32; a multiple of
    /// [`PARAMETER_ALIGNMENT`](crate::PARAMETER_ALIGNMENT).
    pub offset: u32,
    pub(super) init: Init,
    pub(super) fans: [u32; 2],
}

impl Parameter {
    /// How many numbers it holds.
    pub fn len(&self) -> u32 {
        self.shape.iter().product()
    }

    /// Always false: a built network has no empty tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the layer that it is of.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(layer, _)| layer)
    }

    /// Its part of the parameter buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len()) as usize
    }

    /// The same in bytes, as `wgpu` counts: to bind or to copy it. It starts at a multiple of 256.
    pub fn bytes(&self) -> std::ops::Range<u64> {
        u64::from(self.offset) * 4..u64::from(self.offset + self.len()) * 4
    }
}

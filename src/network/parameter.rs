//! Parameter tensors.

use crate::init::Init;

/// A tensor of weights or states: its name, its shape and its position in the parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Layer and role, for example `dense_1.weight`.
    pub name: String,
    /// Row-major shape: \[inputs, units\] for a dense weight, \[units\] for a bias.
    pub shape: Vec<u32>,
    /// Index of its first element in the parameter buffer, in f32. It is a multiple of
    /// [`PARAMETER_ALIGNMENT`](crate::PARAMETER_ALIGNMENT).
    pub offset: u32,
    pub(super) init: Init,
    pub(super) fans: [u32; 2],
}

impl Parameter {
    /// The number of elements.
    pub fn len(&self) -> u32 {
        self.shape.iter().product()
    }

    /// Always false: a built network has no empty tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of its layer.
    pub fn layer(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(layer, _)| layer)
    }

    /// Its range in the parameter buffer, in f32.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len()) as usize
    }

    /// Its range in the parameter buffer in bytes, for bindings and copies. It starts at a multiple of 256.
    pub fn bytes(&self) -> std::ops::Range<u64> {
        u64::from(self.offset) * 4..u64::from(self.offset + self.len()) * 4
    }
}

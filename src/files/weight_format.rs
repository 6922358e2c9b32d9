//! The formats of files with weights alone.

use super::format::{Tensor, encode};
use super::naming::Naming;
use crate::error::Result;
use crate::network::Network;

/// The format of a file with weights alone: see [`Model::save_weights`](crate::Model::save_weights). A [`Naming`]
/// converts into safetensors with these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightFormat {
    /// A safetensors file.
    Safetensors(Naming),
    /// A NumPy archive (`.npz`), uncompressed, with an f32 array for each tensor. Feature `numpy`.
    #[cfg(feature = "numpy")]
    Npz(Naming),
}

impl From<Naming> for WeightFormat {
    fn from(naming: Naming) -> Self {
        Self::Safetensors(naming)
    }
}

impl WeightFormat {
    /// The bytes of a file with the tensors of a network.
    pub(super) fn encode(self, network: &Network, tensors: Vec<Tensor<'_>>) -> Result<Vec<u8>> {
        match self {
            Self::Safetensors(naming) => Ok(encode(&naming.metadata(), &naming.tensors(network, tensors)?)),
            #[cfg(feature = "numpy")]
            Self::Npz(naming) => Ok(npz(&naming.tensors(network, tensors)?)),
        }
    }
}

#[cfg(feature = "numpy")]
fn npz(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let file = |tensor: &Tensor<'_>| {
        let shape = tensor.shape.iter().map(|&length| length as usize).collect();
        let bytes = tensor.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let array = crate::numpy::NumpyArray { dtype: tensor.dtype, shape, bytes };
        (format!("{}.npy", tensor.name), array.to_npy())
    };
    crate::archive::pack(tensors.iter().map(file))
}

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
    /// The weights of a Keras model (`.weights.h5`), for `model.load_weights` of Keras 3. Feature `keras`.
    ///
    /// Keras finds the weights of each layer by its class, numbered in the order of the model's layers. So the Keras
    /// model must have the same layers with weights in the same order. A convolution is a `Conv2D` (or `Conv1D`), also
    /// with groups.
    #[cfg(feature = "keras")]
    KerasWeights,
    /// The weights of a Keras model in the older format (`.h5`), for `model.load_weights` of Keras 2 and 3. Feature
    /// `keras`.
    ///
    /// Keras takes the layers with weights in the order of the file, and does not look at their names.
    #[cfg(feature = "keras")]
    KerasH5,
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
            Self::Npz(naming) => npz(&naming.tensors(network, tensors)?).map_err(fault),
            #[cfg(feature = "keras")]
            Self::KerasWeights | Self::KerasH5 => {
                let tensors = Naming::Keras.tensors(network, tensors)?;
                keras(tensors, self == Self::KerasH5).map_err(fault)
            }
        }
    }
}

#[cfg(any(feature = "keras", feature = "numpy"))]
fn fault(reason: String) -> crate::error::Error {
    crate::error::Error::File { path: "the weights to write".into(), reason }
}

#[cfg(feature = "numpy")]
fn npz(tensors: &[Tensor<'_>]) -> std::result::Result<Vec<u8>, String> {
    let file = |tensor: &Tensor<'_>| {
        let shape = tensor.shape.iter().map(|&length| length as usize).collect();
        let bytes = tensor.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let array = crate::numpy::NumpyArray { dtype: tensor.dtype, shape, bytes };
        (format!("{}.npy", tensor.name), array.to_npy())
    };
    crate::archive::pack(tensors.iter().map(file))
}

/// The tensors in groups of layers: `layers/dense/vars/0` and so on, or `dense/kernel` with lists of the names.
#[cfg(feature = "keras")]
fn keras(tensors: Vec<Tensor<'_>>, is_legacy: bool) -> std::result::Result<Vec<u8>, String> {
    use crate::hdf5::{Attribute, Member, NewGroup, write};
    // The weights of each layer, in the order of the network: parameters, then states.
    let mut layers: Vec<(String, Vec<(String, Member)>)> = Vec::new();
    for Tensor { name, shape, words, .. } in tensors {
        let (layer, role) = name.rsplit_once('/').unwrap_or(("", &name));
        let weight = (role.to_owned(), Member::Array { shape, words: words.into_owned() });
        match layers.iter_mut().find(|(name, _)| *name == layer) {
            Some((_, weights)) => weights.push(weight),
            None => layers.push((layer.to_owned(), vec![weight])),
        }
    }
    let mut root = NewGroup::default();
    if is_legacy {
        let text = |name: &str, text: &str| (name.to_owned(), Attribute::Text(text.into()));
        root.attributes = vec![text("backend", "tensorflow"), text("keras_version", "3.0.0")];
        root.attributes.extend(lists("layer_names", layers.iter().map(|(name, _)| name.clone()).collect()));
        for (name, members) in layers {
            let attributes = lists("weight_names", members.iter().map(|(role, _)| role.clone()).collect());
            root.members.push((name, Member::Group(NewGroup { attributes, members })));
        }
    } else {
        let mut inner = NewGroup::default();
        for (name, weights) in layers {
            let members = weights.into_iter().enumerate().map(|(i, (_, array))| (i.to_string(), array)).collect();
            let vars = NewGroup { attributes: vec![], members };
            let layer = NewGroup { attributes: vec![], members: vec![("vars".into(), Member::Group(vars))] };
            inner.members.push((name, Member::Group(layer)));
        }
        root.members.push(("layers".into(), Member::Group(inner)));
    }
    write(&root)
}

/// An attribute with a list of names. An attribute has less than 64 KiB, so Keras divides long lists.
#[cfg(feature = "keras")]
fn lists(name: &str, texts: Vec<String>) -> Vec<(String, crate::hdf5::Attribute)> {
    const MOST_BYTES: usize = 60_000;
    let longest = texts.iter().map(String::len).max().unwrap_or(0).max(1);
    let attribute = |texts: &[String]| crate::hdf5::Attribute::Texts(texts.to_vec());
    if texts.len() * longest <= MOST_BYTES {
        return vec![(name.into(), attribute(&texts))];
    }
    let parts = texts.chunks((MOST_BYTES / longest).max(1)).enumerate();
    parts.map(|(i, part)| (format!("{name}{i}"), attribute(part))).collect()
}

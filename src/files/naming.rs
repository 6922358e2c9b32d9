//! How programs name and lay out the numbers of dense layers and normalisations; what hash grids are called beside
//! them. Files are read in any naming: see `matching.rs`.

use std::collections::BTreeMap;

use super::format::Tensor;
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::network::{Layer, Network};

/// How a file of weights names and lays out its tensors. All are safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// As [`Network::parameters`] and [`Network::states`]: `dense_1.weight` \[inputs, units\], `dense_1.bias`,
    /// `layer_norm_2.scale`, `layer_norm_2.shift`, `batch_norm_3.mean`.
    Wgrad,
    /// As the `state_dict` of a PyTorch `nn.Sequential`: `0.weight` \[units, inputs\], `0.bias`, and for a layer
    /// normalisation `2.weight` and `2.bias`, beside them `2.running_mean` and `2.running_var` for a batch
    /// normalisation (its `num_batches_tracked` is not written, and is passed over); before the number there may be a
    /// name, as in `net.0.weight`. A layer's number counts modules: a dense layer with an activation is two, `Linear`
    /// and the activation's, any other layer one.
    PyTorch,
    /// As Keras names variables: `dense/kernel` \[inputs, units\], `dense/bias`, `dense_1/kernel` and so on, and for a
    /// layer normalisation `layer_normalization/gamma` and `layer_normalization/beta`, for a batch normalisation
    /// `batch_normalization/gamma` and so on with `moving_mean` and `moving_variance`; read with a `.` for the `/`, or
    /// with a `:0` at the end, too. The kinds of layers are numbered each on their own.
    Keras,
}

/// Layers that have weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    LayerNorm,
    Dense,
    HashGrid,
    BatchNorm,
}

impl Kind {
    pub fn of(layer: &Layer) -> Self {
        match layer {
            Layer::Dense(_) => Kind::Dense,
            Layer::Encoding(_) => Kind::HashGrid,
            Layer::BatchNorm(_) => Kind::BatchNorm,
            _ => Kind::LayerNorm,
        }
    }

    /// What Keras calls it, or would.
    fn keras(self) -> &'static str {
        ["layer_normalization", "dense", "hash_grid", "batch_normalization"][self as usize]
    }

    /// What of its tensors tells it from the others.
    pub fn mark(self) -> &'static str {
        ["vectors only", "a matrix", "a table", "a running mean"][self as usize]
    }
}

impl Naming {
    /// What it calls a tensor that is called `role` here.
    pub(super) fn role(self, role: &str) -> &str {
        match (self, role) {
            (Naming::PyTorch, "scale") => "weight",
            (Naming::PyTorch, "shift") => "bias",
            (Naming::PyTorch, "mean") => "running_mean",
            (Naming::PyTorch, "variance") => "running_var",
            (Naming::Keras, "weight") => "kernel",
            (Naming::Keras, "scale") => "gamma",
            (Naming::Keras, "shift") => "beta",
            (Naming::Keras, "mean") => "moving_mean",
            (Naming::Keras, "variance") => "moving_variance",
            _ => role,
        }
    }

    /// Whether it has this tensor the other way round.
    fn transposes(self, name: &str, shape: &[u32]) -> bool {
        self == Naming::PyTorch && shape.len() == 2 && name.ends_with(".weight")
    }

    pub(super) fn metadata(self) -> BTreeMap<&'static str, String> {
        match self {
            // What PyTorch's programs look for.
            Naming::PyTorch => BTreeMap::from([("format", "pt".into())]),
            _ => BTreeMap::new(),
        }
    }

    /// The network's tensors, named and laid out so.
    pub(super) fn tensors<'a>(self, network: &Network, tensors: Vec<Tensor<'a>>) -> Vec<Tensor<'a>> {
        let names = self.layers(network);
        let rename = |tensor: Tensor<'a>| {
            let (layer, role) = tensor.name.split_once('.').expect("the name of a layer and a role");
            let name = names[layer].clone() + self.role(role);
            match tensor.shape[..] {
                [rows, columns] if self.transposes(&tensor.name, &tensor.shape) => {
                    let words = transposed(&tensor.words, columns as usize).into();
                    Tensor { name, words, shape: vec![columns, rows], ..tensor }
                }
                _ => Tensor { name, ..tensor },
            }
        };
        tensors.into_iter().map(rename).collect()
    }

    /// What the tensors of each layer are called, up to their role.
    fn layers(self, network: &Network) -> BTreeMap<&str, String> {
        let (mut modules, mut of_kind) = (0, [0; 4]);
        let mut names = BTreeMap::new();
        for (i, (name, layer)) in network.layers().enumerate() {
            let has_weights = !network.own_parameters(i).is_empty();
            let theirs = match self {
                Naming::Wgrad => format!("{name}."),
                Naming::PyTorch => format!("{modules}."),
                Naming::Keras => {
                    let kind = Kind::of(layer);
                    match of_kind[kind as usize] {
                        0 => format!("{}/", kind.keras()),
                        n => format!("{}_{n}/", kind.keras()),
                    }
                }
            };
            names.insert(name, theirs);
            of_kind[Kind::of(layer) as usize] += usize::from(has_weights);
            match layer {
                Layer::Dense(dense) if dense.activation() != Activation::Identity => modules += 2,
                _ => modules += 1,
            }
        }
        names
    }
}

/// Refuses a network with convolutions in a file that is not of [`Naming::Wgrad`]: other programs order their weights in
/// other ways, and the shapes may be alike.
pub(super) fn refuse_convolutions(network: &Network) -> Result<()> {
    match network.layers().find(|(_, layer)| matches!(layer, Layer::Conv(_))) {
        Some((name, _)) => {
            let what = format!("weights of layer {name} in a file of another program");
            let expected = "names and order of Naming::Wgrad, as no other order of convolutions is known here";
            Err(Error::shape(what, expected, "others"))
        }
        None => Ok(()),
    }
}

/// The columns of a matrix as rows.
pub(super) fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns)).copied().collect()
}

/// A network's parameter buffer, out of its tensors.
pub(super) fn assemble(network: &Network, tensors: &[Vec<f32>]) -> Vec<f32> {
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    for (parameter, tensor) in network.tensors().zip(tensors) {
        parameters[parameter.range()].copy_from_slice(tensor);
    }
    parameters
}

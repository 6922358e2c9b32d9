//! How programs name the numbers of layers; what hash grids are called beside them. `layout.rs` has their order. Files are read in any naming: see `matching.rs`.

use std::collections::BTreeMap;

use super::format::Tensor;
use super::layout::{Layout, Orders};
use crate::activation::Activation;
use crate::error::Result;
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
    /// name, as in `net.0.weight`. A layer's number counts modules: a dense layer or a convolution with an activation
    /// is two, `Linear` and the activation's, any other layer one. Weights of convolutions are \[outputs, inputs, height,
    /// width\], of transposed ones \[inputs, outputs, height, width\]. Images are \[channels, height, width\] there: a
    /// dense layer after a flattened image that convolutions have made or take has its inputs in that order, one before
    /// a reshape to an image its units. Channels that [`Layer::DepthToSpace`] takes are in the order of `PixelShuffle`.
    PyTorch,
    /// As Keras names variables: `dense/kernel` \[inputs, units\], `dense/bias`, `dense_1/kernel` and so on, and for a
    /// layer normalisation `layer_normalization/gamma` and `layer_normalization/beta`, for a batch normalisation
    /// `batch_normalization/gamma` and so on with `moving_mean` and `moving_variance`; read with a `.` for the `/`, or
    /// with a `:0` at the end, too. `conv2d/kernel` is \[height, width, inputs, outputs\], `conv2d_transpose/kernel`
    /// \[height, width, outputs, inputs\]. The kinds of layers are numbered each on their own.
    Keras,
}

/// Layers that have weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    LayerNorm,
    Dense,
    HashGrid,
    BatchNorm,
    Conv,
}

impl Kind {
    pub fn of(layer: &Layer) -> Self {
        match layer {
            Layer::Dense(_) => Kind::Dense,
            Layer::Conv(_) => Kind::Conv,
            Layer::Encoding(_) => Kind::HashGrid,
            Layer::BatchNorm(_) => Kind::BatchNorm,
            _ => Kind::LayerNorm,
        }
    }

    /// What of its tensors tells it from the others.
    pub fn mark(self) -> &'static str {
        ["vectors only", "a matrix", "a table", "a running mean", "a kernel"][self as usize]
    }
}

/// What Keras calls a layer, or would; `rank` is that of its first tensor.
pub(super) fn keras_name(layer: &Layer, rank: usize) -> &'static str {
    match layer {
        Layer::Dense(_) => "dense",
        Layer::Conv(conv) => match (rank, conv.transposed) {
            (3, None) => "conv1d",
            (3, Some(_)) => "conv1d_transpose",
            (_, None) => "conv2d",
            (_, Some(_)) => "conv2d_transpose",
        },
        Layer::GroupNorm(_) | Layer::InstanceNorm(_) => "group_normalization",
        Layer::RmsNorm(_) => "rms_normalization",
        Layer::BatchNorm(_) => "batch_normalization",
        Layer::Encoding(_) => "hash_grid",
        _ => "layer_normalization",
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

    pub(super) fn metadata(self) -> BTreeMap<&'static str, String> {
        match self {
            // What PyTorch's programs look for.
            Naming::PyTorch => BTreeMap::from([("format", "pt".into())]),
            _ => BTreeMap::new(),
        }
    }

    /// The network's tensors, named and laid out so.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a layer that the other program does not have, or not in this order.
    pub(super) fn tensors<'a>(self, network: &Network, tensors: Vec<Tensor<'a>>) -> Result<Vec<Tensor<'a>>> {
        if self == Naming::Wgrad {
            return Ok(tensors);
        }
        let (names, orders) = (self.layers(network), Orders::of(Layout::of(self), network));
        orders.check(network)?;
        let rename = |tensor: Tensor<'a>| {
            let (layer, role) = tensor.name.split_once('.').expect("the name of a layer and a role");
            let order = orders.get(&tensor.name);
            let name = match &*names[layer] {
                theirs if theirs.starts_with("rms_normalization") => format!("{theirs}{role}"),
                theirs => format!("{theirs}{}", self.role(role)),
            };
            Tensor { name, words: order.theirs(&tensor.words).into(), shape: order.shape.clone(), ..tensor }
        };
        Ok(tensors.into_iter().map(rename).collect())
    }

    /// What the tensors of each layer are called, up to their role.
    fn layers(self, network: &Network) -> BTreeMap<&str, String> {
        let (mut modules, mut of_kind) = (0, BTreeMap::new());
        let mut names = BTreeMap::new();
        for (i, (name, layer)) in network.layers().enumerate() {
            let own = &network.parameters()[network.own_parameters(i)];
            let theirs = match self {
                Naming::Wgrad => format!("{name}."),
                Naming::PyTorch => format!("{modules}."),
                Naming::Keras => {
                    let kind = keras_name(layer, own.first().map_or(1, |p| p.shape.len()));
                    let before = of_kind.entry(kind).or_insert(0);
                    *before += usize::from(!own.is_empty());
                    match *before {
                        0 | 1 => format!("{kind}/"),
                        n => format!("{kind}_{}/", n - 1),
                    }
                }
            };
            names.insert(name, theirs);
            let with_activation = matches!(layer, Layer::Dense(_) | Layer::Conv(_));
            modules += 1 + usize::from(with_activation && layer.activation() != Activation::Identity);
        }
        names
    }
}

/// A network's parameter buffer, out of its tensors.
pub(super) fn assemble(network: &Network, tensors: &[Vec<f32>]) -> Vec<f32> {
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    for (parameter, tensor) in network.tensors().zip(tensors) {
        parameters[parameter.range()].copy_from_slice(tensor);
    }
    parameters
}

//! Names of tensors in files of other programs. Their order is in `layout.rs`; matching any naming is in
//! `matching.rs`.

use std::collections::BTreeMap;

use super::format::Tensor;
use super::layout::{Layout, Orders};
use crate::activation::Activation;
use crate::error::Result;
use crate::network::{Layer, Network};

/// How a file of weights names and orders its tensors. All files are safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// wgrad's names, as in [`Network::parameters`] and [`Network::states`]: `dense_1.weight` \[inputs, units\],
    /// `dense_1.bias`, `layer_norm_2.scale`, `layer_norm_2.shift`, `batch_norm_3.mean`.
    Wgrad,
    /// As the `state_dict` of a PyTorch `nn.Sequential`.
    ///
    /// - Names: `0.weight` \[units, inputs\] and `0.bias`. A layer normalisation has `2.weight` and `2.bias`. A batch
    ///   normalisation also has `2.running_mean` and `2.running_var`; its `num_batches_tracked` is not written, and
    ///   is ignored when reading. A name may precede the number, as in `net.0.weight`.
    /// - Numbers count modules: a dense layer or a convolution with an activation is two modules; any other layer is
    ///   one.
    /// - Weights of convolutions are \[outputs, inputs, height, width\], of transposed ones \[inputs, outputs,
    ///   height, width\].
    /// - Images are \[channels, height, width\]. A dense layer after a flattened image has its inputs in that order.
    ///   A dense layer before a reshape to an image has its units in that order. This holds for images that
    ///   convolutions take or make.
    /// - Channels before [`Layer::DepthToSpace`] are in the order of `PixelShuffle`.
    PyTorch,
    /// As the variables of Keras.
    ///
    /// - Names: `dense/kernel` \[inputs, units\], `dense/bias`, `dense_1/kernel` and so on. A layer normalisation has
    ///   `layer_normalization/gamma` and `layer_normalization/beta`. A batch normalisation has
    ///   `batch_normalization/gamma` and so on, with `moving_mean` and `moving_variance`. Names with `.` instead of
    ///   `/`, or with `:0` at the end, are read too.
    /// - `conv2d/kernel` is \[height, width, inputs, outputs\]; `conv2d_transpose/kernel` is \[height, width,
    ///   outputs, inputs\].
    /// - Each kind of layer is numbered separately.
    Keras,
}

/// Kinds of layers with weights.
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
            Layer::Encoding(_) | Layer::CompositeEncoding(_) => Kind::HashGrid,
            Layer::BatchNorm(_) => Kind::BatchNorm,
            _ => Kind::LayerNorm,
        }
    }

    /// The tensors that distinguish this kind of layer, for error texts.
    pub fn mark(self) -> &'static str {
        ["vectors only", "a matrix", "a table", "a running mean", "a kernel"][self as usize]
    }
}

/// Keras' name of a layer, or a similar name if Keras has no such layer. `rank` is that of its first tensor.
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
        Layer::CompositeEncoding(_) => "composite",
        _ => "layer_normalization",
    }
}

impl Naming {
    /// The other program's name for wgrad's `role`.
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
            // PyTorch programs look for this entry.
            Naming::PyTorch => BTreeMap::from([("format", "pt".into())]),
            _ => BTreeMap::new(),
        }
    }

    /// The network's tensors with these names and this order.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the other program does not have such a layer, or not in this place.
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

    /// The prefix of each layer's tensor names.
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

/// A network's parameter buffer, assembled from its tensors.
pub(super) fn assemble(network: &Network, tensors: &[Vec<f32>]) -> Vec<f32> {
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    for (parameter, tensor) in network.tensors().zip(tensors) {
        parameters[parameter.range()].copy_from_slice(tensor);
    }
    parameters
}

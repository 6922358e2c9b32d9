//! The kinds of layers.

use std::sync::Arc;

use super::{
    BatchNorm, Conv, Crop, Custom, CustomLayer, CustomParameter, Dense, GroupNorm, InstanceNorm, LayerNorm, Pad, Pool,
    RmsNorm, ScaleShift, Tied, Upsample,
};
use crate::activation::Activation;
use crate::encoding::Encoding;
use crate::init::Init;
use crate::ops::Pooling;
use crate::shape::Shape;

/// One layer of a network: a node of its graph. An axis is a dimension of a sample, from 0; counted from the last one
/// where it is negative, as in −1. The rows of a batch are no axis.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Layer {
    /// See [`Dense`].
    Dense(Dense),
    /// See [`Conv`].
    Conv(Conv),
    /// See [`Pool`].
    Pool(Pool),
    /// See [`Upsample`].
    Upsample(Upsample),
    /// See [`Pad`].
    Pad(Pad),
    /// See [`Crop`].
    Crop(Crop),
    /// Blocks of r times r pixels from the channels of one: \[height, width, r · r · channels\] become \[height · r,
    /// width · r, channels\]. Channel (i · r + j) · channels + c is channel c of row i and column j of the block, as with
    /// TensorFlow's `depth_to_space`. PyTorch's `PixelShuffle` has the channels outermost: c · r · r + i · r + j.
    DepthToSpace(u32),
    /// The inverse of [`DepthToSpace`](Self::DepthToSpace): height and width divided by r, r · r times as many channels.
    SpaceToDepth(u32),
    /// An activation by itself. A softmax is one of each row of the last dimension.
    Activation(Activation),
    /// A sample of any shape as a row of features.
    Flatten,
    /// In training, sets each number to 0 with this probability, from 0 to below 1, and divides the others by what is
    /// left of 1, so that the mean stays: Srivastava et al., 2014. Elsewhere it does nothing. The mask is a function of
    /// the seed, the step and the place, stored nowhere.
    Dropout(f32),
    /// [`Dropout`](Self::Dropout) of whole channels: in training, sets a channel of a sample to 0 at all positions with
    /// this probability: Tompson et al., 2015. For images and sequences, whose neighbours are alike.
    SpatialDropout(f32),
    /// See [`LayerNorm`].
    LayerNorm(LayerNorm),
    /// See [`GroupNorm`].
    GroupNorm(GroupNorm),
    /// See [`InstanceNorm`].
    InstanceNorm(InstanceNorm),
    /// See [`RmsNorm`].
    RmsNorm(RmsNorm),
    /// See [`BatchNorm`].
    BatchNorm(BatchNorm),
    /// See [`Encoding`].
    Encoding(Encoding),
    /// See [`Tied`].
    Tied(Tied),
    /// The sum of two or more inputs; a length of 1, or a dimension that is missing in front, is repeated as in NumPy.
    Add,
    /// The product of two or more inputs, number by number, repeated as in [`Add`](Self::Add).
    Multiply,
    /// Its inputs one after the other along an axis.
    Concat {
        /// Which.
        axis: i32,
    },
    /// A part of an axis.
    Slice {
        /// Which.
        axis: i32,
        /// The first place.
        start: u32,
        /// The place after the last one.
        end: u32,
    },
    /// Parts of an axis, equally long: as many outputs.
    Split {
        /// Which.
        axis: i32,
        /// How many, at most 1,024; they divide its length.
        parts: u32,
    },
    /// The same numbers in the same order with another shape.
    Reshape(Shape),
    /// The dimensions in another order: that one first which has the first of these numbers.
    Transpose(Vec<i32>),
    /// See [`ScaleShift`].
    ScaleShift(ScaleShift),
    /// The mean over some axes, which then are gone. Over all of them it is of shape \[1\].
    ReduceMean(Vec<i32>),
    /// The largest number over some axes, which then are gone, NaN where one is NaN. Its gradient goes to the first of
    /// equal numbers.
    ReduceMax(Vec<i32>),
    /// See [`CustomLayer`].
    Custom(Custom),
}

from_variants!(Layer: Dense Conv Pool Upsample Pad Crop Activation LayerNorm GroupNorm InstanceNorm RmsNorm BatchNorm
    Encoding Tied ScaleShift);

impl<L: CustomLayer + 'static> From<L> for Layer {
    fn from(layer: L) -> Self {
        Self::Custom(Custom(Arc::new(layer)))
    }
}

/// A tensor of weights that a layer has: its role, its shape, its start and its fans.
pub(super) struct OwnParameter {
    pub role: String,
    pub shape: Vec<u32>,
    pub init: Init,
    pub fans: [u32; 2],
}

/// How a layer normalises each sample by itself.
pub(crate) struct Normalisation {
    /// Of its epsilon, in errors.
    pub name: &'static str,
    pub epsilon: f32,
    /// Of the channels.
    pub groups: u32,
    /// Whether each row of the last dimension is normalised by itself, not all positions together.
    pub of_rows: bool,
    /// Whether the mean is taken away, and a shift added.
    pub centred: bool,
}

impl Layer {
    /// As it stands in a layer's name.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Layer::Dense(_) => "dense",
            Layer::Conv(conv) if conv.transposed.is_some() => "conv_transposed",
            Layer::Conv(_) => "conv",
            Layer::Pool(Pool { how: Pooling::Max, .. }) => "max_pool",
            Layer::Pool(_) => "average_pool",
            Layer::Upsample(_) => "upsample",
            Layer::Pad(_) => "pad",
            Layer::Crop(_) => "crop",
            Layer::DepthToSpace(_) => "depth_to_space",
            Layer::SpaceToDepth(_) => "space_to_depth",
            Layer::Activation(_) => "activation",
            Layer::Flatten => "flatten",
            Layer::Dropout(_) => "dropout",
            Layer::SpatialDropout(_) => "spatial_dropout",
            Layer::LayerNorm(_) => "layer_norm",
            Layer::GroupNorm(_) => "group_norm",
            Layer::InstanceNorm(_) => "instance_norm",
            Layer::RmsNorm(_) => "rms_norm",
            Layer::BatchNorm(_) => "batch_norm",
            Layer::Encoding(encoding) => encoding.kind(),
            Layer::Tied(_) => "tied",
            Layer::Add => "add",
            Layer::Multiply => "multiply",
            Layer::Concat { .. } => "concat",
            Layer::Slice { .. } => "slice",
            Layer::Split { .. } => "split",
            Layer::Reshape(_) => "reshape",
            Layer::Transpose(_) => "transpose",
            Layer::ScaleShift(_) => "scale_shift",
            Layer::ReduceMean(_) => "reduce_mean",
            Layer::ReduceMax(_) => "reduce_max",
            Layer::Custom(custom) => custom.0.kind(),
        }
    }

    /// The activation at its end.
    pub fn activation(&self) -> Activation {
        match self {
            Layer::Dense(Dense { activation, .. }) | Layer::Activation(activation) => *activation,
            Layer::Conv(conv) => conv.activation,
            Layer::Tied(Tied { transposed: Some(activation), .. }) => *activation,
            _ => Activation::Identity,
        }
    }

    /// How it normalises samples of this shape. Only for layers that normalise each sample by itself.
    pub(crate) fn normalisation(&self, sample: Shape) -> Normalisation {
        let (name, epsilon, groups) = match *self {
            Layer::GroupNorm(GroupNorm { epsilon, groups }) => ("epsilon of group_norm", epsilon, groups),
            Layer::InstanceNorm(InstanceNorm { epsilon }) => ("epsilon of instance_norm", epsilon, columns(&[sample])),
            Layer::RmsNorm(RmsNorm { epsilon }) => ("epsilon of rms_norm", epsilon, 1),
            Layer::LayerNorm(LayerNorm { epsilon }) => ("epsilon of layer_norm", epsilon, 1),
            _ => unreachable!("a layer that normalises each sample"),
        };
        let of_rows = matches!(self, Layer::LayerNorm(_) | Layer::RmsNorm(_));
        Normalisation { name, epsilon, groups, of_rows, centred: !matches!(self, Layer::RmsNorm(_)) }
    }

    /// Whether what comes out are the numbers that come in, as they are.
    pub(crate) fn is_view(&self) -> bool {
        matches!(self, Layer::Flatten | Layer::Reshape(_) | Layer::Activation(Activation::Identity))
    }

    /// Its tensors of weights, in the order of the parameter buffer, for inputs of these shapes.
    pub(super) fn parameters(&self, shapes: &[Shape]) -> Vec<OwnParameter> {
        let inputs = columns(shapes);
        match *self {
            Layer::Dense(Dense { units, weight_init, bias_init, .. }) => {
                weight_and_bias(vec![inputs, units], weight_init, bias_init)
            }
            Layer::Conv(ref conv) => {
                let (weight_init, bias_init) = conv.inits();
                weight_and_bias(conv.weights(shapes[0]), weight_init, bias_init)
            }
            Layer::RmsNorm(_) => vec![constant("scale", inputs, 1.0)],
            Layer::LayerNorm(_)
            | Layer::GroupNorm(_)
            | Layer::InstanceNorm(_)
            | Layer::BatchNorm(_)
            | Layer::ScaleShift(ScaleShift::Trained) => {
                vec![constant("scale", inputs, 1.0), constant("shift", inputs, 0.0)]
            }
            Layer::Encoding(Encoding::HashGrid(grid)) => {
                let entries = grid.levels(inputs).last().map_or(0, |level| level.first + level.entries);
                let (shape, init) = (vec![entries, grid.features_per_level], Init::Uniform { bound: 1e-4 });
                vec![OwnParameter { role: "table".into(), shape, init, fans: [inputs, grid.features_per_level] }]
            }
            Layer::Custom(ref custom) => custom.0.parameters(shapes).into_iter().map(OwnParameter::from).collect(),
            _ => Vec::new(),
        }
    }

    /// Its tensors of numbers that are not trained, in the order of the parameter buffer, as
    /// [`parameters`](Self::parameters).
    pub(super) fn states(&self, shapes: &[Shape]) -> Vec<OwnParameter> {
        let inputs = columns(shapes);
        match self {
            Layer::BatchNorm(_) => vec![constant("mean", inputs, 0.0), constant("variance", inputs, 1.0)],
            Layer::Custom(custom) => custom.0.states(shapes).into_iter().map(OwnParameter::from).collect(),
            _ => Vec::new(),
        }
    }
}

impl From<CustomParameter> for OwnParameter {
    fn from(CustomParameter { name: role, shape, init, fans }: CustomParameter) -> Self {
        Self { role, shape: shape.to_vec(), init, fans }
    }
}

/// Weights of shape \[taps.., inputs, units\], and a bias for each unit.
fn weight_and_bias(shape: Vec<u32>, weight_init: Init, bias_init: Option<Init>) -> Vec<OwnParameter> {
    let (taps, ends) = shape.split_at(shape.len() - 2);
    let taps: u32 = taps.iter().product();
    let (fans, units) = ([taps * ends[0], taps * ends[1]], ends[1]);
    let weight = OwnParameter { role: "weight".into(), shape, init: weight_init, fans };
    let bias = |init| OwnParameter { role: "bias".into(), shape: vec![units], init, fans };
    std::iter::once(weight).chain(bias_init.map(bias)).collect()
}

/// A vector that starts as one number, repeated.
fn constant(role: &str, length: u32, value: f32) -> OwnParameter {
    OwnParameter { role: role.into(), shape: vec![length], init: Init::Constant(value), fans: [length, length] }
}

/// Numbers in a row of the last dimension of what comes in.
fn columns(inputs: &[Shape]) -> u32 {
    inputs.first().and_then(|shape| shape.last().copied()).unwrap_or(1)
}

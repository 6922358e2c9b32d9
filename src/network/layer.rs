//! The kinds of layers.

use std::sync::Arc;

use super::{
    BatchNorm, Conv, Crop, Custom, CustomLayer, CustomParameter, Dense, GroupNorm, InstanceNorm, LayerNorm, Pad, Pool,
    RmsNorm, ScaleShift, Tied, Upsample,
};
use crate::activation::Activation;
use crate::encoding::{Encoding, HashGrid};
use crate::init::Init;
use crate::ops::Pooling;
use crate::shape::Shape;

/// A layer of a network: a node of its graph.
///
/// An axis is a dimension of one sample, counted from 0. A negative axis counts from the end: −1 is the last. The batch
/// is not an axis.
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
    /// Depth to space, also called pixel shuffle: moves channels into blocks of r × r pixels. The number is r.
    ///
    /// \[height, width, r · r · channels\] becomes \[height · r, width · r, channels\]. Input channel (i · r + j) ·
    /// channels + c becomes channel c at row i and column j of the block. TensorFlow's `depth_to_space` has the same
    /// order. PyTorch's `PixelShuffle` reads input channel c · r · r + i · r + j instead.
    DepthToSpace(u32),
    /// Space to depth: the inverse of [`DepthToSpace`](Self::DepthToSpace). Divides height and width by r, and
    /// multiplies the channels by r · r.
    SpaceToDepth(u32),
    /// An activation as a layer of its own. Softmax works along the last dimension.
    Activation(Activation),
    /// Reshapes a sample to one dimension.
    Flatten,
    /// Dropout with this rate, from 0 to below 1 (Srivastava et al., 2014).
    ///
    /// Training sets each element to 0 with this probability. It divides the others by 1 − rate, so the expected value
    /// stays the same. Outside training, dropout does nothing. The mask depends only on the seed, the step and the
    /// position. No memory stores it.
    Dropout(f32),
    /// Spatial [dropout](Self::Dropout): drops whole channels (Tompson et al., 2015).
    ///
    /// Training sets a channel of a sample to 0 at all positions with this probability. Use it for images and
    /// sequences, because neighbouring elements are correlated.
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
    /// A composite encoding: encodings of parts of a row, side by side.
    ///
    /// The first encoding takes this number of coordinates, the second takes the coordinates after them, and so on. The
    /// numbers add up to the length of a row. The features are concatenated in the order of the encodings.
    CompositeEncoding(Vec<(u32, Encoding)>),
    /// See [`Tied`].
    Tied(Tied),
    /// The elementwise sum of two or more inputs. Shapes broadcast as in NumPy: dimensions of length 1 and missing
    /// leading dimensions are repeated.
    Add,
    /// The elementwise product of two or more inputs. Shapes broadcast as in [`Add`](Self::Add).
    Multiply,
    /// Concatenates its inputs along an axis.
    Concat {
        /// The axis.
        axis: i32,
    },
    /// A slice along an axis, from `start` to before `end`.
    Slice {
        /// The axis.
        axis: i32,
        /// The first index.
        start: u32,
        /// The index after the last one.
        end: u32,
    },
    /// Splits an axis into equal parts. Each part is an output.
    Split {
        /// The axis.
        axis: i32,
        /// The number of parts, at most 1,024. It must divide the length of the axis.
        parts: u32,
    },
    /// Changes the shape of a sample. The elements and their order stay the same.
    Reshape(Shape),
    /// Permutes the dimensions. Output dimension i is the input dimension with the i-th number of this list.
    Transpose(Vec<i32>),
    /// See [`ScaleShift`].
    ScaleShift(ScaleShift),
    /// The mean over these axes, which are removed. The mean over all axes has shape \[1\].
    ReduceMean(Vec<i32>),
    /// The maximum over these axes, which are removed. The result is NaN if an element is NaN. The gradient goes to the
    /// first of equal maxima.
    ReduceMax(Vec<i32>),
    /// A tensor that is the same for each sample. It takes no input.
    Constant {
        /// The shape of one sample.
        shape: Shape,
        /// Whether it is a weight, which is trained. Otherwise it is a [state](crate::Network::states). It starts as
        /// zeros.
        trained: bool,
    },
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

/// A tensor that a layer owns: its role, shape, initialiser and fans.
pub(super) struct OwnParameter {
    pub role: String,
    pub shape: Vec<u32>,
    pub init: Init,
    pub fans: [u32; 2],
}

/// How a layer normalises each sample separately.
pub(crate) struct Normalisation {
    /// The name of the epsilon option in error messages.
    pub name: &'static str,
    pub epsilon: f32,
    /// The number of groups of channels.
    pub groups: u32,
    /// Whether each row of the last dimension is normalised separately, instead of all positions together.
    pub of_rows: bool,
    /// Whether it subtracts the mean and adds a shift.
    pub centred: bool,
}

impl Layer {
    /// The first part of the layer's default name.
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
            Layer::CompositeEncoding(_) => "composite",
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
            Layer::Constant { .. } => "constant",
            Layer::Custom(custom) => custom.0.kind(),
        }
    }

    /// The activation of this layer. [`Activation::Identity`] if it has none.
    pub fn activation(&self) -> Activation {
        match self {
            Layer::Dense(Dense { activation, .. }) | Layer::Activation(activation) => *activation,
            Layer::Conv(conv) => conv.activation,
            Layer::Tied(Tied { transposed: Some(activation), .. }) => *activation,
            _ => Activation::Identity,
        }
    }

    /// How this layer normalises samples of this shape. Call it only for layers that normalise each sample separately.
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

    /// Whether the output has the same elements in the same order as the input.
    pub(crate) fn is_view(&self) -> bool {
        matches!(self, Layer::Flatten | Layer::Reshape(_) | Layer::Activation(Activation::Identity))
    }

    /// The trained tensors for inputs of these shapes, in the order of the parameter buffer.
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
                vec![table("table".into(), grid, inputs)]
            }
            Layer::CompositeEncoding(ref parts) => {
                let grid = |(i, &(inputs, encoding)): (usize, &(u32, Encoding))| match encoding {
                    Encoding::HashGrid(grid) => Some(table(format!("table_{}", i + 1), grid, inputs)),
                    _ => None,
                };
                parts.iter().enumerate().filter_map(grid).collect()
            }
            Layer::Constant { shape, trained: true } => vec![value(shape)],
            Layer::Custom(ref custom) => custom.0.parameters(shapes).into_iter().map(OwnParameter::from).collect(),
            _ => Vec::new(),
        }
    }

    /// The tensors that the optimizer does not train, for inputs of these shapes, in the order of the parameter buffer.
    pub(super) fn states(&self, shapes: &[Shape]) -> Vec<OwnParameter> {
        let inputs = columns(shapes);
        match self {
            Layer::BatchNorm(_) => vec![constant("mean", inputs, 0.0), constant("variance", inputs, 1.0)],
            Layer::Constant { shape, trained: false } => vec![value(*shape)],
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

/// A weight of shape \[taps.., inputs, units\], and a bias of shape \[units\] if it has an initialiser.
fn weight_and_bias(shape: Vec<u32>, weight_init: Init, bias_init: Option<Init>) -> Vec<OwnParameter> {
    let (taps, channels) = shape.split_at(shape.len() - 2);
    let taps: u32 = taps.iter().product();
    let (fans, units) = ([taps * channels[0], taps * channels[1]], channels[1]);
    let weight = OwnParameter { role: "weight".into(), shape, init: weight_init, fans };
    let bias = |init| OwnParameter { role: "bias".into(), shape: vec![units], init, fans };
    std::iter::once(weight).chain(bias_init.map(bias)).collect()
}

/// The table of a hash grid for points with this number of coordinates.
fn table(role: String, grid: HashGrid, coordinates: u32) -> OwnParameter {
    let entries = grid.levels(coordinates).last().map_or(0, |level| level.first + level.entries);
    let (shape, init) = (vec![entries, grid.features_per_level], Init::Uniform { bound: 1e-4 });
    OwnParameter { role, shape, init, fans: [coordinates, grid.features_per_level] }
}

/// A vector whose elements all start with this value.
fn constant(role: &str, length: u32, value: f32) -> OwnParameter {
    OwnParameter { role: role.into(), shape: vec![length], init: Init::Constant(value), fans: [length, length] }
}

/// The tensor of a [`Layer::Constant`].
fn value(shape: Shape) -> OwnParameter {
    let fans = [shape.first(), shape.last()].map(|length| length.copied().unwrap_or(1));
    OwnParameter { role: "value".into(), shape: shape.to_vec(), init: Init::Zeros, fans }
}

/// The length of the first input's last dimension.
fn columns(inputs: &[Shape]) -> u32 {
    inputs.first().and_then(|shape| shape.last().copied()).unwrap_or(1)
}

//! Layers with options of their own.

use crate::activation::Activation;
use crate::init::Init;

/// A dense (fully connected) layer: y = activation(x · W + b), with W of shape \[inputs, units\].
///
/// It works on the last dimension of a sample: \[steps, inputs\] becomes \[steps, units\].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Dense {
    pub(crate) units: u32,
    pub(crate) activation: Activation,
    pub(crate) weight_init: Init,
    /// `None`: the layer has no bias.
    pub(crate) bias_init: Option<Init>,
}

impl Dense {
    /// A layer with `units` outputs.
    ///
    /// Biases start as zeros. The default initialiser of the weights depends on the activation: [`Init::HeUniform`] for
    /// relu, leaky relu, elu, gelu, silu and hard swish; [`Init::LecunNormal`] for selu; [`Init::Siren`] with the
    /// sine's frequency for sine; [`Init::GlorotUniform`] for all others.
    pub fn new(units: u32, activation: Activation) -> Self {
        use Activation::*;
        let weight_init = match activation {
            Relu | LeakyRelu(_) | Elu(_) | GeluErf | GeluTanh | Silu | HardSwish => Init::HeUniform,
            Selu => Init::LecunNormal,
            Sine(frequency) => Init::Siren { frequency },
            Identity | Softplus | Squareplus(_) | Exponential | Sigmoid | Tanh | HardSigmoid | Softmax | Custom(_) => {
                Init::GlorotUniform
            }
        };
        Self { units, activation, weight_init, bias_init: Some(Init::Zeros) }
    }

    /// The number of outputs.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// The activation of the outputs.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Whether the layer has a bias.
    pub fn has_bias(&self) -> bool {
        self.bias_init.is_some()
    }

    /// Sets the initialiser of the weights.
    pub fn weight_init(mut self, init: Init) -> Self {
        self.weight_init = init;
        self
    }

    /// Sets the initialiser of the biases. The layer then has a bias.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = Some(init);
        self
    }

    /// Removes the bias: y = activation(x · W).
    pub fn without_bias(mut self) -> Self {
        self.bias_init = None;
        self
    }
}

/// Layer normalisation over the last dimension (Ba et al., 2016): y = (x − mean) / √(variance + epsilon) · scale +
/// shift.
///
/// Mean and variance are those of a row. Scale and shift are trained, have shape \[features\], and start as 1 and 0. A
/// constant row gives 0 before scale and shift. A large mean does not reduce the precision. A row becomes NaN if its
/// elements differ by 4e37 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct LayerNorm {
    /// Added to the variance, so that the division stays finite. Default 1e-5, as in PyTorch. Keras has 1e-3.
    pub epsilon: f32,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// Group normalisation (Wu and He, 2018): y = (x − mean) / √(variance + epsilon) · scale + shift.
///
/// The channels are the last dimension. They are split into equal groups of neighbouring channels. Mean and variance
/// are those of a group over all positions of a sample. Scale and shift are trained, have shape \[channels\], and start
/// as 1 and 0.
///
/// The numeric limits are those of [`LayerNorm`]. One group means layer normalisation over the whole sample.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupNorm {
    /// The number of groups. It must divide the number of channels. A group must have at least 2 elements of a sample.
    pub groups: u32,
    /// Added to the variance, so that the division stays finite. Default 1e-5, as in PyTorch. Keras has 1e-3.
    pub epsilon: f32,
}

impl GroupNorm {
    /// Group normalisation with this number of groups and the default epsilon.
    pub fn new(groups: u32) -> Self {
        Self { groups, epsilon: 1e-5 }
    }
}

/// Instance normalisation (Ulyanov et al., 2016): [`GroupNorm`] with one group for each channel.
///
/// A sample must have at least 2 positions. Scale and shift are trained, as in PyTorch with `affine=True`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct InstanceNorm {
    /// Added to the variance, so that the division stays finite. Default 1e-5, as in PyTorch.
    pub epsilon: f32,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// RMS normalisation over the last dimension (Zhang and Sennrich, 2019): y = x / √(mean(x²) + epsilon) · scale.
///
/// The scale is trained, has shape \[features\], and starts as 1. A row becomes NaN if an element has a magnitude of
/// 4e37 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct RmsNorm {
    /// Added to the mean of squares, so that the division stays finite. Default 2⁻²³ (about 1.2e-7), as in PyTorch for
    /// f32. Keras has 1e-6.
    pub epsilon: f32,
}

impl Default for RmsNorm {
    fn default() -> Self {
        Self { epsilon: f32::EPSILON }
    }
}

/// Batch normalisation (Ioffe and Szegedy, 2015): y = (x − mean) / √(variance + epsilon) · scale + shift.
///
/// Each channel of the last dimension is normalised separately. Scale and shift are trained, have shape \[channels\],
/// and start as 1 and 0.
///
/// In training, mean and variance are those of the batch over all positions. Missing rows of a partial batch do not
/// count. A [chain](crate::Trainer::prepare_chain) trains in the same way. Each batch also updates the running
/// statistics: running ← (1 − momentum) · running + momentum · batch. This also happens if scale and shift are frozen,
/// and for every batch of an accumulated update. The running variance uses the unbiased variance, n / (n − 1) times
/// that of the batch. A batch with a single row does not change the running statistics.
///
/// Evaluation, prediction and forward passes use the running statistics. These are [states](crate::Network::states) of
/// the network: `mean` and `variance` of shape \[channels\], which start as 0 and 1. Files, snapshots and best weights
/// include them.
///
/// The elements of a channel must differ by less than 1e18, because their squares are summed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct BatchNorm {
    /// Added to the variance, so that the division stays finite. Default 1e-5, as in PyTorch. Keras has 1e-3.
    pub epsilon: f32,
    /// Weight of a new batch in the running statistics, from 0 to 1. Default 0.1, as in PyTorch. Keras' momentum is 1
    /// minus this value, by default 0.99.
    pub momentum: f32,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// Scale and shift: y = scale · x + shift.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ScaleShift {
    /// A trained scale and shift for each channel of the last dimension. They start as 1 and 0.
    Trained,
    /// A constant scale and shift for all elements. For example, it maps the range of a sigmoid to another range.
    Fixed {
        /// The factor.
        scale: f32,
        /// The number that is added after the multiplication.
        shift: f32,
    },
}

/// Weight tying: a layer that shares the weights of an earlier layer.
///
/// The earlier layer is given by its name. Its weights receive the sum of both gradients. This autoencoder shares the
/// encoder's weights with the decoder:
/// ```
/// use wgrad::{Activation::*, Network, Tied};
/// let autoencoder = Network::input(784)
///     .dense(64, Tanh).named("encoder")
///     .layer(Tied::transpose_of("encoder", Sigmoid))
///     .build()?;
/// assert_eq!(autoencoder.parameter_count(), 784 * 64 + 64 + 784);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Tied {
    pub(crate) to: String,
    /// `Some`: a dense layer with the transposed weights and this activation.
    pub(crate) transposed: Option<Activation>,
}

impl Tied {
    /// Applies the layer of this name, with its weights, to another input. The input must have the same number of
    /// features.
    pub fn to(layer: impl Into<String>) -> Self {
        Self { to: layer.into(), transposed: None }
    }

    /// A dense layer with the transposed weights: y = activation(x · Wᵀ + b).
    ///
    /// W is the weight of the dense layer of this name, of shape \[inputs, units\] there. The bias b is the tied
    /// layer's own, of shape \[inputs\], and starts as zeros.
    pub fn transpose_of(layer: impl Into<String>, activation: Activation) -> Self {
        Self { to: layer.into(), transposed: Some(activation) }
    }

    /// The name of the layer whose weights are shared.
    pub fn layer(&self) -> &str {
        &self.to
    }
}

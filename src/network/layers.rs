//! The layers that have options of their own.

use crate::activation::Activation;
use crate::init::Init;

/// A fully connected layer: y = activation(x · W + b), with W of shape \[inputs, units\]. Of a sample with several
/// dimensions, it takes each row of the last one: \[steps, inputs\] become \[steps, units\].
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
    /// A layer of `units` outputs. Weights start as [`Init::HeUniform`] for relu and its kin, [`Init::LecunNormal`] for
    /// selu and [`Init::GlorotUniform`] otherwise, biases as zeros.
    pub fn new(units: u32, activation: Activation) -> Self {
        use Activation::*;
        let weight_init = match activation {
            Relu | LeakyRelu(_) | Elu(_) | GeluErf | GeluTanh | Silu | HardSwish => Init::HeUniform,
            Selu => Init::LecunNormal,
            Identity | Softplus | Sigmoid | Tanh | HardSigmoid | Softmax | Custom(_) => Init::GlorotUniform,
        };
        Self { units, activation, weight_init, bias_init: Some(Init::Zeros) }
    }

    /// How many outputs it has.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// What is applied to each of its outputs.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Whether it adds a bias.
    pub fn has_bias(&self) -> bool {
        self.bias_init.is_some()
    }

    /// Another start for the weights.
    pub fn weight_init(mut self, init: Init) -> Self {
        self.weight_init = init;
        self
    }

    /// Another start for the biases.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = Some(init);
        self
    }

    /// Without a bias: y = activation(x · W).
    pub fn without_bias(mut self) -> Self {
        self.bias_init = None;
        self
    }
}

/// Layer normalisation: each row of the last dimension is brought to mean 0 and variance 1, then scaled and shifted by
/// weights, y = (x − mean) / √(variance + epsilon) · scale + shift, scale and shift of shape \[features\], 1 and 0 at
/// the start: Ba et al., 2016. A constant row gives 0 before scale and shift, whatever its size, and a large mean costs
/// no digits. A row with differences of 4e37 and more becomes NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct LayerNorm {
    /// Keeps the division finite. Default 1e-5 (PyTorch; Keras has 1e-3).
    pub epsilon: f32,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// Group normalisation: the channels, places of the last dimension, are split into groups of neighbours, equally wide.
/// Each group of a sample, at all its positions, is brought to mean 0 and variance 1. Then each channel is scaled and
/// shifted by weights, scale and shift of shape \[channels\], 1 and 0 at the start: Wu and He, 2018. Numbers are as of
/// [`LayerNorm`]. With one group it is layer normalisation over a whole sample.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupNorm {
    /// How many groups; they divide the channels. A group has at least 2 numbers of a sample.
    pub groups: u32,
    /// Keeps the division finite. Default 1e-5 (PyTorch; Keras has 1e-3).
    pub epsilon: f32,
}

impl GroupNorm {
    /// So many groups, with the default epsilon.
    pub fn new(groups: u32) -> Self {
        Self { groups, epsilon: 1e-5 }
    }
}

/// Instance normalisation: [`GroupNorm`] with a group for each channel: Ulyanov et al., 2016. A sample has at least 2
/// positions. It has weights, as PyTorch's has with `affine=True`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct InstanceNorm {
    /// Keeps the division finite. Default 1e-5 (PyTorch).
    pub epsilon: f32,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// RMS normalisation: each row of the last dimension is divided by its root mean square and multiplied by weights, y =
/// x / √(mean of x² + epsilon) · scale, scale of shape \[features\], 1 at the start: Zhang and Sennrich, 2019. A row with
/// a number of 4e37 and more becomes NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct RmsNorm {
    /// Keeps the division finite. Default 2⁻²³, about 1.2e-7 (PyTorch, of f32; Keras has 1e-6).
    pub epsilon: f32,
}

impl Default for RmsNorm {
    fn default() -> Self {
        Self { epsilon: f32::EPSILON }
    }
}

/// Batch normalisation: each channel, a place of the last dimension, is brought to mean 0 and variance 1 over the batch
/// and all other dimensions, then scaled and shifted by weights, y = (x − mean) / √(variance + epsilon) · scale +
/// shift, scale and shift of shape \[channels\], 1 and 0 at the start: Ioffe and Szegedy, 2015.
///
/// Training, also that of a [chain](crate::Trainer::prepare_chain), takes the mean and the variance of the batch,
/// without the rows that a partial batch lacks, and moves running ones towards them, (1 − momentum) · running +
/// momentum · batch: also where scale and shift are frozen, and at each batch of an update that several make. Those of
/// the variance are unbiased, n / (n − 1) times the batch's; a batch of a single row leaves them as they are. Anything
/// else (evaluation, prediction, forward passes) takes the running ones. They are [states](crate::Network::states),
/// `mean` and `variance` of shape \[channels\], 0 and 1 at the start: files, snapshots and best weights have them.
///
/// Numbers of a channel must differ by less than 1e18, as their squares are added up.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct BatchNorm {
    /// Keeps the division finite. Default 1e-5 (PyTorch; Keras has 1e-3).
    pub epsilon: f32,
    /// The share of a batch in the running mean and variance, from 0 to 1. Default 0.1 (PyTorch; Keras calls 1 − this
    /// momentum, 0.99).
    pub momentum: f32,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// y = scale · x + shift.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ScaleShift {
    /// Two weights for each number of the last dimension, 1 and 0 at the start.
    Trained,
    /// The same two numbers for all, which are not trained: to bring what a sigmoid puts out to another range, say.
    Fixed {
        /// Multiplied by.
        scale: f32,
        /// Added after that.
        shift: f32,
    },
}

/// A layer that reads the weights of another one, which comes before it and is told by its name. Their gradients are
/// added.
///
/// An autoencoder whose decoder has the encoder's weights:
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
    /// The activation of a dense layer that multiplies by the transposed weights.
    pub(crate) transposed: Option<Activation>,
}

impl Tied {
    /// The same layer with the same weights again, for another input: of the same number of features.
    pub fn to(layer: impl Into<String>) -> Self {
        Self { to: layer.into(), transposed: None }
    }

    /// y = activation(x · Wᵀ + b) with the weights W of a dense layer, \[inputs, units\] there, and a bias of its own,
    /// which starts as zeros.
    pub fn transpose_of(layer: impl Into<String>, activation: Activation) -> Self {
        Self { to: layer.into(), transposed: Some(activation) }
    }

    /// The layer that it is tied to.
    pub fn layer(&self) -> &str {
        &self.to
    }
}

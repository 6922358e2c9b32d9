//! The kinds of layers.

use super::Encoding;
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::optimizer::{above_zero, below_one};

/// A fully connected layer: y = activation(x · W + b), with W of shape \[inputs, units\].
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
            Identity | Softplus | Sigmoid | Tanh | HardSigmoid | Softmax => Init::GlorotUniform,
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

/// Layer normalisation: each row is brought to mean 0 and variance 1, then scaled and shifted by weights,
/// y = (x − mean) / √(variance + epsilon) · scale + shift, scale and shift of shape \[features\], 1 and 0 at the start:
/// Ba et al., 2016. A constant row gives 0 before scale and shift, whatever its size, and a large mean costs no digits. A row
/// with differences of 4e37 and more becomes NaN.
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

/// One layer of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Layer {
    /// See [`Dense`].
    Dense(Dense),
    /// An activation by itself.
    Activation(Activation),
    /// A row of any shape as a row of features.
    Flatten,
    /// In training, sets each number to 0 with this probability, from 0 to below 1, and divides the others by what is
    /// left of 1, so that the mean stays: Srivastava et al., 2014. Elsewhere it does nothing. The mask is a function of
    /// the seed, the step and the place, stored nowhere.
    Dropout(f32),
    /// See [`LayerNorm`].
    LayerNorm(LayerNorm),
    /// See [`Encoding`].
    Encoding(Encoding),
}

from_variants!(Layer: Dense Activation LayerNorm Encoding);

/// A tensor of weights that a layer has: its role, its shape, its start and its fans.
pub(super) struct OwnParameter {
    pub role: &'static str,
    pub shape: Vec<u32>,
    pub init: Init,
    pub fans: [u32; 2],
}

impl Layer {
    /// As it stands in a layer's name.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Layer::Dense(_) => "dense",
            Layer::Activation(_) => "activation",
            Layer::Flatten => "flatten",
            Layer::Dropout(_) => "dropout",
            Layer::LayerNorm(_) => "layer_norm",
            Layer::Encoding(encoding) => encoding.kind(),
        }
    }

    /// The activation at its end.
    pub fn activation(&self) -> Activation {
        match self {
            Layer::Dense(Dense { activation, .. }) | Layer::Activation(activation) => *activation,
            _ => Activation::Identity,
        }
    }

    /// The shape of a row that comes out, where it can take what comes in.
    pub(super) fn output_shape(&self, name: &str, input: &[u32]) -> Result<Vec<u32>> {
        let fault = |expected, actual| Err(Error::shape(format!("layer {name}"), expected, actual));
        self.activation().check()?;
        let flat = matches!(self, Layer::Dense(_) | Layer::LayerNorm(_) | Layer::Encoding(_))
            || self.activation() == Activation::Softmax;
        if flat && input.len() != 1 {
            return fault("a row of features: add a flatten layer before it", format!("rows of shape {input:?}"));
        }
        match *self {
            Layer::Dense(Dense { units: 0, .. }) => fault("at least 1 unit", "0".into()),
            Layer::Dense(dense) => {
                dense.weight_init.check()?;
                dense.bias_init.map_or(Ok(()), Init::check)?;
                Ok(vec![dense.units])
            }
            Layer::Encoding(encoding) => Ok(vec![encoding.outputs(name, input[0])?]),
            Layer::Flatten => Ok(vec![input.iter().product()]),
            Layer::Dropout(rate) => below_one("rate of dropout", rate).map(|()| input.to_vec()),
            Layer::LayerNorm(LayerNorm { epsilon }) => {
                above_zero("epsilon of layer_norm", epsilon).map(|()| input.to_vec())
            }
            _ => Ok(input.to_vec()),
        }
    }

    /// Its tensors of weights, in the order of the parameter buffer.
    pub(super) fn parameters(&self, inputs: u32) -> Vec<OwnParameter> {
        match *self {
            Layer::Dense(Dense { units, weight_init, bias_init, .. }) => {
                let fans = [inputs, units];
                let weight = OwnParameter { role: "weight", shape: vec![inputs, units], init: weight_init, fans };
                let bias = bias_init.map(|init| OwnParameter { role: "bias", shape: vec![units], init, fans });
                std::iter::once(weight).chain(bias).collect()
            }
            Layer::LayerNorm(_) => {
                let own = |role, value| {
                    let (shape, init) = (vec![inputs], Init::Constant(value));
                    OwnParameter { role, shape, init, fans: [inputs, inputs] }
                };
                vec![own("scale", 1.0), own("shift", 0.0)]
            }
            Layer::Encoding(Encoding::HashGrid(grid)) => {
                let entries = grid.levels(inputs).last().map_or(0, |level| level.first + level.entries);
                let (shape, init) = (vec![entries, grid.features_per_level], Init::Uniform { bound: 1e-4 });
                vec![OwnParameter { role: "table", shape, init, fans: [inputs, grid.features_per_level] }]
            }
            _ => Vec::new(),
        }
    }
}

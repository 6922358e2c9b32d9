//! Optimizers: how a gradient changes a weight. g is the gradient, w the weight, t counts updates from 1.
//!
//! A weight becomes NaN where a mean of squares, or the weight itself, leaves f32's range: the next loss is then not finite
//! and training ends with an error. An infinite mean would make every later step 0.

use crate::error::{Error, Result};

/// Stochastic gradient descent. v ← momentum · v + (1 − dampening) · g, at the first update v ← g;
/// w ← w − learning_rate · v, with Nesterov's momentum w − learning_rate · (g + momentum · v).
/// (Sutskever et al., 2013, in PyTorch's form.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Sgd {
    /// Step size. Default 0.01.
    pub learning_rate: f32,
    /// Share of the last step that is kept, from 0 (none, the default) to below 1.
    pub momentum: f32,
    /// Share of the gradient that the momentum leaves out, from 0 (none, the default) to 1.
    pub dampening: f32,
    /// Nesterov's momentum; wants a momentum and no dampening. Default false.
    pub nesterov: bool,
    /// L2: this share of the weight is added to its gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

/// v ← alpha · v + (1 − alpha) · g²; b ← momentum · b + g / (√v + epsilon); w ← w − learning_rate · b.
/// (Hinton's lectures, 2012, in PyTorch's form.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct RmsProp {
    /// Step size. Default 0.01 (PyTorch; Keras has 0.001).
    pub learning_rate: f32,
    /// Decay of the mean of squared gradients. Default 0.99 (PyTorch; Keras calls it rho and has 0.9).
    pub alpha: f32,
    /// Keeps the division finite; at least 1.1754944e-38. Default 1e-8.
    pub epsilon: f32,
    /// Share of the last step that is kept. Default 0.
    pub momentum: f32,
    /// L2. Default 0.
    pub weight_decay: f32,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 0.01, alpha: 0.99, epsilon: 1e-8, momentum: 0.0, weight_decay: 0.0 }
    }
}

/// v ← v + g², from initial_accumulator; w ← w − learning_rate / (1 + (t − 1) · rate_decay) · g / (√v + epsilon).
/// (Duchi et al., 2011, in PyTorch's form.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Adagrad {
    /// Step size. Default 0.01.
    pub learning_rate: f32,
    /// How fast the step size falls. Default 0. PyTorch calls it lr_decay.
    pub rate_decay: f32,
    /// What v starts from. Default 0 (PyTorch; Keras has 0.1).
    pub initial_accumulator: f32,
    /// Keeps the division finite; at least 1.1754944e-38. Default 1e-10.
    pub epsilon: f32,
    /// L2. Default 0.
    pub weight_decay: f32,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { learning_rate: 0.01, rate_decay: 0.0, initial_accumulator: 0.0, epsilon: 1e-10, weight_decay: 0.0 }
    }
}

/// m ← beta1 · m + (1 − beta1) · g; v ← beta2 · v + (1 − beta2) · g²;
/// w ← w − learning_rate · m / (1 − beta1ᵗ) / (√(v / (1 − beta2ᵗ)) + epsilon).
/// (Kingma and Ba, 2015, algorithm 1.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Adam {
    /// Step size. Default 0.001.
    pub learning_rate: f32,
    /// Decay of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Keeps the division finite; at least 1.1754944e-38. Default 1e-8 (PyTorch; Keras has 1e-7).
    pub epsilon: f32,
    /// L2: this share of the weight is added to its gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// [`Adam`] whose weight decay is decoupled from the gradient: w first loses the share learning_rate · weight_decay.
/// (Loshchilov and Hutter, 2019.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct AdamW {
    /// Step size. Default 0.001.
    pub learning_rate: f32,
    /// Decay of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Keeps the division finite; at least 1.1754944e-38. Default 1e-8.
    pub epsilon: f32,
    /// Decoupled. Default 0.01.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { learning_rate, beta1, beta2, epsilon, .. } = Adam::default();
        Self { learning_rate, beta1, beta2, epsilon, weight_decay: 0.01 }
    }
}

/// w first loses the share learning_rate · weight_decay; w ← w − learning_rate · sign(beta1 · m + (1 − beta1) · g);
/// m ← beta2 · m + (1 − beta2) · g. The sign of 0 is 0. (Chen et al., 2023.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Lion {
    /// Step size. Default 0.0001: a tenth or less of Adam's, as every weight moves by all of it.
    pub learning_rate: f32,
    /// Weighs the mean of gradients against the gradient. Default 0.9.
    pub beta1: f32,
    /// Decay of the mean of gradients. Default 0.99.
    pub beta2: f32,
    /// Decoupled. Default 0.
    pub weight_decay: f32,
}

impl Default for Lion {
    fn default() -> Self {
        Self { learning_rate: 0.0001, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// Any optimizer; each one converts into it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Optimizer {
    /// See [`Sgd`].
    Sgd(Sgd),
    /// See [`RmsProp`].
    RmsProp(RmsProp),
    /// See [`Adagrad`].
    Adagrad(Adagrad),
    /// See [`Adam`].
    Adam(Adam),
    /// See [`AdamW`].
    AdamW(AdamW),
    /// See [`Lion`].
    Lion(Lion),
}

from_variants!(Optimizer: Sgd RmsProp Adagrad Adam AdamW Lion);

/// What is read or written of a field that every kind has.
macro_rules! each {
    ($optimizer:expr, $o:ident => $field:expr) => {
        match $optimizer {
            Optimizer::Sgd($o) => $field,
            Optimizer::RmsProp($o) => $field,
            Optimizer::Adagrad($o) => $field,
            Optimizer::Adam($o) => $field,
            Optimizer::AdamW($o) => $field,
            Optimizer::Lion($o) => $field,
        }
    };
}

impl Optimizer {
    /// Its step size, before any schedule.
    pub fn learning_rate(&self) -> f32 {
        each!(self, o => o.learning_rate)
    }

    #[cfg(feature = "files")]
    pub(crate) fn set_learning_rate(&mut self, rate: f32) {
        each!(self, o => o.learning_rate = rate)
    }

    /// Its weight decay, and whether that is decoupled from the gradient.
    pub(crate) fn weight_decay(&self) -> (f32, bool) {
        let decoupled = matches!(self, Optimizer::AdamW(_) | Optimizer::Lion(_));
        (each!(self, o => o.weight_decay), decoupled)
    }

    /// How many moments it keeps for each weight: 0 to 2.
    pub fn moments(&self) -> u32 {
        match self {
            Optimizer::Sgd(o) => u32::from(o.momentum != 0.0),
            Optimizer::RmsProp(o) => 1 + u32::from(o.momentum != 0.0),
            Optimizer::Adagrad(_) | Optimizer::Lion(_) => 1,
            Optimizer::Adam(_) | Optimizer::AdamW(_) => 2,
        }
    }

    /// Checks each hyperparameter against its range.
    pub(crate) fn check(&self) -> Result<()> {
        at_least_zero("learning_rate", self.learning_rate())?;
        at_least_zero("weight_decay", self.weight_decay().0)?;
        match *self {
            Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
                below_one("momentum", momentum)?;
                option("dampening", "from 0 to 1", dampening, (0.0..=1.0).contains(&dampening))?;
                option("momentum", "above 0 for nesterov", momentum, !nesterov || momentum > 0.0)?;
                option("dampening", "0 for nesterov", dampening, !nesterov || dampening == 0.0)
            }
            Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
                below_one("alpha", alpha)?;
                below_one("momentum", momentum)?;
                normal("epsilon", epsilon)
            }
            Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
                at_least_zero("rate_decay", rate_decay)?;
                at_least_zero("initial_accumulator", initial_accumulator)?;
                normal("epsilon", epsilon)
            }
            Optimizer::Adam(Adam { beta1, beta2, epsilon, .. })
            | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)?;
                normal("epsilon", epsilon)
            }
            Optimizer::Lion(Lion { beta1, beta2, .. }) => {
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)
            }
        }
    }
}

pub(crate) fn at_least_zero(name: &'static str, value: impl Into<f64> + ToString + Copy) -> Result<()> {
    option(name, "finite and at least 0", value, value.into().is_finite() && value.into() >= 0.0)
}

pub(crate) fn above_zero(name: &'static str, value: f32) -> Result<()> {
    option(name, "finite and above 0", value, value.is_finite() && value > 0.0)
}

/// Of denormals GPUs make 0, and 0 / 0 would be NaN.
fn normal(name: &'static str, value: f32) -> Result<()> {
    above_zero(name, value)?;
    option(name, "at least 1.1754944e-38, as a GPU takes less for 0", value, value >= f32::MIN_POSITIVE)
}

pub(crate) fn below_one(name: &'static str, value: f32) -> Result<()> {
    option(name, "at least 0 and below 1", value, (0.0..1.0).contains(&value))
}

pub(crate) fn option(name: &'static str, expected: &'static str, value: impl ToString, valid: bool) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::InvalidOption { name, expected, actual: value.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperparameters_outside_their_range_are_refused_by_name() {
        let bad: [(Optimizer, &str); 12] = [
            (Sgd { momentum: 0.9, nesterov: true, dampening: 0.1, ..Default::default() }.into(), "dampening"),
            (Sgd { learning_rate: -0.1, ..Default::default() }.into(), "learning_rate"),
            (Sgd { momentum: 1.0, ..Default::default() }.into(), "momentum"),
            (Sgd { nesterov: true, ..Default::default() }.into(), "momentum"),
            (Sgd { dampening: 1.5, ..Default::default() }.into(), "dampening"),
            (Adam { learning_rate: f32::NAN, ..Default::default() }.into(), "learning_rate"),
            (Adam { beta2: 1.5, ..Default::default() }.into(), "beta2"),
            (Adam { epsilon: 0.0, ..Default::default() }.into(), "epsilon"),
            (Adagrad { epsilon: 1e-40, ..Default::default() }.into(), "epsilon"),
            (AdamW { weight_decay: -1.0, ..Default::default() }.into(), "weight_decay"),
            (RmsProp { alpha: 1.0, ..Default::default() }.into(), "alpha"),
            (Adagrad { initial_accumulator: f32::INFINITY, ..Default::default() }.into(), "initial_accumulator"),
        ];
        for (optimizer, name) in bad {
            let message = optimizer.check().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
        let good: [Optimizer; 6] = [
            Sgd::default().into(),
            RmsProp::default().into(),
            Adagrad::default().into(),
            Adam::default().into(),
            AdamW::default().into(),
            Lion::default().into(),
        ];
        good.iter().for_each(|o| o.check().unwrap());
    }
}

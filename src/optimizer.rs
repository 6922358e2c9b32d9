//! Optimizers: update rules. w is the weight, g its gradient, t the number of the update, counted from 1.
//!
//! A weight becomes NaN if it, or its mean of squared gradients, overflows f32. The next loss is then not finite, and
//! training returns an error. With an infinite mean, every later step would be 0.

use crate::error::{Error, Result};

/// Stochastic gradient descent with momentum (Sutskever et al., 2013), as in PyTorch.
///
/// v ← momentum · v + (1 − dampening) · g, at the first update v ← g; w ← w − learning_rate · v. With Nesterov
/// momentum: w ← w − learning_rate · (g + momentum · v).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Sgd {
    /// Learning rate. Default 0.01.
    pub learning_rate: f32,
    /// Momentum, from 0 to below 1. Default 0.
    pub momentum: f32,
    /// Dampening of the momentum, from 0 to 1. Default 0.
    pub dampening: f32,
    /// Nesterov momentum. It requires a momentum above 0 and no dampening. Default false.
    pub nesterov: bool,
    /// L2 regularisation: weight_decay · w is added to the gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

/// RMSProp (Hinton's lectures, 2012), as in PyTorch.
///
/// v ← alpha · v + (1 − alpha) · g²; b ← momentum · b + g / (√v + epsilon); w ← w − learning_rate · b.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct RmsProp {
    /// Learning rate. Default 0.01, as in PyTorch. Keras has 0.001.
    pub learning_rate: f32,
    /// Decay rate of the mean of squared gradients. Default 0.99, as in PyTorch. Keras calls it rho and has 0.9.
    pub alpha: f32,
    /// Added to the denominator, so that the division stays finite. At least 1.1754944e-38. Default 1e-8.
    pub epsilon: f32,
    /// Momentum, from 0 to below 1. Default 0.
    pub momentum: f32,
    /// L2 regularisation: weight_decay · w is added to the gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 0.01, alpha: 0.99, epsilon: 1e-8, momentum: 0.0, weight_decay: 0.0 }
    }
}

/// Adagrad (Duchi et al., 2011), as in PyTorch.
///
/// v ← v + g², starting at initial_accumulator; w ← w − learning_rate / (1 + (t − 1) · rate_decay) · g / (√v +
/// epsilon).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Adagrad {
    /// Learning rate. Default 0.01.
    pub learning_rate: f32,
    /// Decay of the learning rate. PyTorch calls it lr_decay. Default 0.
    pub rate_decay: f32,
    /// Initial value of v. Default 0, as in PyTorch. Keras has 0.1.
    pub initial_accumulator: f32,
    /// Added to the denominator, so that the division stays finite. At least 1.1754944e-38. Default 1e-10.
    pub epsilon: f32,
    /// L2 regularisation: weight_decay · w is added to the gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for Adagrad {
    fn default() -> Self {
        Self { learning_rate: 0.01, rate_decay: 0.0, initial_accumulator: 0.0, epsilon: 1e-10, weight_decay: 0.0 }
    }
}

/// Adam (Kingma and Ba, 2015, algorithm 1).
///
/// m ← beta1 · m + (1 − beta1) · g; v ← beta2 · v + (1 − beta2) · g²; w ← w − learning_rate · m / (1 − beta1ᵗ) / (√(v /
/// (1 − beta2ᵗ)) + epsilon).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Adam {
    /// Learning rate. Default 0.001.
    pub learning_rate: f32,
    /// Decay rate of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay rate of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Added to the denominator, so that the division stays finite. At least 1.1754944e-38. Default 1e-8, as in
    /// PyTorch. Keras has 1e-7.
    pub epsilon: f32,
    /// L2 regularisation: weight_decay · w is added to the gradient. Default 0.
    pub weight_decay: f32,
    /// If true, an update leaves a weight and its moments unchanged if the weight's gradient is exactly 0. Default
    /// false.
    ///
    /// A batch touches few entries of a large [`HashGrid`](crate::HashGrid). Without this option, entries that it does
    /// not touch keep moving by their old moments. PyTorch's SparseAdam and tiny-cuda-nn skip them too. As in
    /// SparseAdam, t counts all updates. tiny-cuda-nn counts the updates of each weight. Weight decay skips these
    /// weights too.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub skip_zero_gradients: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            learning_rate: 0.001,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            skip_zero_gradients: false,
        }
    }
}

/// AdamW: [`Adam`] with decoupled weight decay (Loshchilov and Hutter, 2019).
///
/// Each update first multiplies w by 1 − learning_rate · weight_decay.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct AdamW {
    /// Learning rate. Default 0.001.
    pub learning_rate: f32,
    /// Decay rate of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay rate of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Added to the denominator, so that the division stays finite. At least 1.1754944e-38. Default 1e-8.
    pub epsilon: f32,
    /// Decoupled weight decay. Default 0.01.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { learning_rate, beta1, beta2, epsilon, .. } = Adam::default();
        Self { learning_rate, beta1, beta2, epsilon, weight_decay: 0.01 }
    }
}

/// Lion (Chen et al., 2023), with decoupled weight decay.
///
/// Each update first multiplies w by 1 − learning_rate · weight_decay. Then w ← w − learning_rate · sign(beta1 · m + (1
/// − beta1) · g); m ← beta2 · m + (1 − beta2) · g. The sign of 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Lion {
    /// Learning rate. Default 0.0001. It should be a tenth of Adam's or less, because every weight changes by the full
    /// rate.
    pub learning_rate: f32,
    /// Weight of the mean of gradients in the update, against the gradient. Default 0.9.
    pub beta1: f32,
    /// Decay rate of the mean of gradients. Default 0.99.
    pub beta2: f32,
    /// Decoupled weight decay. Default 0.
    pub weight_decay: f32,
}

impl Default for Lion {
    fn default() -> Self {
        Self { learning_rate: 0.0001, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// AdaBound (Luo et al., 2019, algorithm 2): [`Adam`] whose rates converge to those of SGD.
///
/// m ← beta1 · m + (1 − beta1) · g; v ← beta2 · v + (1 − beta2) · g²; r ← learning_rate · √(1 − beta2ᵗ) / (1 − beta1ᵗ)
/// / (√v + epsilon), clamped to final_learning_rate · (1 − 1 / (gamma · t + 1)) and final_learning_rate · (1 + 1 /
/// (gamma · t)); w ← w − r · m. As in the authors' program, a schedule also multiplies final_learning_rate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct AdaBound {
    /// Learning rate, above 0. Default 0.001.
    pub learning_rate: f32,
    /// Decay rate of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay rate of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Added to the denominator, so that the division stays finite. At least 1.1754944e-38. Default 1e-8.
    pub epsilon: f32,
    /// Learning rate of SGD that both bounds converge to. Default 0.1.
    pub final_learning_rate: f32,
    /// Convergence speed of the bounds. At least 1.1754944e-38. Default 0.001. tiny-cuda-nn has 1 − beta2.
    pub gamma: f32,
    /// L2 regularisation: weight_decay · w is added to the gradient. Default 0.
    pub weight_decay: f32,
}

impl Default for AdaBound {
    fn default() -> Self {
        let Adam { learning_rate, beta1, beta2, epsilon, weight_decay, .. } = Adam::default();
        Self { learning_rate, beta1, beta2, epsilon, final_learning_rate: 0.1, gamma: 0.001, weight_decay }
    }
}

/// Any optimizer. Each optimizer converts into it.
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
    /// See [`AdaBound`].
    AdaBound(AdaBound),
}

from_variants!(Optimizer: Sgd RmsProp Adagrad Adam AdamW Lion AdaBound);

/// Reads or writes a field that every optimizer has.
macro_rules! each {
    ($optimizer:expr, $o:ident => $field:expr) => {
        match $optimizer {
            Optimizer::Sgd($o) => $field,
            Optimizer::RmsProp($o) => $field,
            Optimizer::Adagrad($o) => $field,
            Optimizer::Adam($o) => $field,
            Optimizer::AdamW($o) => $field,
            Optimizer::Lion($o) => $field,
            Optimizer::AdaBound($o) => $field,
        }
    };
}

impl Optimizer {
    /// The learning rate, before the schedule.
    pub fn learning_rate(&self) -> f32 {
        each!(self, o => o.learning_rate)
    }

    #[cfg(feature = "files")]
    pub(crate) fn set_learning_rate(&mut self, rate: f32) {
        each!(self, o => o.learning_rate = rate)
    }

    /// The weight decay, and whether it is decoupled from the gradient.
    pub(crate) fn weight_decay(&self) -> (f32, bool) {
        let decoupled = matches!(self, Optimizer::AdamW(_) | Optimizer::Lion(_));
        (each!(self, o => o.weight_decay), decoupled)
    }

    /// Whether an update skips weights whose gradient is 0.
    pub(crate) fn skips_zero_gradients(&self) -> bool {
        matches!(self, Optimizer::Adam(Adam { skip_zero_gradients: true, .. }))
    }

    /// The number of moments for each weight, 0 to 2.
    pub fn moments(&self) -> u32 {
        match self {
            Optimizer::Sgd(o) => u32::from(o.momentum != 0.0),
            Optimizer::RmsProp(o) => 1 + u32::from(o.momentum != 0.0),
            Optimizer::Adagrad(_) | Optimizer::Lion(_) => 1,
            Optimizer::Adam(_) | Optimizer::AdamW(_) | Optimizer::AdaBound(_) => 2,
        }
    }

    /// Checks the range of each hyperparameter.
    pub(crate) fn check(&self) -> Result<()> {
        at_least_zero("learning_rate", self.learning_rate())?;
        at_least_zero("weight_decay", self.weight_decay().0)?;
        match *self {
            Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
                below_one("momentum", momentum)?;
                option("dampening", "from 0 to 1", dampening, (0.0..=1.0).contains(&dampening))?;
                option("momentum", "above 0 with nesterov", momentum, !nesterov || momentum > 0.0)?;
                option("dampening", "0 with nesterov", dampening, !nesterov || dampening == 0.0)
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
            Optimizer::AdaBound(AdaBound {
                learning_rate, beta1, beta2, epsilon, final_learning_rate, gamma, ..
            }) => {
                above_zero("learning_rate of AdaBound", learning_rate)?;
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)?;
                normal("epsilon", epsilon)?;
                at_least_zero("final_learning_rate", final_learning_rate)?;
                let ratio = final_learning_rate / learning_rate;
                let expected = "a finite multiple of learning_rate";
                option("final_learning_rate", expected, final_learning_rate, ratio.is_finite())?;
                normal("gamma", gamma)
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

/// Requires a number whose products with numbers of usual size neither overflow nor vanish.
pub(crate) fn moderate(name: &'static str, value: f32) -> Result<()> {
    option(name, "from 1e-20 to 1e20", value, (1e-20..=1e20).contains(&value))
}

/// Requires a normal number. GPUs flush denormals to 0, and 0 / 0 would be NaN.
fn normal(name: &'static str, value: f32) -> Result<()> {
    above_zero(name, value)?;
    option(
        name,
        "at least 1.1754944e-38 (GPUs treat smaller numbers as 0)",
        format!("{value:e}"),
        value >= f32::MIN_POSITIVE,
    )
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
        let bad: [(Optimizer, &str); 15] = [
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
            (AdaBound { learning_rate: 0.0, ..Default::default() }.into(), "learning_rate"),
            (AdaBound { final_learning_rate: -0.1, ..Default::default() }.into(), "final_learning_rate"),
            (AdaBound { gamma: 0.0, ..Default::default() }.into(), "gamma"),
        ];
        for (optimizer, name) in bad {
            let message = optimizer.check().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
        let good: [Optimizer; 7] = [
            Sgd::default().into(),
            RmsProp::default().into(),
            Adagrad::default().into(),
            Adam::default().into(),
            AdamW::default().into(),
            Lion::default().into(),
            AdaBound::default().into(),
        ];
        good.iter().for_each(|o| o.check().unwrap());
    }
}

//! Optimizers: how a gradient changes a weight.

use crate::error::{Error, Result};

/// Stochastic gradient descent with momentum: v ← momentum · v + g; w ← w − learning_rate · v.
/// (Sutskever et al., 2013, in PyTorch's form.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Step size. Default 0.01.
    pub learning_rate: f32,
    /// Share of the last step that is kept, from 0 (none, the default) to below 1.
    pub momentum: f32,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0 }
    }
}

/// Adam: Kingma and Ba, 2015, algorithm 1, with epsilon outside the square root and both moments bias-corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Step size. Default 0.001.
    pub learning_rate: f32,
    /// Decay of the mean of gradients. Default 0.9.
    pub beta1: f32,
    /// Decay of the mean of squared gradients. Default 0.999.
    pub beta2: f32,
    /// Keeps the division finite. Default 1e-8 (PyTorch; Keras has 1e-7).
    pub epsilon: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// Any optimizer; [`Sgd`] and [`Adam`] convert into it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// See [`Sgd`].
    Sgd(Sgd),
    /// See [`Adam`].
    Adam(Adam),
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Self::Sgd(sgd)
    }
}

impl From<Adam> for Optimizer {
    fn from(adam: Adam) -> Self {
        Self::Adam(adam)
    }
}

impl Optimizer {
    /// Checks each hyperparameter against its range.
    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Optimizer::Sgd(Sgd { learning_rate, momentum }) => {
                at_least_zero("learning_rate", learning_rate)?;
                below_one("momentum", momentum)
            }
            Optimizer::Adam(Adam { learning_rate, beta1, beta2, epsilon }) => {
                at_least_zero("learning_rate", learning_rate)?;
                below_one("beta1", beta1)?;
                below_one("beta2", beta2)?;
                option("epsilon", "finite and above 0", epsilon, epsilon.is_finite() && epsilon > 0.0)
            }
        }
    }
}

fn at_least_zero(name: &'static str, value: f32) -> Result<()> {
    option(name, "finite and at least 0", value, value.is_finite() && value >= 0.0)
}

fn below_one(name: &'static str, value: f32) -> Result<()> {
    option(name, "at least 0 and below 1", value, (0.0..1.0).contains(&value))
}

fn option(name: &'static str, expected: &'static str, value: f32, valid: bool) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::InvalidOption { name, expected, actual: value.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperparameters_outside_their_range_are_refused_by_name() {
        let bad: [(Optimizer, &str); 5] = [
            (Sgd { learning_rate: -0.1, ..Default::default() }.into(), "learning_rate"),
            (Sgd { momentum: 1.0, ..Default::default() }.into(), "momentum"),
            (Adam { learning_rate: f32::NAN, ..Default::default() }.into(), "learning_rate"),
            (Adam { beta2: 1.5, ..Default::default() }.into(), "beta2"),
            (Adam { epsilon: 0.0, ..Default::default() }.into(), "epsilon"),
        ];
        for (optimizer, name) in bad {
            let message = optimizer.check().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
        Optimizer::from(Adam::default()).check().unwrap();
        Optimizer::from(Sgd::default()).check().unwrap();
    }
}

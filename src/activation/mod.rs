//! Activation functions: their names here, what they are in `functions.rs`.

mod custom;
mod functions;

use std::fmt;

pub use custom::CustomActivation;
#[cfg(feature = "files")]
pub(crate) use custom::REGISTERED;

use crate::error::Result;
use crate::optimizer::at_least_zero;

/// A function applied to each output of a layer. Where a formula has a limit at ±∞, the limit comes out there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Activation {
    /// z. For logits.
    #[default]
    Identity,
    /// max(z, 0); its derivative at 0 is taken as 0.
    Relu,
    /// z where z > 0, else slope · z; the slope, at least 0, is PyTorch's `negative_slope` (0.01 there).
    LeakyRelu(f32),
    /// z where z > 0, else alpha · (e^z − 1), alpha at least 0 (1 in PyTorch and Keras): Clevert et al., 2016.
    Elu(f32),
    /// 1.0507 · z where z > 0, else 1.0507 · 1.6733 · (e^z − 1): Klambauer et al., 2017. Goes with
    /// [`Init::LecunNormal`](crate::Init::LecunNormal).
    Selu,
    /// z · Φ(z), with the normal distribution function Φ(z) = (1 + erf(z / √2)) / 2: Hendrycks and Gimpel, 2016.
    /// PyTorch's default form.
    GeluErf,
    /// Its approximation z · (1 + tanh(√(2/π) · (z + 0.044715 z³))) / 2, from the same paper.
    GeluTanh,
    /// z · sigmoid(z), also called swish.
    Silu,
    /// ln(1 + e^z), computed so that it neither overflows nor loses its small values.
    Softplus,
    /// 1 / (1 + e^−z).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// z / 6 + 1/2, held between 0 and 1 (PyTorch, Keras 3).
    HardSigmoid,
    /// z · hard sigmoid(z): Howard et al., 2019.
    HardSwish,
    /// e^z / Σ e^z over the outputs of a row: probabilities of classes that exclude each other.
    Softmax,
    /// An app's own: see [`CustomActivation`].
    Custom(&'static CustomActivation),
}

impl Activation {
    /// Checks its parameter, or an app's expressions.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Activation::Custom(own) => own.check(),
            Activation::LeakyRelu(slope) => at_least_zero("slope of LeakyRelu", slope),
            Activation::Elu(alpha) => at_least_zero("alpha of Elu", alpha),
            _ => Ok(()),
        }
    }

    /// The slope or alpha, where it has one. With a slope of 0 a leaky relu is a relu.
    pub(crate) fn parameter(self) -> Option<f32> {
        match self {
            Activation::LeakyRelu(0.0) => None,
            Activation::LeakyRelu(parameter) | Activation::Elu(parameter) => Some(parameter),
            _ => None,
        }
    }

    /// What lacks a twin, where it is an app's own without one.
    pub(crate) fn without_twin(self) -> Option<String> {
        if let Activation::Custom(own) = self { own.without_twin() } else { None }
    }

    /// One of each but an app's own, parameters at their usual values.
    pub const ALL: [Activation; 14] = {
        use Activation::*;
        [
            Identity,
            Relu,
            LeakyRelu(0.01),
            Elu(1.0),
            Selu,
            GeluErf,
            GeluTanh,
            Silu,
            Softplus,
            Sigmoid,
            Tanh,
            HardSigmoid,
            HardSwish,
            Softmax,
        ]
    };
}

/// As in `leaky_relu(0.01)` and `gelu_erf`; an app's own by its name.
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Activation::Custom(own) = self {
            return f.write_str(own.name());
        }
        for (i, c) in format!("{self:?}").chars().enumerate() {
            if c.is_ascii_uppercase() && i > 0 {
                f.write_str("_")?;
            }
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_field() {
        let names: Vec<String> = Activation::ALL.iter().map(Activation::to_string).collect();
        assert_eq!(names[2..6], ["leaky_relu(0.01)", "elu(1.0)", "selu", "gelu_erf"]);
    }

    #[test]
    fn a_parameter_outside_its_range_is_refused_by_name() {
        let message = Activation::LeakyRelu(-0.1).check().unwrap_err().to_string();
        assert_eq!(message, "slope of LeakyRelu must be finite and at least 0, got -0.1");
        assert!(Activation::Elu(f32::NAN).check().is_err());
        Activation::ALL.iter().for_each(|a| a.check().unwrap());
    }
}

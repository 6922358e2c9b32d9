//! Activation functions. The implementations are in `functions.rs`.

mod custom;
#[cfg(any(feature = "keras", feature = "onnx"))]
mod elementary;
mod functions;
mod second_derivative;

use std::fmt;

pub use custom::CustomActivation;
#[cfg(feature = "files")]
pub(crate) use custom::REGISTERED;
#[cfg(any(feature = "keras", feature = "onnx"))]
pub(crate) use elementary::elementary;
#[cfg(all(feature = "files", not(any(feature = "keras", feature = "onnx"))))]
fn elementary(_: &str) -> Option<&'static CustomActivation> {
    None
}

use crate::error::Result;
use crate::optimizer::{above_zero, at_least_zero, moderate};

/// An activation function. At z = ±∞ the result is the limit of the formula.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Activation {
    /// Identity: z. Use it for logits.
    #[default]
    Identity,
    /// Rectified linear unit: max(z, 0). The derivative at 0 is 0.
    Relu,
    /// Leaky ReLU: z if z > 0, else slope · z. The slope is at least 0. It is PyTorch's `negative_slope`, which is 0.01
    /// by default.
    LeakyRelu(f32),
    /// Exponential linear unit (Clevert et al., 2016): z if z > 0, else alpha · (e^z − 1). Alpha is at least 0. PyTorch
    /// and Keras have 1.
    Elu(f32),
    /// Scaled ELU (Klambauer et al., 2017): 1.0507 · z if z > 0, else 1.0507 · 1.6733 · (e^z − 1). Use it with
    /// [`Init::LecunNormal`](crate::Init::LecunNormal), the default initialiser of a selu layer.
    Selu,
    /// GELU (Hendrycks and Gimpel, 2016): z · Φ(z), with the normal distribution function Φ(z) = (1 + erf(z / √2)) / 2.
    /// This is PyTorch's default form.
    GeluErf,
    /// The tanh approximation of GELU, from the same paper: z · (1 + tanh(√(2/π) · (z + 0.044715 z³))) / 2.
    GeluTanh,
    /// SiLU, also called swish: z · sigmoid(z).
    Silu,
    /// Softplus: ln(1 + e^z). It does not overflow, and small values keep their precision.
    Softplus,
    /// Squareplus (Barron, 2021): (z + √(z² + b)) / 2. A smooth ReLU without exponentials. b is from 1e-20 to
    /// 1e20. The paper has 4. tiny-cuda-nn has 0.04, because it computes the paper's formula of 10 z, divided by 10.
    Squareplus(f32),
    /// Exponential: e^z. It suits outputs that span many orders of magnitude, such as radiance. From z = 88.8 on it
    /// overflows to infinity.
    Exponential,
    /// Sine: sin(frequency · z). The frequency is above 0. SIREN (Sitzmann et al., 2020) has 30, and its hidden layers
    /// are initialised with [`Init::Siren`](crate::Init::Siren), the default of a sine layer. Sine with frequency 1 is
    /// tiny-cuda-nn's. The error in radians is up to 2⁻²² · |frequency · z|. It is NaN for infinite z.
    Sine(f32),
    /// Sigmoid: 1 / (1 + e^−z).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Hard sigmoid: z / 6 + 1/2, clamped to 0 to 1, as in PyTorch and Keras 3.
    HardSigmoid,
    /// Hard swish (Howard et al., 2019): z · hard sigmoid(z).
    HardSwish,
    /// Softmax: e^z / Σ e^z over the last dimension. The outputs are probabilities of exclusive classes.
    Softmax,
    /// A custom activation. See [`CustomActivation`].
    Custom(&'static CustomActivation),
}

impl Activation {
    /// Checks the parameter, or the expressions of a custom activation.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Activation::Custom(own) => own.check(),
            Activation::LeakyRelu(slope) => at_least_zero("slope of LeakyRelu", slope),
            Activation::Elu(alpha) => at_least_zero("alpha of Elu", alpha),
            Activation::Sine(frequency) => above_zero("frequency of Sine", frequency),
            Activation::Squareplus(b) => moderate("b of Squareplus", b),
            _ => Ok(()),
        }
    }

    /// The slope, alpha, b or frequency, if there is one. A leaky ReLU with slope 0 is a ReLU.
    pub(crate) fn parameter(self) -> Option<f32> {
        match self {
            Activation::LeakyRelu(0.0) => None,
            Activation::LeakyRelu(parameter)
            | Activation::Elu(parameter)
            | Activation::Squareplus(parameter)
            | Activation::Sine(parameter) => Some(parameter),
            _ => None,
        }
    }

    /// The name of a custom activation without a CPU reference, for errors.
    pub(crate) fn without_twin(self) -> Option<String> {
        if let Activation::Custom(own) = self { own.without_twin() } else { None }
    }

    /// Every activation except custom ones, with the usual parameters.
    pub const ALL: [Activation; 17] = {
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
            Squareplus(4.0),
            Exponential,
            Sine(1.0),
            Sigmoid,
            Tanh,
            HardSigmoid,
            HardSwish,
            Softmax,
        ]
    };
}

/// For example `leaky_relu(0.01)` or `gelu_erf`. A custom activation prints its name.
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

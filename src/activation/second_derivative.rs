//! The second derivative of each activation, for losses of the gradient of a network. The WGSL function
//! `second_derivative` is in the activation's file.

use super::Activation::{self, *};
use super::functions::{gelu_inner, gelu_inner_slope, in_f32, sigmoid, sigmoid_error, sine_error};
use crate::accuracy::*;

/// The second derivative of an activation with parameter `p`. Like the derivative, it reads the output y or the input z.
pub(crate) struct SecondDerivative {
    /// Floating-point operations.
    pub flops: u64,
    /// (y or z, p) → d²y/dz². z is within ±100, as in the kernels, except for the sine.
    pub value: fn(f64, f64) -> f64,
    /// (y or z, p) → the error of the kernel's arithmetic.
    pub error: fn(f64, f64) -> f64,
}

impl Activation {
    /// Whether a second derivative is defined. At the kinks of piecewise linear activations it is 0.
    pub(crate) fn is_twice_differentiable(self) -> bool {
        !matches!(self, Softmax | Custom(_))
    }

    /// The second derivative. `None` if it is 0 everywhere.
    pub(crate) fn second_derivative(self) -> Option<&'static SecondDerivative> {
        let second = match self {
            Identity | Relu | LeakyRelu(_) | HardSigmoid | Softmax | Custom(_) => return None,
            Elu(_) => &SecondDerivative {
                flops: 2,
                value: |y, alpha| if y > 0.0 { 0.0 } else { y + alpha },
                error: |y, alpha| (y.abs() + alpha) * U,
            },
            Selu => &SecondDerivative {
                flops: 2,
                value: |y, _| if y > 0.0 { 0.0 } else { y + 1.758_099_340_847_376_6 },
                error: |y, _| (y.abs() + 1.76) * U,
            },
            // (2 − z²) φ(z), with the normal density φ.
            GeluErf => &SecondDerivative {
                flops: 7,
                value: |z, _| (2.0 - z * z) * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt(),
                error: |z, _| {
                    let density = 0.4 * (-0.5 * z * z).exp();
                    let density_error = density * (of_exp(0.5 * z * z, U * z * z) + 6.0 * U) + FLUSHED;
                    (2.0 + z * z) * density_error
                },
            },
            // With the gate s(w), w = 2 inner(z): s′(w) (2 w′ + z ((1 − 2 s(w)) w′² + w″)).
            GeluTanh => &SecondDerivative {
                flops: 24,
                value: |z, _| {
                    let (w, slope) = (2.0 * gelu_inner(z), 2.0 * gelu_inner_slope(z));
                    sigmoid(w) * sigmoid(-w) * (2.0 * slope + z * (odd(w) * slope * slope + GELU_BEND * z))
                },
                error: |z, _| {
                    let (w, slope) = (2.0 * gelu_inner(z), 2.0 * gelu_inner_slope(z));
                    // w has about six roundings, and the steepest slope of s′ is s′ itself.
                    let w_error = 6.0 * U * w.abs();
                    let gate = sigmoid(w) * sigmoid(-w);
                    let gate_error = sigmoid_slope_error(w) + gate * w_error;
                    let factor = 2.0 * slope + z.abs() * (slope * slope + GELU_BEND * z.abs());
                    let factor_error = z.abs() * slope * slope * (odd_error(w) + 2.0 * gate * w_error);
                    factor * gate_error + gate * (factor_error + 12.0 * U * factor)
                },
            },
            // s′(z) (2 + z (1 − 2 s(z))), with the sigmoid s.
            Silu => &SecondDerivative {
                flops: 14,
                value: |z, _| sigmoid(z) * sigmoid(-z) * (2.0 + z * odd(z)),
                error: |z, _| {
                    let factor = 2.0 + z.abs();
                    let gate = sigmoid(z) * sigmoid(-z);
                    factor * sigmoid_slope_error(z) + gate * (z.abs() * odd_error(z) + 4.0 * U * factor)
                },
            },
            Softplus => &SecondDerivative {
                flops: 7,
                value: |z, _| sigmoid(z) * sigmoid(-z),
                error: |z, _| sigmoid_slope_error(z),
            },
            // b / 2 · (y / (y² + b / 4))³. Beyond 1e18 kernels take 1e18, and the result is below 1e-34. The square, the
            // sum and the quotient of a factor are rounded, and the three products. The square or a product may be
            // flushed to zero.
            Squareplus(_) => &SecondDerivative {
                flops: 7,
                value: |y, b| 0.5 * b * squareplus_share(y, b).powi(3),
                error: |y, b| {
                    let share = squareplus_share(y.abs(), b);
                    let of_share = DIVISION + 2.0 * U + 4.0 * FLUSHED / b;
                    let value = 0.5 * b * share.powi(3);
                    value * (3.0 * of_share + 3.0 * U) + FLUSHED * (1.0 + share).powi(2)
                },
            },
            Exponential => &SecondDerivative { flops: 0, value: |y, _| y, error: |_, _| FLUSHED },
            // Two products are rounded or flushed to zero.
            Sine(_) => &SecondDerivative {
                flops: 22,
                value: |z, frequency| -frequency * frequency * in_f32(frequency * z).sin(),
                error: |z, frequency| {
                    frequency * frequency * (sine_error(frequency * z) + 2.0 * U) + FLUSHED * (1.0 + frequency)
                },
            },
            // Each of the three factors has one rounding relative to its operands. The products add two.
            Sigmoid => &SecondDerivative {
                flops: 5,
                value: |y, _| y * (1.0 - y) * (1.0 - 2.0 * y),
                error: |y, _| 5.0 * U * y.abs() * (1.0 + y.abs()) * (1.0 + 2.0 * y.abs()) + FLUSHED,
            },
            Tanh => &SecondDerivative {
                flops: 4,
                value: |y, _| -2.0 * y * (1.0 - y * y),
                error: |y, _| 6.0 * U * y.abs() * (1.0 + y * y) + FLUSHED,
            },
            HardSwish => &SecondDerivative {
                flops: 1,
                value: |z, _| if z.abs() < 3.0 { 1.0 / 3.0 } else { 0.0 },
                error: |_, _| U,
            },
        };
        Some(second)
    }

    /// The second derivative at a saved output or input, and the largest difference between GPU and CPU.
    pub(crate) fn second_derivative_at(self, saved: f32) -> (f32, f64) {
        let Some(second) = self.second_derivative() else { return (0.0, 0.0) };
        let (saved, p) = (self.near(f64::from(saved), 100.0), self.parameter().unwrap_or(0.0).into());
        let value = (second.value)(saved, p);
        (value as f32, 2.0 * (second.error)(saved, p) + value.abs() * U)
    }
}

/// The factor of z in the second derivative of gelu's inner function, twice: 2 √(2/π) · 6 · 0.044715.
const GELU_BEND: f64 = 0.428_128_897_635_601_47;

/// y / (y² + b / 4) for y up to 1e18.
fn squareplus_share(y: f64, b: f64) -> f64 {
    let near = if y > 1e18 { 1e18 } else { y };
    near / (near * near + 0.25 * b)
}

/// 1 − 2 sigmoid(z).
fn odd(z: f64) -> f64 {
    sigmoid(-z) - sigmoid(z)
}

fn odd_error(z: f64) -> f64 {
    sigmoid_error(z) + sigmoid_error(-z) + U
}

/// The error of sigmoid(z) · sigmoid(−z).
fn sigmoid_slope_error(z: f64) -> f64 {
    let [y, rest] = [sigmoid(z), sigmoid(-z)];
    y * sigmoid_error(-z) + rest * sigmoid_error(z) + y * rest * 2.0 * U + FLUSHED
}

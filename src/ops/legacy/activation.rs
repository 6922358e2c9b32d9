//! Activations and their derivatives. Where a function's own arithmetic is a chain of roundings, they are counted; exp is
//! by its table, and what an argument is off by counts times the steepest slope.

use super::f32s;
use crate::activation::Activation;
use crate::cpu::{activate, derivative};
use crate::ops::*;

pub(crate) fn of_pointwise(op: &Pointwise, memory: &Operands<'_>) -> Bounds {
    let input = f32s(memory, op.input);
    let saved = op.saved.map(|saved| f32s(memory, saved));
    // The mask is exact, its scale is rounded once.
    let scale = op.dropout.map_or(1.0, |d| 1.0 / (1.0 - f64::from(d.rate)));
    let roundings = if op.dropout.is_some() { 4.0 * U + DIVISION } else { 0.0 };
    let bound = |i: usize| {
        let x = f64::from(input[i]);
        let (value, off) = match &saved {
            None => (f64::from(activate(op.activation, input[i])), of_activation(op.activation, x, 0.0)),
            Some(saved) => {
                let slope = f64::from(derivative(op.activation, saved[i]));
                (x * slope, x.abs() * of_derivative(op.activation, f64::from(saved[i])) + (x * slope).abs() * 2.0 * U)
            }
        };
        scale * (off + if value.is_finite() { value.abs() * roundings } else { 0.0 })
    };
    Bounds::Each((0..input.len()).map(bound).collect())
}

/// e^x, as a share of itself, where the argument is off by `off`.
pub(crate) fn of_exp(x: f64, off: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * ULP + off
}

/// sigmoid(z): e^−z is off by a share, which moves 1 / (1 + e^−z) by y (1 − y) of it. It may be flushed to zero before
/// it is multiplied by z.
pub(crate) fn of_sigmoid(z: f64) -> f64 {
    let y = 1.0 / (1.0 + (-z).exp());
    y * (1.0 - y) * of_exp(z.clamp(-88.0, 88.0), 0.0) + y * (U + DIVISION) + FLUSHED
}

/// What times_sigmoid(a, z) is off by, as a share of a: e^(−|z|/2), off by a share, counts twice. Only the end may be flushed.
pub(crate) fn of_gate(z: f64) -> f64 {
    let y = 1.0 / (1.0 + (-z).exp());
    y * (1.0 - y) * (of_exp(z.clamp(-176.0, 176.0), 0.0) + 3.0 * ULP + U) + y * (3.0 * U + DIVISION)
}

/// The normal distribution function, from its tail t e^(p(t) − x²): the fit, its argument, exp, t, two products; and the
/// difference to 1 above 0.
pub(crate) fn of_normal(z: f64) -> f64 {
    let x = (z.abs() * std::f64::consts::FRAC_1_SQRT_2).min(9.5);
    let tail = 0.5 * libm::erfc(x);
    // x is off by two roundings, x² by five; p is at most 1.4: its ten steps err by a rounding each of what they add up.
    let argument = 5.0 * U * x * x + 20.0 * U * 1.4 + U * (x * x + 1.4);
    let of_tail = tail * (2.1e-7 + of_exp(x * x + 1.4, argument) + DIVISION + 4.0 * U) + FLUSHED;
    if z < 0.0 { of_tail } else { of_tail + U }
}

/// The inner function of gelu's approximation: some six roundings.
fn gelu_inner(z: f64) -> f64 {
    0.797_884_560_8 * (z + 0.044715 * z * z * z)
}

/// The gate sigmoid(2 inner(z)).
pub(crate) fn of_gelu_gate(z: f64) -> f64 {
    let inner = 2.0 * gelu_inner(z.clamp(-100.0, 100.0));
    let y = 1.0 / (1.0 + (-inner).exp());
    y * (1.0 - y) * 6.0 * U * inner.abs().min(200.0) + of_gate(inner)
}

/// The bound of activation(z) where z is off by `error`.
pub(crate) fn of_activation(activation: Activation, z: f64, error: f64) -> f64 {
    use Activation::*;
    let y = f64::from(activate(activation, z as f32)).abs();
    if !y.is_finite() {
        return error;
    }
    // What the kernel multiplies gates by.
    let near = z.max(-100.0).abs();
    // The steepest slope, and what its own arithmetic and the reference's last rounding lose.
    let (slope, own) = match activation {
        Identity | Relu | Softmax => (1.0, 0.0),
        LeakyRelu(slope) => (f64::from(slope).max(1.0), y * U),
        // Nine terms of a series where z > −½; below, e^z ≤ 0.61 and |z| e^z ≤ 0.37 bound exp's error.
        Elu(alpha) => (f64::from(alpha).max(1.0), y * 24.0 * U + f64::from(alpha) * of_exp(1.0, 0.0) * 0.61),
        Selu => (1.76, y * 24.0 * U + 1.76 * of_exp(1.0, 0.0) * 0.61),
        GeluErf => (1.13, near * of_normal(z) + y * 2.0 * U),
        GeluTanh => (1.13, near * of_gelu_gate(z) + y * 2.0 * U + FLUSHED),
        Silu => (1.1, near * of_gate(z) + y * 2.0 * U + FLUSHED),
        // e = e^−|z| is off by a share; the series has some 20 roundings.
        Softplus => (1.0, (-z.abs()).exp() * of_exp(z.clamp(-88.0, 88.0), 0.0) + y * (24.0 * U + DIVISION)),
        Sigmoid => (0.25, of_sigmoid(z)),
        // −e / (2 + e) with e = e^−2|z| − 1: what e is off by counts at most twice, as a share of y where the series makes it
        // and, where z is not near 0, as what exp is off by.
        Tanh => {
            let w = (2.0 * z.abs()).min(88.0);
            let of_far = if w > 0.4 { 2.0 * (-w).exp() * of_exp(w, 0.0) } else { 0.0 };
            (1.0, y * (48.0 * U + DIVISION) + of_far)
        }
        HardSigmoid => (1.0 / 6.0, DIVISION + 2.0 * U),
        HardSwish => (1.5, z.abs().min(4.0) * (DIVISION + 3.0 * U) + y * U),
    };
    slope * error + 2.0 * own + y * U
}

/// The bound of the derivative, from what it takes.
pub(crate) fn of_derivative(activation: Activation, saved: f64) -> f64 {
    use Activation::*;
    let z = saved.clamp(-100.0, 100.0);
    let own = match activation {
        Identity | Relu | LeakyRelu(_) | HardSigmoid | Softmax => U,
        // One sum.
        Elu(alpha) => (saved.abs() + f64::from(alpha)) * U,
        Selu => (saved.abs() + 1.76) * U,
        // Both cancel: their errors are relative to what cancels, not to the slope.
        Sigmoid | Tanh => 3.0 * U * (1.0 + saved * saved),
        // Φ + z e^(−z²/2) / √(2π).
        GeluErf => {
            let density = 0.4 * (-0.5 * z * z).exp();
            of_normal(z) + z.abs() * density * (of_exp(0.5 * z * z, U * z * z) + 4.0 * U) + 2.0 * U
        }
        // gate + 2 z gate (1 − gate) inner′.
        GeluTanh => {
            let slope = 0.797_884_560_8 * (1.0 + 0.134145 * z * z);
            let gate = 1.0 / (1.0 + (-2.0 * gelu_inner(z)).exp());
            let product = 2.0 * z.abs() * slope * gate * (1.0 - gate);
            // 1 − gate is off by what the gate is.
            let far = if product < 1e-30 { 0.0 } else { 2.0 * z.abs() * slope };
            of_gelu_gate(z) * (1.0 + far) + far * U + 8.0 * U * product + 2.0 * U
        }
        Silu => {
            let gate = 1.0 / (1.0 + (-z).exp());
            // The factor 1 + z sigmoid(−z): its own error is small where the gate is.
            let of_factor = z.abs() * of_sigmoid(-z) + 3.0 * U * (1.0 + z.abs() * (1.0 - gate));
            of_gate(z) * (1.0 + z.abs() * (1.0 - gate)) + gate * of_factor + FLUSHED
        }
        Softplus => of_sigmoid(z),
        HardSwish => DIVISION + 2.0 * U,
    };
    2.0 * own + U
}

//! The implementation of each activation: WGSL text, CPU formulas, operation counts, and error bounds of GPU results.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::Activation::{self, *};
use crate::accuracy::*;

/// An activation with parameter `p`, input z and output y.
pub(crate) struct Function {
    /// WGSL functions `activate` and `derivative` of a vec4f, and their helpers. The parameter is the constant
    /// `PARAMETER`. Also `second_derivative`, unless it is 0 everywhere: see `second_derivative.rs`.
    pub text: &'static str,
    /// Floating-point operations of the value and of the derivative.
    pub flops: [u64; 2],
    /// Whether the derivative reads the input z. Otherwise it reads the output y.
    pub takes_input: bool,
    /// (z, p) → y. NaN maps to NaN, so that a diverging network is noticed.
    pub value: fn(f64, f64) -> f64,
    /// (y or z, p) → dy/dz. z is within ±1000, except for the sine: there, all other derivatives of z have reached
    /// their limits.
    pub derivative: fn(f64, f64) -> f64,
    /// (z, p) → the largest slope up to this z.
    pub slope: fn(f64, f64) -> f64,
    /// (z, |y|, p) → the error of the kernel's arithmetic, without the rounding of y.
    pub value_error: fn(f64, f64, f64) -> f64,
    /// (y or z, p) → the error of the derivative. z is within ±100, as in the kernels, except for the sine.
    pub derivative_error: fn(f64, f64) -> f64,
}

/// Functions that every WGSL text includes.
pub(super) const SHARED: &str = include_str!("../../shaders/activations/functions.wgsl");

/// The shared functions and a file of `shaders/activations/`.
macro_rules! text {
    ($name:literal) => {
        concat!(
            include_str!("../../shaders/activations/functions.wgsl"),
            include_str!(concat!("../../shaders/activations/", $name, ".wgsl.in"))
        )
    };
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

impl Activation {
    fn function(self) -> &'static Function {
        match self {
            // Softmax is an op of its own. Custom activations have their own text.
            Identity | Softmax | Custom(_) => &Function {
                text: text!("identity"),
                flops: [0, 0],
                takes_input: false,
                value: |z, _| z,
                derivative: |_, _| 1.0,
                slope: |_, _| 1.0,
                value_error: |_, _, _| 0.0,
                derivative_error: |_, _| U,
            },
            // A slope of 0 times minus infinity would be NaN.
            Relu | LeakyRelu(0.0) => &Function {
                text: text!("relu"),
                flops: [1, 1],
                takes_input: false,
                value: |z, _| if is_positive(z) { z } else { 0.0 },
                derivative: |y, _| if y > 0.0 { 1.0 } else { 0.0 },
                slope: |_, _| 1.0,
                value_error: |_, _, _| 0.0,
                derivative_error: |_, _| U,
            },
            LeakyRelu(_) => &Function {
                text: text!("leaky_relu"),
                flops: [2, 1],
                takes_input: false,
                value: |z, slope| if is_positive(z) { z } else { slope * z },
                derivative: |y, slope| if y > 0.0 { 1.0 } else { slope },
                slope: |_, slope| slope.max(1.0),
                value_error: |_, y, _| y * U,
                derivative_error: |_, _| U,
            },
            Elu(_) => &Function {
                text: text!("elu"),
                flops: [4, 2],
                takes_input: false,
                value: |z, alpha| if is_positive(z) { z } else { alpha * z.exp_m1() },
                derivative: |y, alpha| if y > 0.0 { 1.0 } else { y + alpha },
                slope: |_, alpha| alpha.max(1.0),
                value_error: |_, y, alpha| exp_minus_1_error(y, alpha),
                derivative_error: |y, alpha| (y.abs() + alpha) * U,
            },
            Selu => &Function {
                text: text!("selu"),
                flops: [5, 2],
                takes_input: false,
                value: |z, _| SELU_SCALE * if is_positive(z) { z } else { SELU_ALPHA * z.exp_m1() },
                derivative: |y, _| if y > 0.0 { SELU_SCALE } else { y + SELU_SCALE * SELU_ALPHA },
                slope: |_, _| 1.76,
                value_error: |_, y, _| exp_minus_1_error(y, 1.76),
                derivative_error: |y, _| (y.abs() + 1.76) * U,
            },
            GeluErf => &Function {
                text: text!("gelu_erf"),
                flops: [5, 10],
                takes_input: true,
                value: |z, _| gated(z, normal_distribution(z)),
                derivative: |z, _| normal_distribution(z) + z * ((-0.5 * z * z).exp() / (2.0 * PI).sqrt()),
                slope: |_, _| 1.13,
                value_error: |z, y, _| near(z) * normal_distribution_error(z) + y * 2.0 * U,
                derivative_error: |z, _| {
                    let density = 0.4 * (-0.5 * z * z).exp();
                    let density_error = density * (of_exp(0.5 * z * z, U * z * z) + 4.0 * U);
                    normal_distribution_error(z) + z.abs() * density_error + 2.0 * U
                },
            },
            GeluTanh => &Function {
                text: text!("gelu_tanh"),
                flops: [9, 18],
                takes_input: true,
                // (1 + tanh u) / 2 = sigmoid(2u). The latter has no cancellation for negative u.
                value: |z, _| gated(z, sigmoid(2.0 * gelu_inner(z))),
                derivative: |z, _| {
                    let gate = sigmoid(2.0 * gelu_inner(z));
                    gate + 2.0 * z * gate * (1.0 - gate) * gelu_inner_slope(z)
                },
                slope: |_, _| 1.13,
                value_error: |z, y, _| near(z) * gelu_gate_error(z) + y * 2.0 * U + FLUSHED,
                derivative_error: |z, _| {
                    let gate = sigmoid(2.0 * gelu_inner(z));
                    let slope = 2.0 * z.abs() * gelu_inner_slope(z);
                    let product = slope * gate * (1.0 - gate);
                    // 1 − gate has the absolute error of the gate.
                    let far = if product < 1e-30 { 0.0 } else { slope };
                    gelu_gate_error(z) * (1.0 + far) + far * U + 8.0 * U * product + 2.0 * U
                },
            },
            Silu => &Function {
                text: text!("silu"),
                flops: [4, 7],
                takes_input: true,
                value: |z, _| gated(z, sigmoid(z)),
                derivative: |z, _| sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z))),
                slope: |_, _| 1.1,
                value_error: |z, y, _| near(z) * gate_error(z) + y * 2.0 * U + FLUSHED,
                derivative_error: |z, _| {
                    let (gate, factor) = (sigmoid(z), 1.0 + z.abs() * (1.0 - sigmoid(z)));
                    // The factor's error is small where the gate is small.
                    let factor_error = z.abs() * sigmoid_error(-z) + 3.0 * U * factor;
                    gate_error(z) * factor + gate * factor_error + FLUSHED
                },
            },
            Softplus => &Function {
                text: text!("softplus"),
                flops: [3, 3],
                takes_input: true,
                value: |z, _| if z.is_nan() { z } else { z.max(0.0) + (-z.abs()).exp().ln_1p() },
                derivative: |z, _| sigmoid(z),
                slope: |_, _| 1.0,
                // The series has about 20 roundings.
                value_error: |z, y, _| (-z.abs()).exp() * of_exp(z.clamp(-88.0, 88.0), 0.0) + y * (24.0 * U + DIVISION),
                derivative_error: |z, _| sigmoid_error(z),
            },
            Squareplus(_) => &Function {
                text: text!("squareplus"),
                flops: [6, 4],
                takes_input: false,
                value: |z, b| {
                    let sum = z.abs() + (z * z + b).sqrt();
                    if z < 0.0 { 0.5 * b / sum } else { 0.5 * sum }
                },
                derivative: |y, b| 1.0 / (1.0 + 0.25 * b / (y * y)),
                slope: |_, _| 1.0,
                // The square, two sums, the root and the quotient. Beyond 1e18 the root is |z|.
                value_error: |_, y, b| y * (ROOT + DIVISION + 3.0 * U + 0.5e-36 * b) + FLUSHED,
                // The square may be flushed to zero before it is divided by at least b / 4.
                derivative_error: |_, b| DIVISION + 4.0 * U + 4.0 * FLUSHED / b,
            },
            Exponential => &Function {
                text: text!("exponential"),
                flops: [1, 0],
                takes_input: false,
                value: |z, _| z.exp(),
                derivative: |y, _| y,
                slope: |z, _| z.exp(),
                value_error: |z, y, _| y * of_exp(z, 0.0) + FLUSHED,
                derivative_error: |_, _| FLUSHED,
            },
            Sine(_) => &Function {
                text: text!("sine"),
                flops: [20, 20],
                takes_input: true,
                value: |z, frequency| in_f32(frequency * z).sin(),
                derivative: |z, frequency| frequency * in_f32(frequency * z).cos(),
                slope: |_, frequency| frequency,
                value_error: |z, _, frequency| sine_error(frequency * z),
                derivative_error: |z, frequency| frequency * (sine_error(frequency * z) + 2.0 * U),
            },
            Sigmoid => &Function {
                text: text!("sigmoid"),
                flops: [3, 2],
                takes_input: false,
                value: |z, _| sigmoid(z),
                derivative: |y, _| y * (1.0 - y),
                slope: |_, _| 0.25,
                value_error: |z, _, _| sigmoid_error(z),
                // 1 − y cancels near 1, so the error is relative to its operands, not to the slope.
                derivative_error: |y, _| 3.0 * U * (1.0 + y * y),
            },
            Tanh => &Function {
                text: text!("tanh"),
                flops: [1, 2],
                takes_input: false,
                value: |z, _| z.tanh(),
                derivative: |y, _| 1.0 - y * y,
                slope: |_, _| 1.0,
                // −e / (2 + e) with e = e^−2|z| − 1. The error of e counts at most twice. It is relative to y where a
                // series computes e, and absolute where exp computes e.
                value_error: |z, y, _| {
                    let w = (2.0 * z.abs()).min(88.0);
                    let far_error = if w > 0.4 { 2.0 * (-w).exp() * of_exp(w, 0.0) } else { 0.0 };
                    y * (48.0 * U + DIVISION) + far_error
                },
                derivative_error: |y, _| 3.0 * U * (1.0 + y * y),
            },
            HardSigmoid => &Function {
                text: text!("hard_sigmoid"),
                flops: [4, 2],
                takes_input: false,
                value: |z, _| hard_sigmoid(z),
                derivative: |y, _| if y > 0.0 && y < 1.0 { 1.0 / 6.0 } else { 0.0 },
                slope: |_, _| 1.0 / 6.0,
                value_error: |_, _, _| DIVISION + 2.0 * U,
                derivative_error: |_, _| U,
            },
            HardSwish => &Function {
                text: text!("hard_swish"),
                flops: [5, 4],
                takes_input: true,
                value: |z, _| gated(z, hard_sigmoid(z)),
                derivative: |z, _| match z {
                    ..=-3.0 => 0.0,
                    3.0.. => 1.0,
                    _ => z / 3.0 + 0.5,
                },
                slope: |_, _| 1.5,
                value_error: |z, y, _| z.abs().min(4.0) * (DIVISION + 3.0 * U) + y * U,
                derivative_error: |_, _| DIVISION + 2.0 * U,
            },
        }
    }

    /// See [`Function::text`].
    pub(crate) fn text(self) -> &'static str {
        if let Custom(own) = self { own.text() } else { self.function().text }
    }

    /// See [`Function::flops`].
    pub(crate) fn flops(self) -> [u64; 2] {
        if let Custom(own) = self { own.flops() } else { self.function().flops }
    }

    /// The value. For softmax it returns the input.
    pub(crate) fn value(self, z: f32) -> f32 {
        let z = f64::from(z);
        let y = if let Custom(own) = self { own.value(z) } else { (self.function().value)(z, self.p()) };
        y as f32
    }

    /// Whether the derivative reads the output. Otherwise it reads the input.
    pub(crate) fn differentiates_from_output(self) -> bool {
        !matches!(self, Custom(_)) && !self.function().takes_input
    }

    /// The derivative, computed from the output or the input.
    pub(crate) fn derivative(self, saved: f32) -> f32 {
        let saved = f64::from(saved);
        if let Custom(own) = self {
            return own.derivative(saved) as f32;
        }
        (self.function().derivative)(self.near(saved, 1e3), self.p()) as f32
    }

    /// Bound on the difference between GPU and CPU values. The input has this error.
    pub(crate) fn value_bound(self, z: f64, error: f64) -> f64 {
        let y = f64::from(self.value(z as f32)).abs();
        if !y.is_finite() {
            return error;
        }
        if let Custom(own) = self {
            return own.value_bound(z, error);
        }
        let (function, p) = (self.function(), self.p());
        (function.slope)(z + error, p) * error + 2.0 * (function.value_error)(z, y, p) + y * U
    }

    /// Bound on the difference between GPU and CPU derivatives.
    pub(crate) fn derivative_bound(self, saved: f64) -> f64 {
        if let Custom(own) = self {
            return own.derivative_bound(saved);
        }
        2.0 * (self.function().derivative_error)(self.near(saved, 100.0), self.p()) + U
    }

    /// Clamps the input of a derivative to ±`far`, where it has reached its limits. A periodic one has none.
    pub(super) fn near(self, saved: f64, far: f64) -> f64 {
        let has_limits = self.function().takes_input && !matches!(self, Sine(_));
        if has_limits { saved.clamp(-far, far) } else { saved }
    }

    /// The constant that its text needs, if any.
    pub(crate) fn constant(self) -> Option<(&'static str, f64)> {
        self.parameter().map(|parameter| ("PARAMETER", parameter.into()))
    }

    fn p(self) -> f64 {
        self.parameter().unwrap_or(0.0).into()
    }
}

/// A product that overflows f32 becomes infinite, as in kernels.
pub(super) fn in_f32(x: f64) -> f64 {
    if x.abs() > f32::MAX.into() { x * f64::INFINITY } else { x }
}

/// The error of a sine or cosine of x. The argument has the roundings of frequency · z, of 1 / π and of the product.
/// Its reduction is exact. The sine has those of π, of its product and of the result; its series adds less, and 1e-9
/// by truncation. The argument of the cosine is rounded once more, near 1/2. No error exceeds 2.
pub(super) fn sine_error(x: f64) -> f64 {
    (3.0 * U * x.abs() + 5.0 * U).min(2.0)
}

fn is_positive(z: f64) -> bool {
    z > 0.0 || z.is_nan()
}

/// z · gate(z). At −∞ the gate falls to 0 faster than z grows, so the limit is 0.
fn gated(z: f64, gate: f64) -> f64 {
    if z == f64::NEG_INFINITY { 0.0 } else { z * gate }
}

/// The factor by which kernels multiply a gate.
fn near(z: f64) -> f64 {
    z.max(-100.0).abs()
}

/// z > −½ uses nine terms of a series. Below, e^z ≤ 0.61 bounds the error of exp.
fn exp_minus_1_error(y: f64, alpha: f64) -> f64 {
    y * 24.0 * U + alpha * of_exp(1.0, 0.0) * 0.61
}

pub(super) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The error of sigmoid. A relative error of e^−z changes 1 / (1 + e^−z) by that error times y (1 − y). The result may
/// be flushed to zero.
pub(super) fn sigmoid_error(z: f64) -> f64 {
    let y = sigmoid(z);
    y * (1.0 - y) * of_exp(z.clamp(-88.0, 88.0), 0.0) + y * (U + DIVISION) + FLUSHED
}

/// The error of `times_sigmoid(a, z)` relative to a. The error of e^(−|z|/2) counts twice. Only the result may be
/// flushed to zero.
fn gate_error(z: f64) -> f64 {
    let y = sigmoid(z);
    y * (1.0 - y) * (of_exp(z.clamp(-176.0, 176.0), 0.0) + 3.0 * ULP + U) + y * (3.0 * U + DIVISION)
}

/// Φ, the cumulative distribution function of the standard normal distribution.
fn normal_distribution(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// The error of the tail t e^(p(t) − x²): fit, argument, exp, t and two multiplications. Above 0, also of the
/// difference to 1.
fn normal_distribution_error(z: f64) -> f64 {
    let x = (z.abs() * FRAC_1_SQRT_2).min(9.5);
    let tail = 0.5 * libm::erfc(x);
    // x has two roundings and x² five. p is at most 1.4. Each of its ten steps adds one rounding of the partial sum.
    let argument = 5.0 * U * x * x + 20.0 * U * 1.4 + U * (x * x + 1.4);
    let tail_error = tail * (2.1e-7 + of_exp(x * x + 1.4, argument) + DIVISION + 4.0 * U) + FLUSHED;
    if z < 0.0 { tail_error } else { tail_error + U }
}

/// √(2/π).
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// The argument of tanh in gelu's approximation.
pub(super) fn gelu_inner(z: f64) -> f64 {
    SQRT_2_OVER_PI * (z + 0.044715 * z * z * z)
}

pub(super) fn gelu_inner_slope(z: f64) -> f64 {
    SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * z * z)
}

/// The error of the gate sigmoid(2 · inner(z)). The inner function has about six roundings.
fn gelu_gate_error(z: f64) -> f64 {
    let inner = 2.0 * gelu_inner(z.clamp(-100.0, 100.0));
    let y = sigmoid(inner);
    y * (1.0 - y) * 6.0 * U * inner.abs().min(200.0) + gate_error(inner)
}

fn hard_sigmoid(z: f64) -> f64 {
    (z / 6.0 + 0.5).clamp(0.0, 1.0)
}

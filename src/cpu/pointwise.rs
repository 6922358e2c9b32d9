//! Twin of `shaders/pointwise.wgsl`.

use crate::activation::Activation;
use crate::plan::{DataInfo, Dropout, Pointwise, StepState};
use crate::random::pcg4d;

pub fn pointwise(
    op: &Pointwise,
    input: &[f32],
    saved: Option<&[f32]>,
    cursor: Option<(&StepState, &DataInfo)>,
    output: &mut [f32],
) {
    for (i, (out, &x)) in output.iter_mut().zip(input).enumerate() {
        *out = match saved {
            Some(saved) => x * derivative(op.activation, saved[i]),
            None => activate(op.activation, x),
        };
        if let (Some(dropout), Some((state, data))) = (&op.dropout, cursor) {
            *out = if keeps(dropout, i as u32, state, data) { *out / (1.0 - dropout.rate) } else { 0.0 };
        }
    }
}

/// Whether dropout lets a number pass: one hash serves four of them.
fn keeps(dropout: &Dropout, index: u32, state: &StepState, data: &DataInfo) -> bool {
    let words = pcg4d([index / 4, state.step, data.seed_low ^ dropout_key(dropout.layer), data.seed_high]);
    words[index as usize % 4] >= dropout_threshold(dropout.rate)
}

/// Keeps the masks of layers apart, and from the shuffle, whose second word is the epoch's.
pub fn dropout_key(layer: u32) -> u32 {
    (layer + 1).wrapping_mul(0x9e37_79b9)
}

/// Words below this are dropped: a share `rate` of all.
pub fn dropout_threshold(rate: f32) -> u32 {
    (f64::from(rate) * 4_294_967_296.0) as u32
}

/// √2, √(2/π) and the like, in f64 as the reference computes in it.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Φ, the distribution function of the standard normal distribution, and its density.
fn normal(z: f64) -> (f64, f64) {
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2), density)
}

/// The inner function of gelu's approximation and its derivative.
fn gelu_inner(z: f64) -> (f64, f64) {
    (SQRT_2_OVER_PI * (z + 0.044715 * z * z * z), SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * z * z))
}

/// z · gate(z), where the gate's limit at −∞ is 0 and goes there faster than z.
fn gated(z: f64, gate: f64) -> f64 {
    if z == f64::NEG_INFINITY { 0.0 } else { z * gate }
}

/// An activation function of numbers one by one; of softmax, see `softmax.rs`. NaN stays NaN, so that a diverged network
/// shows.
pub fn activate(activation: Activation, z: f32) -> f32 {
    let positive = z > 0.0 || z.is_nan();
    let z = f64::from(z);
    let y = match activation {
        Activation::Identity | Activation::Softmax => z,
        Activation::Relu => {
            if positive {
                z
            } else {
                0.0
            }
        }
        Activation::LeakyRelu(slope) => {
            if positive {
                z
            } else if slope == 0.0 {
                0.0
            } else {
                f64::from(slope) * z
            }
        }
        Activation::Elu(alpha) => {
            if positive {
                z
            } else {
                f64::from(alpha) * z.exp_m1()
            }
        }
        Activation::Selu => SELU_SCALE * if positive { z } else { SELU_ALPHA * z.exp_m1() },
        Activation::GeluErf => gated(z, normal(z).0),
        // (1 + tanh u) / 2 = sigmoid(2u), which does not cancel for negative u.
        Activation::GeluTanh => gated(z, sigmoid(2.0 * gelu_inner(z).0)),
        Activation::Silu => gated(z, sigmoid(z)),
        Activation::Softplus => softplus(z),
        Activation::Sigmoid => sigmoid(z),
        Activation::Tanh => z.tanh(),
        Activation::HardSigmoid => (z / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::HardSwish => gated(z, (z / 6.0 + 0.5).clamp(0.0, 1.0)),
    };
    y as f32
}

/// ln(1 + e^z).
fn softplus(z: f64) -> f64 {
    if z.is_nan() { z } else { z.max(0.0) + (-z.abs()).exp().ln_1p() }
}

/// Its derivative, from its output, or from its input where
/// [`differentiates_from_output`](Activation::differentiates_from_output) says so.
pub fn derivative(activation: Activation, saved: f32) -> f32 {
    let x = f64::from(saved);
    let derivative = match activation {
        Activation::Identity | Activation::Softmax => 1.0,
        Activation::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                1.0
            } else {
                slope.into()
            }
        }
        Activation::Elu(alpha) => {
            if x > 0.0 {
                1.0
            } else {
                x + f64::from(alpha)
            }
        }
        Activation::Selu => {
            if x > 0.0 {
                SELU_SCALE
            } else {
                x + SELU_SCALE * SELU_ALPHA
            }
        }
        Activation::Sigmoid => x * (1.0 - x),
        Activation::Tanh => 1.0 - x * x,
        Activation::HardSigmoid => {
            if x > 0.0 && x < 1.0 {
                1.0 / 6.0
            } else {
                0.0
            }
        }
        // From the input. Beyond ±1000 each has its limit, 0 or 1.
        Activation::GeluErf => {
            let z = x.clamp(-1e3, 1e3);
            let (distribution, density) = normal(z);
            distribution + z * density
        }
        Activation::GeluTanh => {
            let z = x.clamp(-1e3, 1e3);
            let (inner, slope) = gelu_inner(z);
            let gate = sigmoid(2.0 * inner);
            gate + 2.0 * z * gate * (1.0 - gate) * slope
        }
        Activation::Silu => {
            let z = x.clamp(-1e3, 1e3);
            let s = sigmoid(z);
            s * (1.0 + z * (1.0 - s))
        }
        Activation::Softplus => sigmoid(x),
        Activation::HardSwish => {
            if x <= -3.0 {
                0.0
            } else if x >= 3.0 {
                1.0
            } else {
                x / 3.0 + 0.5
            }
        }
    };
    derivative as f32
}

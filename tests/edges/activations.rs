//! Activations and their derivatives.

use wgrad::Activation;
use wgrad::plan::*;

use crate::page::{Line, Section, Table, Value, short};
use crate::run::{Both, tensor};

/// Unit in the last place (ulp) of f32, relative.
const ULP: f64 = 1.0 / 8_388_608.0;

const INPUTS: [f32; 18] = [
    0.0,
    1e-30,
    -1e-30,
    1e-6,
    -1e-6,
    20.0,
    -20.0,
    88.0,
    -88.0,
    100.0,
    -100.0,
    1e10,
    -1e10,
    3e38,
    -3e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

fn sigmoid(z: f64) -> f64 {
    if z < 0.0 { z.exp() / (1.0 + z.exp()) } else { 1.0 / (1.0 + (-z).exp()) }
}

/// The activation and its derivative in f64, with the limits at ±∞.
fn exact(activation: Activation, z: f64) -> [f64; 2] {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};
    let linear = |positive: bool, slope: f64| if positive { 1.0 } else { slope };
    let positive = z > 0.0;
    // Far below 0 the gate is 0, so the product is 0.
    let far = z < -1e3;
    match activation {
        Activation::Identity => [z, 1.0],
        Activation::Relu if z.is_nan() => [z, z],
        Activation::Relu => [z.max(0.0), linear(positive, 0.0)],
        Activation::LeakyRelu(slope) => {
            [if positive { z } else { f64::from(slope) * z }, linear(positive, slope.into())]
        }
        Activation::Elu(alpha) if positive => [z, f64::from(alpha).max(1.0)],
        Activation::Elu(alpha) => [f64::from(alpha) * z.exp_m1(), f64::from(alpha) * z.exp()],
        Activation::Selu => {
            let (scale, alpha) = (1.0507009873554805, 1.6732632423543772);
            if positive { [scale * z, scale] } else { [scale * alpha * z.exp_m1(), scale * alpha * z.exp()] }
        }
        _ if far && matches!(activation, Activation::GeluErf | Activation::GeluTanh | Activation::Silu) => [0.0, 0.0],
        _ if z > 1e3 && matches!(activation, Activation::GeluErf | Activation::GeluTanh | Activation::Silu) => [z, 1.0],
        Activation::GeluErf => {
            let (phi, density) = (0.5 * libm::erfc(-z * FRAC_1_SQRT_2), (-0.5 * z * z).exp() / (2.0 * PI).sqrt());
            [z * phi, phi + z * density]
        }
        Activation::GeluTanh => {
            let (root, gate) =
                ((2.0 / PI).sqrt(), |z: f64| sigmoid(2.0 * (2.0 / PI).sqrt() * (z + 0.044715 * z.powi(3))));
            let slope = 2.0 * root * (1.0 + 3.0 * 0.044715 * z * z);
            [z * gate(z), gate(z) + z * gate(z) * gate(-z) * slope]
        }
        Activation::Silu => [z * sigmoid(z), sigmoid(z) * (1.0 + z * sigmoid(-z))],
        Activation::Squareplus(b) => {
            let sum = z.abs() + (z * z + f64::from(b)).sqrt();
            let value = if z < 0.0 { f64::from(b) / (2.0 * sum) } else { sum / 2.0 };
            let derivative = value / (value + f64::from(b) / (4.0 * value));
            [value, if value.is_infinite() { 1.0 } else { derivative }]
        }
        Activation::Exponential => [z.exp(), z.exp()],
        Activation::Sine(frequency) => {
            let (sin, cos) = (f64::from(frequency) * z).sin_cos();
            [sin, f64::from(frequency) * cos]
        }
        Activation::Softplus => [z.max(0.0) + (-z.abs()).exp().ln_1p(), sigmoid(z)],
        Activation::Sigmoid => [sigmoid(z), sigmoid(z) * sigmoid(-z)],
        Activation::Tanh => [z.tanh(), 4.0 * sigmoid(2.0 * z) * sigmoid(-2.0 * z)],
        Activation::HardSigmoid => [(z / 6.0 + 0.5).clamp(0.0, 1.0), if z.abs() < 3.0 { 1.0 / 6.0 } else { 0.0 }],
        Activation::HardSwish if z <= -3.0 => [0.0, 0.0],
        Activation::HardSwish if z >= 3.0 => [z, 1.0],
        Activation::HardSwish => [z * (z / 6.0 + 0.5), z / 3.0 + 0.5],
        other => panic!("{other:?} has no formula here"),
    }
}

fn of(activation: Activation, input: &[f32], saved: Option<&[f32]>) -> [Vec<f32>; 2] {
    let len = input.len();
    let op = Pointwise {
        input: tensor(0, len),
        saved: saved.map(|_| tensor(1, len)),
        output: tensor(2, len),
        activation,
        dropout: None,
    };
    let buffers = ["input", "saved", "output"].map(|name| (name, len as u32, Role::Activation));
    let mut both = Both::new(&buffers, Op::Pointwise(op));
    both.set(0, input);
    both.set(1, saved.unwrap_or(input));
    both.run();
    both.get(2)
}

/// The inputs that the page shows.
const SHOWN: [f32; 7] = [-1e-6, 20.0, -88.0, -3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Whether the derivative is computed from the output. If this list were wrong, the derivatives in the tables would be.
fn from_output(activation: Activation) -> bool {
    use Activation::*;
    !matches!(activation, GeluErf | GeluTanh | Silu | Softplus | HardSwish | Sine(_))
}

fn table(activation: Activation) -> Table {
    let values = of(activation, &INPUTS, None);
    // Both devices get the CPU's outputs, so an error of the output does not affect the derivative.
    let saved = if from_output(activation) { &values[1] } else { &INPUTS[..] };
    let slopes = of(activation, &[1.0; INPUTS.len()], Some(saved));
    let line = |(i, z): (usize, &f32)| {
        let [value, slope] = exact(activation, f64::from(*z));
        let share = (16.0 + 2.0 * f64::from(z.abs()).min(100.0)) * ULP;
        // The sine's argument is rounded, so its error is absolute and grows with |z|.
        let is_sine = matches!(activation, Activation::Sine(_));
        let share = if is_sine { ((16.0 + 2.0 * f64::from(z.abs())) * ULP).min(2.0) } else { share };
        let [size, steep] = [value, slope].map(|result| if is_sine { 1.0 } else { result.abs() });
        let off = size * share;
        // An output is rounded before the derivative is computed from it.
        let of_slope = steep * share + if from_output(activation) { 2.0 * ULP } else { 0.0 };
        let value = Value { exact: value, gpu: values[0][i], cpu: values[1][i], off };
        let slope = Value { exact: slope, gpu: slopes[0][i], cpu: slopes[1][i], off: of_slope };
        let shown = SHOWN.iter().any(|shown| shown.to_bits() == z.to_bits());
        Line { input: short((*z).into()), values: vec![value, slope], shown }
    };
    let lines = INPUTS.iter().enumerate().map(line).collect();
    Table { text: format!("`{activation}`"), input: "z", outputs: vec!["value", "derivative"], lines }
}

pub fn section() -> Section {
    let all = Activation::ALL.into_iter().filter(|activation| *activation != Activation::Softmax);
    let text = "\
The tolerance is 16 + 2 min(|z|, 100) ulp of the value. This is the error that WGSL allows for exp. Derivatives of
`elu`, `selu`, `squareplus`, `exponential`, `sigmoid`, `tanh` and piecewise linear functions are computed from the
rounded output. Their tolerance is 2 ulp of 1 larger. The tolerance of `sine` is absolute: 16 + 2 |z| ulp of 1, at most
2. For large |z|, neighbouring f32 numbers are far apart compared with the period, so the result has no meaning.

`relu` returns NaN for NaN, but its derivative there is 0, as in PyTorch. The loss then becomes NaN.

The test has more inputs than this page: 0, ±1e-30, ±1e-6, ±20, ±88, ±100, ±1e10, ±3e38.";
    Section { title: "Activations", text: text.into(), tables: all.map(table).collect() }
}

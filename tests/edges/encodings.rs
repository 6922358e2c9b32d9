//! Encodings of single coordinates.

use std::f64::consts::PI;

use wgrad::Encoding;
use wgrad::plan::*;

use crate::page::{Line, Section, Table, Value, short};
use crate::run::{Both, tensor};

/// Unit in the last place (ulp) of f32, relative.
const ULP: f64 = 1.0 / 8_388_608.0;

const INPUTS: [f32; 9] =
    [1e-30, 0.5, -0.25, 1e6 + 0.25, 16_777_216.0, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Integral of the quartic kernel from -1 to t.
fn blob_below(t: f64) -> f64 {
    let t = t.clamp(-1.0, 1.0);
    0.5 + 15.0 / 16.0 * (t - 2.0 / 3.0 * t.powi(3) + t.powi(5) / 5.0)
}

/// The first two features.
fn exact(encoding: Encoding, x: f64) -> [f64; 2] {
    // Whole periods are subtracted exactly.
    let turn = |x: f64| x - 2.0 * (x * 0.5).round();
    // f64 cannot represent π / 2 exactly: tiny results are 0.
    let zero = |y: f64| if y.abs() < 1e-15 && x.abs() > 1e-3 { 0.0 } else { y };
    match encoding {
        Encoding::Frequency { .. } => [(PI * turn(x)).sin(), (PI * turn(x)).cos()].map(zero),
        Encoding::TriangleWave { .. } => [1.0, 2.0].map(|f| zero((PI * turn(f * x)).sin().asin() * 2.0 / PI)),
        Encoding::OneBlob { bins } => [0.0, 1.0].map(|k| {
            let left = k - x * f64::from(bins);
            blob_below(left + 1.0) - blob_below(left)
        }),
        Encoding::Identity { scale, offset } => [f64::from(scale) * x + f64::from(offset), 0.0],
        other => panic!("{other:?} has no formula here"),
    }
}

fn table(encoding: Encoding) -> Table {
    let (rows, features) = (INPUTS.len(), if matches!(encoding, Encoding::Identity { .. }) { 1 } else { 2 });
    let (x, output) = (tensor(0, rows), tensor(1, rows * features));
    let matrix =
        |tensor: Tensor, columns: usize| Tensor::new(tensor.buffer, tensor.dtype, [rows as u32, columns as u32]);
    let (x, output) = (matrix(x, 1), matrix(output, features));
    let op = Encode { parts: vec![EncodePart::whole(encoding, 1)], x, gradient: None, tangent: None, output };
    let buffers = [("x", x.len(), Role::Activation), ("y", output.len(), Role::Activation)];
    let mut both = Both::new(&buffers, Op::Encode(op));
    both.set(0, &INPUTS);
    both.run();
    let [gpu, cpu] = both.get(1);
    let line = |(row, x): (usize, &f32)| {
        let exact = exact(encoding, f64::from(*x));
        let value = |k: usize| {
            // Near x = 0 the tolerance is relative to the feature.
            let off = 8.0 * ULP * if x.abs() < 1e-3 { exact[k].abs() } else { exact[k].abs().max(1.0) };
            Value { exact: exact[k], gpu: gpu[row * features + k], cpu: cpu[row * features + k], off }
        };
        Line { input: short((*x).into()), values: (0..features).map(value).collect(), shown: true }
    };
    let lines = INPUTS.iter().enumerate().map(line).collect();
    let outputs = ["feature 0", "feature 1"][..features].to_vec();
    Table { text: format!("`{encoding:?}`"), input: "x", outputs, lines }
}

pub fn section() -> Section {
    let encodings = [
        Encoding::Identity { scale: 2.0, offset: 0.0 },
        Encoding::Frequency { frequencies: 1 },
        Encoding::TriangleWave { frequencies: 2 },
        Encoding::OneBlob { bins: 2 },
    ];
    let text = "\
Encodings of a coordinate x. The tolerance is 8 ulp of the feature, or 8 ulp of 1 if that is larger and |x| is at
least 1e-3. Whole periods of a wave are subtracted exactly, so large coordinates cause no additional error.";
    Section { title: "Encodings", text: text.into(), tables: encodings.into_iter().map(table).collect() }
}

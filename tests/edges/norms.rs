//! Layer normalisation, forward and backward.

use wgrad::plan::*;

use crate::common::Random;
use crate::page::{Line, Section, Table, Value};
use crate::run::{Both, shaped};

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;
const EPSILON: f32 = 1e-5;

/// Forward and backward pass of one row with scale 1 and shift 0: y, dx and the gradient of the scale.
fn of(x: &[f32], dy: &[f32]) -> [[Vec<f32>; 2]; 3] {
    let n = x.len();
    let columns = n as u32;
    let [x_of, dy_of, y, dx] = [0, 1, 2, 3].map(|buffer| shaped(buffer, [1, columns]));
    let [scale, shift, scale_gradient, shift_gradient] = [4, 5, 6, 7].map(|buffer| shaped(buffer, columns));
    let statistics = shaped(8, [1, 2]);
    let names = ["x", "dy", "y", "dx", "scale", "shift", "scale_gradient", "shift_gradient", "statistics"];
    let buffers: Vec<_> = names.iter().map(|&name| (name, if name == "statistics" { 2 } else { columns })).collect();
    let buffers: Vec<_> = buffers.into_iter().map(|(name, len)| (name, len, Role::Activation)).collect();
    let op = LayerNormForward { x: x_of, scale, shift: Some(shift), y, statistics, groups: 1, epsilon: EPSILON };
    let input = LayerNormInput { gradient: dy_of, x: x_of, scale, statistics, output: dx, groups: 1, centred: true };
    let parameters = LayerNormParameters {
        gradient: dy_of,
        x: x_of,
        statistics,
        scale_gradient,
        shift_gradient: Some(shift_gradient),
        groups: 1,
    };
    let ops = [Op::LayerNormForward(op), Op::LayerNormInput(input), Op::LayerNormParameters(parameters)];
    let mut both = Both::of(&buffers, ops);
    both.set(0, x);
    both.set(1, dy);
    both.set(4, &vec![1.0f32; n]);
    both.set(5, &vec![0.0f32; n]);
    both.run();
    [both.get(2), both.get(3), both.get(6)]
}

/// y and dx of a row in f64, each with its tolerance.
fn exact(x: &[f32], dy: &[f32]) -> [Vec<(f64, f64)>; 2] {
    let n = x.len() as f64;
    let [x, dy] = [x, dy].map(|row| row.iter().map(|value| f64::from(*value)).collect::<Vec<_>>());
    // Subtract the first number: in f64 too, the mean of equal numbers has rounding errors.
    let differences: Vec<f64> = x.iter().map(|value| value - x[0]).collect();
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (variance + f64::from(EPSILON)).sqrt();
    let y: Vec<f64> = differences.iter().map(|d| (d - mean) * inverse).collect();
    // Roundings of the sums over 64 lanes and within a lane, of divisions and roots, and of the differences.
    let roundings = (n / 64.0 + 65.0 + 32.0) * U;
    let of_y: Vec<f64> =
        (0..x.len()).map(|i| roundings * (1.0 + y[i].abs()) + 2.0 * U * (differences[i] * inverse).abs()).collect();
    let mean_dy = dy.iter().sum::<f64>() / n;
    let along = dy.iter().zip(&y).map(|(dy, y)| dy * y).sum::<f64>() / n;
    let magnitude = dy.iter().map(|dy| dy.abs()).sum::<f64>() / n;
    let of_along = dy.iter().zip(&of_y).map(|(dy, off)| dy.abs() * off).sum::<f64>() / n + roundings * magnitude;
    let dx = (0..x.len()).map(|i| {
        let off = dy[i].abs() * 4.0 * U + roundings * magnitude + y[i].abs() * of_along + of_y[i] * along.abs();
        ((dy[i] - mean_dy - y[i] * along) * inverse, (off + roundings * (dy[i].abs() + magnitude)) * inverse)
    });
    let dx = dx.collect();
    [y.into_iter().zip(of_y).collect(), dx]
}

/// A line of the page for the last number of a row. All other numbers must be right.
fn line(input: &str, x: &[f32]) -> Line {
    let dy = Random(x.len() as u64).f32s(x.len());
    let [y, dx, scale_gradient] = of(x, &dy);
    let [exact_y, exact_dx] = exact(x, &dy);
    let value = |i: usize, exact: &[(f64, f64)], got: &[Vec<f32>; 2]| Value {
        exact: exact[i].0,
        gpu: got[0][i],
        cpu: got[1][i],
        off: exact[i].1,
    };
    if exact_y.iter().all(|(y, _)| y.is_finite()) && x.iter().all(|&value| (value - x[0]).abs() < 4e37) {
        let of_scale: Vec<_> =
            exact_y.iter().zip(&dy).map(|((y, off), dy)| (y * f64::from(*dy), off * f64::from(dy.abs()))).collect();
        for (exact, got) in [(&exact_y, &y), (&exact_dx, &dx), (&of_scale, &scale_gradient)] {
            let wrong = (0..x.len()).map(|i| value(i, exact, got)).find(|v| !v.is_right(v.gpu) || !v.is_right(v.cpu));
            assert!(wrong.is_none(), "{input}: {wrong:?}");
        }
    }
    let last = x.len() - 1;
    Line { input: input.into(), values: vec![value(last, &exact_y, &y), value(last, &exact_dx, &dx)], shown: true }
}

pub fn section() -> Section {
    let around = |n: usize, mean: f32, deviation: f32| -> Vec<f32> {
        Random(n as u64).f32s(n).into_iter().map(|x| mean + deviation * x).collect()
    };
    let outlier = |first: f32| {
        let mut row = around(8192, 0.0, 1.0);
        row[0] = first;
        row
    };
    let lines = [
        line("3 times 1234.567", &[1234.567; 3]),
        line("300 times 1234.567", &[1234.567; 300]),
        line("300 times 123456.7", &[123_456.7; 300]),
        line("10,000 times 3e38", &[3e38; 10_000]),
        line("65 numbers, 0 ± 1", &around(65, 0.0, 1.0)),
        line("300 numbers, 1e6 ± 1", &around(300, 1e6, 1.0)),
        line("8192 numbers, 1e6 ± 1", &around(8192, 1e6, 1.0)),
        line("8192 numbers, 0 ± 1, the first is 1e6", &outlier(1e6)),
        line("65 numbers, 0 ± 1e-3", &around(65, 0.0, 1e-3)),
        line("65 numbers, 0 ± 1e-20", &around(65, 0.0, 1e-20)),
        line("65 numbers, 0 ± 1e20", &around(65, 0.0, 1e20)),
        line("300 numbers, 1e30 ± 1e30", &around(300, 1e30, 1e30)),
        line("1e37, -1e37", &[1e37, -1e37]),
        line("3e38, -3e38", &[3e38, -3e38]),
        line("inf, 0", &[f32::INFINITY, 0.0]),
        line("NaN, 0", &[f32::NAN, 0.0]),
    ];
    let text = "\
Layer normalisation with epsilon 1e-5, scale 1 and shift 0. The table shows the output for the last number of a row,
and the input gradient there. The output gradients are random numbers from −1 to 1. The test checks all other numbers
and the gradient of the scale with the same tolerance. A row has n random numbers: those of `0 ± 1` are uniform from
−1 to 1.

The kernel subtracts the first number of a row from all numbers, so a large mean does not cost precision. It scales
the squares, so they do not overflow. If a number differs from the first by 4e37 or more, the row becomes NaN, and so
does the loss.

The tolerance is n / 64 + 97 roundings (2^-24) of 1 + |y|, plus two roundings of d. Here d is the difference from the
first number, divided by the standard deviation.";
    let table =
        Table { text: String::new(), input: "row", outputs: vec!["output", "input gradient"], lines: lines.into() };
    Section { title: "Layer normalisation", text: text.into(), tables: vec![table] }
}

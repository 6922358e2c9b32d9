//! Layer normalisation.

use super::{Bounds, DIVISION, ROOT, U, f64s};
use crate::cpu::CpuExecutor;
use crate::plan::{LayerNormForward, LayerNormInput, LayerNormParameters};

/// What the square root and the division behind 1 / √x lose, both sides: its own share.
const INVERSE_ROOT: f64 = 2.0 * (DIVISION + ROOT);

pub(super) fn of_forward(op: &LayerNormForward, memory: &CpuExecutor) -> Vec<Bounds> {
    let columns = op.columns as usize;
    let n = columns as f64;
    let (x, scale, shift) = (f64s(memory, op.x), f64s(memory, op.scale), f64s(memory, op.shift));
    let (mut of_y, mut of_statistics) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(columns) {
        let mean = x.iter().sum::<f64>() / n;
        let of_mean = 2.0 * ((n + 1.0) * U + DIVISION) * x.iter().map(|x| x.abs()).sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        // A deviation is off by the mean's error and a rounding; its square by twice that share.
        let of_deviation = |x: f64| of_mean + 2.0 * U * (x - mean).abs();
        let squares: f64 = x.iter().map(|&x| (2.0 * (x - mean).abs() + of_deviation(x)) * of_deviation(x)).sum();
        let of_variance = squares / n + 2.0 * ((n + 2.0) * U + DIVISION) * variance;
        let shifted = variance + f64::from(op.epsilon);
        let inverse = 1.0 / shifted.sqrt();
        let of_inverse = inverse * (0.5 * of_variance / shifted + INVERSE_ROOT + 2.0 * U);
        for (i, &x) in x.iter().enumerate() {
            let deviation = (x - mean).abs();
            let y = deviation * inverse * scale[i].abs();
            let off = scale[i].abs() * (of_deviation(x) * inverse + deviation * of_inverse);
            of_y.push(off + 2.0 * U * (3.0 * y + shift[i].abs()));
        }
        of_statistics.extend([of_mean, of_inverse]);
    }
    vec![Bounds::Each(of_y), Bounds::Each(of_statistics)]
}

pub(super) fn of_input(op: &LayerNormInput, memory: &CpuExecutor) -> Bounds {
    let columns = op.columns as usize;
    let n = columns as f64;
    let (gradient, x) = (f64s(memory, op.gradient), f64s(memory, op.x));
    let (scale, statistics) = (f64s(memory, op.scale), f64s(memory, op.statistics));
    let mut bounds = Vec::with_capacity(x.len());
    for (row, x) in x.chunks_exact(columns).enumerate() {
        let dy = &gradient[row * columns..][..columns];
        let (mean, inverse) = (statistics[2 * row], statistics[2 * row + 1]);
        let scaled = |i: usize| (dy[i] * scale[i]).abs();
        let normalised = |i: usize| ((x[i] - mean) * inverse).abs();
        let sums = |f: &dyn Fn(usize) -> f64| (0..columns).map(f).sum::<f64>() / n;
        let (mean_scaled, mean_along) = (sums(&scaled), sums(&|i| scaled(i) * normalised(i)));
        let of_sum = 2.0 * ((n + 4.0) * U + DIVISION);
        for i in 0..columns {
            let magnitude = scaled(i) + mean_scaled + normalised(i) * mean_along;
            let of_means = of_sum * (mean_scaled + normalised(i) * mean_along);
            bounds.push((of_means + 2.0 * 6.0 * U * magnitude) * inverse);
        }
    }
    Bounds::Each(bounds)
}

pub(super) fn of_parameters(op: &LayerNormParameters, memory: &CpuExecutor) -> Vec<Bounds> {
    let columns = op.columns as usize;
    let (gradient, x, statistics) = (f64s(memory, op.gradient), f64s(memory, op.x), f64s(memory, op.statistics));
    let mut sums = [vec![0.0; columns], vec![0.0; columns]];
    for (i, (dy, x)) in gradient.iter().zip(&x).enumerate() {
        let (row, column) = (i / columns, i % columns);
        sums[0][column] += (dy * (x - statistics[2 * row]) * statistics[2 * row + 1]).abs();
        sums[1][column] += dy.abs();
    }
    let roundings = 2.0 * (f64::from(op.rows) + 5.0) * U;
    sums.map(|sums| Bounds::Each(sums.into_iter().map(|sum| sum * roundings).collect())).into()
}

//! Layer normalisation.

use super::f64s;
use crate::ops::*;

/// What the square root and the division behind 1 / √x lose, both sides: its own share.
const INVERSE_ROOT: f64 = 2.0 * (DIVISION + ROOT);

/// The longest chain of additions in a sum over a row: a lane's numbers, then the lanes.
fn depth(columns: usize) -> f64 {
    columns.div_ceil(64) as f64 + 65.0
}

/// What a number less the row's first is off by, once the mean has been subtracted too: both differences are rounded.
pub(crate) fn of_difference(x: f64, first: f64, deviation: f64) -> f64 {
    U * ((x - first).abs() + deviation.abs()) + 2.0 * FLUSHED
}

pub(crate) fn of_forward(op: &LayerNormForward, memory: &Operands<'_>) -> Vec<Bounds> {
    let columns = op.columns as usize;
    let (n, depth) = (columns as f64, depth(columns));
    let (x, scale, shift) = (f64s(memory, op.x), f64s(memory, op.scale), f64s(memory, op.shift));
    let (mut of_y, mut of_statistics) = (Vec::new(), Vec::new());
    for x in x.chunks_exact(columns) {
        let of_row = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).sum::<f64>() / n;
        let first = x[0];
        let mean = of_row(&|x| x - first);
        let deviation = |x: f64| x - first - mean;
        // The first estimate is off by its sum; the sum of the deviations from it takes that away, but for their own errors.
        let estimate = ((depth + 3.0) * U + DIVISION) * of_row(&|x| (x - first).abs());
        let far = |x: f64| deviation(x).abs() + estimate;
        let of_far = |x: f64| of_difference(x, first, far(x));
        let of_mean =
            2.0 * (of_row(&of_far) + depth * U * of_row(&far) + DIVISION * estimate + U * mean.abs() + 2.0 * FLUSHED);
        // A square is off by twice the share of what is squared; that of the correction is small by itself.
        let squares = of_row(&|x| far(x) * far(x));
        let of_squares = of_row(&|x| (2.0 * far(x) + of_far(x)) * of_far(x)) + ((depth + 3.0) * U + DIVISION) * squares;
        let of_variance = 2.0 * (of_squares + 2.0 * estimate * (of_mean + U * estimate));
        let shifted = of_row(&|x| deviation(x).powi(2)) + f64::from(op.epsilon);
        let inverse = 1.0 / shifted.sqrt();
        let of_inverse = inverse * (0.5 * of_variance / shifted + INVERSE_ROOT + 4.0 * U);
        for (i, &x) in x.iter().enumerate() {
            let far = deviation(x).abs();
            let y = far * inverse * scale[i].abs();
            let of_deviation = of_mean + 2.0 * of_difference(x, first, far);
            let off = scale[i].abs() * (of_deviation * inverse + far * of_inverse + FLUSHED);
            of_y.push(off + 2.0 * U * (3.0 * y + shift[i].abs()));
        }
        of_statistics.extend([of_mean, of_inverse]);
    }
    vec![Bounds::Each(of_y), Bounds::Each(of_statistics)]
}

/// A row's numbers, normalised from its statistics, and what the differences behind each are off by.
fn normalised(x: &[f64], statistics: &[f64], i: usize) -> (f64, f64) {
    let deviation = x[i] - x[0] - statistics[0];
    let value = (deviation * statistics[1]).abs();
    (value, 2.0 * (of_difference(x[i], x[0], deviation) * statistics[1] + U * value))
}

pub(crate) fn of_input(op: &LayerNormInput, memory: &Operands<'_>) -> Bounds {
    let columns = op.columns as usize;
    let n = columns as f64;
    let (gradient, x) = (f64s(memory, op.gradient), f64s(memory, op.x));
    let (scale, statistics) = (f64s(memory, op.scale), f64s(memory, op.statistics));
    let mut bounds = Vec::with_capacity(x.len());
    for (row, x) in x.chunks_exact(columns).enumerate() {
        let dy = &gradient[row * columns..][..columns];
        let statistics = &statistics[2 * row..][..2];
        let scaled = |i: usize| (dy[i] * scale[i]).abs();
        let sums = |f: &dyn Fn(usize) -> f64| (0..columns).map(f).sum::<f64>() / n;
        let mean_scaled = sums(&scaled);
        let mean_along = sums(&|i| scaled(i) * normalised(x, statistics, i).0);
        let of_along = sums(&|i| scaled(i) * normalised(x, statistics, i).1);
        let of_sum = 2.0 * ((depth(columns) + 4.0) * U + DIVISION);
        for i in 0..columns {
            let (value, off) = normalised(x, statistics, i);
            let magnitude = scaled(i) + mean_scaled + value * mean_along;
            let of_means = of_sum * (mean_scaled + value * mean_along) + value * of_along + off * mean_along;
            bounds.push((of_means + 2.0 * 6.0 * U * magnitude) * statistics[1]);
        }
    }
    Bounds::Each(bounds)
}

pub(crate) fn of_parameters(op: &LayerNormParameters, memory: &Operands<'_>) -> Vec<Bounds> {
    let columns = op.columns as usize;
    let (gradient, x, statistics) = (f64s(memory, op.gradient), f64s(memory, op.x), f64s(memory, op.statistics));
    let roundings = 2.0 * (f64::from(op.rows) + 5.0) * U;
    let mut bounds = [vec![0.0; columns], vec![0.0; columns]];
    for (row, (dy, x)) in gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).enumerate() {
        for (i, dy) in dy.iter().enumerate() {
            let (value, off) = normalised(x, &statistics[2 * row..][..2], i);
            bounds[0][i] += dy.abs() * (value * roundings + off);
            bounds[1][i] += dy.abs() * roundings;
        }
    }
    bounds.map(Bounds::Each).into()
}

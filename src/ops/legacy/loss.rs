//! The softmax.

use super::f64s;
use crate::ops::*;

/// e^d with d = z − max rounded (off by u |d|), by exp's table: twice, as both sides err. A share of itself.
pub(crate) fn of_distance(d: f64) -> f64 {
    2.0 * (U * d.abs() + (3.0 + 2.0 * d.abs()) * ULP)
}

/// The softmax of a row: the distances to the largest, the exponentials' sum, and what the sum is off by, as a share.
pub(crate) fn softmax(z: &[f64]) -> (Vec<f64>, f64, f64) {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let distances: Vec<f64> = z.iter().map(|z| z - largest).collect();
    let sum: f64 = distances.iter().map(|d| d.exp()).sum();
    let off = distances.iter().filter(|d| d.is_finite()).map(|d| d.exp() * of_distance(*d)).sum::<f64>();
    (distances, sum, off / sum + 2.0 * z.len() as f64 * U)
}

/// The softmax of a row, and the bounds of it.
pub(crate) fn of_softmax_row(z: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let (distances, sum, of_sum) = softmax(z);
    distances.into_iter().map(move |d| match d.is_finite() {
        true => (d.exp() / sum, d.exp() / sum * (of_distance(d) + of_sum + 2.0 * DIVISION)),
        false => (0.0, 0.0),
    })
}

pub(crate) fn of_softmax(op: &Softmax, memory: &Operands<'_>) -> Bounds {
    let columns = op.columns as usize;
    let input = f64s(memory, op.input);
    let mut bounds = Vec::with_capacity(input.len());
    match op.saved {
        None => {
            for z in input.chunks_exact(columns) {
                bounds.extend(of_softmax_row(z).map(|(_, bound)| bound));
            }
        }
        Some(saved) => {
            let saved = f64s(memory, saved);
            for (dy, y) in input.chunks_exact(columns).zip(saved.chunks_exact(columns)) {
                let along: f64 = dy.iter().zip(y).map(|(dy, y)| (dy * y).abs()).sum();
                let of_along = 2.0 * (columns as f64 + 1.0) * U * along;
                bounds
                    .extend(dy.iter().zip(y).map(|(dy, y)| y.abs() * (of_along + 2.0 * 2.0 * U * (dy.abs() + along))));
            }
        }
    }
    Bounds::Each(bounds)
}

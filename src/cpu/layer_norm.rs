//! Twin of `shaders/layer_norm.wgsl`. In f64, whose squares of f32 numbers neither overflow nor vanish.

use crate::plan::LayerNormForward;

pub fn layer_norm(
    op: &LayerNormForward,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    y: &mut [f32],
    statistics: &mut [f32],
) {
    let columns = op.columns as usize;
    let n = columns as f64;
    let epsilon = f64::from(op.epsilon.max(f32::MIN_POSITIVE));
    let rows = x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)).zip(statistics.chunks_exact_mut(2));
    for ((x, y), statistics) in rows {
        let difference = |&x_i: &f32| f64::from(x_i) - f64::from(x[0]);
        let mean = x.iter().map(difference).sum::<f64>() / n;
        let deviation = |x_i: &f32| difference(x_i) - mean;
        let variance = x.iter().map(|x_i| deviation(x_i).powi(2)).sum::<f64>() / n;
        // The shader's numbers are at their end here.
        let too_far = x.iter().any(|x_i| difference(x_i).abs() >= TOO_FAR);
        let inverse = if too_far { f64::NAN } else { 1.0 / (variance + epsilon).sqrt() };
        for (i, (y, x_i)) in y.iter_mut().zip(x).enumerate() {
            *y = (deviation(x_i) * inverse * f64::from(scale[i]) + f64::from(shift[i])) as f32;
        }
        statistics.copy_from_slice(&[mean as f32, inverse as f32]);
    }
}

/// 2^125.
const TOO_FAR: f64 = 4.253_529_586_511_731e37;

/// The numbers of a row, normalised as in the forward pass, from its statistics.
pub(super) fn normalised(x: &[f32], statistics: &[f32], i: usize) -> f64 {
    (f64::from(x[i]) - f64::from(x[0]) - f64::from(statistics[0])) * f64::from(statistics[1])
}

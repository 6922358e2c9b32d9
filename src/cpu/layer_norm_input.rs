//! Twin of `shaders/layer_norm_input.wgsl`.

use super::layer_norm::normalised;
use crate::plan::LayerNormInput;

pub fn layer_norm_input(
    op: &LayerNormInput,
    gradient: &[f32],
    x: &[f32],
    scale: &[f32],
    statistics: &[f32],
    output: &mut [f32],
) {
    let columns = op.columns as usize;
    for (row, out) in output.chunks_exact_mut(columns).enumerate() {
        let (dy, x) = (&gradient[row * columns..][..columns], &x[row * columns..][..columns]);
        let statistics = &statistics[2 * row..][..2];
        let normalised = |i: usize| normalised(x, statistics, i);
        let scaled = |i: usize| f64::from(dy[i]) * f64::from(scale[i]);
        let mean_scaled = (0..columns).map(scaled).sum::<f64>() / columns as f64;
        let mean_along = (0..columns).map(|i| scaled(i) * normalised(i)).sum::<f64>() / columns as f64;
        for (i, out) in out.iter_mut().enumerate() {
            *out = ((scaled(i) - mean_scaled - normalised(i) * mean_along) * f64::from(statistics[1])) as f32;
        }
    }
}

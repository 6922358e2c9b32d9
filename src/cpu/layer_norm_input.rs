//! Twin of `shaders/layer_norm_input.wgsl`.

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
        let (mean, inverse) = (statistics[2 * row], statistics[2 * row + 1]);
        let normalised = |i: usize| (x[i] - mean) * inverse;
        let scaled = |i: usize| dy[i] * scale[i];
        let mean_scaled = (0..columns).map(scaled).sum::<f32>() / columns as f32;
        let mean_along = (0..columns).map(|i| scaled(i) * normalised(i)).sum::<f32>() / columns as f32;
        for (i, out) in out.iter_mut().enumerate() {
            *out = (scaled(i) - mean_scaled - normalised(i) * mean_along) * inverse;
        }
    }
}

//! Twin of `shaders/layer_norm_parameters.wgsl`.

use super::layer_norm::normalised;
use crate::plan::LayerNormParameters;

pub fn layer_norm_parameters(
    op: &LayerNormParameters,
    gradient: &[f32],
    x: &[f32],
    statistics: &[f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    let columns = op.columns as usize;
    // In f64, as rows may be many.
    let mut sums = vec![[0.0; 2]; columns];
    for ((dy, x), statistics) in
        gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).zip(statistics.chunks_exact(2))
    {
        for (i, [scale, shift]) in sums.iter_mut().enumerate() {
            *scale += f64::from(dy[i]) * normalised(x, statistics, i);
            *shift += f64::from(dy[i]);
        }
    }
    for (i, [scale, shift]) in sums.into_iter().enumerate() {
        (scale_gradient[i], shift_gradient[i]) = (scale as f32, shift as f32);
    }
}

//! Twin of `shaders/layer_norm_parameters.wgsl`.

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
    scale_gradient.fill(0.0);
    shift_gradient.fill(0.0);
    for (row, (dy, x)) in gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).enumerate() {
        let (mean, inverse) = (statistics[2 * row], statistics[2 * row + 1]);
        for i in 0..columns {
            scale_gradient[i] += dy[i] * (x[i] - mean) * inverse;
            shift_gradient[i] += dy[i];
        }
    }
}

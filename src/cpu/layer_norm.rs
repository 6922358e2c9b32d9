//! Twin of `shaders/layer_norm.wgsl`.

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
    let rows = x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)).zip(statistics.chunks_exact_mut(2));
    for ((x, y), statistics) in rows {
        let mean = x.iter().sum::<f32>() / columns as f32;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / columns as f32;
        let inverse = 1.0 / (variance + op.epsilon).sqrt();
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = (x - mean) * inverse * scale[i] + shift[i];
        }
        statistics.copy_from_slice(&[mean, inverse]);
    }
}

//! Twin of `shaders/hash_grid_scatter.wgsl`.

use super::hash_grid::for_each_corner;
use crate::plan::HashGridScatter;

pub fn hash_grid_scatter(
    op: &HashGridScatter,
    x: &[f32],
    levels: &[u32],
    gradient: &[f32],
    scales: &[f32],
    sums: &mut [i32],
) {
    let features = op.shape.features as usize;
    for_each_corner(&op.shape, x, levels, |corner| {
        let scale = scales[2 * corner.level];
        if !scale.is_nan() {
            for f in 0..features {
                let scaled = gradient[corner.features + f] * scale;
                sums[corner.entry * features + f] += (corner.weight() * scaled).round_ties_even() as i32;
            }
        }
    });
}

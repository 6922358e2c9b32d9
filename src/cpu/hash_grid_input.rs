//! Twin of `shaders/hash_grid_input.wgsl`.

use super::hash_grid::for_each_corner;
use crate::plan::HashGridInput;

pub fn hash_grid_input(
    op: &HashGridInput,
    x: &[f32],
    levels: &[u32],
    table: &[f32],
    gradient: &[f32],
    output: &mut [f32],
) {
    let (dimensions, features) = (op.shape.dimensions as usize, op.shape.features as usize);
    output.fill(0.0);
    for_each_corner(&op.shape, x, levels, |corner| {
        let (entry, dy) = (&table[corner.entry * features..], &gradient[corner.features..]);
        let value: f32 = entry.iter().zip(dy).take(features).map(|(t, dy)| t * dy).sum();
        for axis in 0..dimensions {
            let at = corner.row * dimensions + axis;
            // Outside, a point is taken to the edge, wherever it is.
            if !(x[at] < 0.0 || x[at] > 1.0) {
                let others: f32 = (0..4).filter(|&a| a != axis).map(|a| corner.shares[a]).product();
                let sign = if corner.far[axis] { 1.0 } else { -1.0 };
                output[at] += corner.resolution as f32 * sign * value * others;
            }
        }
    });
}

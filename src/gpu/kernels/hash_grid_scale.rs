//! Host side of `shaders/hash_grid_scale.wgsl`, and of `hash_grid_scale.parts.wgsl`, which comes after it.

use crate::ops::*;

/// Rows that are worth a workgroup of their own, and the most parts.
const ROWS_OF_PART: u32 = 1024;
const MOST_PARTS: u32 = 256;

pub(crate) fn launches(op: &HashGridScale) -> Vec<Launch> {
    let GridShape { rows, levels, features, .. } = op.shape;
    let part_rows = rows.div_ceil(rows.div_ceil(ROWS_OF_PART).min(MOST_PARTS));
    let parts = rows.div_ceil(part_rows);
    let source = text!("hash_grid_scale.wgsl");
    let sums = Launch {
        shader: shader("hash_grid_scale", source, &[("FEATURES", features.into())]),
        uniforms: uniforms![rows, levels, part_rows],
        bindings: vec![read(op.gradient), leave(parts * levels)],
        workgroups: parts.into(),
    };
    let source = text!("hash_grid_scale.parts.wgsl");
    let scales = Launch {
        shader: shader("hash_grid_scale.parts", source, &[]),
        uniforms: uniforms![levels, parts],
        bindings: vec![left(parts * levels), write(op.scales)],
        workgroups: levels.into(),
    };
    vec![sums, scales]
}

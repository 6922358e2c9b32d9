//! Host side of `shaders/hash_grid_scale.wgsl`, and of `hash_grid_scale.parts.wgsl`, which comes after it.

use super::{Launch, leave, left, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::{GridShape, HashGridScale};

/// Rows that are worth a workgroup of their own, and the most parts.
const ROWS_OF_PART: u32 = 1024;
const MOST_PARTS: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridScaleUniforms {
    rows: u32,
    levels: u32,
    part_rows: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridScalePartsUniforms {
    levels: u32,
    parts: u32,
}

pub(super) fn launches(op: &HashGridScale) -> Vec<Launch> {
    let GridShape { rows, levels, features, .. } = op.shape;
    let part_rows = rows.div_ceil(rows.div_ceil(ROWS_OF_PART).min(MOST_PARTS));
    let parts = rows.div_ceil(part_rows);
    let source = text!("hash_grid_scale.wgsl");
    let sums = Launch {
        shader: shader("hash_grid_scale", source, &[("FEATURES", features.into())]),
        uniforms: bytemuck::bytes_of(&HashGridScaleUniforms { rows, levels, part_rows }).to_vec(),
        bindings: vec![read(op.gradient), leave(parts * levels)],
        workgroups: parts.into(),
    };
    let source = text!("hash_grid_scale.parts.wgsl");
    let scales = Launch {
        shader: shader("hash_grid_scale.parts", source, &[]),
        uniforms: bytemuck::bytes_of(&HashGridScalePartsUniforms { levels, parts }).to_vec(),
        bindings: vec![left(parts * levels), write(op.scales)],
        workgroups: levels.into(),
    };
    vec![sums, scales]
}

//! Host side of `shaders/hash_grid_scatter.wgsl`.

use super::hash_grid::LANES;
use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::{GridShape, HashGridScatter};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridScatterUniforms {
    rows: u32,
    levels: u32,
    groups: u32,
}

pub(super) fn launch(op: &HashGridScatter) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    let groups = rows.div_ceil(LANES);
    Launch {
        shader: shader(
            "hash_grid_scatter",
            text!("shared/bits.wgsl", "hash_grid.functions.wgsl", "hash_grid_scatter.wgsl"),
            &[("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        ),
        uniforms: bytemuck::bytes_of(&HashGridScatterUniforms { rows, levels, groups }).to_vec(),
        bindings: vec![read(op.x), read(op.levels), read(op.gradient), read(op.scales), write(op.sums)],
        workgroups: u64::from(groups) * u64::from(levels),
    }
}

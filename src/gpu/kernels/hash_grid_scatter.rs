//! Host side of `shaders/hash_grid_scatter.wgsl.in`, which follows the declarations of `hash_grid.wgsl`.

use super::hash_grid::{LANES, functions};
use super::{Launch, read, write};
use crate::gpu::pipelines::Shader;
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
        shader: Shader {
            name: "hash_grid_scatter".into(),
            source: source().into(),
            constants: vec![("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        },
        uniforms: bytemuck::bytes_of(&HashGridScatterUniforms { rows, levels, groups }).to_vec(),
        bindings: vec![read(op.x), read(op.levels), read(op.gradient), read(op.scales), write(op.sums)],
        workgroups: u64::from(groups) * u64::from(levels),
    }
}

pub(super) fn source() -> String {
    functions().to_owned() + text!("shared/bits.wgsl", "hash_grid_scatter.wgsl.in")
}

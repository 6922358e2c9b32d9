//! Host side of `shaders/hash_grid_input.wgsl.in`, which follows the declarations of `hash_grid.wgsl`.

use super::hash_grid::{LANES, functions};
use super::{Launch, read, write};
use crate::gpu::pipelines::Shader;
use crate::gpu::texts::text;
use crate::plan::{GridShape, HashGridInput};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridInputUniforms {
    rows: u32,
    levels: u32,
}

pub(super) fn launch(op: &HashGridInput) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    Launch {
        shader: Shader {
            name: "hash_grid_input".into(),
            source: source().into(),
            constants: vec![("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        },
        uniforms: bytemuck::bytes_of(&HashGridInputUniforms { rows, levels }).to_vec(),
        bindings: vec![read(op.x), read(op.levels), read(op.table), read(op.gradient), write(op.output)],
        workgroups: rows.div_ceil(LANES).into(),
    }
}

pub(super) fn source() -> String {
    functions().to_owned() + text!("hash_grid_input.wgsl.in")
}

//! Host side of `shaders/hash_grid_input.wgsl`.

use super::hash_grid::LANES;
use super::{Launch, read, shader, write};
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
        shader: shader(
            "hash_grid_input",
            text!("hash_grid.functions.wgsl", "hash_grid_input.wgsl"),
            &[("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        ),
        uniforms: bytemuck::bytes_of(&HashGridInputUniforms { rows, levels }).to_vec(),
        bindings: vec![read(op.x), read(op.levels), read(op.table), read(op.gradient), write(op.output)],
        workgroups: rows.div_ceil(LANES).into(),
    }
}

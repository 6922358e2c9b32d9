//! Host side of `shaders/hash_grid_scale.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::{GridShape, HashGridScale};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridScaleUniforms {
    rows: u32,
    levels: u32,
}

pub(super) fn launch(op: &HashGridScale) -> Launch {
    let GridShape { rows, levels, features, .. } = op.shape;
    let source = include_str!("../../../shaders/hash_grid_scale.wgsl");
    Launch {
        shader: shader("hash_grid_scale", source, &[("FEATURES", features.into())]),
        uniforms: bytemuck::bytes_of(&HashGridScaleUniforms { rows, levels }).to_vec(),
        bindings: vec![read(op.gradient), write(op.scales)],
        workgroups: levels.into(),
    }
}

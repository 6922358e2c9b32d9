//! Host side of `shaders/hash_grid_gradient.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::HashGridGradient;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridGradientUniforms {
    quads: u32,
}

pub(super) fn launch(op: &HashGridGradient) -> Launch {
    let quads = op.sums.len / 4;
    Launch {
        shader: shader("hash_grid_gradient", text!("hash_grid_gradient.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&HashGridGradientUniforms { quads }).to_vec(),
        bindings: vec![read(op.scales), read(op.blocks), write(op.sums), write(op.table_gradient)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

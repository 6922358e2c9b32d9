//! Host side of `shaders/sgd.wgsl`.

use super::{Launch, read, shader, write};
use crate::optimizer::Sgd;
use crate::plan::SgdUpdate;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SgdUniforms {
    quads: u32,
    learning_rate: f32,
    momentum: f32,
}

pub(super) fn launch(op: &SgdUpdate) -> Launch {
    let Sgd { learning_rate, momentum } = op.options;
    let quads = op.parameters.len / 4;
    Launch {
        shader: shader("sgd", include_str!("../../../shaders/sgd.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&SgdUniforms { quads, learning_rate, momentum }).to_vec(),
        bindings: vec![read(op.gradients), write(op.parameters), write(op.velocity)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

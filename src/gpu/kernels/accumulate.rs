//! Host side of `shaders/accumulate.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::Accumulate;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AccumulateUniforms {
    quads: u32,
}

pub(super) fn launch(op: &Accumulate) -> Launch {
    let quads = op.sum.len / 4;
    Launch {
        shader: shader("accumulate", text!("shared/step_state.wgsl", "accumulate.wgsl"), &[("MEAN", op.mean.into())]),
        uniforms: bytemuck::bytes_of(&AccumulateUniforms { quads }).to_vec(),
        bindings: vec![read(op.gradients), read(op.step), write(op.sum)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

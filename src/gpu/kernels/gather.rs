//! Host side of `shaders/gather.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::Gather;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct GatherUniforms {
    columns: u32,
    quads: u32,
    invocations: u32,
}

pub(super) fn launch(op: &Gather) -> Launch {
    let quads = op.columns.div_ceil(4);
    let invocations = op.batch * quads;
    Launch {
        shader: shader("gather", include_str!("../../../shaders/gather.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&GatherUniforms { columns: op.columns, quads, invocations }).to_vec(),
        bindings: vec![read(op.features), read(op.data), read(op.step), read(op.indices), write(op.x)],
        workgroups: invocations.div_ceil(LANES).into(),
    }
}

//! Host side of `shaders/gather.wgsl` and of its variant for rows in fours, `shaders/gather.aligned.wgsl.in`.

use super::{Launch, declarations, read, shader, write};
use crate::gpu::pipelines::Shader;
use crate::plan::Gather;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct GatherUniforms {
    columns: u32,
    quads: u32,
    invocations: u32,
}

const PLAIN: &str = include_str!("../../../shaders/gather.wgsl");
const ALIGNED: &str = include_str!("../../../shaders/gather.aligned.wgsl.in");

/// The variant's text: the declarations of the plain kernel's file, then its own memory and entry point.
pub(super) fn aligned_source() -> String {
    declarations(PLAIN).to_owned() + ALIGNED
}

pub(super) fn launch(op: &Gather) -> Launch {
    let quads = op.columns.div_ceil(4);
    let invocations = op.batch * quads;
    Launch {
        shader: match op.columns.is_multiple_of(4) {
            false => shader("gather", PLAIN, &[]),
            true => Shader { name: "gather.aligned".into(), source: aligned_source().into(), constants: vec![] },
        },
        uniforms: bytemuck::bytes_of(&GatherUniforms { columns: op.columns, quads, invocations }).to_vec(),
        bindings: vec![read(op.features), read(op.data), read(op.step), read(op.indices), write(op.x)],
        workgroups: invocations.div_ceil(LANES).into(),
    }
}

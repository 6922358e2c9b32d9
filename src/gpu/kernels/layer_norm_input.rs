//! Host side of `shaders/layer_norm_input.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::LayerNormInput;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LayerNormInputUniforms {
    rows: u32,
    columns: u32,
    zero: u32,
}

pub(super) fn launch(op: &LayerNormInput) -> Launch {
    let uniforms = LayerNormInputUniforms { rows: op.rows, columns: op.columns, zero: 0 };
    Launch {
        shader: shader("layer_norm_input", text!("shared/from_first.wgsl", "layer_norm_input.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.gradient), read(op.x), read(op.scale), read(op.statistics), write(op.output)],
        workgroups: op.rows.into(),
    }
}

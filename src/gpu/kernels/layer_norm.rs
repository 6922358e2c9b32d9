//! Host side of `shaders/layer_norm.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::LayerNormForward;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LayerNormUniforms {
    rows: u32,
    columns: u32,
    epsilon: f32,
}

pub(super) fn launch(op: &LayerNormForward) -> Launch {
    let uniforms = LayerNormUniforms { rows: op.rows, columns: op.columns, epsilon: op.epsilon };
    Launch {
        shader: shader("layer_norm", include_str!("../../../shaders/layer_norm.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.x), read(op.scale), read(op.shift), write(op.y), write(op.statistics)],
        workgroups: op.rows.into(),
    }
}

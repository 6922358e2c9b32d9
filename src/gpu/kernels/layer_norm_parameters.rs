//! Host side of `shaders/layer_norm_parameters.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::LayerNormParameters;

/// Columns of a workgroup.
const COLUMNS: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LayerNormParametersUniforms {
    rows: u32,
    columns: u32,
}

pub(super) fn launch(op: &LayerNormParameters) -> Launch {
    let uniforms = LayerNormParametersUniforms { rows: op.rows, columns: op.columns };
    let source = include_str!("../../../shaders/layer_norm_parameters.wgsl");
    Launch {
        shader: shader("layer_norm_parameters", source, &[]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![
            read(op.gradient),
            read(op.x),
            read(op.statistics),
            write(op.scale_gradient),
            write(op.shift_gradient),
        ],
        workgroups: op.columns.div_ceil(COLUMNS).into(),
    }
}

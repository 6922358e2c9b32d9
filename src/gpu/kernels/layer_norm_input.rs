//! Host side of `shaders/layer_norm_input.wgsl`.

use crate::ops::*;

pub(crate) fn launch(op: &LayerNormInput) -> Launch {
    let uniforms = uniforms![ rows: op.rows, columns: op.columns, zero: 0 ];
    Launch {
        shader: shader("layer_norm_input", text!("shared/from_first.wgsl", "layer_norm_input.wgsl"), &[]),
        uniforms,
        bindings: vec![read(op.gradient), read(op.x), read(op.scale), read(op.statistics), write(op.output)],
        workgroups: op.rows.into(),
    }
}

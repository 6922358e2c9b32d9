//! Host side of `shaders/layer_norm.wgsl`.

use crate::ops::*;

pub(crate) fn launch(op: &LayerNormForward) -> Launch {
    let LayerNormForward { rows, columns, .. } = *op;
    // A subnormal epsilon may be flushed to zero, and with it the reason why nothing is divided by zero.
    let epsilon = op.epsilon.max(f32::MIN_POSITIVE);
    let share = 1.0 / columns.next_power_of_two() as f32;
    let uniforms = uniforms![ rows, columns, epsilon, share, zero: 0 ];
    Launch {
        shader: shader("layer_norm", text!("shared/from_first.wgsl", "layer_norm.wgsl"), &[]),
        uniforms,
        bindings: vec![read(op.x), read(op.scale), read(op.shift), write(op.y), write(op.statistics)],
        workgroups: op.rows.into(),
    }
}

//! Host side of `shaders/metrics.wgsl` and of its variant `metrics.finite.wgsl`.

use crate::ops::*;

pub(crate) fn launch(op: &Metrics) -> Launch {
    Launch {
        shader: shader("metrics", text!("shared/row_metrics.wgsl", "metrics.wgsl"), &[]),
        uniforms: uniforms![ count: op.count ],
        bindings: vec![read(op.slots), write(op.totals)],
        workgroups: 1,
    }
}

/// As many workgroups as fill a GPU: a lane of 2²⁵ numbers passes over 128 vec4s.
const FINITE_WORKGROUPS: u32 = 256;

pub(crate) fn finite(op: &NonFinite) -> Launch {
    let quads = op.input.len() / 4;
    Launch {
        shader: shader("metrics.finite", text!("shared/step_state.wgsl", "metrics.finite.wgsl"), &[]),
        uniforms: uniforms![quads],
        bindings: vec![read(op.input), read(op.step), write(op.totals)],
        workgroups: quads.div_ceil(256).clamp(1, FINITE_WORKGROUPS).into(),
    }
}

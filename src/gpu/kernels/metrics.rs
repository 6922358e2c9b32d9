//! Host side of `shaders/metrics.wgsl` and of its variant `metrics.finite.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::{Metrics, NonFinite};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MetricsUniforms {
    count: u32,
}

pub(super) fn launch(op: &Metrics) -> Launch {
    Launch {
        shader: shader("metrics", text!("shared/row_metrics.wgsl", "metrics.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&MetricsUniforms { count: op.count }).to_vec(),
        bindings: vec![read(op.slots), write(op.totals)],
        workgroups: 1,
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MetricsFiniteUniforms {
    quads: u32,
}

/// As many workgroups as fill a GPU: a lane of 2²⁵ numbers passes over 128 vec4s.
const FINITE_WORKGROUPS: u32 = 256;

pub(super) fn finite(op: &NonFinite) -> Launch {
    let quads = op.input.len / 4;
    Launch {
        shader: shader("metrics.finite", text!("shared/step_state.wgsl", "metrics.finite.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&MetricsFiniteUniforms { quads }).to_vec(),
        bindings: vec![read(op.input), read(op.step), write(op.totals)],
        workgroups: quads.div_ceil(256).clamp(1, FINITE_WORKGROUPS).into(),
    }
}

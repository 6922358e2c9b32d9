//! Host side of `shaders/metrics.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::Metrics;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MetricsUniforms {
    count: u32,
}

pub(super) fn launch(op: &Metrics) -> Launch {
    Launch {
        shader: shader("metrics", include_str!("../../../shaders/metrics.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&MetricsUniforms { count: op.count }).to_vec(),
        bindings: vec![read(op.slots), write(op.totals)],
        workgroups: 1,
    }
}

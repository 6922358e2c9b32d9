//! Host side of `shaders/next_batch.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::NextBatch;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct NextBatchUniforms {
    batch: u32,
}

pub(super) fn launch(op: &NextBatch) -> Launch {
    Launch {
        shader: shader("next_batch", include_str!("../../../shaders/next_batch.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&NextBatchUniforms { batch: op.batch }).to_vec(),
        bindings: vec![read(op.data), write(op.step), write(op.indices)],
        workgroups: 1,
    }
}

//! Host side of `shaders/softmax_cross_entropy.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::SoftmaxCrossEntropy;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SoftmaxCrossEntropyUniforms {
    batch: u32,
    classes: u32,
}

pub(super) fn launch(op: &SoftmaxCrossEntropy) -> Launch {
    // Few classes: an invocation for each row, and no barriers to wait at. Many: a workgroup for each row.
    let (lanes, rows) = if op.classes <= 64 { (1, 64) } else { (64, 1) };
    let gradient = op.gradient.is_some();
    Launch {
        shader: shader(
            "softmax_cross_entropy",
            include_str!("../../../shaders/softmax_cross_entropy.wgsl"),
            &[("LANES", lanes.into()), ("ROWS", rows.into()), ("GRADIENT", gradient.into())],
        ),
        uniforms: bytemuck::bytes_of(&SoftmaxCrossEntropyUniforms { batch: op.batch, classes: op.classes }).to_vec(),
        bindings: vec![
            read(op.logits),
            read(op.labels),
            read(op.step),
            read(op.indices),
            write(op.metrics),
            op.gradient.and_then(write),
        ],
        workgroups: op.batch.div_ceil(rows).into(),
    }
}

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
    // A lane for every four classes: enough to share the work, few enough that summing the lanes costs little.
    let lanes = op.classes.div_ceil(4).next_power_of_two().clamp(8, 64);
    let gradient = op.gradient.is_some();
    Launch {
        shader: shader(
            "softmax_cross_entropy",
            include_str!("../../../shaders/softmax_cross_entropy.wgsl"),
            &[("LANES", lanes.into()), ("GRADIENT", gradient.into())],
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
        workgroups: op.batch.into(),
    }
}

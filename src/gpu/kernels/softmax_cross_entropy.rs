//! Host side of `shaders/softmax_cross_entropy.wgsl`.

use super::{Launch, Variants, lanes_and_rows, read, shader, write};
use crate::gpu::texts::text;
use crate::loss::Loss;
use crate::plan::LossOp;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SoftmaxCrossEntropyUniforms {
    batch: u32,
    classes: u32,
    smoothing: f32,
    turns: u32,
}

pub(super) fn launch(op: &LossOp, variants: Variants) -> Launch {
    let (lanes, rows) = lanes_and_rows(op.outputs, variants);
    let smoothing = match op.loss {
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => smoothing,
        _ => 0.0,
    };
    let uniforms = SoftmaxCrossEntropyUniforms { batch: op.batch, classes: op.outputs, smoothing, turns: op.turns };
    Launch {
        shader: shader(
            "softmax_cross_entropy",
            text!(
                "shared/step_state.wgsl",
                "shared/data_info.wgsl",
                "shared/row_metrics.wgsl",
                "shared/bits.wgsl",
                "shared/loss.wgsl",
                "softmax_cross_entropy.wgsl"
            ),
            &[
                ("LANES", lanes.into()),
                ("ROWS", rows.into()),
                ("GRADIENT", op.gradient.is_some().into()),
                ("LEVELS", op.levels().into()),
            ],
        ),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![
            read(op.output),
            read(op.targets),
            read(op.data),
            read(op.step),
            read(op.indices),
            write(op.metrics),
            write(op.gradient),
        ],
        workgroups: op.batch.div_ceil(rows).into(),
    }
}

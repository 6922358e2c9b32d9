//! Host side of `shaders/softmax_cross_entropy.wgsl`.

use crate::loss::Loss;
use crate::ops::*;

pub(crate) fn launch(op: &LossOp, variants: Adapter) -> Launch {
    let (lanes, rows) = lanes_and_rows(op.outputs, &variants);
    let smoothing = match op.loss {
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => smoothing,
        _ => 0.0,
    };
    let uniforms = uniforms![ batch: op.batch, classes: op.outputs, smoothing, turns: op.turns ];
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
        uniforms,
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

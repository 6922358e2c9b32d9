//! Host side of `shaders/pointwise_loss.wgsl`, which follows an activation.

use crate::activation::Activation;
use crate::loss::Loss;
use crate::ops::*;

pub(crate) fn source(activation: Activation) -> String {
    activation.function().text.to_owned()
        + text!(
            "shared/step_state.wgsl",
            "shared/data_info.wgsl",
            "shared/row_metrics.wgsl",
            "shared/bits.wgsl",
            "shared/loss.wgsl",
            "pointwise_loss.wgsl"
        )
}

pub(crate) fn launch(op: &LossOp, variants: Adapter) -> Launch {
    let (lanes, rows) = lanes_and_rows(op.outputs, &variants);
    let (code, delta) = match op.loss {
        Loss::SumOfSquares => (1, 0.0),
        Loss::MeanAbsoluteError => (2, 0.0),
        Loss::Huber { delta } => (3, delta),
        Loss::BinaryCrossEntropy => (4, 0.0),
        // Softmax losses have a kernel of their own.
        _ => (0, 0.0),
    };
    let mut constants = vec![
        ("LOSS", f64::from(code)),
        ("LANES", lanes.into()),
        ("ROWS", rows.into()),
        ("GRADIENT", op.gradient.is_some().into()),
        ("LEVELS", op.levels().into()),
    ];
    constants.extend(op.activation.constant());
    let uniforms = uniforms![ batch: op.batch, outputs: op.outputs, delta, turns: op.turns ];
    Launch {
        shader: Shader {
            name: format!("pointwise_loss {}", op.activation).into(),
            source: source(op.activation).into(),
            constants,
        },
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

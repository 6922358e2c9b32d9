//! Layer normalisation: y = x̂ · scale + shift; see [`LayerNormInput`] and [`LayerNormParameters`] for its gradients.

use super::{Before, Builder, Op, Placed, Tensor};
use crate::error::Result;
use crate::plan::{LayerNormForward, LayerNormInput, LayerNormParameters};

pub(super) fn forward(at: &Placed, epsilon: f32, plan: &mut Builder) {
    let first = at.stage.parameters.start;
    plan.push(Op::LayerNormForward(LayerNormForward {
        x: at.input,
        scale: plan.parameter(first),
        shift: plan.parameter(first + 1),
        y: at.output,
        statistics: at.statistics.expect("a normalisation has statistics"),
        epsilon,
    }));
}

pub(super) fn backward(
    at: &Placed,
    gradient: Tensor,
    before: Option<Before>,
    trained: bool,
    plan: &mut Builder,
) -> Result<Tensor> {
    let first = at.stage.parameters.start;
    let statistics = at.statistics.expect("a normalisation has statistics");
    let x = at.input;
    if trained {
        let (scale_gradient, shift_gradient) = (plan.parameter_gradient(first), plan.parameter_gradient(first + 1));
        plan.push(Op::LayerNormParameters(LayerNormParameters {
            gradient,
            x,
            statistics,
            scale_gradient,
            shift_gradient,
        }));
    }
    let Some(before) = before else { return Ok(gradient) };
    let (output, scale) = (at.input_gradient(&before, plan)?, plan.parameter(first));
    plan.push(Op::LayerNormInput(LayerNormInput { gradient, x, scale, statistics, output }));
    Ok(plan.through(output, &before))
}

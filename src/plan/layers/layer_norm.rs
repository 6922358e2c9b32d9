//! Layer normalisation: y = x̂ · scale + shift; see [`LayerNormInput`] and [`LayerNormParameters`] for its gradients.

use super::{At, Builder, LONGEST_ROW, Lowered, Role, Tensor, limit, made, rows};
use crate::error::Result;
use crate::plan::{LayerNormForward, LayerNormInput, LayerNormParameters};

pub(super) fn forward(at: &At, epsilon: f32, plan: &mut Builder) -> Result<Lowered> {
    let x = rows(at.inputs[0]);
    limit("features to normalise", x.columns().into(), LONGEST_ROW.into(), "features")?;
    let output = plan.activation(&at.node.name, at.shape())?;
    let statistics = plan.buffer(&at.name("statistics"), [x.rows(), 2], Role::Statistics)?;
    let [scale, shift] = [0, 1].map(|i| plan.parameter(at.node.parameters[i]));
    plan.push(LayerNormForward { x, scale, shift, y: rows(output), statistics, epsilon });
    Ok(Lowered { kept: vec![statistics], ..made(output) })
}

pub(super) fn backward(at: &At, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, gradient, statistics) = (rows(at.inputs[0]), rows(gradient), at.done.kept[0]);
    let [scale, shift] = [0, 1].map(|i| at.node.parameters[i]);
    if plan.trained[scale] {
        let [scale_gradient, shift_gradient] = [plan.parameter_sink(at, scale)?, plan.parameter_sink(at, shift)?];
        plan.push(LayerNormParameters { gradient, x, statistics, scale_gradient, shift_gradient });
    }
    if let Some(sink) = plan.sink(at, 0)? {
        plan.push(LayerNormInput { gradient, x, scale: plan.parameter(scale), statistics, output: rows(sink) });
    }
    Ok(())
}

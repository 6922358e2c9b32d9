//! Dropout: y = x · mask; dx = dy · mask, the same mask drawn again.

use super::{At, Builder, DataSet, Lowered, Tensor, Wanted, made};
use crate::activation::Activation;
use crate::error::Result;
use crate::network::Layer;
use crate::plan::{Dropout, Op, Pointwise};

pub(super) fn forward(at: &At, rate: f32, masks: Option<&DataSet>, plan: &mut Builder) -> Result<Lowered> {
    let input = at.inputs[0];
    let Some(set) = masks.filter(|_| rate > 0.0) else { return Ok(made(input)) };
    let output = plan.activation(&at.node.name, at.shape())?;
    let dropout = Dropout { rate, layer: at.index as u32, step: set.step, data: set.data[0] };
    plan.push(Pointwise { input, saved: None, output, activation: Activation::Identity, dropout: Some(dropout) });
    Ok(made(output))
}

pub(super) fn backward(at: &At, gradient: Tensor, wanted: &Wanted, plan: &mut Builder) -> Result<()> {
    let written = |op: &Op| op.outputs().first().is_some_and(|(t, _)| t.buffer == at.done.outputs[0].buffer);
    let dropout = plan.plan.step.iter().find(|op| written(op)).and_then(|op| match op {
        Op::Pointwise(Pointwise { dropout, .. }) => *dropout,
        _ => None,
    });
    debug_assert!(matches!(at.node.layer, Layer::Dropout(_)));
    let Some(dropout) = dropout.filter(|mask| mask.layer == at.index as u32) else {
        plan.contribute(at.node.inputs[0], gradient);
        return Ok(());
    };
    if let Some(output) = plan.sink(at, 0, wanted)? {
        let (saved, activation) = (None, Activation::Identity);
        plan.push(Pointwise { input: gradient, saved, output, activation, dropout: Some(dropout) });
    }
    Ok(())
}

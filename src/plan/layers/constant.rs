//! A tensor that is the same for each sample: y = value, and the gradient of the value is the sum over the samples.

use super::{Builder, LayerContext, Lowered, Tensor, made, seen_as};
use crate::error::Result;
use crate::plan::builder::of_batch;
use crate::plan::{Rearrange, Reduce, Reduction};

pub(super) fn forward(at: &LayerContext, trained: bool, plan: &mut Builder) -> Result<Lowered> {
    let output = plan.activation(&at.node.name, at.shape())?;
    let value = if trained { plan.parameter(at.node.parameters[0]) } else { plan.state(at.node.states[0]) };
    let input = seen_as(value, of_batch(1, at.shape())).repeated(output.shape);
    plan.push(Rearrange { input, output, scale: 1.0 });
    Ok(made(output))
}

pub(super) fn backward(at: &LayerContext, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let sink = plan.parameter_sink(at, at.node.parameters[0])?;
    plan.push(Reduce { input: gradient, output: seen_as(sink, of_batch(1, at.shape())), how: Reduction::Sum });
    Ok(())
}

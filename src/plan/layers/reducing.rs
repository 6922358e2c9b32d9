//! Mean and maximum over axes. The gradient of a mean is the output's divided by the number of elements. The gradient
//! of a maximum goes to the first maximum.

use super::{Builder, LayerContext, Lowered, Tensor, made, seen_as};
use crate::error::Result;
use crate::network::reduced;
use crate::plan::{Rearrange, Reduce, ReduceMaxGradient, Reduction, Shape};

pub(super) fn forward(at: &LayerContext, how: Reduction, axes: &[i32], plan: &mut Builder) -> Result<Lowered> {
    let input = at.inputs[0];
    let output = plan.activation(&at.node.name, at.shape())?;
    plan.push(Reduce { input, output: seen_as(output, of_ones(input, axes)?), how });
    Ok(made(output))
}

pub(super) fn mean_backward(at: &LayerContext, axes: &[i32], gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let input = at.inputs[0];
    let gradient = seen_as(gradient, of_ones(input, axes)?);
    if let Some(output) = plan.sink(at, 0)? {
        let scale = 1.0 / (input.len() / gradient.len()) as f32;
        plan.push(Rearrange { input: gradient.repeated(input.shape), output, scale });
    }
    Ok(())
}

pub(super) fn max_backward(at: &LayerContext, axes: &[i32], gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let input = at.inputs[0];
    let [output, gradient] = [at.done.outputs[0], gradient].map(|tensor| Ok(seen_as(tensor, of_ones(input, axes)?)));
    let (output, gradient): (Tensor, Tensor) = (output?, gradient?);
    if let Some(input_gradient) = plan.sink(at, 0)? {
        plan.push(ReduceMaxGradient { input, output, gradient, input_gradient });
    }
    Ok(())
}

/// The shape of a batch with length 1 along each axis.
fn of_ones(input: Tensor, axes: &[i32]) -> Result<Shape> {
    let mut shape = input.shape;
    for axis in reduced(axes, Shape::of(&input.shape[1..]), "axes")? {
        shape = crate::network::with_length(shape, axis + 1, 1);
    }
    Ok(shape)
}

//! Layers that move elements: reshape, slice, split, concat and transpose. The backward pass moves each gradient back.

use super::{Builder, LayerContext, Lowered, Tensor, made, seen_as};
use crate::activation::Activation;
use crate::error::Result;
use crate::network::{Source, axis_of};
use crate::plan::builder::of_batch;
use crate::plan::{Pad, Rearrange, Shape};

/// Reshapes a tensor without an op.
pub(super) fn reshape(at: &LayerContext, plan: &Builder) -> Lowered {
    let input = at.inputs[0];
    let mut lowered = made(seen_as(input, of_batch(input.rows(), at.shape())));
    // A loss can still read the pre-activation through the reshape, if the rows of the activation stay the same.
    if let Source::Node { node, .. } = at.node.inputs[0]
        && (input.shape.last() == at.shape().last() || plan.activation_of(node) != Activation::Softmax)
    {
        lowered.pre_activation = plan.lowered[node].pre_activation;
    }
    lowered
}

pub(super) fn concat(at: &LayerContext, axis: i32, plan: &mut Builder) -> Result<Lowered> {
    let output = plan.activation(&at.node.name, at.shape())?;
    let dimension = dimension(at.shape(), axis)?;
    let mut start = 0;
    for &input in &at.inputs {
        let length = input.shape[dimension];
        plan.push(Rearrange { input, output: output.range(dimension, start..start + length), scale: 1.0 });
        start += length;
    }
    Ok(made(output))
}

pub(super) fn concat_backward(at: &LayerContext, axis: i32, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let dimension = dimension(at.shape(), axis)?;
    let mut start = 0;
    for (i, input) in at.inputs.iter().enumerate() {
        let length = input.shape[dimension];
        if let Some(output) = plan.sink(at, i)? {
            plan.push(Rearrange { input: gradient.range(dimension, start..start + length), output, scale: 1.0 });
        }
        start += length;
    }
    Ok(())
}

/// Adjacent slices of an axis, from `start`.
pub(super) fn slices(at: &LayerContext, axis: i32, start: u32, plan: &mut Builder) -> Result<Lowered> {
    let input = at.inputs[0];
    let dimension = dimension(Shape::of(&input.shape[1..]), axis)?;
    let (mut outputs, mut start) = (Vec::new(), start);
    for (i, &shape) in (0..).zip(&at.node.shapes) {
        let name = if at.node.shapes.len() == 1 { at.node.name.clone() } else { format!("{}:{i}", at.node.name) };
        let (output, length) = (plan.activation(&name, shape)?, shape[dimension - 1]);
        plan.push(Rearrange { input: input.range(dimension, start..start + length), output, scale: 1.0 });
        outputs.push(output);
        start += length;
    }
    Ok(Lowered { outputs, ..Lowered::default() })
}

/// Each slice adds its own share of the gradient, with zeros elsewhere.
pub(super) fn slices_backward(
    at: &LayerContext,
    axis: i32,
    start: u32,
    gradients: &[Option<Tensor>],
    plan: &mut Builder,
) -> Result<()> {
    let input = at.inputs[0];
    let dimension = dimension(Shape::of(&input.shape[1..]), axis)?;
    let (mut shares, mut at_place) = (Vec::new(), start);
    for (i, (gradient, shape)) in gradients.iter().zip(&at.node.shapes).enumerate() {
        if let Some(gradient) = gradient.filter(|_| at.wanted[0]) {
            let name = format!("gradient_by_part_{}", i + 1);
            let output = plan.gradient(&at.name(&name), input)?;
            let mut start = [0; 5];
            start[dimension] = at_place;
            plan.push(Pad { input: gradient, output, start: Shape::of(&start[..input.shape.len()]) });
            shares.push(output);
        }
        at_place += shape[dimension - 1];
    }
    if let Some(sum) = plan.sum_in_order(shares, &at.name("gradient_by_parts"))? {
        plan.contribute(at.node.inputs[0], sum);
    }
    Ok(())
}

pub(super) fn transpose(at: &LayerContext, order: &[i32], plan: &mut Builder) -> Result<Lowered> {
    let input = at.inputs[0];
    let output = plan.activation(&at.node.name, at.shape())?;
    plan.push(Rearrange { input: input.permuted(&dimensions(input, order)?), output, scale: 1.0 });
    Ok(made(output))
}

pub(super) fn transpose_backward(at: &LayerContext, order: &[i32], gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let order = dimensions(at.inputs[0], order)?;
    let mut back = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    if let Some(output) = plan.sink(at, 0)? {
        plan.push(Rearrange { input: gradient.permuted(&back), output, scale: 1.0 });
    }
    Ok(())
}

/// The dimension of a batch for an axis of its samples.
fn dimension(sample: Shape, axis: i32) -> Result<usize> {
    Ok(axis_of(sample, axis, "axis")? + 1)
}

/// The order of a batch's dimensions. The batch stays first.
fn dimensions(input: Tensor, order: &[i32]) -> Result<Vec<usize>> {
    let sample = Shape::of(&input.shape[1..]);
    std::iter::once(Ok(0)).chain(order.iter().map(|&axis| dimension(sample, axis))).collect()
}

//! Elementwise sums and products with broadcasting. For a sum, the gradient of each input is that of the output. For a
//! product, it is that times the other input. Broadcast dimensions are summed.

use super::{Builder, LayerContext, Lowered, Tensor, made, seen_as};
use crate::error::{Error, Result};
use crate::plan::builder::of_batch;
use crate::plan::{Combination, Combine, Reduce, Reduction, Shape};

pub(super) fn add(at: &LayerContext, plan: &mut Builder) -> Result<Lowered> {
    forward(at, Combination::Add, plan)
}

/// Keeps the intermediate products of more than two inputs.
pub(super) fn multiply(at: &LayerContext, plan: &mut Builder) -> Result<Lowered> {
    forward(at, Combination::Multiply, plan)
}

fn forward(at: &LayerContext, how: Combination, plan: &mut Builder) -> Result<Lowered> {
    let rank = at.shape().len() + 1;
    let inputs: Vec<Tensor> = at.inputs.iter().map(|&input| of_rank(input, rank)).collect();
    let (mut so_far, mut kept) = (inputs[0], Vec::new());
    for (i, &b) in (1..).zip(&inputs[1..]) {
        let name = if i + 1 == inputs.len() { at.node.name.clone() } else { at.name(&format!("of_{}", i + 1)) };
        let shape = so_far.shape.broadcast(&b.shape);
        let shape =
            shape.ok_or_else(|| Error::shape(&at.node.name, "shapes that broadcast", format!("{:?}", b.shape)))?;
        let output = plan.buffer(&name, shape, super::Role::Activation)?;
        plan.push(Combine { a: so_far, b, output, how });
        kept.push(so_far);
        so_far = output;
    }
    Ok(Lowered { kept, ..made(so_far) })
}

pub(super) fn add_backward(at: &LayerContext, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    for input in 0..at.inputs.len() {
        add_input_gradient(at, input, gradient, plan)?;
    }
    Ok(())
}

pub(super) fn multiply_backward(at: &LayerContext, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let rank = at.shape().len() + 1;
    let mut gradient = gradient;
    for input in (1..at.inputs.len()).rev() {
        // output = before · this
        let (before, this) = (at.done.kept[input - 1], of_rank(at.inputs[input], rank));
        let times = |other: Tensor, what: String, plan: &mut Builder| -> Result<Tensor> {
            let output = plan.gradient(&at.name(&what), gradient)?;
            plan.push(Combine { a: gradient, b: other, output, how: Combination::Multiply });
            Ok(output)
        };
        if at.wanted[input] {
            let of_this = times(before, format!("gradient_of_{}", input + 1), plan)?;
            add_input_gradient(at, input, of_this, plan)?;
        }
        if at.wanted[..input].contains(&true) {
            let of_before = times(this, format!("gradient_before_{}", input + 1), plan)?;
            gradient = summed_to(at, of_before, before.shape, &format!("gradient_up_to_{input}"), plan)?;
        } else {
            return Ok(());
        }
    }
    add_input_gradient(at, 0, gradient, plan)
}

/// Adds the gradient of an input, given a gradient with the output's shape.
fn add_input_gradient(at: &LayerContext, input: usize, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    if at.wanted[input] {
        let given = at.inputs[input];
        let shape = of_rank(given, gradient.shape.len()).shape;
        let summed = summed_to(at, gradient, shape, &format!("gradient_for_{}", input + 1), plan)?;
        plan.contribute(at.node.inputs[input], seen_as(summed, given.shape));
    }
    Ok(())
}

/// Sums over the dimensions in which `shape` is 1.
fn summed_to(at: &LayerContext, gradient: Tensor, shape: Shape, name: &str, plan: &mut Builder) -> Result<Tensor> {
    if gradient.shape == shape {
        return Ok(gradient);
    }
    let output = plan.buffer(&at.name(name), shape, plan.gradient_role)?;
    plan.push(Reduce { input: gradient, output, how: Reduction::Sum });
    Ok(output)
}

/// Inserts dimensions of length 1 after the batch, up to this rank.
fn of_rank(tensor: Tensor, rank: usize) -> Tensor {
    let missing = rank - tensor.shape.len();
    let sample = [&[1; 5][..missing], &tensor.shape[1..]].concat();
    seen_as(tensor, of_batch(tensor.rows(), Shape::of(&sample)))
}

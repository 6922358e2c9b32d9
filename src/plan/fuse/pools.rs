//! Max pooling and the activation before it.

use super::Ops;
use crate::activation::Activation;
use crate::ops::*;
use crate::plan::{Buffer, Plan};

/// A number that a window has chosen is the window's output, and so is what an activation's derivative takes of it. So
/// the derivative goes before the pool's gradient, where numbers are fewer, and a product may take it in. The pool's
/// input is no longer needed then.
///
/// Windows that overlap add up gradients, which the derivative would round before; but not that of relu, 0 or 1.
pub(super) fn differentiate_first(plan: &mut Plan) {
    for at in 0..plan.step.len() {
        if let Some((second, derivative, gradient)) = swapped(plan, at) {
            let output = derivative.output;
            let name = format!("{}.pooled", plan.buffer(gradient.input_gradient.buffer).name);
            let of = plan.buffer(derivative.input.buffer);
            let buffer = Buffer { name, shape: Some(output.shape), ..of.clone() };
            plan.buffers.push(buffer);
            (plan.step[at], plan.step[second]) = (derivative.into(), gradient.into());
        }
    }
}

/// The gradient of a pool at a place, and the derivative that is its only reader: the place of that, and both the other
/// way round, with a buffer between them that is to come.
fn swapped(plan: &Plan, at: usize) -> Option<(usize, Pointwise, PoolGradient)> {
    let Op::PoolGradient(after) = &plan.step[at] else { return None };
    let pool = plan.step.iter().find_map(|op| match op {
        Op::PoolForward(pool) if pool.chosen.is_some() && pool.chosen == after.chosen => Some(pool),
        _ => None,
    })?;
    let second = Ops::new(plan).sole_reader(after.input_gradient)?;
    let Op::Pointwise(derivative) = &plan.step[second] else { return None };
    let Window { rows, columns, .. } = after.window;
    let is_apart = [rows, columns].iter().all(|axis| axis.taps <= axis.down);
    let is_exact = is_apart || derivative.activation == Activation::Relu;
    let is_of_input = derivative.saved.is_some_and(|saved| saved.buffer == pool.input.buffer);
    if !is_exact || !is_of_input || !derivative.activation.differentiates_from_output() {
        return None;
    }
    let between = Tensor::new(BufferId(plan.buffers.len()), Dtype::F32, after.gradient.shape);
    let first = Pointwise { input: after.gradient, saved: Some(pool.output), output: between, ..derivative.clone() };
    Some((second, first, PoolGradient { gradient: between, input_gradient: derivative.output, ..after.clone() }))
}

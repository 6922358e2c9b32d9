//! Max pooling after an activation.

use super::Ops;
use crate::activation::Activation;
use crate::ops::*;
use crate::plan::{Buffer, Plan};

/// Moves an activation's derivative before the gradient of the max pool that follows the activation. There, the tensors
/// are smaller, and a matmul may fuse the derivative. The pool's input is then unused.
///
/// The pool's output is the element that a window has chosen, so it replaces the activation's output. Pools with
/// overlapping windows are not changed: they sum gradients, and the rounding would differ. Relu is an exception,
/// because its derivative is 0 or 1.
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

/// Matches a pool's gradient whose only reader is an activation's derivative. Returns the derivative's position, and
/// both ops in swapped order with a new buffer between them.
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

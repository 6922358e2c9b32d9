//! Softmax: y = e^z / Σ e^z; dz = y ⊙ (dy − Σ dy ⊙ y).

use super::{Before, Builder, Op, Placed, Tensor};
use crate::error::Result;
use crate::plan::Softmax;

pub(super) fn forward(at: &Placed, plan: &mut Builder) {
    let (input, output) = (at.input, at.output);
    plan.push(Op::Softmax(Softmax { input, saved: None, output }));
}

pub(super) fn backward(at: &Placed, gradient: Tensor, before: Option<Before>, plan: &mut Builder) -> Result<Tensor> {
    let Some(before) = before else { return Ok(gradient) };
    let output = at.input_gradient(&before, plan)?;
    plan.push(Op::Softmax(Softmax { input: gradient, saved: Some(at.output), output }));
    Ok(plan.through(output, &before))
}

//! An encoding of coordinates one by one; dx = Σ dy · y′ over a coordinate's features.

use super::{Before, Builder, Op, Placed, Tensor};
use crate::error::Result;
use crate::network::Encoding;
use crate::plan::Encode;

pub(super) fn forward(at: &Placed, encoding: Encoding, plan: &mut Builder) {
    plan.push(Op::Encode(Encode { encoding, x: at.input, gradient: None, output: at.output }));
}

pub(super) fn backward(
    at: &Placed,
    encoding: Encoding,
    gradient: Tensor,
    before: Option<Before>,
    plan: &mut Builder,
) -> Result<Tensor> {
    let Some(before) = before else { return Ok(gradient) };
    let output = at.input_gradient(&before, plan)?;
    plan.push(Op::Encode(Encode { encoding, x: at.input, gradient: Some(gradient), output }));
    Ok(plan.through(output, &before))
}

//! Dropout: y = x · mask; dx = dy · mask, the same mask drawn again.

use super::{Before, Builder, Dropout, Op, Placed, Pointwise, Tensor};
use crate::activation::Activation;

pub(super) fn forward(at: &Placed, dropout: Dropout, plan: &mut Builder) {
    let (input, output, activation) = (at.input, at.output, Activation::Identity);
    plan.push(Op::Pointwise(Pointwise { input, saved: None, output, activation, dropout: Some(dropout) }));
}

pub(super) fn backward(dropout: Dropout, gradient: Tensor, before: Option<Before>, plan: &mut Builder) -> Tensor {
    let Some(Before { gradient: output, activation, saved }) = before else { return gradient };
    let saved = (activation != Activation::Identity).then_some(saved);
    plan.push(Op::Pointwise(Pointwise { input: gradient, saved, output, activation, dropout: Some(dropout) }));
    output
}

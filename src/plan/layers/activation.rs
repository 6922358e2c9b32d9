//! An activation by itself. Its derivative is applied by what comes after it.

use super::{Builder, Op, Placed, Pointwise};
use crate::activation::Activation;

pub(super) fn forward(at: &Placed, activation: Activation, plan: &mut Builder) {
    let (input, output) = (at.input, at.output);
    plan.push(Op::Pointwise(Pointwise { input, saved: None, output, activation, dropout: None }));
}

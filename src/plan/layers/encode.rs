//! An encoding without weights: dx = Σ dy · y′ over the features of a coordinate.

use super::{Builder, LayerContext, Lowered, Tensor, made};
use crate::encoding::Encoding;
use crate::error::Result;
use crate::plan::{Encode, EncodePart};

pub(super) fn forward(at: &LayerContext, encoding: Encoding, plan: &mut Builder) -> Result<Lowered> {
    let (x, output) = (at.inputs[0], plan.activation(&at.node.name, at.shape())?);
    plan.push(whole(encoding, x, output));
    Ok(made(output))
}

pub(super) fn backward(at: &LayerContext, encoding: Encoding, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    if let Some(output) = plan.sink(at, 0)? {
        plan.push(Encode { gradient: Some(gradient), ..whole(encoding, at.inputs[0], output) });
    }
    Ok(())
}

/// The tangent of a feature: that of its coordinate times y′.
pub(super) fn tangent(at: &LayerContext, encoding: Encoding, tangent: Tensor, plan: &mut Builder) -> Result<Tensor> {
    let output = plan.gradient(&at.node.name, at.done.outputs[0])?;
    plan.push(Encode { tangent: Some(tangent), ..whole(encoding, at.inputs[0], output) });
    Ok(output)
}

/// An encoding of all columns.
fn whole(encoding: Encoding, x: Tensor, output: Tensor) -> Encode {
    let parts = vec![EncodePart::whole(encoding, x.columns())];
    Encode { parts, x, gradient: None, tangent: None, output }
}

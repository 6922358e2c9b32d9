//! An encoding of separate coordinates: dx = Σ dy · y′ over the features of a coordinate.

use super::{Builder, LayerContext, Lowered, Tensor, made};
use crate::encoding::Encoding;
use crate::error::Result;
use crate::plan::Encode;

pub(super) fn forward(at: &LayerContext, encoding: Encoding, plan: &mut Builder) -> Result<Lowered> {
    let output = plan.activation(&at.node.name, at.shape())?;
    plan.push(Encode { encoding, x: at.inputs[0], gradient: None, tangent: None, output });
    Ok(made(output))
}

pub(super) fn backward(at: &LayerContext, encoding: Encoding, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    if let Some(output) = plan.sink(at, 0)? {
        plan.push(Encode { encoding, x: at.inputs[0], gradient: Some(gradient), tangent: None, output });
    }
    Ok(())
}

/// The tangent of a feature: that of its coordinate times y′.
pub(super) fn tangent(at: &LayerContext, encoding: Encoding, tangent: Tensor, plan: &mut Builder) -> Result<Tensor> {
    let output = plan.gradient(&at.node.name, at.done.outputs[0])?;
    plan.push(Encode { encoding, x: at.inputs[0], gradient: None, tangent: Some(tangent), output });
    Ok(output)
}

//! Dropout: y = x · mask, dx = dy · mask. The backward pass draws the same mask again.

use super::{Builder, LayerContext, Lowered, Tensor, made};
use crate::activation::Activation;
use crate::error::Result;
use crate::plan::{Dropout, Pointwise};

pub(super) fn forward(at: &LayerContext, rate: f32, spatial: bool, plan: &mut Builder) -> Result<Lowered> {
    let Some(dropout) = mask(at, rate, spatial, plan) else { return Ok(made(at.inputs[0])) };
    let output = plan.activation(&at.node.name, at.shape())?;
    plan.push(masked(at.inputs[0], output, dropout));
    Ok(made(output))
}

pub(super) fn backward(
    at: &LayerContext,
    rate: f32,
    spatial: bool,
    gradient: Tensor,
    plan: &mut Builder,
) -> Result<()> {
    match mask(at, rate, spatial, plan) {
        None => plan.contribute(at.node.inputs[0], gradient),
        Some(dropout) => {
            if let Some(output) = plan.sink(at, 0)? {
                plan.push(masked(gradient, output, dropout));
            }
        }
    }
    Ok(())
}

/// The mask. `None` outside training.
fn mask(at: &LayerContext, rate: f32, spatial: bool, plan: &Builder) -> Option<Dropout> {
    let set = plan.masks.as_ref().filter(|_| rate > 0.0)?;
    let shape = at.shape();
    let spatial = spatial.then(|| [shape.elements() as u32, shape[shape.len() - 1]]);
    Some(Dropout { rate, layer: at.index as u32, step: set.step, data: set.data[0], spatial })
}

fn masked(input: Tensor, output: Tensor, dropout: Dropout) -> Pointwise {
    Pointwise { input, saved: None, output, activation: Activation::Identity, dropout: Some(dropout) }
}

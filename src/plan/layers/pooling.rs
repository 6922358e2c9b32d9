//! Max and average pooling. In training, max pooling stores the index of each window's maximum. So the backward pass
//! needs neither input nor output.

use super::{Builder, LayerContext, Lowered, Role, Tensor, made};
use crate::error::Result;
use crate::network::Pool;
use crate::plan::{PoolForward, PoolGradient, Pooling};

pub(super) fn forward(at: &LayerContext, pool: &Pool, plan: &mut Builder) -> Result<Lowered> {
    let (input, window, how) = (at.inputs[0], pool.window(at.input_shape()), pool.how);
    let output = plan.activation(&at.node.name, at.shape())?;
    let chosen = match how == Pooling::Max && plan.masks.is_some() {
        true => Some(plan.buffer(&at.name("chosen"), window.choices(output.len()), Role::Choices)?),
        false => None,
    };
    plan.push(PoolForward { input, output, chosen, window, how });
    Ok(Lowered { kept: chosen.into_iter().collect(), ..made(output) })
}

pub(super) fn backward(at: &LayerContext, pool: &Pool, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    if let Some(input_gradient) = plan.sink(at, 0)? {
        let (chosen, window) = (at.done.kept.first().copied(), pool.window(at.input_shape()));
        plan.push(PoolGradient { gradient, chosen, input_gradient, window, how: pool.how });
    }
    Ok(())
}

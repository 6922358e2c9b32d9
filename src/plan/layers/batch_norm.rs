//! Batch normalisation: y = x̂ · scale + shift. Training uses the statistics of the batch, other plans the running
//! ones. For gradients, see [`BatchNormInput`] and [`BatchNormParameters`].

use super::{Builder, LayerContext, Lowered, Role, Tensor, made, rows};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::network::BatchNorm;
use crate::plan::{
    BatchNormForward, BatchNormInput, BatchNormParameters, ChannelStatistics, PARAMETER_ALIGNMENT, RunningStatistics,
};

pub(super) fn forward(at: &LayerContext, norm: BatchNorm, plan: &mut Builder) -> Result<Lowered> {
    let BatchNorm { epsilon, momentum } = norm;
    let x = rows(at.inputs[0]);
    let output = plan.activation(&at.node.name, at.shape())?;
    let missing = || Error::shape(&at.node.name, "a mean and a variance", at.node.states.len());
    let running = plan.statistics_of(&at.node.states).ok_or_else(missing)?;
    let (mut statistics, mut kept) = (running, Vec::new());
    if let Some(step) = plan.masks.as_ref().map(|set| set.step) {
        if !is_fixed(at, plan) {
            let shape = [2, x.columns().next_multiple_of(PARAMETER_ALIGNMENT)];
            statistics = plan.buffer(&at.name("statistics"), shape, Role::Statistics)?;
            let (positions, channels) = (x.rows() / plan.batch, x.columns());
            plan.push(ChannelStatistics { x, step, positions, statistics });
            let (rows, of_update) = (x.rows(), false);
            let update =
                RunningStatistics { statistics, step, rows, positions, channels, running, momentum, of_update };
            match plan.share {
                None => plan.push(update),
                Some(_) => plan.sum_statistics(update)?,
            }
        }
        kept = vec![statistics, step];
    }
    let [scale, shift] = [0, 1].map(|i| plan.parameter(at.node.parameters[i]));
    let (y, activation) = (rows(output), Activation::Identity);
    plan.push(BatchNormForward { x, scale, shift, statistics, y, epsilon, activation });
    Ok(Lowered { kept, ..made(output) })
}

pub(super) fn backward(at: &LayerContext, epsilon: f32, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, gradient) = (rows(at.inputs[0]), rows(gradient));
    let [statistics, step] = at.done.kept[..] else { return Ok(()) };
    let [scale, shift] = [0, 1].map(|i| at.node.parameters[i]);
    let fixed = is_fixed(at, plan);
    // The input's gradient needs the sums even if the weights are frozen, unless the statistics are constant.
    let mut sink = |role: &str, parameter: usize| match plan.trained[parameter] {
        true => plan.parameter_sink(at, parameter),
        false => plan.gradient(&at.name(role), plan.parameter(parameter)),
    };
    let [scale_gradient, shift_gradient] = [sink("scale_gradient", scale)?, sink("shift_gradient", shift)?];
    let sums = plan.buffer(&at.name("gradient_sums"), [2, x.columns()], Role::Statistics)?;
    plan.push(BatchNormParameters { gradient, x, statistics, scale_gradient, shift_gradient, sums, epsilon });
    let sums = (!fixed).then_some(sums);
    if let Some(sink) = plan.sink(at, 0)? {
        let (scale, output, positions) = (plan.parameter(scale), rows(sink), x.rows() / plan.batch);
        plan.push(BatchNormInput { gradient, x, scale, statistics, sums, step, positions, output, epsilon });
    }
    Ok(())
}

/// Whether training keeps the running statistics constant.
fn is_fixed(at: &LayerContext, plan: &Builder) -> bool {
    at.node.states.iter().any(|&state| plan.fixed[state])
}

//! Layer, group, instance and RMS normalisation: y = x̂ · scale + shift. For gradients, see [`LayerNormInput`] and
//! [`LayerNormParameters`].

use super::{Builder, LONGEST_ROW, LayerContext, Lowered, Role, Tensor, limit, made, rows, seen_as};
use crate::error::Result;
use crate::network::Normalisation;
use crate::plan::{LayerNormForward, LayerNormInput, LayerNormParameters};

pub(super) fn forward(at: &LayerContext, norm: &Normalisation, plan: &mut Builder) -> Result<Lowered> {
    let (x, groups) = (members(at.inputs[0], norm), norm.groups);
    limit("group of a normalisation", (x.columns() / groups).into(), LONGEST_ROW.into(), "features")?;
    let output = plan.activation(&at.node.name, at.shape())?;
    let statistics = plan.buffer(&at.name("statistics"), [x.rows() * groups, 2], Role::Statistics)?;
    let mut parameters = at.node.parameters.iter().map(|&parameter| plan.parameter(parameter));
    let (Some(scale), shift) = (parameters.next(), parameters.next()) else { return Ok(made(output)) };
    plan.push(LayerNormForward {
        x,
        scale,
        shift,
        y: members(output, norm),
        statistics,
        groups,
        epsilon: norm.epsilon,
    });
    Ok(Lowered { kept: vec![statistics], ..made(output) })
}

pub(super) fn backward(at: &LayerContext, norm: &Normalisation, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, gradient, statistics) = (members(at.inputs[0], norm), members(gradient, norm), at.done.kept[0]);
    let (scale, &Normalisation { groups, centred, .. }) = (at.node.parameters[0], norm);
    if plan.trained[scale] {
        let scale_gradient = plan.parameter_sink(at, scale)?;
        let shift = at.node.parameters.get(1).map(|&shift| plan.parameter_sink(at, shift));
        let shift_gradient = shift.transpose()?;
        plan.push(LayerNormParameters { gradient, x, statistics, scale_gradient, shift_gradient, groups });
    }
    if let Some(sink) = plan.sink(at, 0)? {
        let (scale, output) = (plan.parameter(scale), members(sink, norm));
        plan.push(LayerNormInput { gradient, x, scale, statistics, output, groups, centred });
    }
    Ok(())
}

/// \[rows, columns\], or \[samples, positions, channels\] if all positions are normalised together.
fn members(tensor: Tensor, norm: &Normalisation) -> Tensor {
    let (all, samples) = (rows(tensor), tensor.rows());
    match norm.of_rows {
        true => all,
        false => seen_as(tensor, [samples, all.rows() / samples, all.columns()]),
    }
}

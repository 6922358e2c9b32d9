//! Hash grid: y = table entries at the corners of a point's cell, interpolated. The table's gradient is summed in
//! integers: [`HashGridScale`], [`HashGridScatter`], [`HashGridGradient`]. The points' gradient is [`HashGridInput`].

use super::{Builder, LayerContext, Lowered, Role, Tensor, made};
use crate::encoding::{BLOCK, HashGrid, Level};
use crate::error::Result;
use crate::ops::{HashGridForward, HashGridGradient, HashGridInput, HashGridScale, HashGridScatter, HashGridTangent};

pub(super) fn forward(at: &LayerContext, grid: HashGrid, plan: &mut Builder) -> Result<Lowered> {
    let x = at.inputs[0];
    // The table of levels, which both passes read.
    let levels = plan.buffer(&at.name("levels"), [grid.levels, 4], Role::GridLevels)?;
    plan.fill(levels, grid.levels(x.columns()).iter().flat_map(Level::words).collect());
    let y = plan.activation(&at.node.name, at.shape())?;
    plan.push(HashGridForward { x, table: plan.parameter(at.node.parameters[0]), levels, y });
    Ok(Lowered { kept: vec![levels], ..made(y) })
}

pub(super) fn backward(at: &LayerContext, grid: HashGrid, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, levels, parameter) = (at.inputs[0], at.done.kept[0], at.node.parameters[0]);
    if plan.trained[parameter] {
        let table_gradient = plan.parameter_sink(at, parameter)?;
        add_table_gradient(at, grid, TableGradient { gradient, reach: gradient, tangent: None, table_gradient }, plan)?;
    }
    if let Some(output) = plan.sink(at, 0)? {
        plan.push(HashGridInput { x, table: plan.parameter(parameter), levels, gradient, output });
    }
    Ok(())
}

/// The tangents of the features. The table's gradient gets the gradient of the features, times the derivatives of the
/// corners' weights along the tangent.
pub(super) fn tangent(at: &LayerContext, grid: HashGrid, tangent: Tensor, plan: &mut Builder) -> Result<Tensor> {
    let (x, levels, parameter, y) = (at.inputs[0], at.done.kept[0], at.node.parameters[0], at.done.outputs[0]);
    let output = plan.gradient(&at.node.name, y)?;
    let Some(gradient) = plan.node_gradients[at.index].output else { return Ok(output) };
    let reach = plan.gradient(&at.name("reach"), y)?;
    plan.push(HashGridTangent { x, levels, table: plan.parameter(parameter), tangent, gradient, output, reach });
    if plan.trained[parameter] {
        let table_gradient = plan.tangent_sink(at, parameter)?;
        add_table_gradient(at, grid, TableGradient { gradient, reach, tangent: Some(tangent), table_gradient }, plan)?;
    }
    Ok(output)
}

/// The operands of a table's gradient.
struct TableGradient {
    gradient: Tensor,
    /// For each number of `gradient`, a bound for the sum of its contributions.
    reach: Tensor,
    tangent: Option<Tensor>,
    table_gradient: Tensor,
}

fn add_table_gradient(at: &LayerContext, grid: HashGrid, of: TableGradient, plan: &mut Builder) -> Result<()> {
    let (x, levels) = (at.inputs[0], at.done.kept[0]);
    let TableGradient { gradient, reach, tangent, table_gradient } = of;
    let scales = plan.buffer(&at.name("scales"), [grid.levels, 2], Role::GridScales)?;
    let sums = plan.buffer(&at.name("sums"), table_gradient.len(), Role::GridSums)?;
    let blocks = plan.buffer(&at.name("blocks"), table_gradient.len() / BLOCK, Role::GridLevels)?;
    let of_level = |(i, entries)| std::iter::repeat_n(i, (entries * grid.features_per_level / BLOCK) as usize);
    let entries = grid.levels(x.columns()).into_iter().map(|level| level.entries);
    plan.fill(blocks, (0..).zip(entries).flat_map(of_level).collect());
    plan.push(HashGridScale { gradient: reach, scales });
    plan.push(HashGridScatter { x, levels, gradient, scales, sums, tangent });
    plan.push(HashGridGradient { scales, blocks, sums, table_gradient, step: None });
    Ok(())
}

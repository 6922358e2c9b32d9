//! Hash grid: y = table entries at the corners of a point's cell, interpolated. The table's gradient is summed in
//! integers: [`HashGridScale`], [`HashGridScatter`], [`HashGridGradient`]. The points' gradient is [`HashGridInput`].

use super::{Builder, LayerContext, Lowered, Role, Tensor, made};
use crate::encoding::{BLOCK, HashGrid, Level};
use crate::error::Result;
use crate::ops::{HashGridForward, HashGridGradient, HashGridInput, HashGridScale, HashGridScatter};

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
        let scales = plan.buffer(&at.name("scales"), [grid.levels, 2], Role::GridScales)?;
        let sums = plan.buffer(&at.name("sums"), table_gradient.len(), Role::GridSums)?;
        let blocks = plan.buffer(&at.name("blocks"), table_gradient.len() / BLOCK, Role::GridLevels)?;
        let of_level = |(i, entries)| std::iter::repeat_n(i, (entries * grid.features_per_level / BLOCK) as usize);
        let entries = grid.levels(x.columns()).into_iter().map(|level| level.entries);
        plan.fill(blocks, (0..).zip(entries).flat_map(of_level).collect());
        plan.push(HashGridScale { gradient, scales });
        plan.push(HashGridScatter { x, levels, gradient, scales, sums });
        plan.push(HashGridGradient { scales, blocks, sums, table_gradient });
    }
    if let Some(output) = plan.sink(at, 0)? {
        plan.push(HashGridInput { x, table: plan.parameter(parameter), levels, gradient, output });
    }
    Ok(())
}

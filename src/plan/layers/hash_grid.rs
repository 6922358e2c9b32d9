//! Hash grid: y = entries at the corners of a point's cell, interpolated. The gradient of its table is summed in whole
//! numbers: [`HashGridScale`], [`HashGridScatter`], [`HashGridGradient`]; of its points: [`HashGridInput`].

use super::{Before, Builder, Op, Placed, Stage, Tensor};
use crate::error::Result;
use crate::network::{BLOCK, HashGrid, Level};
use crate::ops::{HashGridForward, HashGridGradient, HashGridInput, HashGridScale, HashGridScatter};
use crate::plan::Role;

/// The table of levels that both passes read.
pub fn levels(grid: HashGrid, stage: &Stage, plan: &mut Builder) -> Result<Tensor> {
    let tensor = plan.buffer(&format!("{}.levels", stage.name), [grid.levels, 4], Role::GridLevels)?;
    plan.fill(tensor, grid.levels(stage.inputs).iter().flat_map(Level::words).collect());
    Ok(tensor)
}

pub(super) fn forward(at: &Placed, plan: &mut Builder) {
    let (x, levels, y) = (at.input, levels_of(at), at.output);
    let table = plan.parameter(at.stage.parameters.start);
    plan.push(Op::HashGridForward(HashGridForward { x, table, levels, y }));
}

pub(super) fn backward(
    at: &Placed,
    grid: HashGrid,
    gradient: Tensor,
    before: Option<Before>,
    trained: bool,
    plan: &mut Builder,
) -> Result<Tensor> {
    let (x, levels) = (at.input, levels_of(at));
    let parameter = at.stage.parameters.start;
    if trained {
        let name = |what: &str| format!("{}.{what}", at.stage.name);
        let table_gradient = plan.parameter_gradient(parameter);
        let scales = plan.buffer(&name("scales"), [grid.levels, 2], Role::GridScales)?;
        let sums = plan.buffer(&name("sums"), table_gradient.len(), Role::GridSums)?;
        let blocks = plan.buffer(&name("blocks"), table_gradient.len() / BLOCK, Role::GridLevels)?;
        let of_level = |(i, entries)| std::iter::repeat_n(i, (entries * grid.features_per_level / BLOCK) as usize);
        plan.fill(
            blocks,
            (0..).zip(grid.levels(at.stage.inputs).iter().map(|l| l.entries)).flat_map(of_level).collect(),
        );
        plan.push(Op::HashGridScale(HashGridScale { gradient, scales }));
        plan.push(Op::HashGridScatter(HashGridScatter { x, levels, gradient, scales, sums }));
        plan.push(Op::HashGridGradient(HashGridGradient { scales, blocks, sums, table_gradient }));
    }
    let Some(before) = before else { return Ok(gradient) };
    let (output, table) = (at.input_gradient(&before, plan)?, plan.parameter(parameter));
    plan.push(Op::HashGridInput(HashGridInput { x, table, levels, gradient, output }));
    Ok(plan.through(output, &before))
}

fn levels_of(at: &Placed) -> Tensor {
    at.levels.expect("a hash grid has levels")
}

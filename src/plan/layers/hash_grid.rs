//! Hash grid: y = table entries at the corners of a point's cell, interpolated. The table's gradient is summed in
//! integers: [`HashGridScale`], [`HashGridScatter`], [`HashGridGradient`]. The points' gradient is [`HashGridInput`].

use super::{Builder, LayerContext, Lowered, Role, Tensor, made};
use crate::encoding::{BLOCK, HashGrid, Level};
use crate::error::Result;
use crate::ops::{HashGridForward, HashGridGradient, HashGridInput, HashGridScale, HashGridScatter, HashGridTangent};

/// A hash grid and its tensors in the plan.
pub(super) struct Grid {
    pub options: HashGrid,
    /// The first part of the names of its buffers.
    pub name: String,
    /// The index of its table among the network's parameters.
    pub parameter: usize,
    pub points: Tensor,
}

pub(super) fn forward(at: &LayerContext, options: HashGrid, plan: &mut Builder) -> Result<Lowered> {
    let y = plan.activation(&at.node.name, at.shape())?;
    let levels = of_layer(at, options).forward(y, plan)?;
    Ok(Lowered { kept: vec![levels], ..made(y) })
}

pub(super) fn backward(at: &LayerContext, options: HashGrid, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (grid, levels) = (of_layer(at, options), at.done.kept[0]);
    grid.table_gradient(at, levels, gradient, plan)?;
    if let Some(output) = plan.sink(at, 0)? {
        grid.point_gradient(levels, gradient, output, plan);
    }
    Ok(())
}

/// The tangents of the features. The table's gradient gets the gradient of the features, times the derivatives of the
/// corners' weights along the tangent.
pub(super) fn tangent(at: &LayerContext, options: HashGrid, tangent: Tensor, plan: &mut Builder) -> Result<Tensor> {
    let (grid, levels, y) = (of_layer(at, options), at.done.kept[0], at.done.outputs[0]);
    let output = plan.gradient(&at.node.name, y)?;
    let Some(gradient) = plan.node_gradients[at.index].output else { return Ok(output) };
    let reach = plan.gradient(&at.name("reach"), y)?;
    let (x, table) = (grid.points, plan.parameter(grid.parameter));
    plan.push(HashGridTangent { options, x, levels, table, tangent, gradient, output, reach });
    if plan.trained[grid.parameter] {
        let table_gradient = plan.tangent_sink(at, grid.parameter)?;
        let of = TableGradient { gradient, reach, tangent: Some(tangent), table_gradient };
        grid.add_table_gradient(levels, of, plan)?;
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

fn of_layer(at: &LayerContext, options: HashGrid) -> Grid {
    Grid { options, name: at.node.name.clone(), parameter: at.node.parameters[0], points: at.inputs[0] }
}

impl Grid {
    /// Returns the table of levels, which both passes read.
    pub fn forward(&self, y: Tensor, plan: &mut Builder) -> Result<Tensor> {
        let Self { options, points: x, .. } = *self;
        let levels = plan.buffer(&self.name_of("levels"), [options.levels, 4], Role::GridLevels)?;
        plan.fill(levels, options.levels(x.columns()).iter().flat_map(Level::words).collect());
        plan.push(HashGridForward { options, x, table: plan.parameter(self.parameter), levels, y });
        Ok(levels)
    }

    pub fn table_gradient(
        &self,
        at: &LayerContext,
        levels: Tensor,
        gradient: Tensor,
        plan: &mut Builder,
    ) -> Result<()> {
        if !plan.trained[self.parameter] {
            return Ok(());
        }
        let table_gradient = plan.parameter_sink(at, self.parameter)?;
        let of = TableGradient { gradient, reach: gradient, tangent: None, table_gradient };
        self.add_table_gradient(levels, of, plan)
    }

    fn add_table_gradient(&self, levels: Tensor, of: TableGradient, plan: &mut Builder) -> Result<()> {
        let Self { options, points: x, .. } = *self;
        let TableGradient { gradient, reach, tangent, table_gradient } = of;
        let scales = plan.buffer(&self.name_of("scales"), [options.levels, 2], Role::GridScales)?;
        let sums = plan.buffer(&self.name_of("sums"), table_gradient.len(), Role::GridSums)?;
        let blocks = plan.buffer(&self.name_of("blocks"), table_gradient.len() / BLOCK, Role::GridLevels)?;
        let of_level = |(i, entries)| std::iter::repeat_n(i, (entries * options.features_per_level / BLOCK) as usize);
        let entries = options.levels(x.columns()).into_iter().map(|level| level.entries);
        plan.fill(blocks, (0..).zip(entries).flat_map(of_level).collect());
        plan.push(HashGridScale { gradient: reach, scales });
        plan.push(HashGridScatter { options, x, levels, gradient, scales, sums, tangent });
        plan.push(HashGridGradient { scales, blocks, sums, table_gradient, step: None });
        Ok(())
    }

    pub fn point_gradient(&self, levels: Tensor, gradient: Tensor, output: Tensor, plan: &mut Builder) {
        let table = plan.parameter(self.parameter);
        plan.push(HashGridInput { options: self.options, x: self.points, table, levels, gradient, output });
    }

    /// The name of one of its buffers.
    fn name_of(&self, buffer: &str) -> String {
        format!("{}.{buffer}", self.name)
    }
}

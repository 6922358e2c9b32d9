//! y = scale · x + shift: dx = scale · dy. For trained weights of the last dimension: dscale = Σ dy · x and dshift = Σ
//! dy, over all other dimensions.

use super::{Builder, LayerContext, Lowered, Tensor, made, rows, seen_as};
use crate::error::Result;
use crate::network::ScaleShift as Layer;
use crate::plan::{Combination, Combine, Reduce, Reduction, ScaleShift};

pub(super) fn forward(at: &LayerContext, layer: Layer, plan: &mut Builder) -> Result<Lowered> {
    let input = at.inputs[0];
    let (scale, shift) = match layer {
        Layer::Fixed { scale, shift } => (scale, shift),
        Layer::Trained => {
            let scaled = plan.activation(&at.name("scaled"), at.shape())?;
            let output = plan.activation(&at.node.name, at.shape())?;
            let [scale, shift] = [0, 1].map(|i| plan.parameter(at.node.parameters[i]));
            plan.push(Combine { a: rows(input), b: scale, output: rows(scaled), how: Combination::Multiply });
            plan.push(Combine { a: rows(scaled), b: shift, output: rows(output), how: Combination::Add });
            return Ok(made(output));
        }
    };
    let output = plan.activation(&at.node.name, at.shape())?;
    plan.push(ScaleShift { input, output, scale, shift });
    Ok(made(output))
}

pub(super) fn backward(at: &LayerContext, layer: Layer, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    if let Layer::Fixed { scale, .. } = layer {
        if let Some(output) = plan.sink(at, 0)? {
            plan.push(ScaleShift { input: gradient, output, scale, shift: 0.0 });
        }
        return Ok(());
    }
    let [scale, shift] = [0, 1].map(|i| at.node.parameters[i]);
    let (x, dy) = (rows(at.inputs[0]), rows(gradient));
    if let Some(sink) = plan.sink(at, 0)? {
        let b = plan.parameter(scale);
        plan.push(Combine { a: dy, b, output: rows(sink), how: Combination::Multiply });
    }
    if plan.trained[scale] {
        let output = plan.gradient(&at.name("gradient_times_input"), gradient)?;
        plan.push(Combine { a: dy, b: x, output: rows(output), how: Combination::Multiply });
        for (parameter, input) in [(scale, rows(output)), (shift, dy)] {
            let sink = plan.parameter_sink(at, parameter)?;
            plan.push(Reduce { input, output: seen_as(sink, [1, sink.len()]), how: Reduction::Sum });
        }
    }
    Ok(())
}

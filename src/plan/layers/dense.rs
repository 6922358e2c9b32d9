//! Dense layers: Y = activation(X · W + b).
//!
//! - Gradients: dW = Xᵀ · dZ, db = column sums of dZ, dX = dZ · Wᵀ.
//! - Tied to transposed weights: Y = activation(X · Wᵀ + b), dW = dZᵀ · X, dX = dZ · W.
//! - A convolution reads X and dZ through windows.

use super::{Builder, LayerContext, Lowered, Tensor, activation, made, rows, seen_as};
use crate::activation::Activation;
use crate::error::Result;
use crate::plan::{Combination, Combine, Layout, Matmul, Reduce, Reduction, Window};

/// The matmul of a layer and its epilogue.
pub(super) struct LayerMatmul {
    pub bias: bool,
    pub activation: Activation,
    /// Whether the weights are those of another layer, transposed.
    pub transposed: bool,
    /// The window through which matmuls read X, and dZ for the gradient of X. `None` for plain rows.
    pub window: Option<Window>,
    pub reversed: Option<Window>,
}

impl LayerMatmul {
    /// The matmul of a dense layer with its own weights.
    pub fn dense(bias: bool, activation: Activation) -> Self {
        Self { bias, activation, transposed: false, window: None, reversed: None }
    }
}

pub(super) fn forward(at: &LayerContext, of: LayerMatmul, plan: &mut Builder) -> Result<Lowered> {
    let name = at.node.name.as_str();
    let end = if of.activation == Activation::Identity { name.into() } else { at.name("pre_activation") };
    let matmul = plan.activation(if of.bias { at.name("matmul") } else { end.clone() }.as_str(), at.shape())?;
    let weight = rows(plan.parameter(at.node.parameters[0]));
    let layout = if of.transposed { Layout::Nt } else { Layout::Nn };
    plan.push(Matmul { window: of.window, ..Matmul::new(rows(at.inputs[0]), weight, rows(matmul), layout) });
    let pre_activation = match of.bias {
        false => matmul,
        true => {
            let output = plan.activation(&end, at.shape())?;
            let b = plan.parameter(at.node.parameters[1]);
            plan.push(Combine { a: rows(matmul), b, output: rows(output), how: Combination::Add });
            output
        }
    };
    let (pre_activation, output) = activation::forward(name, pre_activation, of.activation, plan)?;
    Ok(Lowered { pre_activation, ..made(output) })
}

pub(super) fn backward(at: &LayerContext, of: LayerMatmul, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, gradient) = (rows(at.inputs[0]), rows(gradient));
    let weight = at.node.parameters[0];
    // The input's gradient comes first, because the gradient of the weights may update them in its epilogue.
    if let Some(sink) = plan.sink(at, 0)? {
        let layout = if of.transposed { Layout::Nn } else { Layout::Nt };
        let matmul = Matmul::new(gradient, rows(plan.parameter(weight)), rows(sink), layout);
        plan.push(Matmul { window: of.reversed, ..matmul });
    }
    if plan.trained[weight] {
        let c = rows(plan.parameter_sink(at, weight)?);
        let (a, b) = if of.transposed { (gradient, x) } else { (x, gradient) };
        plan.push(Matmul { window: of.window, ..Matmul::new(a, b, c, Layout::Tn) });
    }
    if let Some(&bias) = at.node.parameters.get(1).filter(|&&p| of.bias && plan.trained[p]) {
        let sink = plan.parameter_sink(at, bias)?;
        let output = seen_as(sink, [1, sink.len()]);
        plan.push(Reduce { input: gradient, output, how: Reduction::Sum });
    }
    Ok(())
}

/// The tangent of the output, given that of the input: s = t W and its activation. Adds tᵀ δ to the gradient of W.
pub(super) fn tangent(at: &LayerContext, of: LayerMatmul, tangent: Tensor, plan: &mut Builder) -> Result<Tensor> {
    let weight = at.node.parameters[0];
    if plan.trained[weight]
        && let Some(gradient) = plan.node_gradients[at.index].pre_activation
    {
        let c = rows(plan.tangent_sink(at, weight)?);
        let (t, gradient) = (rows(tangent), rows(gradient));
        let (a, b) = if of.transposed { (gradient, t) } else { (t, gradient) };
        plan.push(Matmul::new(a, b, c, Layout::Tn));
    }
    let output = plan.gradient(&at.name("matmul"), at.done.outputs[0])?;
    let layout = if of.transposed { Layout::Nt } else { Layout::Nn };
    plan.push(Matmul::new(rows(tangent), rows(plan.parameter(weight)), rows(output), layout));
    activation::tangent(at, of.activation, output, plan)
}

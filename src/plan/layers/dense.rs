//! Dense: Y = activation(X · W + b); dW = Xᵀ · dZ, db = column sums of dZ, dX = dZ · Wᵀ. Where it is tied to the
//! transposed weights of another one: Y = activation(X · Wᵀ + b); dW = dZᵀ · X, dX = dZ · W.

use super::{At, Builder, Lowered, Tensor, activation, made, rows, seen_as};
use crate::activation::Activation;
use crate::error::Result;
use crate::plan::{Combination, Combine, Epilogue, Layout, Matmul, Reduce, Reduction};

pub(super) fn forward(
    at: &At,
    bias: bool,
    activation: Activation,
    transposed: bool,
    plan: &mut Builder,
) -> Result<Lowered> {
    let name = at.node.name.as_str();
    let end = if activation == Activation::Identity { name.into() } else { at.name("sums") };
    let product = plan.activation(if bias { at.name("product") } else { end.clone() }.as_str(), at.shape())?;
    plan.push(Matmul {
        a: rows(at.inputs[0]),
        b: plan.parameter(at.node.parameters[0]),
        c: rows(product),
        layout: if transposed { Layout::Nt } else { Layout::Nn },
        ..plain()
    });
    let sums = match bias {
        false => product,
        true => {
            let output = plan.activation(&end, at.shape())?;
            let b = plan.parameter(at.node.parameters[1]);
            plan.push(Combine { a: rows(product), b, output: rows(output), how: Combination::Add });
            output
        }
    };
    let (sums, output) = activation::forward(name, sums, activation, plan)?;
    Ok(Lowered { sums, ..made(output) })
}

pub(super) fn backward(at: &At, bias: bool, transposed: bool, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    let (x, gradient) = (rows(at.inputs[0]), rows(gradient));
    let weight = at.node.parameters[0];
    // The gradient of the input first: that of the weights may change them at once.
    if let Some(sink) = plan.sink(at, 0)? {
        plan.push(Matmul {
            a: gradient,
            b: plan.parameter(weight),
            c: rows(sink),
            layout: if transposed { Layout::Nn } else { Layout::Nt },
            ..plain()
        });
    }
    if plan.trained[weight] {
        let c = plan.parameter_sink(at, weight)?;
        let (a, b) = if transposed { (gradient, x) } else { (x, gradient) };
        plan.push(Matmul { a, b, c, layout: Layout::Tn, ..plain() });
    }
    if let Some(&bias) = at.node.parameters.get(1).filter(|&&p| bias && plan.trained[p]) {
        let sink = plan.parameter_sink(at, bias)?;
        let output = seen_as(sink, [1, sink.len()]);
        plan.push(Reduce { input: gradient, output, how: Reduction::Sum });
    }
    Ok(())
}

/// A product without anything else.
fn plain() -> Matmul {
    let none = Tensor::new(crate::plan::BufferId(0), Default::default(), 0);
    let (layout, epilogue) = (Layout::Nn, Epilogue::None);
    Matmul { a: none, b: none, c: none, layout, epilogue, addend: None, bias_gradient: None }
}

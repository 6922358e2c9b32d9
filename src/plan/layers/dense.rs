//! Dense: Y = activation(X · W + b); dW = Xᵀ · dZ, db = column sums of dZ, dX = dZ · Wᵀ.

use super::{Before, Builder, Epilogue, Layout, Placed, Product, Tensor};
use crate::activation::Activation;

pub(super) fn forward(at: &Placed, bias: bool, activation: Activation, plan: &mut Builder) {
    let weight = at.stage.parameters.start;
    let epilogue = match (bias, activation) {
        (false, Activation::Identity) => Epilogue::None,
        _ => Epilogue::Bias { bias: bias.then(|| plan.parameter(weight + 1)), activation },
    };
    plan.matmul(Product {
        a: at.input,
        b: plan.parameter(weight),
        c: at.output,
        shape: [plan.batch, at.stage.outputs, at.stage.inputs],
        layout: Layout::Nn,
        epilogue,
        bias_gradient: None,
    });
}

pub(super) fn backward(
    at: &Placed,
    bias: bool,
    gradient: Tensor,
    before: Option<Before>,
    trained: bool,
    plan: &mut Builder,
) -> Tensor {
    let weight = at.stage.parameters.start;
    if trained {
        plan.matmul(Product {
            a: at.input,
            b: gradient,
            c: plan.parameter_gradient(weight),
            shape: [at.stage.inputs, at.stage.outputs, plan.batch],
            layout: Layout::Tn,
            epilogue: Epilogue::None,
            bias_gradient: bias.then(|| plan.parameter_gradient(weight + 1)),
        });
    }
    let Some(Before { gradient: c, activation, saved }) = before else { return gradient };
    let epilogue = match activation {
        Activation::Identity => Epilogue::None,
        _ => Epilogue::Derivative { saved, activation },
    };
    plan.matmul(Product {
        a: gradient,
        b: plan.parameter(weight),
        c,
        shape: [plan.batch, at.stage.inputs, at.stage.outputs],
        layout: Layout::Nt,
        epilogue,
        bias_gradient: None,
    });
    c
}

//! Dense: Y = activation(X · W + b); dW = Xᵀ · dZ, db = column sums of dZ, dX = dZ · Wᵀ.

use super::{Before, Builder, Epilogue, Layout, Matmul, Op, Placed, Tensor};
use crate::activation::Activation;

pub(super) fn forward(at: &Placed, bias: bool, activation: Activation, plan: &mut Builder) {
    let weight = at.stage.parameters.start;
    let epilogue = match (bias, activation) {
        (false, Activation::Identity) => Epilogue::None,
        _ => Epilogue::Bias { bias: bias.then(|| plan.parameter(weight + 1)), activation },
    };
    plan.push(Op::Matmul(Matmul {
        a: at.input,
        b: plan.parameter(weight),
        c: at.output,
        layout: Layout::Nn,
        epilogue,
        addend: None,
        bias_gradient: None,
    }));
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
    // The gradient of the input first: that of the weights may change them at once.
    if let Some(Before { gradient: c, activation, saved }) = before {
        let epilogue = match activation {
            Activation::Identity => Epilogue::None,
            _ => Epilogue::Derivative { saved, activation },
        };
        plan.push(Op::Matmul(Matmul {
            a: gradient,
            b: plan.parameter(weight),
            c,
            layout: Layout::Nt,
            epilogue,
            addend: None,
            bias_gradient: None,
        }));
    }
    if trained {
        let bias = bias.then_some(weight + 1);
        let (c, bias_gradient, epilogue) = match plan.update_of(weight, bias) {
            Some(step) => (plan.parameter(weight), bias.map(|i| plan.parameter(i)), Epilogue::Update(Box::new(step))),
            None => (plan.parameter_gradient(weight), bias.map(|i| plan.parameter_gradient(i)), Epilogue::None),
        };
        plan.push(Op::Matmul(Matmul {
            a: at.input,
            b: gradient,
            c,
            layout: Layout::Tn,
            epilogue,
            addend: None,
            bias_gradient,
        }));
    }
    before.map_or(gradient, |before| before.gradient)
}

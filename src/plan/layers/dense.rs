//! Dense: Y = activation(X · W + b); dW = Xᵀ · dZ, db = column sums of dZ, dX = dZ · Wᵀ.

use super::{Before, Placed};
use crate::network::Dense;
use crate::plan::{Builder, Epilogue, Layout, Product, Tensor};

pub(super) fn forward(at: &Placed, dense: &Dense, plan: &mut Builder) {
    let (weight, bias) = (plan.parameter(at.first_parameter), plan.parameter(at.first_parameter + 1));
    plan.matmul(Product {
        a: at.input,
        b: weight,
        c: at.output,
        shape: [plan.batch, dense.units, at.inputs],
        layout: Layout::Nn,
        epilogue: Epilogue::Bias { bias, activation: dense.activation },
        bias_gradient: None,
    });
}

pub(super) fn backward(at: &Placed, dense: &Dense, gradient: Tensor, before: Option<Before>, plan: &mut Builder) {
    plan.matmul(Product {
        a: at.input,
        b: gradient,
        c: plan.parameter_gradient(at.first_parameter),
        shape: [at.inputs, dense.units, plan.batch],
        layout: Layout::Tn,
        epilogue: Epilogue::None,
        bias_gradient: Some(plan.parameter_gradient(at.first_parameter + 1)),
    });
    if let Some(before) = before {
        plan.matmul(Product {
            a: gradient,
            b: plan.parameter(at.first_parameter),
            c: before.gradient,
            shape: [plan.batch, at.inputs, dense.units],
            layout: Layout::Nt,
            epilogue: Epilogue::Derivative { output: at.input, activation: before.activation },
            bias_gradient: None,
        });
    }
}

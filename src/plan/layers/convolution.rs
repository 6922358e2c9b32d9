//! Convolutions: the matmuls of a dense layer, with A read through a [`Window`].

use super::dense::{self, Product};
use super::{At, Builder, Lowered, Tensor, limit};
use crate::error::Result;
use crate::network::Conv;

/// The largest number of elements of A, stored or virtual, that kernels can index.
const SUBMISSION_LIMITS: u64 = u32::MAX as u64;

pub(super) fn forward(at: &At, conv: &Conv, plan: &mut Builder) -> Result<Lowered> {
    let product = product(at, conv)?;
    for (window, of) in [(product.window, at.shape()), (product.reversed, at.input_shape())] {
        let numbers = window.map_or(0, |window| window.numbers(plan.batch));
        limit(&format!("windows of layer {} for output {of:?}", at.node.name), numbers, SUBMISSION_LIMITS, "numbers")?;
    }
    dense::forward(at, product, plan)
}

pub(super) fn backward(at: &At, conv: &Conv, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    dense::backward(at, product(at, conv)?, gradient, plan)
}

fn product(at: &At, conv: &Conv) -> Result<Product> {
    let window = conv.window(at.input_shape());
    let channels = at.shape().last().copied().unwrap_or(1);
    let reversed = Some(window.reversed(channels));
    Ok(Product {
        bias: conv.has_bias(),
        activation: conv.activation,
        transposed: false,
        window: Some(window),
        reversed,
    })
}

//! Convolutions: the matmuls of a dense layer, with A read through a [`Window`].

use super::dense::{self, LayerMatmul};
use super::{Builder, LayerContext, Lowered, Tensor, limit};
use crate::error::Result;
use crate::network::Conv;

/// The largest number of elements of A, stored or virtual, that kernels can index.
const MOST_ELEMENTS: u64 = u32::MAX as u64;

pub(super) fn forward(at: &LayerContext, conv: &Conv, plan: &mut Builder) -> Result<Lowered> {
    let matmul = matmul(at, conv)?;
    for (window, of) in [(matmul.window, at.shape()), (matmul.reversed, at.input_shape())] {
        let numbers = window.map_or(0, |window| window.numbers(plan.batch));
        limit(&format!("windows of layer {} for output {of:?}", at.node.name), numbers, MOST_ELEMENTS, "numbers")?;
    }
    dense::forward(at, matmul, plan)
}

pub(super) fn backward(at: &LayerContext, conv: &Conv, gradient: Tensor, plan: &mut Builder) -> Result<()> {
    dense::backward(at, matmul(at, conv)?, gradient, plan)
}

fn matmul(at: &LayerContext, conv: &Conv) -> Result<LayerMatmul> {
    let window = conv.window(at.input_shape());
    let channels = at.shape().last().copied().unwrap_or(1);
    // A convolution that reads each position alone is a dense layer, for which kernels are faster.
    let [window, reversed] = match window.is_pointwise() {
        true => [None, None],
        false => [Some(window), Some(window.reversed(channels))],
    };
    Ok(LayerMatmul { bias: conv.has_bias(), activation: conv.activation, transposed: false, window, reversed })
}

//! What each kind of layer adds to a plan: its forward and its backward ops. Nothing here knows of a device.

mod dense;

use super::{Builder, Tensor};
use crate::network::{Activation, Layer};

/// A layer as placed in a plan: where its input and output are, and its weights.
pub(super) struct Placed<'a> {
    pub layer: &'a Layer,
    /// Index of its first tensor among the network's parameters.
    pub first_parameter: usize,
    pub input: Tensor,
    pub inputs: u32,
    pub output: Tensor,
}

/// The activation that made a layer's input, whose derivative the layer applies to the gradient it hands back.
pub(super) struct Before {
    /// Where the gradient goes.
    pub gradient: Tensor,
    pub activation: Activation,
}

impl Placed<'_> {
    pub(super) fn forward(&self, plan: &mut Builder) {
        match self.layer {
            Layer::Dense(dense) => dense::forward(self, dense, plan),
        }
    }

    /// From the gradient of the sums (before the activation) to the gradients of the weights and, unless this is the
    /// first layer, of the sums of the layer before.
    pub(super) fn backward(&self, gradient: Tensor, before: Option<Before>, plan: &mut Builder) {
        match self.layer {
            Layer::Dense(dense) => dense::backward(self, dense, gradient, before, plan),
        }
    }
}

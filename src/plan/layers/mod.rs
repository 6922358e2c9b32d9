//! What each kind of layer adds to a plan: its forward and its backward ops. Nothing here knows of a device.

mod activation;
mod dense;
mod dropout;
mod encode;
pub(super) mod hash_grid;
mod layer_norm;
mod softmax;

use std::ops::Range;

use super::builder::{Builder, DataSet};
use super::{Dropout, Epilogue, Layout, Matmul, Op, Pointwise, Tensor};
use crate::activation::Activation;
use crate::error::Result;
use crate::loss::Loss;
use crate::network::{Encoding, HashGrid, Layer, Network};

/// A part of a layer, or all of it, that ops stand for. A dense layer is a product and, where its activation cannot be
/// fused, that activation; flatten is nothing.
pub(super) struct Stage {
    pub name: String,
    pub kind: Kind,
    pub inputs: u32,
    pub outputs: u32,
    /// Which of the network's parameters are its own.
    pub parameters: Range<usize>,
}

pub(super) enum Kind {
    /// With an activation that is fused.
    Dense {
        bias: bool,
        activation: Activation,
    },
    Activation(Activation),
    Softmax,
    Dropout(Dropout),
    LayerNorm {
        epsilon: f32,
    },
    /// Of coordinates one by one.
    Encode(Encoding),
    HashGrid(HashGrid),
}

/// The stages of a network, but for a last activation that the loss computes itself.
pub(super) fn stages(network: &Network, loss: Option<Loss>, masks: Option<&DataSet>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut inputs = network.inputs();
    for (i, ((name, layer), (outputs, parameters))) in network.layers().zip(network.placed()).enumerate() {
        let linear = match *layer {
            Layer::Dense(dense) => Some(Kind::Dense { bias: dense.has_bias(), activation: Activation::Identity }),
            Layer::LayerNorm(norm) => Some(Kind::LayerNorm { epsilon: norm.epsilon }),
            Layer::Encoding(Encoding::HashGrid(grid)) => Some(Kind::HashGrid(grid)),
            Layer::Encoding(encoding) => Some(Kind::Encode(encoding)),
            Layer::Dropout(rate) if rate > 0.0 => {
                masks.map(|set| Kind::Dropout(Dropout { rate, layer: i as u32, step: set.step, data: set.data }))
            }
            _ => None,
        };
        stages.extend(linear.map(|kind| Stage { name: name.into(), kind, inputs, outputs, parameters }));
        let activation = match layer.activation() {
            Activation::Identity => None,
            Activation::Softmax => Some(Kind::Softmax),
            activation => Some(Kind::Activation(activation)),
        };
        stages.extend(activation.map(|kind| Stage {
            name: name.into(),
            kind,
            inputs: outputs,
            outputs,
            parameters: 0..0,
        }));
        inputs = outputs;
    }
    let computed_by_loss = |kind: &Kind| match (kind, loss.map(Loss::link)) {
        (Kind::Softmax, Some(Activation::Softmax)) => true,
        (Kind::Activation(activation), Some(link)) => *activation == link,
        _ => false,
    };
    stages.pop_if(|last| computed_by_loss(&last.kind));
    if stages.is_empty() {
        let (kind, outputs) = (Kind::Activation(Activation::Identity), network.outputs());
        stages.push(Stage { name: "output".into(), kind, inputs: outputs, outputs, parameters: 0..0 });
    }
    fused(stages)
}

/// Gives a product the activation that follows it, where that one's derivative does not need what it would overwrite.
fn fused(stages: Vec<Stage>) -> Vec<Stage> {
    let mut out: Vec<Stage> = Vec::with_capacity(stages.len());
    for stage in stages {
        match (out.last_mut(), &stage.kind) {
            (Some(Stage { kind: Kind::Dense { activation: fused, .. }, name, .. }), &Kind::Activation(activation))
                if *fused == Activation::Identity && activation.differentiates_from_output() =>
            {
                *fused = activation;
                *name = stage.name;
            }
            // The two buffers of one layer.
            (Some(Stage { name, .. }), _) if *name == stage.name => {
                name.push_str(".sums");
                out.push(stage);
            }
            _ => out.push(stage),
        }
    }
    out
}

/// A stage as placed in a plan.
pub(super) struct Placed {
    pub stage: Stage,
    pub input: Tensor,
    pub output: Tensor,
    /// Of the rows, for a layer normalisation.
    pub statistics: Option<Tensor>,
    /// Of a hash grid.
    pub levels: Option<Tensor>,
}

/// The activation that made a stage's input, whose derivative the stage applies to the gradient it hands back.
#[derive(Clone, Copy)]
pub(super) struct Before {
    /// Where the gradient goes.
    pub gradient: Tensor,
    pub activation: Activation,
    /// What its derivative takes.
    pub saved: Tensor,
}

impl Placed {
    /// The activation at its end, and what that one's derivative takes. What comes before it are its sums.
    pub(super) fn end(&self) -> (Activation, Tensor) {
        match self.stage.kind {
            Kind::Dense { activation, .. } => (activation, self.output),
            Kind::Activation(activation) if activation.differentiates_from_output() => (activation, self.output),
            Kind::Activation(activation) => (activation, self.input),
            _ => (Activation::Identity, self.output),
        }
    }

    pub(super) fn forward(&self, plan: &mut Builder) {
        match self.stage.kind {
            Kind::Dense { bias, activation } => dense::forward(self, bias, activation, plan),
            Kind::Activation(activation) => activation::forward(self, activation, plan),
            Kind::Softmax => softmax::forward(self, plan),
            Kind::Dropout(dropout) => dropout::forward(self, dropout, plan),
            Kind::LayerNorm { epsilon } => layer_norm::forward(self, epsilon, plan),
            Kind::Encode(encoding) => encode::forward(self, encoding, plan),
            Kind::HashGrid(_) => hash_grid::forward(self, plan),
        }
    }

    /// From the gradient of its sums to the gradients of its weights, where they are trained, and, where there is a
    /// stage before that needs it, of that one's sums, which it returns.
    pub(super) fn backward(
        &self,
        gradient: Tensor,
        before: Option<Before>,
        trained: bool,
        plan: &mut Builder,
    ) -> Result<Tensor> {
        match self.stage.kind {
            Kind::Dense { bias, .. } => Ok(dense::backward(self, bias, gradient, before, trained, plan)),
            Kind::Activation(_) => Ok(before.map_or(gradient, |before| plan.through(gradient, &before))),
            Kind::Softmax => softmax::backward(self, gradient, before, plan),
            Kind::Dropout(dropout) => Ok(dropout::backward(dropout, gradient, before, plan)),
            Kind::LayerNorm { .. } => layer_norm::backward(self, gradient, before, trained, plan),
            Kind::Encode(encoding) => encode::backward(self, encoding, gradient, before, plan),
            Kind::HashGrid(grid) => hash_grid::backward(self, grid, gradient, before, trained, plan),
        }
    }

    /// Where a stage whose kernel applies no derivative puts the gradient of its input: at once where it goes, unless an
    /// activation's derivative is still to be applied on the way there.
    fn input_gradient(&self, before: &Before, plan: &mut Builder) -> Result<Tensor> {
        match before.activation {
            Activation::Identity => Ok(before.gradient),
            _ => {
                let (name, shape) = (format!("{}.input_gradient", self.stage.name), [plan.batch, self.stage.inputs]);
                plan.buffer(&name, shape, super::Role::ActivationGradient)
            }
        }
    }
}

//! The forward pass: the ops of each layer, in execution order.

use super::builder::{Builder, DataSet, Lowered, of_batch};
use super::layers::{self, LayerContext};
use super::*;
use crate::activation::Activation;
use crate::network::Source;

impl Builder<'_> {
    /// Adds every layer. `masks` is `Some` in training: dropout masks use its seed and step.
    pub fn forward(&mut self, masks: Option<&DataSet>) -> Result<()> {
        self.masks = masks.cloned();
        for (index, node) in self.network.nodes().iter().enumerate() {
            let inputs = node.inputs.iter().map(|&source| self.value(source)).collect();
            let at = LayerContext { index, node, inputs, wanted: Vec::new(), done: Lowered::default() };
            let lowered = layers::forward(&at, self)?;
            self.lowered.push(lowered);
        }
        Ok(())
    }

    /// Writes the outputs to buffers that an app reads. If the loss of an output computes the last activation, its
    /// pre-activation is written.
    pub fn write_outputs(&mut self, losses: &[Option<Loss>]) -> Result<()> {
        for (i, spec) in self.network.output_specs().iter().enumerate() {
            let source = self.network.sources()[i];
            let value = match losses.get(i).copied().flatten() {
                Some(loss) => self.under(source, loss).0,
                None => self.value(source),
            };
            let (role, shape) = (Role::Output(i as u32), of_batch(self.batch, spec.shape));
            let is_made = |op: &Op| op.outputs().iter().any(|(t, _)| t.buffer == value.buffer);
            let own = self.plan.buffer(value.buffer).role == Role::Activation && self.plan.step.iter().any(is_made);
            match own {
                true => {
                    let buffer = &mut self.plan.buffers[value.buffer.0];
                    (buffer.name, buffer.role, buffer.shape) = (spec.name.clone(), role, Some(shape));
                }
                // An input, or a value that is also another output, is copied.
                false => {
                    let output = self.buffer(&spec.name, shape, role)?;
                    let input = seen_as(value, shape);
                    let (saved, activation, dropout) = (None, Activation::Identity, None);
                    self.push(Pointwise { input, saved, output, activation, dropout });
                }
            }
        }
        Ok(())
    }

    /// The tensor that a loss reads: the value, or its pre-activation if the loss computes the activation. Also returns
    /// whether it is the pre-activation.
    pub fn under(&self, source: Source, loss: Loss) -> (Tensor, bool) {
        let value = self.value(source);
        let Source::Node { node, .. } = source else { return (value, false) };
        let includes_activation =
            loss.output_activation() != Activation::Identity && self.activation_of(node) == loss.output_activation();
        match self.lowered[node].pre_activation.filter(|_| includes_activation) {
            Some(pre_activation) => (seen_as(pre_activation, value.shape), true),
            None => (value, false),
        }
    }

    /// The activation of a layer. Skips layers that only change the shape.
    pub fn activation_of(&self, node: usize) -> Activation {
        let node = &self.network.nodes()[node];
        match (node.layer.is_view(), node.inputs.first().copied()) {
            (true, Some(Source::Node { node, .. })) => self.activation_of(node),
            _ => node.layer.activation(),
        }
    }
}

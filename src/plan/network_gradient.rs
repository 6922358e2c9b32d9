//! The gradient of a network as a result of its forward pass, and the gradients of a loss that reads it.
//!
//! With weights c of the outputs y, the network gradient is g = d(c·y)/dx. It is a backward pass that starts from c and
//! computes no gradients of weights. A loss L(y, g) has the gradients dL/dy and v = dL/dg. The number v·g is the
//! derivative of c·y along v. So the gradient of L through g is that of a forward pass of tangents, which starts from
//! v: the R-operator of Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994.
//!
//! For a dense layer z = x W + b, y = f(z) with the tangents t of x and the gradients u = d(c·y)/dy, δ = u ⊙ f′(z):
//! - The tangent of z is s = t W. The tangent of the layer's output is s ⊙ f′(z).
//! - The gradient of W gets tᵀ δ. The gradient of z gets s ⊙ u ⊙ f″(z).
//!
//! The ordinary backward pass then starts from dL/dy. It adds these shares where it computes the same gradients.

use std::collections::BTreeMap;

use super::builder::{Builder, DataSet, limit, of_batch};
use super::layers::{self, LayerContext};
use super::*;
use crate::error::Error;
use crate::network::{Layer, Node, Source};
use crate::optimizer::option;

/// The gradients of a layer in the last backward pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeGradients {
    /// That of its first output.
    pub output: Option<Tensor>,
    /// That of its pre-activation; for a layer without an activation, that of its output.
    pub pre_activation: Option<Tensor>,
}

impl Builder<'_> {
    /// Adds the network gradient, for these weights of the outputs. Call it after the forward pass and before any
    /// gradient is added. `wanted` is for the backward pass of the loss.
    pub fn network_gradient(&mut self, weights: &[f32], wanted: &Wanted) -> Result<Tensor> {
        self.check_network_gradient(weights, wanted)?;
        // The fused kernels have no tangents.
        self.fuses_narrow = false;
        let shape = of_batch(self.batch, self.network.output_specs()[0].shape);
        let start = self.buffer("output_weights", shape, Role::OutputWeights)?;
        self.fill(start, bytemuck::cast_slice(weights).repeat(self.batch as usize));
        // The phase of this pass is the forward phase, so its values have the role of that phase.
        (self.prefix, self.gradient_role) = ("network_gradient.", Role::Activation);
        let trained = self.trained.iter().map(|_| false).collect();
        let trained = std::mem::replace(&mut self.trained, trained);
        self.contribute(self.network.sources()[0], start);
        self.backward(&Wanted::new(self, vec![true]))?;
        let sum = self.sum_of(Source::Input(0))?;
        (self.prefix, self.gradient_role) = ("", Role::ActivationGradient);
        self.trained = trained;
        sum.ok_or_else(|| Error::shape("network gradient", "an output that depends on the input", "one that does not"))
    }

    /// Adds the eikonal term of the loss.
    pub fn eikonal(&mut self, weight: f32, set: &DataSet, wanted: &Wanted) -> Result<()> {
        if let [output] = self.network.output_specs()
            && output.shape.elements() != 1
        {
            return Err(Error::shape("output under an eikonal term", "one number", format!("{:?}", output.shape)));
        }
        let input = self.network_gradient(&[1.0], wanted)?;
        let input = seen_as(input, [self.batch, input.len() / self.batch]);
        limit("inputs of the eikonal term", input.columns().into(), LONGEST_POINT.into(), "numbers")?;
        let gradient = self.gradient("network_gradient.gradient", input)?;
        self.push(Eikonal { input, step: set.step, gradient, weight });
        self.tangents(seen_as(gradient, self.inputs[0].shape), wanted)
    }

    /// Writes the network gradient to a buffer that an app reads.
    pub fn write_network_gradient(&mut self, gradient: Tensor) -> Result<()> {
        self.write_gradient(0, Some(gradient), "network_gradient", Role::NetworkGradient)
    }

    /// Adds the tangents, which start from the gradient of the loss with respect to the network gradient. They add
    /// shares of the gradients of weights and pre-activations. Call it before [`backward`](Self::backward).
    pub fn tangents(&mut self, start: Tensor, wanted: &Wanted) -> Result<()> {
        self.prefix = "tangent.";
        let mut tangents = BTreeMap::from([(Source::Input(0), start)]);
        for (index, node) in self.network.nodes().iter().enumerate() {
            let inputs = node.inputs.iter().map(|&source| self.value(source)).collect();
            let of_inputs = node.inputs.iter().map(|source| tangents[source]).collect();
            let needed = node.inputs.iter().map(|source| wanted.has(*source)).collect();
            let at = LayerContext { index, node, inputs, wanted: needed, done: self.lowered[index].clone() };
            let of_outputs = layers::tangent(&at, of_inputs, self)?;
            tangents
                .extend((0..).zip(of_outputs).map(|(output, tangent)| (Source::Node { node: index, output }, tangent)));
        }
        self.prefix = "";
        Ok(())
    }

    /// The tensor to which the tangents of a layer write their share of a parameter's gradient.
    pub fn tangent_sink(&mut self, at: &LayerContext, parameter: usize) -> Result<Tensor> {
        self.tangent_shares[parameter] += 1;
        self.parameter_sink(at, parameter)
    }

    fn check_network_gradient(&self, weights: &[f32], wanted: &Wanted) -> Result<()> {
        let what = "network gradient";
        let (inputs, outputs) = (self.network.input_specs(), self.network.output_specs());
        if inputs.len() != 1 || outputs.len() != 1 {
            let actual = format!("{} inputs and {} outputs", inputs.len(), outputs.len());
            return Err(Error::shape(what, "a network with one input and one output", actual));
        }
        let numbers = outputs[0].shape.elements();
        if weights.len() as u64 != numbers {
            let expected = format!("{numbers}, one for each number of the output");
            return Err(Error::shape(format!("output weights of the {what}"), expected, weights.len()));
        }
        for &weight in weights {
            option("output weight of the network gradient", "finite", weight, weight.is_finite())?;
        }
        let lacks = |node: &&Node| {
            let needs_input = node.inputs.iter().any(|source| wanted.has(*source));
            !layers::has_tangent(self.network, node, needs_input)
        };
        let title = |node: &Node| match node.layer {
            Layer::Dense(dense) => format!("{} ({})", node.name, dense.activation()),
            _ => node.name.clone(),
        };
        let lacking: Vec<String> = self.network.nodes().iter().filter(lacks).map(title).collect();
        if !lacking.is_empty() {
            let expected = "dense layers and activations except softmax and custom ones, layers that only move or add \
                numbers, and encodings before all trained layers except composite ones and hash grids without linear \
                interpolation";
            return Err(Error::shape(format!("layers of a {what}"), expected, lacking.join(", ")));
        }
        Ok(())
    }
}

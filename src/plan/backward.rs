//! The backward pass: from the gradients of the outputs to those of weights and inputs, in reverse order of the layers.
//! A value with several readers sums their gradients in the order in which they are computed.

use super::builder::{Builder, numbered};
use super::layers::{self, LayerContext};
use super::*;
use crate::activation::Activation;
use crate::network::Source;

/// The gradients that are needed: of each input, and of each node's outputs.
pub(super) struct Wanted {
    inputs: Vec<bool>,
    nodes: Vec<bool>,
}

impl Wanted {
    /// Needs the gradients of values that depend on trained weights, or on inputs whose gradient is requested.
    pub fn new(plan: &Builder, inputs: Vec<bool>) -> Self {
        let mut wanted = Self { inputs, nodes: Vec::new() };
        for node in plan.network.nodes() {
            let leads = node.parameters.iter().any(|&p| plan.trained[p]);
            let leads = leads || node.inputs.iter().any(|source| wanted.has(*source));
            wanted.nodes.push(leads);
        }
        wanted
    }

    pub fn has(&self, source: Source) -> bool {
        match source {
            Source::Input(input) => self.inputs[input],
            Source::Node { node, .. } => self.nodes[node],
        }
    }
}

impl Builder<'_> {
    /// Adds the gradients of all trained weights and of the requested inputs. The gradients of the outputs must be in
    /// the plan already.
    pub fn backward(&mut self, wanted: &Wanted) -> Result<()> {
        for (index, node) in self.network.nodes().iter().enumerate().rev() {
            let is_trained = node.parameters.iter().any(|&p| self.trained[p]);
            let wanted: Vec<bool> = node.inputs.iter().map(|source| wanted.has(*source)).collect();
            if !is_trained && !wanted.contains(&true) {
                continue;
            }
            let gradients = (0..node.shapes.len())
                .map(|output| self.sum_of(Source::Node { node: index, output }))
                .collect::<Result<Vec<_>>>()?;
            let pre_activation_gradient = self.pre_activation_gradient(index)?;
            if pre_activation_gradient.is_none() && gradients.iter().all(Option::is_none) {
                continue;
            }
            self.node_gradients[index].output = gradients[0];
            let inputs = node.inputs.iter().map(|&source| self.value(source)).collect();
            let at = LayerContext { index, node, inputs, wanted, done: self.lowered[index].clone() };
            layers::backward(&at, &gradients, pre_activation_gradient, self)?;
        }
        // Readers without a gradient add no share, so sum the shares that exist.
        self.sum_shared_gradients(false)
    }

    /// Writes the gradients of the inputs to buffers that an app reads.
    pub fn write_input_gradients(&mut self, inputs: &[bool]) -> Result<()> {
        for (i, _) in inputs.iter().enumerate().filter(|(_, asked)| **asked) {
            let sum = self.sum_of(Source::Input(i))?;
            self.write_gradient(i, sum, &input_gradient(self.network, i), Role::InputGradient(i as u32))?;
        }
        Ok(())
    }

    /// Writes a gradient of an input to a buffer that an app reads.
    pub fn write_gradient(&mut self, input: usize, sum: Option<Tensor>, name: &str, role: Role) -> Result<()> {
        let shape = self.inputs[input].shape;
        match sum {
            Some(own) if self.plan.buffer(own.buffer).role.is_transient() => {
                let buffer = &mut self.plan.buffers[own.buffer.0];
                (buffer.name, buffer.role, buffer.shape) = (name.into(), role, Some(shape));
            }
            sum => {
                let output = self.buffer(name, shape, role)?;
                // An input without influence on the outputs has the gradient zero.
                let (input, scale) = sum.map_or((self.inputs[input], 0.0), |sum| (seen_as(sum, shape), 1.0));
                self.push(ScaleShift { input, output, scale, shift: 0.0 });
            }
        }
        Ok(())
    }

    /// The tensor to which a layer writes the gradient of one of its inputs, if that gradient is needed.
    pub fn sink(&mut self, at: &LayerContext, input: usize) -> Result<Option<Tensor>> {
        if !at.wanted[input] {
            return Ok(None);
        }
        let source = at.node.inputs[input];
        let value = at.inputs[input];
        let uses = self.network.nodes().iter().flat_map(|node| &node.inputs).filter(|other| **other == source).count()
            + self.network.sources().iter().filter(|other| **other == source).count();
        let name = gradient_name(self, source);
        // A layer that takes an input twice computes two gradients.
        let again = at.node.inputs[..input].iter().filter(|other| **other == source).count() as u32;
        let name = if uses == 1 { name } else { numbered(&format!("{name}.by_{}", at.node.name), again) };
        let tensor = self.gradient(&name, value)?;
        self.contribute(source, tensor);
        Ok(Some(tensor))
    }

    /// Adds a gradient to those that the readers of a value have computed.
    pub fn contribute(&mut self, source: Source, gradient: Tensor) {
        self.contributions.entry(source).or_default().push(gradient);
    }

    /// The gradient of a value: the sum of its readers' gradients.
    pub fn sum_of(&mut self, source: Source) -> Result<Option<Tensor>> {
        let shares = self.contributions.remove(&source).unwrap_or_default();
        let name = gradient_name(self, source);
        let shape = self.value(source).shape;
        self.sum_in_order(shares.into_iter().map(|share| seen_as(share, shape)).collect(), &name)
    }

    /// The gradient of a layer's pre-activation, computed by losses that include the activation.
    fn pre_activation_gradient(&mut self, node: usize) -> Result<Option<Tensor>> {
        let name = format!("{}.gradient_by_losses", self.network.nodes()[node].name);
        let shares = std::mem::take(&mut self.lowered[node].pre_activation_gradients);
        self.sum_in_order(shares, &name)
    }

    /// Adds tensors of one shape, in order.
    pub fn sum_in_order(&mut self, shares: Vec<Tensor>, name: &str) -> Result<Option<Tensor>> {
        let Some((&first, rest)) = shares.split_first() else { return Ok(None) };
        let mut sum = first;
        for (i, &share) in (1..).zip(rest) {
            let is_last = i as usize == rest.len();
            let name = if is_last { name.into() } else { format!("{name}.of_{}", i + 1) };
            let output = self.gradient(&name, sum)?;
            self.push(Combine { a: sum, b: share, output, how: Combination::Add });
            sum = output;
        }
        Ok(Some(sum))
    }

    /// The tensor to which a layer writes a parameter's gradient. It is a share of the gradient if other layers read
    /// the parameter too.
    pub fn parameter_sink(&mut self, at: &LayerContext, parameter: usize) -> Result<Tensor> {
        let place = self.parameter_gradient(parameter)?;
        let readers = self.readers(parameter);
        if readers == 1 {
            return Ok(place);
        }
        let name = format!("{}.gradient.by_{}", self.network.parameters()[parameter].name, at.node.name);
        let share = self.gradient(&name, place)?;
        self.shared_gradients.entry(parameter).or_default().push(share);
        Ok(share)
    }

    /// Sums the shares of shared parameters' gradients. `complete` selects only parameters whose shares all exist.
    pub fn sum_shared_gradients(&mut self, complete: bool) -> Result<()> {
        let is_due =
            |(p, shares): (&usize, &Vec<Tensor>)| (!complete || shares.len() == self.readers(*p)).then_some(*p);
        let due: Vec<usize> = self.shared_gradients.iter().filter_map(is_due).collect();
        for parameter in due {
            let mut shares = self.shared_gradients.remove(&parameter).unwrap_or_default();
            let (last, output) = (shares.pop(), self.parameter_gradient(parameter)?);
            let name = format!("{}.gradient", self.network.parameters()[parameter].name);
            match (last, self.sum_in_order(shares, &name)?) {
                (Some(b), Some(a)) => self.push(Combine { a, b, output, how: Combination::Add }),
                (Some(input), None) => self.push(Rearrange { input, output, scale: 1.0 }),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// The number of shares of a parameter's gradient.
    fn readers(&self, parameter: usize) -> usize {
        self.tangent_shares[parameter]
            + self.network.nodes().iter().flat_map(|node| &node.parameters).filter(|p| **p == parameter).count()
    }

    /// The gradient of a parameter.
    fn parameter_gradient(&mut self, parameter: usize) -> Result<Tensor> {
        let gradients = self.gradients()?;
        Ok(Tensor { buffer: gradients.buffer, ..self.parameter(parameter) })
    }
}

/// The name of a value's gradient. A layer with an activation keeps the plain name for the gradient of the
/// pre-activation.
pub(super) fn gradient_name(plan: &Builder, source: Source) -> String {
    let title = plan.network.title(source);
    match source {
        Source::Node { node, .. } => match plan.network.nodes()[node].layer.activation() {
            Activation::Identity => format!("{title}.gradient"),
            _ => format!("{title}.output_gradient"),
        },
        Source::Input(input) => input_gradient(plan.network, input),
    }
}

fn input_gradient(network: &Network, input: usize) -> String {
    format!("{}_gradient", network.input_specs()[input].name)
}

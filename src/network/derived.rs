//! Networks derived from another network, with its weights.

use super::{Graph, Layer, Network, Node, Source, TensorSpec, Value, listed};
use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::shape::Shape;

#[cfg(any(feature = "keras", feature = "onnx"))]
impl Graph {
    /// The layer that computes a value, and its first input.
    #[cfg(feature = "onnx")]
    pub(crate) fn layer_of(&self, value: Value) -> Option<(&Layer, Value)> {
        let Source::Node { node, .. } = value.source else { return None };
        let node = &self.network.nodes[node];
        Some((&node.layer, self.value(*node.inputs.first()?)))
    }

    /// As [`build`](Self::build), without the layers and inputs that lead to no output.
    pub(crate) fn build_reachable(self, outputs: Vec<(String, Value)>) -> Result<Network> {
        let old = &self.network;
        let mut wanted: Vec<Source> = outputs.iter().map(|(_, value)| value.source).collect();
        let mut reached = std::collections::HashSet::new();
        while let Some(source) = wanted.pop() {
            match source {
                Source::Node { node, .. } if reached.insert(Source::Node { node, output: 0 }) => {
                    wanted.extend(&old.nodes[node].inputs);
                }
                Source::Input(_) => {
                    reached.insert(source);
                }
                Source::Node { .. } => {}
            }
        }
        let mut graph = Graph::new();
        let mut values = std::collections::HashMap::new();
        for (i, spec) in old.inputs.iter().enumerate().filter(|(i, _)| reached.contains(&Source::Input(*i))) {
            values.insert(Source::Input(i), graph.input(&spec.name, spec.shape));
        }
        for (node, old) in old.nodes.iter().enumerate() {
            if reached.contains(&Source::Node { node, output: 0 }) {
                let given: Vec<Value> = old.inputs.iter().map(|source| values[source]).collect();
                for (output, value) in
                    graph.push(old.layer.clone(), &given, Some(old.name.clone()))?.into_iter().enumerate()
                {
                    values.insert(Source::Node { node, output }, value);
                }
            }
        }
        graph.build(outputs.into_iter().map(|(name, value)| (name, values[&value.source])))
    }
}

impl Network {
    /// The same network with one more activation after an output.
    pub(crate) fn followed_by(&self, output: usize, activation: Activation) -> Result<Self> {
        let mut network = self.clone();
        let (source, shape) = (self.sources[output], self.outputs[output].shape);
        activation.check()?;
        let name = format!("activation_{}", self.nodes.len() + 1);
        let (layer, inputs) = (Layer::Activation(activation), vec![source]);
        let (parameters, states) = (Vec::new(), Vec::new());
        network.nodes.push(Node { name, layer, inputs, shapes: vec![shape], parameters, states });
        network.sources[output] = Source::Node { node: self.nodes.len(), output: 0 };
        Ok(network)
    }

    /// The same network with the same weights, for another input shape. For example, an image with another height and
    /// width, or another number of steps.
    ///
    /// The network must have one input. For several inputs, use [`at_inputs`](Self::at_inputs).
    ///
    /// ```
    /// use wgrad::{Activation::*, Layer, Network};
    /// let network = Network::input([28, 28, 3])
    ///     .dense(8, Relu)
    ///     .layer(Layer::ReduceMean(vec![0, 1]))
    ///     .dense(2, Softmax)
    ///     .build()?;
    /// let wide = network.at_input([1080, 1920, 3])?;
    /// assert_eq!(wide.parameters(), network.parameters());
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if a layer cannot take the shape or would have other weights, or if there are several inputs.
    pub fn at_input(&self, shape: impl Into<Shape>) -> Result<Self> {
        match &self.inputs[..] {
            [end] => self.at_inputs([(end.name.clone(), shape.into())]),
            ends => {
                let names: Vec<&str> = ends.iter().map(|end| &*end.name).collect();
                let actual = format!("{}; use Network::at_inputs", names.join(" and "));
                Err(Error::shape("Network::at_input", "a network with one input", actual))
            }
        }
    }

    /// The same network with the same weights, for other shapes of these inputs. The other inputs keep their shapes.
    ///
    /// ```
    /// # use wgrad::{Activation::*, Dense, Graph};
    /// # let mut g = Graph::new();
    /// # let (image, mask) = (g.input("image", [8, 8, 3]), g.input("mask", [8, 8, 1]));
    /// # let both = g.multiply([image, mask])?;
    /// # let seen = g.layer(Dense::new(4, Relu), both)?;
    /// # let network = g.build([("seen", seen)])?;
    /// let wide = network.at_inputs([("image", [9, 16, 3].into()), ("mask", [9, 16, 1].into())])?;
    /// # assert_eq!(wide.output_specs()[0].shape[..], [9, 16, 4]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`at_input`](Self::at_input). Also [`Error::Shape`] if no input has a given name.
    pub fn at_inputs<N: AsRef<str>>(&self, shapes: impl IntoIterator<Item = (N, Shape)>) -> Result<Self> {
        let mut inputs = self.inputs.clone();
        for (name, shape) in shapes {
            let name = name.as_ref();
            match inputs.iter_mut().find(|end| end.name == name) {
                Some(end) => end.shape = shape,
                None => return Err(Error::shape("input", listed(&self.inputs), format!("{name:?}"))),
            }
        }
        let network = self.rebuilt(inputs, None)?;
        let other = network.tensors().zip(self.tensors()).find(|(new, own)| new.shape != own.shape);
        match other {
            Some((new, own)) => {
                let what = format!("{} at the new input", own.name);
                let expected = format!("its shape {:?}, because the weights stay the same", own.shape);
                Err(Error::shape(what, expected, format!("{:?}", new.shape)))
            }
            None => Ok(network),
        }
    }

    /// The same network with another layer in place of the one with this name. For example, it replaces the head of a
    /// classifier. The new layer has the same name and the same inputs.
    ///
    /// [`initial_parameters_from`](Self::initial_parameters_from) gives it weights: those of the old network, and new
    /// ones for the new layer.
    ///
    /// ```
    /// use wgrad::{Activation::*, Dense, Network};
    /// let network = Network::input(784).dense(64, Relu).dense(5, Identity).named("head").build()?;
    /// let weights = network.initial_parameters(1);
    /// let wider = network.with_layer("head", Dense::new(10, Identity))?;
    /// let weights = wider.initial_parameters_from(2, &network, &weights)?;
    /// assert_eq!((wider.outputs(), weights.len()), (10, wider.parameter_words() as usize));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if no layer has this name, or if the new layer or a layer after it cannot take its inputs.
    pub fn with_layer(&self, name: &str, layer: impl Into<Layer>) -> Result<Self> {
        match self.nodes.iter().any(|node| node.name == name) {
            true => self.rebuilt(self.inputs.clone(), Some((name, layer.into()))),
            false => {
                let names = self.nodes.iter().map(|node| &*node.name).collect::<Vec<_>>().join(", ");
                Err(Error::shape("layer to replace", format!("one of {names}"), format!("{name:?}")))
            }
        }
    }

    /// The initial weights and states for this seed, except those that another network has too. A tensor of the other
    /// network with the same name and shape keeps its numbers. `parameters` has the layout of the other network.
    ///
    /// # Errors
    /// [`Error::Shape`] if `parameters` has another length than the other network's; [`Error::NonFiniteParameter`].
    pub fn initial_parameters_from(&self, seed: u64, other: &Self, parameters: &[f32]) -> Result<Vec<f32>> {
        other.check_parameters(parameters)?;
        let mut values = self.initial_parameters(seed);
        for own in self.tensors() {
            if let Some(from) = other.tensors().find(|from| from.name == own.name && from.shape == own.shape) {
                values[own.range()].copy_from_slice(&parameters[from.range()]);
            }
        }
        Ok(values)
    }

    /// Builds the same layers for inputs of these shapes. `replaced`: the name of a layer, and the one in its place.
    fn rebuilt(&self, inputs: Vec<TensorSpec>, replaced: Option<(&str, Layer)>) -> Result<Self> {
        let mut graph = Graph::new();
        let inputs: Vec<Value> = inputs.into_iter().map(|end| graph.input(end.name, end.shape)).collect();
        let mut values: Vec<Vec<Value>> = Vec::new();
        let find = |values: &[Vec<Value>], source: &Source| match *source {
            Source::Input(input) => inputs[input],
            Source::Node { node, output } => values[node][output],
        };
        for node in &self.nodes {
            let given: Vec<Value> = node.inputs.iter().map(|source| find(&values, source)).collect();
            let layer = match &replaced {
                Some((name, layer)) if *name == node.name => layer,
                _ => &node.layer,
            };
            let made = graph.push(layer.clone(), &given, Some(node.name.clone()))?;
            if made.len() < node.shapes.len() {
                let expected = format!("{} outputs", node.shapes.len());
                return Err(Error::shape(format!("layer {}", node.name), expected, made.len()));
            }
            values.push(made);
        }
        let outputs = self.outputs.iter().zip(&self.sources);
        graph.build(outputs.map(|(end, source)| (end.name.clone(), find(&values, source))).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation::*;
    use crate::Dense;

    #[test]
    fn a_layer_in_place_of_another_needs_all_its_outputs() {
        let mut graph = Graph::new();
        let x = graph.input("x", 4);
        let parts = graph.split(x, -1, 2).unwrap();
        let network = graph.build([("a", parts[0]), ("b", parts[1])]).unwrap();
        let error = network.with_layer("split_1", Dense::new(2, Relu)).unwrap_err().to_string();
        assert!(error.contains("layer split_1") && error.contains("2 outputs"), "{error}");
    }

    #[test]
    fn a_layer_is_replaced_and_the_others_keep_their_weights() {
        let old = Network::input(3).dense(4, Relu).dense(2, Identity).named("head").dense(1, Tanh).build().unwrap();
        let weights = old.initial_parameters(1);
        let new = old.with_layer("head", Dense::new(5, Identity)).unwrap();
        let given = new.initial_parameters_from(2, &old, &weights).unwrap();
        let fresh = new.initial_parameters(2);
        let shapes: Vec<&[u32]> = new.parameters().iter().map(|p| &p.shape[..]).collect();
        assert_eq!(shapes, [&[3, 4][..], &[4], &[4, 5], &[5], &[5, 1], &[1]]);
        for own in new.parameters() {
            let from = old.parameters().iter().find(|from| from.name == own.name && from.shape == own.shape);
            let expected = from.map_or(&fresh[own.range()], |from| &weights[from.range()]);
            assert_eq!(&given[own.range()], expected, "{}", own.name);
        }
        assert!(new.initial_parameters_from(2, &old, &weights[1..]).is_err());
    }

    #[test]
    fn an_unknown_layer_or_one_that_does_not_fit_is_named() {
        let network = Network::input(3).dense(4, Relu).named("body").dense(2, Identity).build().unwrap();
        let fault = |name: &str, layer: Layer| network.with_layer(name, layer).unwrap_err().to_string();
        assert_eq!(fault("head", Layer::Flatten), "layer to replace: expected one of body, dense_2, got \"head\"");
        assert!(fault("body", Layer::DepthToSpace(2)).starts_with("layer body (from input [3]): expected "));
    }
}

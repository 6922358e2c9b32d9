//! Describes a network: its layers and shapes, checked when it is built. It has no buffers and no device.

mod builder;
mod convolution;
mod custom;
mod derived;
#[cfg(feature = "files")]
mod description;
mod dot;
mod graph;
mod layer;
mod layer_ops;
mod layers;
mod parameter;
mod pooling;
mod resizing;
mod shapes;
mod summary;

use std::ops::Range;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::shape::Shape;
pub use builder::NetworkBuilder;
pub use convolution::{Conv, Padding, Size};
pub use custom::{Custom, CustomLayer, CustomParameter};
#[cfg(feature = "files")]
pub(crate) use custom::{REGISTERED, Registered};
#[cfg(feature = "files")]
pub(crate) use description::Description;
pub use graph::{Graph, Value};
pub use layer::Layer;
pub(crate) use layer::Normalisation;
pub use layer_ops::{LayerOps, LayerTensors};
pub use layers::{BatchNorm, Dense, GroupNorm, InstanceNorm, LayerNorm, RmsNorm, ScaleShift, Tied};
pub use parameter::Parameter;
pub use pooling::Pool;
pub(crate) use resizing::margins;
pub use resizing::{Crop, Interpolation, Margin, Pad, Upsample};
pub(crate) use shapes::{axis_of, reduced, with_length};
pub use summary::Summary;
pub(crate) use summary::thousands;

/// The name and the shape of an input or an output of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct TensorSpec {
    /// The name, unique among the inputs or among the outputs. A chain has "input" and "output".
    pub name: String,
    /// The shape of one sample, channels last.
    pub shape: Shape,
}

impl TensorSpec {
    /// The number of elements of a sample.
    pub fn features(&self) -> u32 {
        self.shape.elements() as u32
    }

    /// The number of rows in a sample. A row is a slice along the last dimension.
    pub(crate) fn positions(&self) -> u32 {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// The length of the last dimension.
    pub(crate) fn columns(&self) -> u32 {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// The origin of a value: an input of the network, or an output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Source {
    Input(usize),
    Node { node: usize, output: usize },
}

/// A node of the graph: a layer, its name and its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub name: String,
    pub layer: Layer,
    pub inputs: Vec<Source>,
    /// The shape of each output, for one sample.
    pub shapes: Vec<Shape>,
    /// Indices of the parameters that it reads.
    pub parameters: Vec<usize>,
    /// Indices of the states that it reads, and updates in training.
    pub states: Vec<usize>,
}

/// A checked network: layers in execution order.
///
/// [`Network::input`] builds a chain of layers. [`Graph`] builds any other form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    inputs: Vec<TensorSpec>,
    nodes: Vec<Node>,
    outputs: Vec<TensorSpec>,
    /// The source of each output.
    sources: Vec<Source>,
    parameters: Vec<Parameter>,
    trained_words: u32,
    /// They follow the parameters in the buffer. Their offsets are set in `finish`.
    states: Vec<Parameter>,
    parameter_words: u32,
}

impl Network {
    /// Starts a chain of layers for samples of this shape. The shape is a number of features, or for example \[height,
    /// width, channels\].
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input(784)
    ///     .dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity)
    ///     .build()?;
    /// assert_eq!(network.parameter_count(), 567_434);
    /// println!("{}", network.summary());
    ///
    /// let network = Network::input([28, 28]).flatten().dense(10, Identity).build()?;
    /// assert_eq!((network.inputs(), network.outputs()), (784, 10));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn input(shape: impl Into<Shape>) -> NetworkBuilder {
        NetworkBuilder { input: shape.into(), steps: Vec::new() }
    }

    /// The number of features of the input: elements of one sample. With several inputs, that of the first one.
    pub fn inputs(&self) -> u32 {
        self.inputs.first().map_or(0, TensorSpec::features)
    }

    /// The number of features of the output: elements of one sample. With several outputs, that of the first one.
    pub fn outputs(&self) -> u32 {
        self.outputs.first().map_or(0, TensorSpec::features)
    }

    /// The name and the shape of every input.
    pub fn input_specs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// The name and the shape of every output.
    pub fn output_specs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Renamed to [`input_specs`](Self::input_specs).
    #[deprecated(note = "use input_specs")]
    pub fn input_ends(&self) -> &[TensorSpec] {
        self.input_specs()
    }

    /// Renamed to [`output_specs`](Self::output_specs).
    #[deprecated(note = "use output_specs")]
    pub fn output_ends(&self) -> &[TensorSpec] {
        self.output_specs()
    }

    /// The activation of the output layer. With several outputs, that of the first one.
    pub fn output_activation(&self) -> Activation {
        self.activation_of(0)
    }

    /// The activation of the layer that computes an output.
    pub(crate) fn activation_of(&self, output: usize) -> Activation {
        self.last(output).map_or(Activation::Identity, |node| node.layer.activation())
    }

    /// The layer that computes an output. Skips layers that do not change the values, such as flatten.
    fn last(&self, output: usize) -> Option<&Node> {
        let mut source = *self.sources.get(output)?;
        while let Source::Node { node, .. } = source {
            let node = &self.nodes[node];
            if !node.layer.is_view() {
                return Some(node);
            }
            source = *node.inputs.first()?;
        }
        None
    }

    /// The index of the output with this name.
    pub(crate) fn output_index(&self, name: &str) -> Result<usize> {
        let found = self.outputs.iter().position(|spec| spec.name == name);
        found.ok_or_else(|| Error::shape("output", listed(&self.outputs), format!("{name:?}")))
    }

    /// Every layer with its name, in execution order.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &Layer)> + Clone {
        self.nodes.iter().map(|node| (node.name.as_str(), &node.layer))
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The source of each output.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The shape of one sample of a value.
    pub(crate) fn shape(&self, source: Source) -> Shape {
        match source {
            Source::Input(input) => self.inputs[input].shape,
            Source::Node { node, output } => self.nodes[node].shapes[output],
        }
    }

    /// The name of a value: the name of its input or of its layer.
    pub(crate) fn title(&self, source: Source) -> String {
        match source {
            Source::Input(input) => self.inputs[input].name.clone(),
            Source::Node { node, output } => match &self.nodes[node] {
                Node { name, shapes, .. } if shapes.len() > 1 => format!("{name}:{output}"),
                node => node.name.clone(),
            },
        }
    }

    /// The largest number of features of an input or of a layer's output.
    pub(crate) fn widest(&self) -> u64 {
        let shapes = self.nodes.iter().flat_map(|node| &node.shapes);
        let all = shapes.chain(self.inputs.iter().map(|spec| &spec.shape));
        all.map(Shape::elements).max().unwrap_or(1)
    }

    /// Whether the network is a chain: one input, one output, and every layer takes the output of the layer before it.
    pub(crate) fn is_chain(&self) -> bool {
        let before = |i: usize| i.checked_sub(1).map_or(Source::Input(0), |node| Source::Node { node, output: 0 });
        let follows = |(i, node): (usize, &Node)| node.inputs == [before(i)] && node.shapes.len() == 1;
        self.inputs.len() == 1
            && self.sources == [before(self.nodes.len())]
            && self.nodes.iter().enumerate().all(follows)
    }

    /// Indices in [`parameters`](Self::parameters) of a layer's own tensors. Excludes tensors that it shares with
    /// another layer.
    pub(crate) fn own_parameters(&self, node: usize) -> Range<usize> {
        let Node { name, parameters, .. } = &self.nodes[node];
        let is_own = |&&p: &&usize| self.parameters[p].layer() == name;
        let first = parameters.iter().find(is_own).copied().unwrap_or(0);
        first..first + parameters.iter().filter(is_own).count()
    }

    /// Every trained tensor, in the order of the parameter buffer.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Every tensor that training updates without the optimizer, such as running means. They follow the weights in the
    /// parameter buffer, in this order.
    pub fn states(&self) -> &[Parameter] {
        &self.states
    }

    /// All tensors of the parameter buffer in order: weights, then states.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Parameter> + Clone {
        self.parameters.iter().chain(&self.states)
    }

    /// The number of trained weights.
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().map(|p| u64::from(p.len())).sum()
    }

    /// The number of elements of all [states](Self::states).
    pub fn state_count(&self) -> u64 {
        self.states.iter().map(|state| u64::from(state.len())).sum()
    }

    /// Length of the parameter buffer in f32: weights, states and alignment gaps.
    pub fn parameter_words(&self) -> u32 {
        self.parameter_words
    }

    /// Length in f32 of the weights in the parameter buffer, gaps included. Gradients and optimizer moments have the
    /// same length.
    pub(crate) fn trained_words(&self) -> u32 {
        self.trained_words
    }

    /// Returns an error if the length differs from [`parameter_words`](Self::parameter_words), or if a weight or a
    /// state is not finite.
    pub(crate) fn check_parameters(&self, parameters: &[f32]) -> Result<()> {
        if parameters.len() == self.parameter_words as usize {
            return self.check_finite("", parameters);
        }
        let expected = format!("{} numbers (with the alignment gaps)", self.parameter_words);
        Err(Error::shape("parameters", expected, parameters.len()))
    }

    /// Returns an error if a value is NaN or infinite. The error names the tensor, or the gap. `of` names the
    /// optimizer's buffer, such as "moment_1"; it is empty for the parameter buffer.
    pub(crate) fn check_finite(&self, of: &str, values: &[f32]) -> Result<()> {
        let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let own = self.tensors().find(|p| p.range().contains(&at));
        let (name, index) = match own {
            Some(p) => (p.name.clone(), at - p.offset as usize),
            None => ("the parameter buffer (in a gap)".into(), at),
        };
        let tensor = if of.is_empty() { name } else { format!("{of} of {name}") };
        Err(Error::NonFiniteParameter { tensor, index, value: values[at] })
    }

    /// The initial weights and states for this seed, in the layout of the parameter buffer.
    pub fn initial_parameters(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.parameter_words as usize];
        for (i, p) in self.tensors().enumerate() {
            let row = p.shape.last().copied().unwrap_or(1);
            p.init.fill(&mut values[p.range()], row, p.fans, seed, i as u32);
        }
        values
    }

    /// A printable table of the layers: name, output shape and parameter count. It ends with the total number of
    /// parameters, and of states if there are any.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

/// The names of inputs or outputs, for error messages.
pub(crate) fn names(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| &*spec.name).collect::<Vec<_>>().join(", ")
}

fn listed(specs: &[TensorSpec]) -> String {
    format!("one of {}", names(specs))
}

#[cfg(test)]
mod tests {
    use super::Activation::*;
    use super::*;
    use crate::init::Init;

    #[test]
    fn the_summary_names_layers_shapes_and_parameters() {
        let network =
            Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build().unwrap();
        let summary = network.summary().to_string();
        assert!(summary.ends_with("Total params: 567,434"), "{summary}");
        let dense_1 = summary.lines().find(|l| l.starts_with("dense_1 (relu)")).unwrap();
        assert!(dense_1.contains("[batch, 512]") && dense_1.ends_with("401,920"), "{dense_1}");
        assert_eq!((network.inputs(), network.outputs()), (784, 10));
    }

    #[test]
    fn tensors_are_aligned_and_the_gaps_are_zero() {
        let network = Network::input(3)
            .layer(Dense::new(5, Tanh).bias_init(Init::Normal { std: 1.0 }))
            .dense(1, Sigmoid)
            .build()
            .unwrap();
        let values = network.initial_parameters(1);
        let mut inside = vec![false; values.len()];
        for p in network.parameters() {
            assert_eq!(p.offset % crate::PARAMETER_ALIGNMENT, 0);
            inside[p.range()].fill(true);
        }
        assert!(values.iter().zip(&inside).all(|(&v, &inside)| inside || v == 0.0));
        assert_eq!(network.parameter_count(), 3 * 5 + 5 + 5 + 1);
    }

    #[test]
    fn an_initialiser_that_is_not_finite_is_refused() {
        let dense = Dense::new(1, Relu).bias_init(Init::Normal { std: f32::INFINITY });
        let message = Network::input(1).layer(dense).build().unwrap_err().to_string();
        assert_eq!(message, "std of Init::Normal must be finite, got inf in layer dense_1 (from input [1])");
    }

    #[test]
    fn a_number_that_is_not_finite_is_named() {
        let network = Network::input(3).dense(2, Relu).dense(1, Identity).build().unwrap();
        let fault = |of: &str, at: usize, value: f32| {
            let mut values = network.initial_parameters(0);
            values[at] = value;
            network.check_finite(of, &values).unwrap_err().to_string()
        };
        let finite = "expected a finite number, got";
        let last = network.parameters()[2].range().end - 1;
        assert_eq!(fault("", 5, f32::NAN), format!("number 5 of dense_1.weight: {finite} NaN"));
        assert_eq!(
            fault("moment_1", last, f32::NEG_INFINITY),
            format!("number 1 of moment_1 of dense_2.weight: {finite} -inf")
        );
        assert!(fault("", 6, f32::INFINITY).starts_with("number 6 of the parameter buffer (in a gap): "));
        assert!(network.check_finite("", &network.initial_parameters(0)).is_ok());
    }

    #[test]
    fn a_shape_fault_names_the_layer() {
        let fault = |builder: NetworkBuilder| builder.build().unwrap_err().to_string();
        // Layers that do nothing outside training must not be last.
        assert_eq!(
            fault(Network::input(4).dense(3, Relu).dropout(0.5).activation(Identity).flatten()),
            "last layer: expected a layer other than dropout, got dropout_2; dropout does nothing outside training"
        );
        assert_eq!(fault(Network::input(0).dense(1, Relu)), "shape of the input: expected 1 to 2³⁰ features, got [0]");
        assert_eq!(fault(Network::input(1)), "network: expected at least 1 layer, got 0");
        assert_eq!(
            fault(Network::input(4).dense(3, Relu).dense(0, Relu)),
            "layer dense_2 (from dense_1 [3]): expected at least 1 unit, got 0"
        );
        assert!(fault(Network::input(1 << 20).dense(1 << 20, Relu)).starts_with("weights up to dense_1.weight"));
    }
}

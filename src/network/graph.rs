//! A network under construction: layers that take any values of the graph.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layer::OwnParameter;
use super::{Layer, Network, Node, Parameter, Source, TensorSpec, Tied, shapes};
use crate::error::{Error, Result};
use crate::ops::PARAMETER_ALIGNMENT;
use crate::shape::{LONGEST_TENSOR, MOST_DIMENSIONS, Shape};

/// Builds a [`Network`] of any form: with several inputs and outputs, and with values that several layers read.
///
/// [`Network::input`] is shorter for a chain of layers, also with residual connections. Each layer is checked when it
/// is added. The error names the layer, the actual inputs and what was expected.
///
/// ```
/// use wgrad::{Activation::*, Dense, Graph, Layer};
/// let mut g = Graph::new();
/// let image = g.input("image", [28, 28]);
/// let age = g.input("age", 1);
/// let flat = g.layer(Layer::Flatten, image)?;
/// let seen = g.layer(Dense::new(64, Relu), flat)?;
/// let both = g.concat([seen, age], -1)?;
/// let hidden = g.layer(Dense::new(32, Relu), both)?;
/// let kind = g.layer(Dense::new(10, Softmax), hidden)?;
/// let weight = g.layer(Dense::new(1, Identity), hidden)?;
/// let network = g.build([("kind", kind), ("weight", weight)])?;
/// println!("{}", network.summary());
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Graph {
    id: u64,
    /// It has no outputs until `build`.
    pub(super) network: Network,
}

/// An input of a [`Graph`], or the output of one of its layers. Any number of layers may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    graph: u64,
    pub(crate) source: Source,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        static GRAPHS: AtomicU64 = AtomicU64::new(0);
        Self { id: GRAPHS.fetch_add(1, Ordering::Relaxed), network: Network::default() }
    }

    /// Adds a named input. `shape` is the shape of one sample, channels last. If the shape is empty or too large, or if
    /// another input has the name, the next call that adds a layer or builds the network returns an error.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Value {
        self.network.inputs.push(TensorSpec { name: name.into(), shape: shape.into() });
        self.value(Source::Input(self.network.inputs.len() - 1))
    }

    /// Adds a layer with one input, or with several inputs as an array. Its default name is its kind and its position:
    /// `dense_1`, `dropout_2`. For a layer with several outputs, use [`layer_outputs`](Self::layer_outputs).
    ///
    /// # Errors
    /// - [`Error::Shape`] if the layer cannot take the inputs or has several outputs, or if an input belongs to another
    ///   graph.
    /// - [`Error::InvalidOption`] if an option of the layer is invalid.
    /// - [`Error::LimitExceeded`] if the weights or an output have more than 2³⁰ elements.
    pub fn layer(&mut self, layer: impl Into<Layer>, inputs: impl IntoIterator<Item = Value>) -> Result<Value> {
        let outputs = self.layer_outputs(layer, inputs)?;
        match outputs[..] {
            [output] => Ok(output),
            _ => {
                let what = format!("layer {}", self.network.nodes.last().map_or("", |node| &node.name));
                let actual = format!("{}; use Graph::layer_outputs for a layer with several outputs", outputs.len());
                Err(Error::shape(what, "one output", actual))
            }
        }
    }

    /// Adds a layer with any number of outputs: [`Layer::Split`] or a custom layer. See [`layer`](Self::layer).
    ///
    /// # Errors
    /// The same errors as [`layer`](Self::layer), except that several outputs are allowed.
    pub fn layer_outputs(
        &mut self,
        layer: impl Into<Layer>,
        inputs: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Value>> {
        self.push(layer.into(), &Vec::from_iter(inputs), None)
    }

    /// The elementwise sum of two or more values. See [`Layer::Add`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn add(&mut self, inputs: impl IntoIterator<Item = Value>) -> Result<Value> {
        self.layer(Layer::Add, inputs)
    }

    /// The elementwise product of two or more values. See [`Layer::Multiply`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn multiply(&mut self, inputs: impl IntoIterator<Item = Value>) -> Result<Value> {
        self.layer(Layer::Multiply, inputs)
    }

    /// Concatenates values along an axis. The axis −1 is the last. See [`Layer::Concat`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn concat(&mut self, inputs: impl IntoIterator<Item = Value>, axis: i32) -> Result<Value> {
        self.layer(Layer::Concat { axis }, inputs)
    }

    /// A slice along an axis. See [`Layer::Slice`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn slice(&mut self, x: Value, axis: i32, places: Range<u32>) -> Result<Value> {
        self.layer(Layer::Slice { axis, start: places.start, end: places.end }, x)
    }

    /// Splits an axis into this number of equal parts. Each part is a value. See [`Layer::Split`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn split(&mut self, x: Value, axis: i32, parts: u32) -> Result<Vec<Value>> {
        self.layer_outputs(Layer::Split { axis, parts }, x)
    }

    /// Changes the shape of a value. See [`Layer::Reshape`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn reshape(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        self.layer(Layer::Reshape(shape.into()), x)
    }

    /// Permutes the dimensions of a value. See [`Layer::Transpose`].
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn transpose(&mut self, x: Value, order: impl Into<Vec<i32>>) -> Result<Value> {
        self.layer(Layer::Transpose(order.into()), x)
    }

    /// Names the layer that computes this value. The name replaces the default name. Files, [`Group`](crate::Group)s,
    /// [`Tied`] layers and errors use it.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value is an input or belongs to another graph. Also if the name is empty, contains a dot
    /// or is taken.
    pub fn name(&mut self, name: impl Into<String>, value: Value) -> Result<Value> {
        let name = name.into();
        let Source::Node { node, .. } = self.source(value, || format!("value to name {name:?}"))? else {
            let actual = format!("input {:?}", self.network.title(value.source));
            return Err(Error::shape(format!("value to name {name:?}"), "the output of a layer", actual));
        };
        self.check_name(&name)?;
        let before = std::mem::replace(&mut self.network.nodes[node].name, name.clone());
        let Network { nodes, parameters, states, .. } = &mut self.network;
        for Node { layer, .. } in nodes {
            match layer {
                Layer::Tied(tied) if tied.to == before => tied.to.clone_from(&name),
                _ => {}
            }
        }
        for parameter in parameters.iter_mut().chain(states) {
            if let Some(role) = parameter.name.strip_prefix(&format!("{before}.")) {
                parameter.name = format!("{name}.{role}");
            }
        }
        Ok(value)
    }

    /// The shape of one sample of a value.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value belongs to another graph.
    pub fn shape(&self, value: Value) -> Result<Shape> {
        Ok(self.network.shape(self.source(value, || "value".into())?))
    }

    /// Builds the network with these outputs, each with a name.
    ///
    /// # Errors
    /// The errors of [`layer`](Self::layer). Also [`Error::Shape`] in these cases:
    /// - There is no output or no layer.
    /// - Two outputs have the same name.
    /// - A dropout layer computes an output.
    /// - An input or a layer leads to no output.
    pub fn build<N: Into<String>>(mut self, outputs: impl IntoIterator<Item = (N, Value)>) -> Result<Network> {
        self.check_inputs()?;
        for (name, value) in outputs {
            let name = name.into();
            if name.is_empty() || self.network.outputs.iter().any(|spec| spec.name == name) {
                return Err(Error::shape(
                    "name of an output",
                    "a non-empty name that no other output has",
                    format!("{name:?}"),
                ));
            }
            let source = self.source(value, || format!("output {name}"))?;
            self.network.outputs.push(TensorSpec { name, shape: self.network.shape(source) });
            self.network.sources.push(source);
        }
        self.network.finish()
    }

    /// Adds a layer and returns its outputs. Without a name, it gets its default name.
    pub(crate) fn push(&mut self, layer: Layer, inputs: &[Value], name: Option<String>) -> Result<Vec<Value>> {
        self.check_inputs()?;
        if let Some(name) = &name {
            self.check_name(name)?;
        }
        let what = || {
            let by_place = || format!("{}_{}", layer.kind(), self.network.nodes.len() + 1);
            format!("input of layer {}", name.clone().unwrap_or_else(by_place))
        };
        let sources = inputs.iter().map(|&value| self.source(value, what)).collect::<Result<Vec<_>>>()?;
        let given = sources.iter().map(|&source| self.network.shape(source)).collect::<Vec<_>>();
        let network = &mut self.network;
        let name = name.unwrap_or_else(|| {
            let by_place = format!("{}_{}", layer.kind(), network.nodes.len() + 1);
            // A user may have given this name to another layer.
            let taken = |name: &String| network.nodes.iter().any(|node| node.name == *name);
            std::iter::successors(Some(by_place), |name| Some(format!("{name}_"))).find(|n| !taken(n)).expect("endless")
        });
        let list = |source: &Source| format!("{} {:?}", network.title(*source), network.shape(*source));
        let of = sources.iter().map(list).collect::<Vec<_>>().join(", ");
        let from = if of.is_empty() { "no input".into() } else { format!("from {of}") };
        let what = format!("layer {name} ({from})");
        let several = matches!(layer, Layer::Add | Layer::Multiply | Layer::Concat { .. } | Layer::Custom(_));
        let inputs = if matches!(layer, Layer::Constant { .. }) { 0 } else { 1 };
        if !several && sources.len() != inputs {
            return Err(Error::shape(what, if inputs == 1 { "1 input" } else { "no input" }, sources.len()));
        }
        let (shapes, parameters, states) = match &layer {
            Layer::Tied(tied) => network.tied(tied, &name, &what, given[0]).map_err(|error| error.within(&what))?,
            _ => {
                let shapes = shapes::outputs(&layer, &what, &given).map_err(|error| error.within(&what))?;
                let first = network.parameters.len();
                let (parameters, states) = (layer.parameters(&given), layer.states(&given));
                if let Layer::Custom(custom) = &layer {
                    custom.check(&what, &shapes, parameters.iter().chain(&states))?;
                }
                for own in parameters {
                    network.add_parameter(format!("{name}.{}", own.role), own.shape, own.init, own.fans)?;
                }
                let first_state = network.states.len();
                for OwnParameter { role, shape, init, fans } in states {
                    // `finish` sets the offset, once the number of weights is known.
                    let (name, offset) = (format!("{name}.{role}"), 0);
                    network.states.push(Parameter { name, shape, offset, init, fans });
                }
                let own = (first..network.parameters.len()).collect();
                (shapes, own, (first_state..network.states.len()).collect())
            }
        };
        for shape in &shapes {
            if shape.elements() > LONGEST_TENSOR {
                let what = format!("output of {what}");
                return Err(Error::LimitExceeded {
                    what,
                    needed: shape.elements(),
                    limit: LONGEST_TENSOR,
                    unit: "numbers",
                });
            }
        }
        let node = network.nodes.len();
        let outputs = 0..shapes.len();
        network.nodes.push(Node { name, layer, inputs: sources, shapes, parameters, states });
        Ok(outputs.map(|output| self.value(Source::Node { node, output })).collect())
    }

    pub(super) fn value(&self, source: Source) -> Value {
        Value { graph: self.id, source }
    }

    /// The source of a value. Returns an error that names `what` if the value belongs to another graph.
    fn source(&self, value: Value, what: impl FnOnce() -> String) -> Result<Source> {
        match value.graph == self.id {
            true => Ok(value.source),
            false => Err(Error::shape(what(), "a value of this graph", "a value of another graph")),
        }
    }

    fn check_inputs(&self) -> Result<()> {
        for (i, TensorSpec { name, shape }) in self.network.inputs.iter().enumerate() {
            let features = shape.elements();
            if features == 0 || features > LONGEST_TENSOR || shape.is_empty() || shape.len() >= MOST_DIMENSIONS {
                let what = match &**name {
                    "input" => "shape of the input".into(),
                    name => format!("shape of the input {name}"),
                };
                let rank = if (1..MOST_DIMENSIONS).contains(&shape.len()) { "" } else { ", in 1 to 4 dimensions" };
                return Err(Error::shape(what, format!("1 to 2³⁰ features{rank}"), format!("{shape:?}")));
            }
            if name.is_empty() || self.network.inputs[..i].iter().any(|other| other.name == *name) {
                return Err(Error::shape(
                    "name of an input",
                    "a non-empty name that no other input has",
                    format!("{name:?}"),
                ));
            }
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let fault = |expected| Err(Error::shape("name of a layer", expected, format!("{name:?}")));
        if name.is_empty() || name.contains('.') {
            return fault("a non-empty name without dots");
        }
        match self.network.nodes.iter().any(|node| node.name == name) {
            true => fault("a name that no other layer has"),
            false => Ok(()),
        }
    }
}

/// A single value is a list of one.
impl IntoIterator for Value {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

impl Network {
    /// The output shapes, the parameters and the states of a tied layer.
    fn tied(&mut self, tied: &Tied, name: &str, what: &str, x: Shape) -> Result<(Vec<Shape>, Vec<usize>, Vec<usize>)> {
        let fault = |expected: String, actual: String| Err(Error::shape(what, expected, actual));
        let Some(target) = self.nodes.iter().find(|node| node.name == tied.to) else {
            let names: Vec<&str> =
                self.nodes.iter().filter(|node| !node.parameters.is_empty()).map(|node| &*node.name).collect();
            let which = if names.is_empty() { "there is none".into() } else { format!("one of {}", names.join(", ")) };
            return fault(format!("the name of an earlier layer with weights ({which})"), tied.to.clone());
        };
        let columns = x.last().copied().unwrap_or(1);
        let (weights, states) = (target.parameters.clone(), target.states.clone());
        let Some(&weight) = weights.first() else {
            return fault("a layer with weights".into(), format!("{}, which has none", tied.to));
        };
        let Some(activation) = tied.transposed else {
            if let Layer::Tied(_) = target.layer {
                let actual = format!("{}, which is tied to another layer", tied.to);
                return fault("a layer with its own weights".into(), actual);
            }
            let [given] = target.inputs[..] else {
                let actual = format!("{}, which has {}", tied.to, target.inputs.len());
                return fault("a layer with one input".into(), actual);
            };
            let expected = self.shape(given).last().copied().unwrap_or(1);
            if columns != expected {
                return fault(format!("{expected} features, the inputs of layer {}", tied.to), columns.to_string());
            }
            let own = target.layer.parameters(&[x]).into_iter().chain(target.layer.states(&[x]));
            let tensors = weights.iter().map(|&p| &self.parameters[p]).chain(states.iter().map(|&s| &self.states[s]));
            if !own.map(|own| own.shape).eq(tensors.map(|tensor| tensor.shape.clone())) {
                let expected = format!("an input that gives weights of the same shapes as in layer {}", tied.to);
                return fault(expected, format!("{x:?}"));
            }
            return Ok((shapes::outputs(&target.layer, what, &[x])?, weights, states));
        };
        if !matches!(target.layer, Layer::Dense(_)) {
            let actual = format!("{}, a {} layer", tied.to, target.layer.kind());
            return fault("a dense layer, the only kind whose weights can be transposed".into(), actual);
        }
        activation.check()?;
        let [inputs, units] = self.parameters[weight].shape[..] else { unreachable!("a dense layer's weights") };
        if columns != units {
            return fault(format!("{units} features, the outputs of layer {}", tied.to), columns.to_string());
        }
        let bias = self.parameters.len();
        self.add_parameter(format!("{name}.bias"), vec![inputs], crate::Init::Zeros, [units, inputs])?;
        Ok((vec![shapes::with_length(x, x.len() - 1, inputs)], vec![weight, bias], Vec::new()))
    }

    /// Runs the checks that need the complete network.
    pub(super) fn finish(mut self) -> Result<Self> {
        if self.nodes.is_empty() {
            return Err(Error::shape("network", "at least 1 layer", 0));
        }
        if self.outputs.is_empty() {
            return Err(Error::shape("network", "at least 1 output", 0));
        }
        let mut leads = vec![false; self.nodes.len()];
        let mut taken = vec![false; self.inputs.len()];
        let mut wanted = self.sources.clone();
        while let Some(source) = wanted.pop() {
            match source {
                Source::Input(input) => taken[input] = true,
                Source::Node { node, .. } if !leads[node] => {
                    leads[node] = true;
                    wanted.extend(&self.nodes[node].inputs);
                }
                Source::Node { .. } => {}
            }
        }
        let inputs = self.inputs.iter().zip(&taken).map(|(input, leads)| (format!("input {:?}", input.name), leads));
        let nodes = self.nodes.iter().zip(&leads).map(|(node, leads)| (format!("layer {}", node.name), leads));
        if let Some((what, _)) = inputs.chain(nodes).find(|(_, leads)| !**leads) {
            return Err(Error::shape(what, "a path to an output of the network", "none; connect it or remove it"));
        }
        for i in 0..self.outputs.len() {
            let last = self.last(i);
            if let Some(Node { name, layer: Layer::Dropout(_) | Layer::SpatialDropout(_), .. }) = last {
                let actual = format!("{name}; dropout does nothing outside training");
                return Err(Error::shape("last layer", "a layer other than dropout", actual));
            }
        }
        // An empty buffer cannot be bound.
        self.trained_words = self.trained_words.max(PARAMETER_ALIGNMENT);
        self.parameter_words = self.trained_words;
        for state in &mut self.states {
            state.offset = self.parameter_words;
            self.parameter_words = end_of(&state.name, &state.shape, state.offset)?;
        }
        Ok(self)
    }

    fn add_parameter(&mut self, name: String, shape: Vec<u32>, init: crate::Init, fans: [u32; 2]) -> Result<()> {
        let offset = self.trained_words;
        self.trained_words = end_of(&name, &shape, offset)?;
        self.parameters.push(Parameter { name, shape, offset, init, fans });
        Ok(())
    }
}

/// The offset after this tensor in the parameter buffer, aligned.
fn end_of(name: &str, shape: &[u32], offset: u32) -> Result<u32> {
    let len = shape.iter().fold(1u64, |len, &d| len.saturating_mul(d.into()));
    let needed = len.saturating_add(offset.into());
    if needed > LONGEST_TENSOR {
        let what = format!("weights up to {name}");
        return Err(Error::LimitExceeded { what, needed, limit: LONGEST_TENSOR, unit: "numbers" });
    }
    Ok((needed as u32).next_multiple_of(PARAMETER_ALIGNMENT))
}

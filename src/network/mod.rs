//! A network: layers and shapes, checked when built. A description only: it has no buffers and no device.

mod encoding;
mod layer;
mod summary;

use std::ops::Range;

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::init::Init;
pub(crate) use encoding::{BLOCK, Level};
pub use encoding::{Encoding, HashGrid};
pub use layer::{Dense, Layer, LayerNorm};
pub use summary::Summary;
pub(crate) use summary::thousands;

/// A tensor of weights: its name, its shape, and where it lies in the one parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Layer and role, as in `dense_1.weight`.
    pub name: String,
    /// Row-major shape: \[inputs, units\] for a dense weight, \[units\] for a bias.
    pub shape: Vec<u32>,
    /// Index of its first number in the parameter buffer, in f32; a multiple of [`PARAMETER_ALIGNMENT`].
    pub offset: u32,
    init: Init,
    fans: [u32; 2],
}

/// Tensors in the parameter buffer start at multiples of this many f32 (256 bytes, what every device can bind);
/// the gaps hold zeros.
pub const PARAMETER_ALIGNMENT: u32 = 64;

impl Parameter {
    /// How many numbers it holds.
    pub fn len(&self) -> u32 {
        self.shape.iter().product()
    }

    /// Always false: a built network has no empty tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its part of the parameter buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len()) as usize
    }

    /// The same in bytes, as `wgpu` counts: to bind or to copy it. It starts at a multiple of 256.
    pub fn bytes(&self) -> std::ops::Range<u64> {
        u64::from(self.offset) * 4..u64::from(self.offset + self.len()) * 4
    }
}

/// A layer in its place.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    name: String,
    layer: Layer,
    output_shape: Vec<u32>,
    /// Which of the network's parameters are its own.
    parameters: Range<usize>,
}

/// A network that has been checked: see [`Network::input`].
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    input_shape: Vec<u32>,
    layers: Vec<Placed>,
    parameters: Vec<Parameter>,
    parameter_words: u32,
}

/// Collects the layers of a [`Network`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct NetworkBuilder {
    input_shape: Vec<u32>,
    layers: Vec<Layer>,
}

impl NetworkBuilder {
    /// Adds a [`Dense`] layer with the default initialisers.
    pub fn dense(self, units: u32, activation: Activation) -> Self {
        self.layer(Dense::new(units, activation))
    }

    /// Adds an activation by itself. After a dense layer it costs what it would as that layer's own.
    pub fn activation(self, activation: Activation) -> Self {
        self.layer(activation)
    }

    /// Adds an [`Encoding`]: most often first of all.
    pub fn encoding(self, encoding: impl Into<Encoding>) -> Self {
        self.layer(encoding.into())
    }

    /// Adds [`Layer::Flatten`].
    pub fn flatten(self) -> Self {
        self.layer(Layer::Flatten)
    }

    /// Adds [`Layer::Dropout`].
    pub fn dropout(self, rate: f32) -> Self {
        self.layer(Layer::Dropout(rate))
    }

    /// Adds a [`LayerNorm`] with the default epsilon.
    pub fn layer_norm(self) -> Self {
        self.layer(LayerNorm::default())
    }

    /// Adds a layer.
    pub fn layer(mut self, layer: impl Into<Layer>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Checks the shapes and names the layers by kind and place: `dense_1`, `dropout_2`, `dense_3` and so on.
    ///
    /// # Errors
    /// [`Error::Shape`] where the input or a layer has no features, there is no layer, or a layer cannot take what comes
    /// in; [`Error::InvalidOption`] for a layer's option; [`Error::LimitExceeded`] where the weights are more than can be
    /// addressed (2³⁰ numbers).
    pub fn build(self) -> Result<Network> {
        let features = features(&self.input_shape);
        if features == 0 || features > LARGEST_ROW {
            return Err(Error::shape("shape of the input", "1 to 2³⁰ features", format!("{:?}", self.input_shape)));
        }
        if self.layers.is_empty() {
            return Err(Error::shape("network", "at least 1 layer", 0));
        }
        let mut shape = self.input_shape.clone();
        let mut network =
            Network { input_shape: self.input_shape, layers: vec![], parameters: vec![], parameter_words: 0 };
        for (i, layer) in self.layers.into_iter().enumerate() {
            let name = format!("{}_{}", layer.kind(), i + 1);
            let output_shape = layer.output_shape(&name, &shape)?;
            let first = network.parameters.len();
            for own in layer.parameters(features_of(&shape)) {
                network.add_parameter(format!("{name}.{}", own.role), own.shape, own.init, own.fans)?;
            }
            let parameters = first..network.parameters.len();
            shape.clone_from(&output_shape);
            network.layers.push(Placed { name, layer, output_shape, parameters });
        }
        let does_nothing =
            |layer: &&Placed| matches!(layer.layer, Layer::Flatten | Layer::Activation(Activation::Identity));
        let last = network.layers.iter().rev().find(|layer| !does_nothing(layer));
        if let Some(Placed { name, layer: Layer::Dropout(_), .. }) = last {
            return Err(Error::shape("last layer", "one that is there outside of training too", name));
        }
        // A buffer of no length could not be bound.
        network.parameter_words = network.parameter_words.max(PARAMETER_ALIGNMENT);
        Ok(network)
    }
}

/// Most numbers of a row or of all weights: what the kernels' 32-bit indices can address.
const LARGEST_ROW: u64 = 1 << 30;

fn features(shape: &[u32]) -> u64 {
    shape.iter().fold(1, |n: u64, &d| n.saturating_mul(d.into()))
}

fn features_of(shape: &[u32]) -> u32 {
    shape.iter().product()
}

impl Network {
    /// Starts a network whose rows have this many features.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input(784)
    ///     .dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity)
    ///     .build()?;
    /// assert_eq!(network.parameter_count(), 567_434);
    /// println!("{}", network.summary());
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn input(features: u32) -> NetworkBuilder {
        Self::input_shape([features])
    }

    /// Starts a network whose rows have a shape, such as \[height, width, channels\]. Dense layers want a
    /// [`flatten`](NetworkBuilder::flatten) first.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input_shape([28, 28]).flatten().dense(10, Identity).build()?;
    /// assert_eq!((network.inputs(), network.outputs()), (784, 10));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn input_shape(shape: impl Into<Vec<u32>>) -> NetworkBuilder {
        NetworkBuilder { input_shape: shape.into(), layers: Vec::new() }
    }

    /// Features of an input row.
    pub fn inputs(&self) -> u32 {
        features_of(&self.input_shape)
    }

    /// Features of an output row.
    pub fn outputs(&self) -> u32 {
        self.layers.last().map_or(self.inputs(), |placed| features_of(&placed.output_shape))
    }

    /// The activation at its end.
    pub fn output_activation(&self) -> Activation {
        let counts = |placed: &&Placed| placed.layer != Layer::Flatten;
        self.layers.iter().rev().find(counts).map_or(Activation::Identity, |placed| placed.layer.activation())
    }

    /// The builder that makes it.
    pub fn to_builder(&self) -> NetworkBuilder {
        let layers = self.layers.iter().map(|placed| placed.layer).collect();
        NetworkBuilder { input_shape: self.input_shape.clone(), layers }
    }

    /// Each layer with its name, first to last.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &Layer)> + Clone {
        self.layers.iter().map(|placed| (placed.name.as_str(), &placed.layer))
    }

    /// The features that come out of each layer, and which of [`parameters`](Self::parameters) are its own.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u32, Range<usize>)> + Clone {
        self.layers.iter().map(|placed| (features_of(&placed.output_shape), placed.parameters.clone()))
    }

    /// Every tensor of weights, in the order of the parameter buffer.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// How many weights are trained.
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().map(|p| u64::from(p.len())).sum()
    }

    /// Length of the parameter buffer in f32, gaps included.
    pub fn parameter_words(&self) -> u32 {
        self.parameter_words
    }

    /// Refuses weights that are not laid out as [`parameters`](Self::parameters) says, and weights that are not finite.
    pub(crate) fn check_parameters(&self, parameters: &[f32]) -> Result<()> {
        if parameters.len() == self.parameter_words as usize {
            return self.check_finite("", parameters);
        }
        let expected = format!("{} numbers, gaps included", self.parameter_words);
        Err(Error::shape("parameters", expected, parameters.len()))
    }

    /// Refuses NaN and infinities among weights (`of` is empty), or among what the optimizer keeps for them (`of` names that
    /// buffer, as in "moment_1"), laid out as [`parameters`](Self::parameters) says. Names the tensor, or the gap before one.
    pub(crate) fn check_finite(&self, of: &str, values: &[f32]) -> Result<()> {
        let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let own = self.parameters.iter().find(|p| p.range().contains(&at));
        let (name, index) = match own {
            Some(p) => (p.name.clone(), at - p.offset as usize),
            None => ("the parameter buffer (in a gap)".into(), at),
        };
        let tensor = if of.is_empty() { name } else { format!("{of} of {name}") };
        Err(Error::NonFiniteParameter { tensor, index, value: values[at] })
    }

    /// The weights a training run with this seed starts from, laid out as the parameter buffer.
    pub fn initial_parameters(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.parameter_words as usize];
        for (i, p) in self.parameters.iter().enumerate() {
            let row = p.shape.last().copied().unwrap_or(1);
            p.init.fill(&mut values[p.range()], row, p.fans, seed, i as u32);
        }
        values
    }

    /// A table of layers: name, output shape, parameters, and their total.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    fn add_parameter(&mut self, name: String, shape: Vec<u32>, init: Init, fans: [u32; 2]) -> Result<()> {
        let offset = self.parameter_words;
        let len: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let end = (u64::from(offset) + len).next_multiple_of(u64::from(PARAMETER_ALIGNMENT));
        if end > LARGEST_ROW {
            let what = format!("weights up to {name}");
            return Err(Error::LimitExceeded { what, needed: end, limit: LARGEST_ROW, unit: "numbers" });
        }
        self.parameter_words = end as u32;
        self.parameters.push(Parameter { name, shape, offset, init, fans });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Activation::*;
    use super::*;

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
            assert_eq!(p.offset % PARAMETER_ALIGNMENT, 0);
            inside[p.range()].fill(true);
        }
        assert!(values.iter().zip(&inside).all(|(&v, &inside)| inside || v == 0.0));
        assert_eq!(network.parameter_count(), 3 * 5 + 5 + 5 + 1);
    }

    #[test]
    fn an_initialiser_that_is_not_finite_is_refused() {
        let dense = Dense::new(1, Relu).bias_init(Init::Normal { std: f32::INFINITY });
        let message = Network::input(1).layer(dense).build().unwrap_err().to_string();
        assert_eq!(message, "std of Init::Normal must be finite, got inf");
    }

    #[test]
    fn a_number_that_is_not_finite_is_named() {
        let network = Network::input(3).dense(2, Relu).dense(1, Identity).build().unwrap();
        let fault = |of: &str, at: usize, value: f32| {
            let mut values = network.initial_parameters(0);
            values[at] = value;
            network.check_finite(of, &values).unwrap_err().to_string()
        };
        let finite = "weights and optimizer moments must be finite";
        let last = network.parameters()[2].range().end - 1;
        assert_eq!(fault("", 5, f32::NAN), format!("number 5 of dense_1.weight is NaN: {finite}"));
        assert_eq!(
            fault("moment_1", last, f32::NEG_INFINITY),
            format!("number 1 of moment_1 of dense_2.weight is -inf: {finite}")
        );
        assert!(fault("", 6, f32::INFINITY).starts_with("number 6 of the parameter buffer (in a gap) is inf: "));
        assert!(network.check_finite("", &network.initial_parameters(0)).is_ok());
    }

    #[test]
    fn a_shape_fault_names_the_layer() {
        let fault = |builder: NetworkBuilder| builder.build().unwrap_err().to_string();
        // What comes after it does nothing.
        assert_eq!(
            fault(Network::input(4).dense(3, Relu).dropout(0.5).activation(Identity).flatten()),
            "last layer: expected one that is there outside of training too, got dropout_2"
        );
        assert_eq!(fault(Network::input(0).dense(1, Relu)), "shape of the input: expected 1 to 2³⁰ features, got [0]");
        assert_eq!(fault(Network::input(1)), "network: expected at least 1 layer, got 0");
        assert_eq!(
            fault(Network::input(4).dense(3, Relu).dense(0, Relu)),
            "layer dense_2: expected at least 1 unit, got 0"
        );
        assert!(fault(Network::input(1 << 20).dense(1 << 20, Relu)).starts_with("weights up to dense_1.weight"));
    }
}

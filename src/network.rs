//! A network: layers and shapes, checked when built. A description only: it has no buffers and no device.

use std::fmt;

use crate::error::{Error, Result};
use crate::init::Init;

/// A function applied to each output of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Activation {
    /// z. For logits.
    #[default]
    Identity,
    /// max(z, 0); its derivative at 0 is taken as 0.
    Relu,
    /// 1 / (1 + e^−z).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// A fully connected layer: y = activation(x · W + b), with W of shape \[inputs, units\].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dense {
    pub(crate) units: u32,
    pub(crate) activation: Activation,
    pub(crate) weight_init: Init,
    pub(crate) bias_init: Init,
}

impl Dense {
    /// A layer of `units` outputs. Weights start as [`Init::HeUniform`] for relu and [`Init::GlorotUniform`]
    /// otherwise, biases as zeros.
    pub fn new(units: u32, activation: Activation) -> Self {
        let weight_init = match activation {
            Activation::Relu => Init::HeUniform,
            _ => Init::GlorotUniform,
        };
        Self { units, activation, weight_init, bias_init: Init::Zeros }
    }

    /// How many outputs it has.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// What is applied to each of its outputs.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Another start for the weights.
    pub fn weight_init(mut self, init: Init) -> Self {
        self.weight_init = init;
        self
    }

    /// Another start for the biases.
    pub fn bias_init(mut self, init: Init) -> Self {
        self.bias_init = init;
        self
    }
}

/// One layer of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// See [`Dense`].
    Dense(Dense),
}

impl From<Dense> for Layer {
    fn from(dense: Dense) -> Self {
        Layer::Dense(dense)
    }
}

impl Layer {
    fn kind(&self) -> &'static str {
        match self {
            Layer::Dense(_) => "dense",
        }
    }

    /// Features of a row that comes out.
    pub fn outputs(&self) -> u32 {
        match self {
            Layer::Dense(dense) => dense.units,
        }
    }

    /// How many tensors of weights it has.
    pub(crate) fn parameter_count(&self) -> usize {
        match self {
            Layer::Dense(_) => 2,
        }
    }

    pub(crate) fn activation(&self) -> Activation {
        match self {
            Layer::Dense(dense) => dense.activation,
        }
    }
}

/// A tensor of weights: its name, its shape, and where it lies in the one parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Layer and role, as in `dense_1.weight`.
    pub name: String,
    /// Row-major shape: \[inputs, units\] for a dense weight, \[units\] for a bias.
    pub shape: Vec<u32>,
    /// Index of its first number in the parameter buffer, in f32; a multiple of [`PARAMETER_ALIGNMENT`].
    pub offset: u32,
    pub(crate) init: Init,
    pub(crate) fans: (u32, u32),
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
}

/// A network that has been checked: see [`Network::input`].
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    inputs: u32,
    layers: Vec<(String, Layer)>,
    parameters: Vec<Parameter>,
    parameter_words: u32,
}

/// Collects the layers of a [`Network`].
#[derive(Debug, Clone)]
pub struct NetworkBuilder {
    inputs: u32,
    layers: Vec<Layer>,
}

impl NetworkBuilder {
    /// Adds a [`Dense`] layer with the default initialisers.
    pub fn dense(self, units: u32, activation: Activation) -> Self {
        self.layer(Dense::new(units, activation))
    }

    /// Adds a layer.
    pub fn layer(mut self, layer: impl Into<Layer>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Checks the shapes and names the layers: `dense_1`, `dense_2` and so on.
    ///
    /// # Errors
    /// [`Error::Shape`] where the input or a layer has no features or there is no layer;
    /// [`Error::LimitExceeded`] where the weights are more than can be addressed (2³⁰ numbers).
    pub fn build(self) -> Result<Network> {
        let shape = |what: String, expected: &str, actual: &str| {
            Err(Error::Shape { what, expected: expected.into(), actual: actual.into() })
        };
        if self.inputs == 0 {
            return shape("input".into(), "at least 1 feature", "0");
        }
        if self.layers.is_empty() {
            return shape("network".into(), "at least 1 layer", "0");
        }
        let mut network =
            Network { inputs: self.inputs, layers: Vec::new(), parameters: Vec::new(), parameter_words: 0 };
        let mut inputs = self.inputs;
        for (i, layer) in self.layers.into_iter().enumerate() {
            let name = format!("{}_{}", layer.kind(), i + 1);
            if layer.outputs() == 0 {
                return shape(format!("layer {name}"), "at least 1 unit", "0");
            }
            match layer {
                Layer::Dense(Dense { units, weight_init, bias_init, .. }) => {
                    let fans = (inputs, units);
                    network.add_parameter(format!("{name}.weight"), vec![inputs, units], weight_init, fans)?;
                    network.add_parameter(format!("{name}.bias"), vec![units], bias_init, fans)?;
                }
            }
            inputs = layer.outputs();
            network.layers.push((name, layer));
        }
        Ok(network)
    }
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
        NetworkBuilder { inputs: features, layers: Vec::new() }
    }

    /// Features of an input row.
    pub fn inputs(&self) -> u32 {
        self.inputs
    }

    /// Features of an output row.
    pub fn outputs(&self) -> u32 {
        self.layers.last().map_or(self.inputs, |(_, layer)| layer.outputs())
    }

    /// Each layer with its name, first to last.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &Layer)> + Clone {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer))
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

    /// The weights a training run with this seed starts from, laid out as the parameter buffer.
    pub fn initial_parameters(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.parameter_words as usize];
        for (i, p) in self.parameters.iter().enumerate() {
            p.init.fill(&mut values[p.range()], p.fans.0, p.fans.1, seed, i as u32);
        }
        values
    }

    /// A table of layers: name, output shape, parameters, and their total.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    fn add_parameter(&mut self, name: String, shape: Vec<u32>, init: Init, fans: (u32, u32)) -> Result<()> {
        const LIMIT: u64 = 1 << 30;
        let offset = self.parameter_words;
        let len: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let end = (u64::from(offset) + len).next_multiple_of(u64::from(PARAMETER_ALIGNMENT));
        if end > LIMIT {
            return Err(Error::LimitExceeded {
                what: format!("weights up to {name}"),
                needed: end,
                limit: LIMIT,
                unit: "numbers",
            });
        }
        self.parameter_words = end as u32;
        self.parameters.push(Parameter { name, shape, offset, init, fans });
        Ok(())
    }
}

/// The table that [`Network::summary`] makes; print it.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a>(&'a Network);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0;
        writeln!(f, "{:<28}{:<18}{:>12}", "Layer", "Output shape", "Parameters")?;
        writeln!(f, "{:<28}{:<18}{:>12}", "input", format!("[batch, {}]", network.inputs), 0)?;
        for (name, layer) in &network.layers {
            let own = |p: &&Parameter| p.name.split('.').next() == Some(name);
            let count: u64 = network.parameters.iter().filter(own).map(|p| u64::from(p.len())).sum();
            let title = format!("{name} ({})", format!("{:?}", layer.activation()).to_lowercase());
            let shape = format!("[batch, {}]", layer.outputs());
            writeln!(f, "{title:<28}{shape:<18}{:>12}", thousands(count))?;
        }
        write!(f, "Total params: {}", thousands(network.parameter_count()))
    }
}

/// 567434 as 567,434.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
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
    fn a_shape_fault_names_the_layer() {
        let fault = |builder: NetworkBuilder| builder.build().unwrap_err().to_string();
        assert_eq!(fault(Network::input(0).dense(1, Relu)), "input: expected at least 1 feature, got 0");
        assert_eq!(fault(Network::input(1)), "network: expected at least 1 layer, got 0");
        assert_eq!(
            fault(Network::input(4).dense(3, Relu).dense(0, Relu)),
            "layer dense_2: expected at least 1 unit, got 0"
        );
        assert!(fault(Network::input(1 << 20).dense(1 << 20, Relu)).starts_with("weights up to dense_1.weight"));
    }
}

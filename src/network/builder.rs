//! A network that is a chain, with side paths: sugar over [`Graph`].

use super::{BatchNorm, Conv, Dense, Graph, Layer, LayerNorm, Network, Pool, Size, Value};
use crate::activation::Activation;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::ops::Pooling;
use crate::shape::Shape;

/// Collects the layers of a [`Network`], each of which takes what the one before puts out: see [`Network::input`]. What
/// is wrong with one of them is an error of [`build`](Self::build).
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkBuilder {
    pub(super) input: Shape,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub what: What,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Layer(Layer),
    /// What comes in, plus what these make of it.
    Residual(Vec<Step>),
    /// What these make of what comes in, side by side.
    Branch([Vec<Step>; 2]),
    /// A reduction over all axes but the last.
    Global(Pooling),
    /// A name that came before any layer.
    Nothing,
}

impl NetworkBuilder {
    /// Adds a [`Dense`] layer with the default initialisers.
    pub fn dense(self, units: u32, activation: Activation) -> Self {
        self.layer(Dense::new(units, activation))
    }

    /// Adds a [`Conv`] layer: stride 1, no padding ("valid", as is Keras' default), the default initialisers.
    pub fn conv(self, channels: u32, kernel: impl Into<Size>, activation: Activation) -> Self {
        self.layer(Conv::new(channels, kernel).activation(activation))
    }

    /// Adds [`Pool::max`]: windows of this size side by side.
    pub fn max_pool(self, size: impl Into<Size>) -> Self {
        self.layer(Pool::max(size))
    }

    /// Adds [`Pool::average`]: windows of this size side by side.
    pub fn average_pool(self, size: impl Into<Size>) -> Self {
        self.layer(Pool::average(size))
    }

    /// Adds the mean of each channel over all positions, [`Layer::ReduceMean`]: \[height, width, channels\] or
    /// \[steps, channels\] become \[channels\].
    pub fn global_average_pool(self) -> Self {
        self.step(What::Global(Pooling::Average))
    }

    /// Adds the maximum of each channel over all positions, [`Layer::ReduceMax`].
    pub fn global_max_pool(self) -> Self {
        self.step(What::Global(Pooling::Max))
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

    /// Adds a [`BatchNorm`] with the default epsilon and momentum. A dense layer before it needs no bias.
    pub fn batch_norm(self) -> Self {
        self.layer(BatchNorm::default())
    }

    /// Adds a layer of one input.
    pub fn layer(self, layer: impl Into<Layer>) -> Self {
        self.step(What::Layer(layer.into()))
    }

    /// Adds the sum of what is there and of what some layers make of it: He et al., 2016. The shapes must be alike, or
    /// go together as in [`Layer::Add`].
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input(784).dense(64, Relu)
    ///     .residual(|x| x.layer_norm().dense(64, Relu).dense(64, Identity))
    ///     .dense(10, Softmax)
    ///     .build()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn residual(self, layers: impl FnOnce(Self) -> Self) -> Self {
        let inner = layers(self.side());
        self.step(What::Residual(inner.steps))
    }

    /// Adds two paths from here, whose outputs stand side by side along the last axis: as in [`Layer::Concat`] with
    /// axis −1. A path that adds no layer hands on what it is given.
    pub fn branch(self, first: impl FnOnce(Self) -> Self, second: impl FnOnce(Self) -> Self) -> Self {
        let paths = [first(self.side()).steps, second(self.side()).steps];
        self.step(What::Branch(paths))
    }

    /// Gives the last layer a name of its own, instead of that by kind and place; after
    /// [`residual`](Self::residual) or [`branch`](Self::branch), the sum or the concatenation. Names are what files,
    /// [`Group`](crate::Group)s, [`Tied`](crate::Tied) and errors use.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = Some(name.into());
        match self.steps.last_mut() {
            Some(step) => step.name = name,
            None => self.steps.push(Step { what: What::Nothing, name }),
        }
        self
    }

    /// Checks the shapes and names the layers by kind and place: `dense_1`, `dropout_2`, `dense_3` and so on, but for
    /// those that have a [name](Self::named).
    ///
    /// # Errors
    /// [`Error::Shape`] where the input or a layer has no features, there is no layer, a layer cannot take what comes
    /// in, or a name is there already; [`Error::InvalidOption`] for a layer's option; [`Error::LimitExceeded`] where
    /// the weights are more than can be addressed (2³⁰ numbers).
    pub fn build(self) -> Result<Network> {
        let mut graph = Graph::new();
        let input = graph.input("input", self.input);
        let output = add(&mut graph, self.steps, input)?;
        graph.build([("output", output)])
    }

    /// An empty path from here.
    fn side(&self) -> Self {
        Self { input: self.input, steps: Vec::new() }
    }

    fn step(mut self, what: What) -> Self {
        self.steps.push(Step { what, name: None });
        self
    }
}

fn add(graph: &mut Graph, steps: Vec<Step>, mut x: Value) -> Result<Value> {
    for Step { what, name } in steps {
        let (layer, inputs) = match what {
            What::Layer(layer) => (layer, vec![x]),
            What::Global(how) => {
                let shape = graph.shape(x)?;
                if shape.len() < 2 {
                    let expected = "samples of shape [height, width, channels] or [steps, channels]";
                    return Err(Error::shape("input of a global pool", expected, format!("{shape:?}")));
                }
                let axes = (0..shape.len() as i32 - 1).collect();
                let layer = if how == Pooling::Max { Layer::ReduceMax(axes) } else { Layer::ReduceMean(axes) };
                (layer, vec![x])
            }
            What::Residual(steps) => (Layer::Add, vec![x, add(graph, steps, x)?]),
            What::Branch([a, b]) => (Layer::Concat { axis: -1 }, vec![add(graph, a, x)?, add(graph, b, x)?]),
            What::Nothing => {
                let name = name.unwrap_or_default();
                return Err(Error::shape(format!("what is to be named {name:?}"), "a layer", "the input"));
            }
        };
        let outputs = graph.push(layer, &inputs, name.clone())?;
        x = match outputs[..] {
            [output] => output,
            _ => {
                let expected = "one output: more of them need a Graph";
                return Err(Error::shape("layer of a chain", expected, outputs.len()));
            }
        };
    }
    Ok(x)
}

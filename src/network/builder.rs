//! Builds a chain of layers with residual connections and branches, on top of [`Graph`].

use super::{BatchNorm, Conv, Dense, Graph, Layer, LayerNorm, Network, Pool, Size, Value};
use crate::activation::Activation;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::ops::Pooling;
use crate::shape::Shape;

/// Builds a chain of layers. Each layer takes the output of the layer before it.
///
/// [`Network::input`] starts it. [`build`](Self::build) checks the layers and returns the first error.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkBuilder {
    pub(super) input: Shape,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub kind: StepKind,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum StepKind {
    Layer(Layer),
    /// The input plus the output of these layers.
    Residual(Vec<Step>),
    /// The outputs of two paths, concatenated.
    Branch([Vec<Step>; 2]),
    /// A reduction over all axes except the last.
    Global(Pooling),
    /// A name given before the first layer: an error.
    Nothing,
}

impl NetworkBuilder {
    /// Adds a [`Dense`] layer with the default initialisers.
    pub fn dense(self, units: u32, activation: Activation) -> Self {
        self.layer(Dense::new(units, activation))
    }

    /// Adds a [`Conv`] layer with stride 1, no padding ("valid", as in Keras) and the default initialisers.
    pub fn conv(self, channels: u32, kernel: impl Into<Size>, activation: Activation) -> Self {
        self.layer(Conv::new(channels, kernel).activation(activation))
    }

    /// Adds max pooling with windows of this size, which do not overlap. See [`Pool::max`].
    pub fn max_pool(self, size: impl Into<Size>) -> Self {
        self.layer(Pool::max(size))
    }

    /// Adds average pooling with windows of this size, which do not overlap. See [`Pool::average`].
    pub fn average_pool(self, size: impl Into<Size>) -> Self {
        self.layer(Pool::average(size))
    }

    /// Adds global average pooling: the mean of each channel over all positions. \[height, width, channels\] or
    /// \[steps, channels\] becomes \[channels\]. See [`Layer::ReduceMean`].
    pub fn global_average_pool(self) -> Self {
        self.step(StepKind::Global(Pooling::Average))
    }

    /// Adds global max pooling: the maximum of each channel over all positions. See [`Layer::ReduceMax`].
    pub fn global_max_pool(self) -> Self {
        self.step(StepKind::Global(Pooling::Max))
    }

    /// Adds an activation as a layer. After a dense layer without an activation, it is as fast as the dense layer's
    /// own.
    pub fn activation(self, activation: Activation) -> Self {
        self.layer(activation)
    }

    /// Adds an [`Encoding`], usually as the first layer.
    pub fn encoding(self, encoding: impl Into<Encoding>) -> Self {
        self.layer(encoding.into())
    }

    /// Adds encodings of parts of a row, side by side. Each has a number of coordinates and an encoding. See
    /// [`Layer::CompositeEncoding`].
    ///
    /// ```
    /// use wgrad::{Activation::*, Encoding, HashGrid, Network};
    /// // A position, a direction and two other numbers.
    /// let radiance = Network::input(8)
    ///     .composite_encoding([
    ///         (3, HashGrid::default().into()),
    ///         (3, Encoding::SphericalHarmonics { degree: 4 }),
    ///         (2, Encoding::Identity { scale: 1.0, offset: 0.0 }),
    ///     ])
    ///     .dense(64, Relu)
    ///     .dense(3, Identity)
    ///     .build()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn composite_encoding(self, parts: impl IntoIterator<Item = (u32, Encoding)>) -> Self {
        self.layer(Layer::CompositeEncoding(parts.into_iter().collect()))
    }

    /// Adds [`Layer::Flatten`], which reshapes a sample to one dimension.
    pub fn flatten(self) -> Self {
        self.layer(Layer::Flatten)
    }

    /// Adds [`Layer::Dropout`] with this rate, from 0 to below 1.
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

    /// Adds any layer with one input.
    pub fn layer(self, layer: impl Into<Layer>) -> Self {
        self.step(StepKind::Layer(layer.into()))
    }

    /// Adds a residual connection: the input plus the output of the given layers (He et al., 2016). The two shapes must
    /// be equal, or broadcast as in [`Layer::Add`].
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
        self.step(StepKind::Residual(inner.steps))
    }

    /// Adds two parallel paths and concatenates their outputs along the last axis. A path without layers returns its
    /// input. See [`Layer::Concat`].
    pub fn branch(self, first: impl FnOnce(Self) -> Self, second: impl FnOnce(Self) -> Self) -> Self {
        let paths = [first(self.side()).steps, second(self.side()).steps];
        self.step(StepKind::Branch(paths))
    }

    /// Names the last layer. After [`residual`](Self::residual) or [`branch`](Self::branch), names the sum or the
    /// concatenation. The name replaces the default name. Files, [`Group`](crate::Group)s, [`Tied`](crate::Tied) layers
    /// and errors use it.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = Some(name.into());
        match self.steps.last_mut() {
            Some(step) => step.name = name,
            None => self.steps.push(Step { kind: StepKind::Nothing, name }),
        }
        self
    }

    /// Checks the shapes and builds the network. The default name of a layer is its kind and its position: `dense_1`,
    /// `dropout_2`, `dense_3`. See [`named`](Self::named).
    ///
    /// # Errors
    /// - [`Error::Shape`] if there is no layer, or if the input or a layer has no features.
    /// - [`Error::Shape`] if a layer cannot take its input, or if a name is taken.
    /// - [`Error::InvalidOption`] if an option of a layer is invalid.
    /// - [`Error::LimitExceeded`] if the weights have more than 2³⁰ elements.
    pub fn build(self) -> Result<Network> {
        let mut graph = Graph::new();
        let input = graph.input("input", self.input);
        let output = add(&mut graph, self.steps, input)?;
        graph.build([("output", output)])
    }

    /// An empty path that starts here.
    fn side(&self) -> Self {
        Self { input: self.input, steps: Vec::new() }
    }

    fn step(mut self, kind: StepKind) -> Self {
        self.steps.push(Step { kind, name: None });
        self
    }
}

fn add(graph: &mut Graph, steps: Vec<Step>, mut x: Value) -> Result<Value> {
    for Step { kind, name } in steps {
        let (layer, inputs) = match kind {
            StepKind::Layer(layer) => (layer, vec![x]),
            StepKind::Global(how) => {
                let shape = graph.shape(x)?;
                if shape.len() < 2 {
                    let expected = "samples of shape [height, width, channels] or [steps, channels]";
                    return Err(Error::shape("input of a global pool", expected, format!("{shape:?}")));
                }
                let axes = (0..shape.len() as i32 - 1).collect();
                let layer = if how == Pooling::Max { Layer::ReduceMax(axes) } else { Layer::ReduceMean(axes) };
                (layer, vec![x])
            }
            StepKind::Residual(steps) => (Layer::Add, vec![x, add(graph, steps, x)?]),
            StepKind::Branch([a, b]) => (Layer::Concat { axis: -1 }, vec![add(graph, a, x)?, add(graph, b, x)?]),
            StepKind::Nothing => {
                let name = name.unwrap_or_default();
                return Err(Error::shape(format!("value to name {name:?}"), "the output of a layer", "the input"));
            }
        };
        let outputs = graph.push(layer, &inputs, name.clone())?;
        x = match outputs[..] {
            [output] => output,
            _ => {
                let actual = format!("{}; use Graph for a layer with several outputs", outputs.len());
                return Err(Error::shape("layer of a chain", "one output", actual));
            }
        };
    }
    Ok(x)
}

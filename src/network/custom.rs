//! Custom layers.

use std::fmt::Debug;
use std::sync::Arc;

use super::LayerOps;
use super::layer::OwnParameter;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::shape::{MOST_DIMENSIONS, Shape};

/// A custom layer: its output shapes, its weights, and the kernels of its forward and backward pass.
///
/// [`Graph::layer`](crate::Graph::layer) and [`NetworkBuilder::layer`](crate::NetworkBuilder::layer) take it.
/// [`check_layer`](crate::lockstep::check_layer) tests it.
///
/// ```
/// use wgrad::{CustomLayer, CustomOp, LayerOps, Network, Result, Shape};
///
/// /// y = x².
/// #[derive(Debug)]
/// struct Square;
///
/// impl CustomLayer for Square {
///     fn kind(&self) -> &str {
///         "square"
///     }
///
///     fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
///         Ok(vec![inputs[0]])
///     }
///
///     fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
///         let (x, y) = (ops.inputs[0], ops.outputs[0]);
///         let kernel = CustomOp::new("forward", "fn run(i: u32) { y[i] = x[i] * x[i]; }");
///         ops.run(kernel.read("x", x).write("y", y).invocations(y.len()))
///     }
///
///     fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()> {
///         // None if the gradient is not needed.
///         let Some(dx) = ops.input_gradients[0] else { return Ok(()) };
///         let (x, dy) = (ops.inputs[0], ops.output_gradient(0)?);
///         let kernel = CustomOp::new("backward", "fn run(i: u32) { dx[i] = 2.0 * x[i] * dy[i]; }");
///         ops.run(kernel.read("x", x).read("dy", dy).write("dx", dx).invocations(dx.len()))
///     }
/// }
///
/// let network = Network::input(3).layer(Square).build()?;
/// assert_eq!(network.layers().next().unwrap().0, "square_1");
/// # Ok::<(), wgrad::Error>(())
/// ```
pub trait CustomLayer: Debug + Send + Sync {
    /// The kind of layer, without dots. Default names (`sine_1`) and files use it.
    fn kind(&self) -> &str;

    /// The options as text, usually JSON, for files. [`register_layer`](crate::custom::register_layer) sets how a layer
    /// is made from them. Layers with the same kind and options are equal. Default "".
    fn options(&self) -> String {
        String::new()
    }

    /// The shape of each output for one sample, given the shapes of the inputs. There must be at least one output.
    ///
    /// # Errors
    /// Any error if the layer cannot take the inputs. Usually [`Error::Shape`], made by [`Error::shape`].
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>>;

    /// The trained tensors. Default none.
    fn parameters(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        let _ = inputs;
        Vec::new()
    }

    /// The tensors that its kernels update without the optimizer, such as running means. They are saved with the
    /// weights. Default none.
    fn states(&self, inputs: &[Shape]) -> Vec<CustomParameter> {
        let _ = inputs;
        Vec::new()
    }

    /// Adds the kernels that write every output.
    ///
    /// # Errors
    /// The errors of [`LayerOps`].
    fn forward(&self, ops: &mut LayerOps<'_>) -> Result<()>;

    /// Adds the kernels that write the gradient of each input and each parameter for which a gradient is requested. It
    /// is not called if none is requested.
    ///
    /// # Errors
    /// The errors of [`LayerOps`].
    fn backward(&self, ops: &mut LayerOps<'_>) -> Result<()>;
}

/// A trained tensor or a state of a [`CustomLayer`].
#[derive(Debug, Clone, PartialEq)]
pub struct CustomParameter {
    /// The second part of its name, for example `weight` in `sine_1.weight`.
    pub name: String,
    /// The shape.
    pub shape: Shape,
    /// The initialiser.
    pub init: Init,
    /// Fan-in and fan-out, for initialisers that use them. [`new`](Self::new) sets the first and the last dimension.
    pub fans: [u32; 2],
}

impl CustomParameter {
    /// A tensor with this name, shape and initialiser.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Self {
        let shape = shape.into();
        let fans = [shape.first(), shape.last()].map(|length| length.copied().unwrap_or(1));
        Self { name: name.into(), shape, init, fans }
    }
}

/// A custom layer in a network. Clones share the layer.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "files", serde(into = "Described", try_from = "Described"))]
pub struct Custom(pub(crate) Arc<dyn CustomLayer>);

impl Custom {
    /// Returns an error for outputs and tensors that plans or files cannot represent.
    pub(super) fn check<'a>(
        &self,
        what: &str,
        outputs: &[Shape],
        tensors: impl Iterator<Item = &'a OwnParameter> + Clone,
    ) -> Result<()> {
        let fault =
            |of: &str, expected: &str, actual: String| Err(Error::shape(format!("{of} of {what}"), expected, actual));
        let kind = self.0.kind();
        if kind.is_empty() || kind.contains(is_no_name) {
            return fault("kind", "a non-empty text without dots and control characters", format!("{kind:?}"));
        }
        let is_sample = |shape: &[u32]| (1..MOST_DIMENSIONS).contains(&shape.len()) && !shape.contains(&0);
        if outputs.is_empty() || !outputs.iter().all(|shape| is_sample(shape)) {
            let expected = "at least one output, each with 1 to 4 dimensions and no length of 0";
            return fault("outputs", expected, format!("{outputs:?}"));
        }
        for (i, OwnParameter { role, shape, init, fans }) in tensors.clone().enumerate() {
            if role.is_empty() || role.contains(is_no_name) || tensors.clone().take(i).any(|other| other.role == *role)
            {
                let expected = "a unique, non-empty name without dots and control characters";
                return fault("name of a parameter or state", expected, format!("{role:?}"));
            }
            if shape.is_empty() || shape.contains(&0) || fans.contains(&0) {
                let expected = "at least 1 dimension, and no length or fan of 0";
                return fault(&format!("tensor {role}"), expected, format!("{shape:?} with fans {fans:?}"));
            }
            init.check().map_err(|error| error.within(what))?;
        }
        Ok(())
    }
}

/// Whether a character is forbidden in the name of a layer or a tensor.
fn is_no_name(c: char) -> bool {
    c == '.' || c.is_control()
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.kind(), self.0.options()) == (other.0.kind(), other.0.options())
    }
}

/// A custom layer in a file.
#[cfg(feature = "files")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Described {
    kind: String,
    options: String,
}

#[cfg(feature = "files")]
impl From<Custom> for Described {
    fn from(Custom(layer): Custom) -> Self {
        Self { kind: layer.kind().into(), options: layer.options() }
    }
}

#[cfg(feature = "files")]
impl TryFrom<Described> for Custom {
    type Error = Error;

    fn try_from(Described { kind, options }: Described) -> Result<Self> {
        let Some(registered) = REGISTERED.find(&kind) else { return Err(REGISTERED.not_found(&kind)) };
        let layer = (registered.make)(&options)?;
        match layer.kind() == kind {
            true => Ok(Self(layer)),
            false => Err(Error::shape(
                format!("custom layer {kind}"),
                "its registered function to return a layer of this kind",
                layer.kind(),
            )),
        }
    }
}

/// Makes a layer from its options.
#[cfg(feature = "files")]
#[derive(Clone)]
pub(crate) struct Registered {
    pub of: std::any::TypeId,
    pub make: Arc<Make>,
}

#[cfg(feature = "files")]
type Make = dyn Fn(&str) -> Result<Arc<dyn CustomLayer>> + Send + Sync;

/// Equal if the type of layer is the same.
#[cfg(feature = "files")]
impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        self.of == other.of
    }
}

#[cfg(feature = "files")]
pub(crate) static REGISTERED: crate::registry::Registry<Registered> = crate::registry::Registry::new("layer", |_| None);

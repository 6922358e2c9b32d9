//! ONNX files: reads a model made elsewhere as a [`Network`] with its weights, and writes a network.
//!
//! The file is read by `wire`, `messages` and `tensor`, which know protocol buffers and no networks. `fold` evaluates
//! what is constant. `import` makes the layers; `layout` says where the elements of each value lie. `export` writes.

mod export;
mod fold;
mod import;
mod layout;
mod messages;
mod options;
mod tensor;
mod wire;
mod write;

use self::import::Importer;
use self::messages::{Dim, Model as Message};
use self::options::Options;
use self::tensor::{Data, Tensor};
pub use self::write::WriteOnnx;
use crate::device::Device;
use crate::error::{self, Error};
use crate::model::Model;
use crate::network::Network;

/// A result whose error says what is wrong, without naming the file.
type Result<T, E = String> = std::result::Result<T, E>;

fn fault(reason: String) -> Error {
    Error::File { path: "the ONNX model".into(), reason }
}

/// An ONNX file that has been read, and how it becomes a network.
///
/// ```no_run
/// use wgrad::{Gpu, Onnx};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Onnx::read(&std::fs::read("squeezenet.onnx")?)?.dimension("height", 224).dimension("width", 224);
/// let (network, parameters) = file.network()?;
/// println!("{}", network.summary());
/// let model = file.model(&Gpu::request()?)?; // or Model::from_onnx, without options
/// # Ok(())
/// # }
/// ```
///
/// - The first dimension of each input is the batch: the rows of a model. Other open dimensions are set with
///   [`dimension`](Self::dimension) or [`input_shape`](Self::input_shape).
/// - Images have their channels last, also where the file has them first. The weights are permuted when they are
///   loaded, so that no step transposes images. [`channels_first`](Self::channels_first) keeps the file's order.
/// - Weights become trained parameters. A layer is named like the weight's module: `conv1.weight` belongs to the layer
///   `conv1`. To keep its weights as they are, use [`Group::frozen`](crate::Group::frozen).
/// - The page `docs/onnx.md` lists the operators.
#[derive(Debug, Clone)]
pub struct Onnx {
    model: Message,
    options: Options,
}

impl Onnx {
    /// Reads the bytes of an ONNX file.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no ONNX model, or truncated or damaged.
    pub fn read(bytes: &[u8]) -> error::Result<Self> {
        let options = Options {
            batched: true,
            channels_first: false,
            fold_batch_norm: false,
            dimensions: Default::default(),
            inputs: Vec::new(),
            constants: Vec::new(),
            outputs: Vec::new(),
        };
        Ok(Self { model: Message::read(bytes).map_err(fault)?, options })
    }

    /// Sets the length of an open dimension by its name in the file. The batch needs no length.
    pub fn dimension(mut self, name: impl Into<String>, length: u32) -> Self {
        self.options.dimensions.insert(name.into(), length.into());
        self
    }

    /// Sets the shape of an input in the file's order, with the batch as the first dimension; its length does not
    /// matter.
    pub fn input_shape(mut self, name: impl Into<String>, shape: &[u32]) -> Self {
        self.options.inputs.push((name.into(), shape.iter().map(|&length| length.into()).collect()));
        self
    }

    /// Keeps images at the inputs and the outputs in the file's order, channels first. This adds one copy for each.
    pub fn channels_first(mut self) -> Self {
        self.options.channels_first = true;
        self
    }

    /// Folds batch normalisations into the convolutions and dense layers before them. Their results stay the same
    /// outside of training; the layers can be trained on, without batch statistics.
    pub fn fold_batch_norm(mut self) -> Self {
        self.options.fold_batch_norm = true;
        self
    }

    /// Takes these values of the file as the outputs, by their names. Nodes after them are left out. For example, it
    /// cuts off the head of a classifier.
    pub fn outputs<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.options.outputs = names.into_iter().map(Into::into).collect();
        self
    }

    /// Takes the whole tensor of each input as one sample: no dimension is the batch, and operators may work along the
    /// first dimension too.
    pub fn unbatched(mut self) -> Self {
        self.options.batched = false;
        self
    }

    /// Replaces an input by a constant: the bytes of a `TensorProto`.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no tensor.
    pub fn constant(mut self, name: impl Into<String>, tensor: &[u8]) -> error::Result<Self> {
        let (_, mut tensor) = Tensor::read(tensor).map_err(fault)?;
        tensor.is_weight = matches!(tensor.data, Data::F32(_));
        self.options.constants.push((name.into(), tensor));
        Ok(self)
    }

    /// The name of each input, and its dimensions in the file's order. `None`: an open dimension. Inputs with weights
    /// and constants are left out.
    pub fn inputs(&self) -> Vec<(&str, Vec<Option<u32>>)> {
        let is_given = |name: &str| {
            self.model.graph.initializers.iter().any(|(own, _)| own == name)
                || self.options.constants.iter().any(|(own, _)| own == name)
        };
        let length = |dim: &Dim| match dim {
            Dim::Known(length) => u32::try_from(*length).ok(),
            Dim::Named(name) => self.options.dimensions.get(name).map(|&length| length as u32),
        };
        let inputs = self.model.graph.inputs.iter().filter(|input| !is_given(&input.name));
        inputs.map(|input| (&*input.name, input.dims.iter().flatten().map(length).collect())).collect()
    }

    /// The network, and its weights in the layout of [`Network::parameters`] and [`Network::states`].
    ///
    /// # Errors
    /// [`Error::File`] with a list of everything that is not supported, by operator, node and attribute. The errors of
    /// [`Graph`](crate::Graph).
    pub fn network(&self) -> error::Result<(Network, Vec<f32>)> {
        Importer::new(&self.model, &self.options).import(&self.model)
    }

    /// The model on a device.
    ///
    /// # Errors
    /// As [`network`](Self::network) and [`Model::new`].
    pub fn model(&self, device: impl Into<Device>) -> error::Result<Model> {
        let (network, parameters) = self.network()?;
        Model::new(device, &network, &parameters)
    }
}

impl Network {
    /// Reads a network and its weights from the bytes of an ONNX file. For options, use [`Onnx`].
    ///
    /// # Errors
    /// As [`Onnx::read`] and [`Onnx::network`].
    pub fn from_onnx(bytes: &[u8]) -> error::Result<(Self, Vec<f32>)> {
        Onnx::read(bytes)?.network()
    }
}

impl Model {
    /// Reads a model from the bytes of an ONNX file. For options, use [`Onnx`].
    ///
    /// # Errors
    /// As [`Onnx::read`] and [`Onnx::model`].
    pub fn from_onnx(device: impl Into<Device>, bytes: &[u8]) -> error::Result<Self> {
        Onnx::read(bytes)?.model(device)
    }
}

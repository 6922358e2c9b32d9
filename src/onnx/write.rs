//! Networks and models as ONNX files.

use super::export::Exporter;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::Model;
use crate::network::Network;

/// How a network is written as an ONNX file. See [`Network::to_onnx`] for what the file has.
///
/// ```
/// use wgrad::{Activation::*, Network, WriteOnnx};
/// let network = Network::input([28, 28, 1]).conv(8, 3, Relu).flatten().dense(10, Identity).build()?;
/// let bytes = WriteOnnx::new().channels_first().write(&network, &network.initial_parameters(1))?;
/// # assert!(!bytes.is_empty());
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOnnx {
    channels_first: bool,
}

impl WriteOnnx {
    /// The default options: inputs and outputs have the order of the network, channels last.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes inputs and outputs with the channels as the first dimension of a sample: `[N, channels, height, width]`
    /// and `[N, channels, steps]`. PyTorch has this order. It applies to all samples of at least two dimensions.
    pub fn channels_first(self) -> Self {
        Self { channels_first: true }
    }

    /// The bytes of an ONNX file. See [`Network::to_onnx`].
    ///
    /// # Errors
    /// As [`Network::to_onnx`].
    pub fn write(&self, network: &Network, parameters: &[f32]) -> Result<Vec<u8>> {
        Exporter::new(network, parameters, self.channels_first).export()
    }

    /// [`write`](Self::write) for a model with its present weights. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`Model::to_onnx`].
    #[cfg(not(target_family = "wasm"))]
    pub fn write_model(&self, model: &Model) -> Result<Vec<u8>> {
        self.write(model.network(), &model.parameters()?)
    }
}

impl Network {
    /// The bytes of an ONNX file with this network and these weights, in the layout of [`parameters`](Self::parameters)
    /// and [`states`](Self::states). For options, use [`WriteOnnx`].
    ///
    /// - The file runs the network as in inference. Dropout is written, but does nothing. Spatial dropout and losses
    ///   are left out.
    /// - The first dimension of inputs and outputs is the batch, with the name N. Inputs, outputs, nodes and weights
    ///   have the names of the network.
    /// - Its operators have version 21, or 23 if there is an [`RmsNorm`](crate::RmsNorm) layer.
    /// - [`from_onnx`](Self::from_onnx) reads the file again. An activation in a dense layer or a convolution becomes a
    ///   layer of its own, and layers with shared weights get a copy each. The page `docs/onnx.md` has the details.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network};
    /// let network = Network::input([28, 28, 1]).conv(8, 3, Relu).flatten().dense(10, Softmax).build()?;
    /// let weights = network.initial_parameters(1);
    /// let (copy, same) = Network::from_onnx(&network.to_onnx(&weights)?)?;
    /// assert_eq!(copy.parameters()[0].name, "conv_1.weight");
    /// assert_eq!(same, weights);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::File`] with a list of all layers that ONNX has no operators for: hash grids, custom layers and custom
    ///   activations. Also if the file would have more than 2 GiB, or if an input and an output have the same name.
    /// - [`Error::Shape`] if there are not [`parameter_words`](Self::parameter_words) numbers.
    /// - [`Error::NonFiniteParameter`] for the first number that is NaN or infinite.
    pub fn to_onnx(&self, parameters: &[f32]) -> Result<Vec<u8>> {
        WriteOnnx::new().write(self, parameters)
    }
}

impl Model {
    /// The bytes of an ONNX file of this model. See [`Network::to_onnx`]; for options, [`WriteOnnx`]. Blocks, submits
    /// and polls; not for browsers.
    ///
    /// # Errors
    /// As [`Network::to_onnx`]; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        WriteOnnx::new().write_model(self)
    }

    /// [`to_onnx`](Self::to_onnx) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx).
    pub async fn to_onnx_async(&self) -> Result<Vec<u8>> {
        self.network().to_onnx(&self.parameters_async().await?)
    }

    /// Writes the model as an ONNX file, with the default options. An existing file is replaced atomically; on an error
    /// it is kept. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx); [`Error::File`] if the file cannot be written.
    #[cfg(all(feature = "files", not(target_family = "wasm")))]
    pub fn save_onnx(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        crate::disk::write(path.as_ref(), &self.to_onnx()?)
    }
}

//! Keras files: reads a model made elsewhere as a [`Network`] with its weights.
//!
//! `config` knows the description of a model, in JSON, and `weights` where each layer's numbers are in the HDF5 file.
//! `import` makes the layers.

mod config;
mod import;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use self::weights::Weights;
use crate::archive;
use crate::device::Device;
use crate::error::{self, Error};
use crate::hdf5;
use crate::model::Model;
use crate::network::Network;

/// A result whose error says what is wrong, without naming the file.
type Result<T> = std::result::Result<T, String>;

fn fault(reason: String) -> Error {
    Error::File { path: "the Keras model".into(), reason }
}

/// A Keras file that has been read, and how it becomes a network. Feature `keras`.
///
/// It reads `.keras` files, and `.h5` files of `model.save`, of Keras 2 and 3: Sequential and functional models.
///
/// ```no_run
/// use wgrad::{Gpu, Keras};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Keras::read(&std::fs::read("segmentation.keras")?)?.input_shape("image", &[256, 256, 3]);
/// let (network, parameters) = file.network()?;
/// println!("{}", network.summary());
/// let model = file.model(&Gpu::request()?)?; // or Model::from_keras, without options
/// # Ok(())
/// # }
/// ```
///
/// - The layers have Keras' names. A layer within an inner model has the inner model's name before its own, with a
///   slash. Inputs and outputs are named like Keras' layers.
/// - Weights become trained parameters; `trainable` is not read. To keep weights as they are, use
///   [`Group::frozen`](crate::Group::frozen).
/// - Losses, metrics and the optimizer are not read. See [`Model::for_loss`].
/// - The page `docs/keras.md` lists the layers.
#[derive(Debug, Clone)]
pub struct Keras {
    config: Json,
    /// The HDF5 file with the weights.
    weights: Vec<u8>,
    version: String,
    shapes: BTreeMap<String, Vec<u32>>,
}

impl Keras {
    /// Reads the bytes of a `.keras` file, or of a `.h5` file with a whole model.
    ///
    /// # Errors
    /// [`Error::File`] if the bytes are no Keras model, are truncated or damaged, or hold weights alone.
    pub fn read(bytes: &[u8]) -> error::Result<Self> {
        Self::parse(bytes).map_err(fault)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (config, weights, version) = match archive::is_zip(bytes) {
            true => {
                let mut files: BTreeMap<String, Vec<u8>> = archive::unpack(bytes)?.into_iter().collect();
                let mut take = |name: &str| {
                    files.remove(name).ok_or_else(|| format!("not a .keras file, because the archive has no {name}"))
                };
                let (config, metadata) = (take("config.json")?, take("metadata.json")?);
                let metadata = json(&metadata, "metadata.json")?;
                let version = metadata.get("keras_version").and_then(Json::as_str).unwrap_or_default().to_owned();
                let (config, weights) = (json(&config, "config.json")?, take("model.weights.h5")?);
                hdf5::File::read(&weights)?;
                (config, weights, version)
            }
            false if bytes.starts_with(hdf5::SIGNATURE) => {
                let file = hdf5::File::read(bytes)?;
                let first = |name: &str| -> Result<Option<String>> {
                    Ok(file.texts(&file.root, name)?.and_then(|texts| texts.into_iter().next()))
                };
                let config = first("model_config")?.ok_or(
                    "it has weights and no model_config: build the network, and load the weights with \
                     Model::load_weights",
                )?;
                let version = first("keras_version")?.unwrap_or_default();
                (json(config.as_bytes(), "attribute \"model_config\"")?, bytes.to_vec(), version)
            }
            false => return Err("expected a .keras file (a zip archive) or a .h5 file (HDF5)".into()),
        };
        Ok(Self { config, weights, version, shapes: BTreeMap::new() })
    }

    /// Sets the shape of one sample of an input, by its name. Needed if the file leaves dimensions open. A model with
    /// one input takes any name. Otherwise, [`network`](Self::network) returns an error for an unknown name.
    pub fn input_shape(mut self, name: impl Into<String>, shape: &[u32]) -> Self {
        self.shapes.insert(name.into(), shape.to_vec());
        self
    }

    /// The network, and its weights in the layout of [`Network::parameters`] and [`Network::states`].
    ///
    /// # Errors
    /// [`Error::File`] with a list of everything that is not supported, by layer and attribute. The errors of
    /// [`Graph`](crate::Graph).
    pub fn network(&self) -> error::Result<(Network, Vec<f32>)> {
        let file = hdf5::File::read(&self.weights).map_err(fault)?;
        let weights = Weights::of(&file).map_err(fault)?;
        import::import(&self.config, &weights, &self.shapes, self.version.starts_with("2."))
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

fn json(bytes: &[u8], what: &str) -> Result<Json> {
    serde_json::from_slice(bytes).map_err(|error| format!("{what}: damaged: {error}"))
}

impl Network {
    /// Reads a network and its weights from the bytes of a Keras file (`.keras` or `.h5`). For options, use [`Keras`].
    ///
    /// # Errors
    /// As [`Keras::read`] and [`Keras::network`].
    pub fn from_keras(bytes: &[u8]) -> error::Result<(Self, Vec<f32>)> {
        Keras::read(bytes)?.network()
    }
}

impl Model {
    /// Reads a model from the bytes of a Keras file (`.keras` or `.h5`). For options, use [`Keras`].
    ///
    /// ```no_run
    /// use wgrad::{Gpu, Model};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pixels = vec![0.0; 784];
    /// let model = Model::from_keras(&Gpu::request()?, &std::fs::read("handwritten_digit.h5")?)?;
    /// println!("{:?}", model.predict(&pixels)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keras::read`] and [`Keras::model`].
    pub fn from_keras(device: impl Into<Device>, bytes: &[u8]) -> error::Result<Self> {
        Keras::read(bytes)?.model(device)
    }
}

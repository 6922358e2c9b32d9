//! Files of models, and of weights alone.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::Dtype;
use serde::Serialize;

use super::format::{Contents, Tensor, encode};
use super::load::LoadWeights;
use super::matching;
#[cfg(doc)]
use super::naming::Naming;
use super::naming::assemble;
use super::weight_format::WeightFormat;
use super::{BYTES, STATE};
use crate::activation::Activation;
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::{Model, OutputActivation};
use crate::network::{Description, Network, Parameter};
use crate::registry::not_registered;

const FORMAT: &str = "wgrad";
/// Versions of the format: for chains, and for graphs.
const VERSIONS: [&str; 2] = ["1", "2"];

/// Metadata key of the activation that turns the output into probabilities; for several outputs, an
/// [`OutputActivation`] for each.
const LINK: &str = "link";
const LINKS: &str = "links";

/// Metadata key for networks whose classes come from the outputs and not from the logits before a last sigmoid or
/// softmax. Present if the loss was of the outputs themselves.
const RANKS: &str = "ranks";
const OUTPUTS: &str = "outputs";

/// Methods that block, or that read and write files.
#[cfg(not(target_family = "wasm"))]
impl Model {
    /// Saves the model to a safetensors file. Blocks, submits and polls; not for browsers.
    ///
    /// The file has the network as metadata, and an F32 tensor for each of [`Network::parameters`], with its name and
    /// shape. [`load`](Self::load) needs nothing else. The same model gives the same bytes.
    ///
    /// An existing regular file is replaced atomically, by renaming; on an error it is kept. If the path is a
    /// symbolic link, the file that it points to is replaced. Other hard links to the file keep the old contents.
    ///
    /// ```no_run
    /// use wgrad::{Device, Model};
    /// # fn f(trainer: &wgrad::Trainer, features: &[f32]) -> wgrad::Result<()> {
    /// trainer.model().save("digits.safetensors")?;
    /// let digits = Model::load(Device::Cpu, "digits.safetensors")?.predict(features)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::NonFiniteParameter`] if a weight is NaN or infinite, unless [allowed](Self::allow_non_finite).
    /// - [`Error::File`] if the file cannot be written, for example because it is read-only or not a regular file.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        self.device.block_on(self.save_async(path))
    }

    /// [`save`](Self::save) for async code: submits, but leaves polling to the app. Writing the file blocks.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn save_async(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        crate::disk::write(path.as_ref(), &self.to_bytes_async().await?)
    }

    /// The bytes of the file that [`save`](Self::save) writes. Blocks, submits and polls; not for browsers.
    ///
    /// ```
    /// use wgrad::{Activation::*, Device, Model, Network};
    /// let network = Network::input(3).dense(2, Tanh).build()?;
    /// let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1))?;
    /// let copy = Model::from_bytes(Device::Cpu, &model.to_bytes()?)?;
    /// assert_eq!(copy.network(), &network);
    /// assert_eq!(copy.forward(&[1.0, 2.0, 3.0])?, model.forward(&[1.0, 2.0, 3.0])?);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NonFiniteParameter`], as [`save`](Self::save); [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.device.block_on(self.to_bytes_async())
    }

    /// Loads a model from a file of [`save`](Self::save) or [`Trainer::save`](crate::Trainer::save). From a trainer's
    /// file, it loads the model at the time of saving.
    ///
    /// For weights of other programs see [`load_weights`](Self::load_weights).
    ///
    /// # Errors
    /// - [`Error::File`] if the file cannot be read, is damaged, or is of another format or version; if it describes
    ///   a network that cannot be built, has missing or additional tensors, or has a weight that is NaN or infinite.
    /// - As [`new`](Self::new).
    pub fn load(device: impl Into<Device>, path: impl AsRef<std::path::Path>) -> Result<Self> {
        super::read::read(path.as_ref(), |path, bytes| read(device.into(), path, bytes, false))
    }

    /// [`load`](Self::load) that accepts weights that are NaN or infinite, for example to inspect a run that
    /// diverged. The model [may be saved](Self::allow_non_finite) with them.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_non_finite(device: impl Into<Device>, path: impl AsRef<std::path::Path>) -> Result<Self> {
        super::read::read(path.as_ref(), |path, bytes| read(device.into(), path, bytes, true))
    }

    /// Saves only the weights, for another program: a [`Naming`] (in a safetensors file), or another
    /// [`WeightFormat`]. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_weights(&self, path: impl AsRef<std::path::Path>, format: impl Into<WeightFormat>) -> Result<()> {
        self.device.block_on(self.save_weights_async(path, format))
    }

    /// [`save_weights`](Self::save_weights) for async code: submits, but leaves polling to the app. Writing the file
    /// blocks.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub async fn save_weights_async(
        &self,
        path: impl AsRef<std::path::Path>,
        format: impl Into<WeightFormat>,
    ) -> Result<()> {
        crate::disk::write(path.as_ref(), &self.weights_to_bytes_async(format).await?)
    }

    /// The bytes of the file that [`save_weights`](Self::save_weights) writes. Blocks, submits and polls; not for
    /// browsers.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub fn weights_to_bytes(&self, format: impl Into<WeightFormat>) -> Result<Vec<u8>> {
        self.device.block_on(self.weights_to_bytes_async(format))
    }

    /// Loads weights of another program into a network, from a safetensors file of F32, F64, F16 or BF16. With the
    /// feature `numpy`, it may be a `.npz` file of these types. With the feature `keras`, it may be an HDF5 file of Keras
    /// (`.weights.h5`, `.h5`) or a `.keras` file.
    ///
    /// The file determines whether dense weights are \[units, inputs\], as in PyTorch, or \[inputs, units\]. It does
    /// so by its metadata (`format: pt`), otherwise by shapes, otherwise by names: `kernel` and wgrad's names mean
    /// \[inputs, units\]. Convolutions have the order of the same program, or of MLX with `format: mlx`: see
    /// [`Naming`].
    ///
    /// Layers are matched by wgrad's names. Otherwise they are matched by numbers, if the names differ only in these
    /// (`0`, `2`; `fc1`, `fc2`; `dense`, `dense_1`). Otherwise they are matched by shapes (`hidden`, `out`). An
    /// ambiguous file is an error: [`load_weights_with`](Self::load_weights_with) takes a map of names.
    ///
    /// Such a file does not say how outputs become probabilities: see [`for_loss`](Self::for_loss).
    ///
    /// ```no_run
    /// use wgrad::{Activation::*, Gpu, Loss, Model, Network};
    /// // PyTorch: nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 10)), its state_dict()
    /// // saved with safetensors.torch.save_file
    /// let network = Network::input(784).dense(64, Relu).layer_norm().dense(10, Identity).build()?;
    /// let model = Model::load_weights(&Gpu::request()?, &network, "sequential.safetensors")?
    ///     .for_loss(Loss::SoftmaxCrossEntropy);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::File`] if the file cannot be read or is damaged.
    /// - [`Error::File`] if the file does not match the network, or is ambiguous. The text lists the network's and
    ///   the file's tensors.
    /// - [`Error::File`] if a number is NaN, infinite, or outside the range of f32.
    /// - As [`new`](Self::new).
    pub fn load_weights(
        device: impl Into<Device>,
        network: &Network,
        path: impl AsRef<std::path::Path>,
    ) -> Result<Self> {
        Self::load_weights_with(device, network, path, &LoadWeights::default())
    }

    /// [`load_weights`](Self::load_weights) with a map from the file's names to the network's, or other options.
    ///
    /// ```no_run
    /// use wgrad::{Activation::*, Gpu, LoadWeights, Model, Network};
    /// let network = Network::input(64).dense(64, Tanh).dense(64, Identity).build()?;
    /// // encode and decode have the same shapes, so the file cannot tell which comes first.
    /// let names = LoadWeights::new().map([("encode", "dense_1"), ("decode", "dense_2")]);
    /// let model = Model::load_weights_with(&Gpu::request()?, &network, "autoencoder.safetensors", &names)?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load_weights`](Self::load_weights); [`Error::File`] if a name of the map does not exist.
    pub fn load_weights_with(
        device: impl Into<Device>,
        network: &Network,
        path: impl AsRef<std::path::Path>,
        options: &LoadWeights,
    ) -> Result<Self> {
        super::read::read(path.as_ref(), |path, bytes| read_weights(device.into(), network, path, bytes, options))
    }
}

impl Model {
    /// [`to_bytes`](Self::to_bytes) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub async fn to_bytes_async(&self) -> Result<Vec<u8>> {
        let parameters = self.parameters_to_write().await?;
        Ok(encode(&metadata(self), &tensors(self.network(), &parameters)))
    }

    /// The weights. Returns an error if they must not be saved.
    async fn parameters_to_write(&self) -> Result<Vec<f32>> {
        let parameters = self.parameters_async().await?;
        if !self.allow_non_finite {
            self.network().check_finite("", &parameters)?;
        }
        Ok(parameters)
    }

    /// Allows saving weights that are NaN or infinite, for example to inspect a run that diverged. By default, saving
    /// them is an error.
    ///
    /// It applies to [`save`](Self::save), [`to_bytes`](Self::to_bytes), [`save_weights`](Self::save_weights) and
    /// their variants. [`load_non_finite`](Self::load_non_finite) reads such files.
    pub fn allow_non_finite(mut self) -> Self {
        self.allow_non_finite = true;
        self
    }

    /// Loads a model from the bytes of a file, for example embedded with `include_bytes!`. Submits nothing.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(device: impl Into<Device>, bytes: &[u8]) -> Result<Self> {
        read(device.into(), BYTES, bytes, false)
    }

    /// [`load_non_finite`](Self::load_non_finite) from the bytes of a file. Submits nothing.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes_non_finite(device: impl Into<Device>, bytes: &[u8]) -> Result<Self> {
        read(device.into(), BYTES, bytes, true)
    }

    /// [`weights_to_bytes`](Self::weights_to_bytes) for async code and browsers: submits, but leaves polling to the
    /// app.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub async fn weights_to_bytes_async(&self, format: impl Into<WeightFormat>) -> Result<Vec<u8>> {
        let parameters = self.parameters_to_write().await?;
        format.into().encode(self.network(), tensors(self.network(), &parameters))
    }

    /// [`load_weights`](Self::load_weights) from the bytes of a file. Submits nothing.
    ///
    /// # Errors
    /// As [`load_weights`](Self::load_weights).
    pub fn weights_from_bytes(device: impl Into<Device>, network: &Network, bytes: &[u8]) -> Result<Self> {
        read_weights(device.into(), network, BYTES, bytes, &LoadWeights::default())
    }

    /// [`load_weights_with`](Self::load_weights_with) from the bytes of a file. Submits nothing.
    ///
    /// # Errors
    /// As [`load_weights_with`](Self::load_weights_with).
    pub fn weights_from_bytes_with(
        device: impl Into<Device>,
        network: &Network,
        bytes: &[u8],
        options: &LoadWeights,
    ) -> Result<Self> {
        read_weights(device.into(), network, BYTES, bytes, options)
    }
}

fn read(device: Device, path: &str, bytes: &[u8], allow_non_finite: bool) -> Result<Model> {
    let mut file = Contents::read(path, bytes)?;
    file.allow_non_finite = allow_non_finite;
    let network = file.network()?;
    let output_activations = file.output_activations(&network)?;
    for (output, OutputActivation { link, .. }) in output_activations.iter().enumerate() {
        if *link != Activation::Identity {
            let linked = network.followed_by(output, *link);
            linked.map_err(|e| file.fault(format!("output activation: does not fit the network: {e}")))?;
        }
    }
    let parameters = file.parameters(&network)?;
    file.leave_out(STATE);
    file.finish("")?;
    Ok(Model { output_activations, allow_non_finite, ..Model::unchecked(device, &network, &parameters)? })
}

fn read_weights(device: Device, network: &Network, path: &str, bytes: &[u8], options: &LoadWeights) -> Result<Model> {
    let mut file = Contents::read(path, bytes)?;
    if file.metadata("format") == Some(FORMAT) {
        file.leave_out(STATE);
    }
    let listing = matching::listing(network, &file);
    let parameters = matching::parameters(network, &mut file, options)?;
    if !options.ignore_others {
        file.finish(&format!(". {listing}"))?;
    }
    let allow_non_finite = options.allow_non_finite;
    Ok(Model { allow_non_finite, ..Model::unchecked(device, network, &parameters)? })
}

/// The value as JSON. This cannot fail: no map has keys that are not text.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs, numbers and text")
}

/// The metadata of a model's file.
pub(super) fn metadata(model: &Model) -> BTreeMap<&'static str, String> {
    let network = model.network().description();
    let mut metadata =
        BTreeMap::from([("format", FORMAT.into()), ("version", network.version().into()), ("network", json(&network))]);
    match &model.output_activations[..] {
        [OutputActivation { link, .. }] => {
            metadata.insert(LINK, json(link));
            if model.ranks_outputs(0) {
                metadata.insert(RANKS, OUTPUTS.into());
            }
        }
        output_activations => {
            let link = |(i, link): (usize, &OutputActivation)| OutputActivation {
                ranks_outputs: model.ranks_outputs(i),
                ..*link
            };
            metadata.insert(LINKS, json(&output_activations.iter().enumerate().map(link).collect::<Vec<_>>()));
        }
    }
    metadata
}

/// The network's tensors from its parameter buffer.
pub(super) fn tensors<'a>(network: &Network, parameters: &'a [f32]) -> Vec<Tensor<'a>> {
    let tensor = |p: &Parameter| Tensor {
        name: p.name.clone(),
        dtype: Dtype::F32,
        shape: p.shape.clone(),
        words: bytemuck::cast_slice(&parameters[p.range()]).into(),
    };
    network.tensors().map(tensor).collect()
}

impl Contents<'_> {
    /// The network of a file that wgrad has written.
    pub(super) fn network(&self) -> Result<Network> {
        if self.metadata("format") != Some(FORMAT) {
            return Err(self.fault(
                "no network description, so it may be a file of another program; load its weights into a network with \
                 Model::load_weights",
            ));
        }
        let version = self.metadata("version").unwrap_or("none");
        if !VERSIONS.contains(&version) {
            return Err(self.fault(format!("version of the format: expected {}, got {version}", VERSIONS.join(" or "))));
        }
        self.check_registered(&["network"])?;
        let network = match version {
            "1" => Description::Chain(self.json("network")?),
            _ => Description::Graph(self.json("network")?),
        };
        network.build().map_err(|e| self.fault(format!("network: cannot be built: {e}")))
    }

    /// Returns an error if these metadata need something that the app has not registered. The text names all of it.
    pub(super) fn check_registered(&self, keys: &[&str]) -> Result<()> {
        let mut missing = BTreeSet::new();
        for key in keys.iter().filter(|key| self.metadata(key).is_some()) {
            crate::custom::missing(&self.json(key)?, key.starts_with("loss"), &mut missing);
        }
        if missing.is_empty() { Ok(()) } else { Err(self.fault(not_registered(missing))) }
    }

    /// The activation of each output, from its loss.
    fn output_activations(&self, network: &Network) -> Result<Vec<OutputActivation>> {
        let outputs = network.output_specs().len();
        if outputs == 1 {
            let ranks_outputs = self.metadata(RANKS) == Some(OUTPUTS);
            return Ok(vec![OutputActivation { link: self.json(LINK)?, ranks_outputs }]);
        }
        let output_activations: Vec<OutputActivation> = self.json(LINKS)?;
        match output_activations.len() == outputs {
            true => Ok(output_activations),
            false => Err(self.fault(format!(
                "output activations: expected {outputs} (one per output), got {}",
                output_activations.len()
            ))),
        }
    }

    /// The weights of the network, in the layout of the parameter buffer.
    pub(super) fn parameters(&mut self, network: &Network) -> Result<Vec<f32>> {
        let take = |p: &Parameter| Ok(bytemuck::cast_vec(self.take(&p.name, Dtype::F32, &p.shape)?));
        let tensors = network.tensors().map(take).collect::<Result<Vec<_>>>()?;
        Ok(assemble(network, &tensors))
    }
}

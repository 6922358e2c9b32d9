//! A network with weights: what runs, after or beside training.

use std::sync::Arc;

use crate::activation::Activation;
use crate::dataset::Dataset;
use crate::device::{Device, Executor, Run, Storage};
use crate::ends::Ends;
use crate::error::{Error, Result};
use crate::gpu::{GpuExecutor, Recorder, Wgsl};
use crate::loss::Loss;
use crate::network::Network;
use crate::plan::{Plan, Role, narrow};
use crate::rows::Rows;
use crate::scores::{Scores, classes};

/// A network and its weights on a device: from [`Trainer::model`](crate::Trainer::model), whose weights it then shares,
/// or from weights given.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) device: Device,
    network: Network,
    parameters: Storage,
    /// What turns outputs into probabilities, where the network's last layer does not.
    link: Activation,
    /// Whether it may be written to a file with weights that are not finite.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
}

/// Rows that the conveniences run at a time, at most.
const ROWS: u32 = 4096;

impl Model {
    /// A network with weights given, laid out as [`Network::parameters`] says: to run it without a trainer.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are [`Network::parameter_words`] numbers, [`Error::NonFiniteParameter`] for the first that
    /// is NaN or infinite, and [`Error::LimitExceeded`] where the device cannot run the network even a row at a time, before
    /// anything is allocated; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(device: impl Into<Device>, network: &Network, parameters: &[f32]) -> Result<Self> {
        network.check_parameters(parameters)?;
        Self::unchecked(device.into(), network, parameters)
    }

    /// [`new`](Self::new), of as many numbers as the network has, whether finite or not.
    pub(crate) fn unchecked(device: Device, network: &Network, parameters: &[f32]) -> Result<Self> {
        device.check_plan(&Plan::forward(network, 1)?)?;
        let parameters = device.upload("parameters", bytemuck::cast_slice(parameters))?;
        Ok(Self::of(device, network.clone(), parameters))
    }

    pub(crate) fn of(device: Device, network: Network, parameters: Storage) -> Self {
        Self {
            device,
            network,
            parameters,
            link: Activation::Identity,
            #[cfg(feature = "files")]
            allow_non_finite: false,
        }
    }

    /// Says by which loss the network was trained: for a network that puts out logits, what
    /// [`predict_proba`](Self::predict_proba) makes of them. A model from a trainer knows.
    pub fn for_loss(mut self, loss: Loss) -> Self {
        // Where the last layer is the link itself, the outputs are probabilities already.
        self.link = match loss.link() == self.network.output_activation() {
            true => Activation::Identity,
            false => loss.link(),
        };
        self
    }

    #[cfg(feature = "files")]
    pub(crate) fn link(&self) -> Activation {
        self.link
    }

    #[cfg(feature = "files")]
    pub(crate) fn with_link(self, link: Activation) -> Self {
        Self { link, ..self }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The class of each row: the first of its largest outputs; of a network with one output, 1 where the probability is
    /// above 1/2 and else 0. `features` holds whole rows, \[rows, inputs\]. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `features` is a whole number of rows; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict(&self, features: &[f32]) -> Result<Vec<u32>> {
        self.device.block_on(self.predict_async(features))
    }

    /// [`predict`](Self::predict) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async(&self, features: &[f32]) -> Result<Vec<u32>> {
        let probabilities = self.predict_proba_async(features).await?;
        Ok(classes(&probabilities, self.network.outputs() as usize))
    }

    /// The probability of each class, \[rows, outputs\]: the outputs, after the softmax or the sigmoid of the loss the
    /// network was trained by, where it puts out logits. Of a regression, the outputs as they are. Blocks, submits and
    /// polls; not for browsers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    #[cfg(not(target_family = "wasm"))]
    pub fn predict_proba(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.device.block_on(self.predict_proba_async(features))
    }

    /// [`predict_proba`](Self::predict_proba) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_proba_async(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.with_probabilities()?.forward_async(features).await
    }

    /// The model whose outputs are probabilities, where its loss makes them of logits.
    pub(crate) fn with_probabilities(&self) -> Result<Self> {
        let network = match self.link {
            Activation::Identity => self.network.clone(),
            link => self.network.to_builder().activation(link).build()?,
        };
        Ok(Self { network, ..self.clone() })
    }

    /// What the network makes of a data set, for accuracy, confusion matrix and the like. Blocks, submits and polls; not
    /// for browsers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); [`Error::Shape`] where the features do not go with the network's inputs or the targets
    /// with its outputs; [`Error::LabelOutOfRange`].
    #[cfg(not(target_family = "wasm"))]
    pub fn score(&self, data: &Dataset) -> Result<Scores> {
        self.device.block_on(self.score_async(data))
    }

    /// [`score`](Self::score) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn score_async(&self, data: &Dataset) -> Result<Scores> {
        if data.features() != self.network.inputs() as usize {
            return Err(Error::Shape {
                what: "features of the data set".into(),
                expected: format!("{}, the network's input", self.network.inputs()),
                actual: data.features().to_string(),
            });
        }
        let mut probabilities = Vec::with_capacity(data.rows() * self.network.outputs() as usize);
        for first in (0..data.rows()).step_by(ROWS as usize) {
            let features = data.features_of(first..data.rows().min(first + ROWS as usize));
            probabilities.extend(self.predict_proba_async(&features).await?);
        }
        let scores = Scores::new(probabilities, self.network.outputs(), data.targets())?;
        match data.weights() {
            Some(weights) => scores.with_weights(weights.to_vec()),
            None => Ok(scores),
        }
    }

    /// The network's outputs, \[rows, outputs\]: logits, for a network trained with softmax and cross-entropy.
    /// Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.device.block_on(self.forward_async(features))
    }

    /// [`forward`](Self::forward) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn forward_async(&self, features: &[f32]) -> Result<Vec<f32>> {
        let inputs = self.network.inputs() as usize;
        if !features.len().is_multiple_of(inputs) {
            return Err(Error::Shape {
                what: "features".into(),
                expected: format!("whole rows of {inputs}"),
                actual: format!("{} numbers", features.len()),
            });
        }
        let mut outputs = Vec::new();
        let mut ready: Option<Executor> = None;
        let rows = self.device.rows_that_fit(&self.network, ROWS) as usize;
        for chunk in features.chunks(rows * inputs) {
            let rows = (chunk.len() / inputs) as u32;
            let executor = match ready.take() {
                Some(executor) if executor.plan().batch == rows => executor,
                _ => self.forward_executor(rows)?,
            };
            self.device.write(&executor.storage(Role::Input), 0, bytemuck::cast_slice(chunk));
            executor.submit(Run { steps: 1, ..Run::default() }).await?;
            let words = (rows * self.network.outputs()) as usize;
            let words = self.device.read(&executor.storage(Role::Output), words).await?;
            outputs.extend_from_slice(bytemuck::cast_slice(&words));
            ready = Some(executor);
        }
        Ok(outputs)
    }

    /// Every weight, laid out as [`Network::parameters`] says. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn parameters(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.parameters_async())
    }

    /// [`parameters`](Self::parameters) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`parameters`](Self::parameters).
    pub async fn parameters_async(&self) -> Result<Vec<f32>> {
        let words = self.device.read(&self.parameters, self.network.parameter_words() as usize).await?;
        Ok(bytemuck::cast_vec(words))
    }

    /// Binds a forward pass from `input`, `rows` rows of f32, to `output`, as many rows of outputs: an app's own buffers with
    /// the usage `STORAGE`, or parts of them, with [any stride](Rows). Both may be in one buffer, even at the same place: all
    /// input is read before any output is written. Outputs side by side in a part with room for it are [rounded up](Rows) to
    /// 16 bytes. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] where a buffer is too short, rows do not start at multiples of 4 bytes, the output lies in the
    /// [weights](Self::parameter_buffer), or `rows` is 0; [`Error::NeedsGpu`] on [`Device::Cpu`]; [`Error::LimitExceeded`],
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_forward<'a>(
        &self,
        input: impl Into<Rows<'a>>,
        output: impl Into<Rows<'a>>,
        rows: u32,
    ) -> Result<Forward> {
        let (Device::Gpu(gpu), Storage::Gpu(parameters)) = (&self.device, &self.parameters) else {
            return Err(Error::NeedsGpu { call: "Model::prepare_forward" });
        };
        let plan = Plan::forward(&self.network, rows)?;
        let ends = Ends::new(gpu, &plan, [(Role::Input, input.into()), (Role::Output, output.into())])?;
        let find = |role| plan.find(role).expect("a role of every forward plan");
        let mut given = vec![(find(Role::Parameters), parameters.clone().into())];
        let plan = ends.bind(plan, &mut given)?;
        Ok(Forward { executor: GpuExecutor::new(gpu, Arc::new(plan), &given, false)? })
    }

    /// The weights: [`Parameter`](crate::Parameter) tells where each tensor lies. They can be copied from and to, and bound
    /// as storage; what is copied there while nothing runs is what runs next.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn parameter_buffer(&self) -> Result<&wgpu::Buffer> {
        match &self.parameters {
            Storage::Gpu(buffer) => Ok(buffer),
            Storage::Cpu(_) => Err(Error::NeedsGpu { call: "Model::parameter_buffer" }),
        }
    }

    /// Swaps the weights, laid out as [`Network::parameters`] says, before whatever is submitted next: for every pass and
    /// trainer that shares them. What the optimizer keeps stays as it is. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are [`Network::parameter_words`] numbers; [`Error::NonFiniteParameter`] for the first that
    /// is NaN or infinite. Then the weights stay as they are.
    pub fn set_parameters(&self, parameters: &[f32]) -> Result<()> {
        self.network.check_parameters(parameters)?;
        self.device.write(&self.parameters, 0, bytemuck::cast_slice(parameters));
        Ok(())
    }

    /// A WGSL function of this name which evaluates the network for one row inside an app's own shader, of any stage, from
    /// the [parameter buffer](Self::parameter_buffer): what [`forward`](Self::forward) puts out. The network is any number
    /// of [encodings](crate::Encoding), hash grids included, then dense layers, at least one, each with at most one
    /// activation after it. Flatten and dropout are nothing.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, shader: &str) -> wgrad::Result<()> {
    /// let source = format!("{}{shader}", model.wgsl("network")?.bound_at(1, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a dense layer that puts out more than [`WIDEST_NARROW`](crate::plan::WIDEST_NARROW) features, or
    /// takes in more (behind an encoding it may), for a layer of another kind or in another order, and where all layers
    /// together take in more than 32,768 numbers; [`Error::InvalidOption`] for a name that is none in WGSL, or a keyword, a
    /// reserved word, or that of a built-in function, type or value.
    pub fn wgsl(&self, name: &str) -> Result<Wgsl> {
        Wgsl::new(name, narrow(&self.network)?, self.network.parameter_words())
    }

    pub(crate) fn forward_executor(&self, rows: u32) -> Result<Executor> {
        let plan = Plan::forward(&self.network, rows)?;
        self.device.check_plan(&plan)?;
        let bytes = |features: u32| vec![0; rows as usize * features as usize * 4];
        let input = self.device.upload("input", &bytes(self.network.inputs()))?;
        let output = self.device.upload("output", &bytes(self.network.outputs()))?;
        let given = [(Role::Parameters, &self.parameters), (Role::Input, &input), (Role::Output, &output)];
        self.device.executor(plan, &given)
    }
}

/// A forward pass bound to an app's own buffers: see [`Model::prepare_forward`].
#[derive(Debug, Clone)]
pub struct Forward {
    executor: GpuExecutor,
}

impl Forward {
    /// Records the pass, into an encoder or into a compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        self.executor.record_steps(to, 1);
    }

    /// Warm-up: has the driver compile the kernels now, in the background. Some drivers would else do so at the first
    /// dispatch, which takes them up to seconds; in browsers this does nothing. Submits, once; waits for nothing.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub fn warm_up(&self) -> Result<()> {
        self.executor.warm_up()
    }

    /// Records the same into an encoder of the app's: dispatches of no workgroups, which change nothing. No allocation, no
    /// submission, no polling; cannot fail.
    pub fn record_warm_up(&self, to: &mut impl Recorder) {
        self.executor.record_warm_up(to);
    }
}

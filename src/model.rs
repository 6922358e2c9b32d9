//! A network with weights: what runs, after or beside training.

use std::sync::Arc;

use crate::activation::Activation;
use crate::dataset::Dataset;
use crate::device::{Device, Executor, Run, Storage};
use crate::ends::Ends;
use crate::error::{Error, Result};
use crate::gpu::{GpuExecutor, Recorder, warm_up};
use crate::loss::Loss;
use crate::network::Network;
use crate::plan::{Plan, Role, narrow};
use crate::rows::Rows;
use crate::scores::{Scores, classes};
use crate::wgsl::Wgsl;

/// A network and its weights on a device: from [`Trainer::model`](crate::Trainer::model), whose weights it then shares,
/// or from weights given.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) device: Device,
    pub(crate) network: Network,
    pub(crate) parameters: Storage,
    /// What turns outputs into probabilities, where the network's last layer does not.
    pub(crate) link: Activation,
    /// Whether the network was trained by a loss of its outputs as they are: classes come from these then, even behind a
    /// sigmoid or a softmax, and not from what those take.
    pub(crate) ranks_outputs: bool,
    /// Whether it may be written to a file with weights that are not finite.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
}

/// Rows that the conveniences run at a time, at most.
const ROWS: u32 = 4096;

/// Rows of a batch of evaluation: enough to fill a GPU. What tells classes takes as many at a time, so that the same
/// kernels give the same bits.
pub(crate) const EVALUATION_BATCH: u32 = 512;

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
            ranks_outputs: false,
            #[cfg(feature = "files")]
            allow_non_finite: false,
        }
    }

    /// Says by which loss the network was trained: for a network that puts out logits, what
    /// [`predict_proba`](Self::predict_proba) makes of them; and what [`predict`](Self::predict) tells classes by. A model
    /// from a trainer knows. Default: outputs as they are and, of a network whose last activation is a sigmoid or a softmax,
    /// classes by the logits that this one takes.
    pub fn for_loss(mut self, loss: Loss) -> Self {
        // Where the last layer is the link itself, the outputs are probabilities already.
        self.link = match loss.link() == self.network.output_activation() {
            true => Activation::Identity,
            false => loss.link(),
        };
        self.ranks_outputs = loss.link() == Activation::Identity;
        self
    }

    /// The loss that takes what classes are told by, and computes a sigmoid or a softmax of it itself; none where classes are
    /// told by the outputs as they are.
    fn ranks(&self) -> Option<Loss> {
        let link = match self.link {
            Activation::Identity => self.network.output_activation(),
            link => link,
        };
        match link {
            _ if self.ranks_outputs => None,
            Activation::Sigmoid => Some(Loss::BinaryCrossEntropy),
            Activation::Softmax if self.network.outputs() > 1 => Some(Loss::SoftmaxCrossEntropy),
            _ => None,
        }
    }

    /// The number above which one output tells class 1.
    pub(crate) fn threshold(&self) -> f32 {
        if self.ranks() == Some(Loss::BinaryCrossEntropy) { 0.0 } else { 0.5 }
    }

    /// Whether classes come from the outputs as they are, where the default would be otherwise.
    #[cfg(feature = "files")]
    pub(crate) fn ranks_outputs(&self) -> bool {
        let by_default = Self { ranks_outputs: false, ..self.clone() };
        self.ranks().is_none() && by_default.ranks().is_some()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The class of each row: the first of its largest outputs; of a network with one output, 1 where the probability is
    /// above 1/2 and else 0. Where a sigmoid or a softmax makes probabilities, logits are compared, as in
    /// [`Trainer::evaluate`](crate::Trainer::evaluate): probabilities of large logits are rounded to 1, all alike. `features`
    /// holds whole rows, \[rows, inputs\]. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `features` is a whole number of rows; [`Error::NonFiniteFeature`] for the first that is NaN or
    /// infinite; [`Error::NoClass`] for the first row with an output that is NaN; [`Error::OutOfMemory`],
    /// [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict(&self, features: &[f32]) -> Result<Vec<u32>> {
        self.device.block_on(self.predict_async(features))
    }

    /// [`predict`](Self::predict) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async(&self, features: &[f32]) -> Result<Vec<u32>> {
        self.check_features(features)?;
        let ranks = self.ranks_of(features, (features.len() / self.network.inputs() as usize) as u32).await?;
        every_class(&ranks, self.network.outputs() as usize, self.threshold())
    }

    /// What classes are told by, \[rows, outputs\], to the bit as an evaluation of a data set of `of` rows has it.
    async fn ranks_of(&self, features: &[f32], of: u32) -> Result<Vec<f32>> {
        let rows = of.min(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        // On the CPU a row's bits do not depend on how many there are.
        let full = matches!(self.device, Device::Gpu(_));
        self.run(features, rows, full, |rows| Plan::ranks(&self.network, &[self.ranks()], rows, false)).await
    }

    /// The probability of each class, \[rows, outputs\]: the outputs, after the softmax or the sigmoid of the loss the
    /// network was trained by, where it puts out logits. Of a regression, the outputs as they are. Blocks, submits and
    /// polls; not for browsers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), but for [`Error::NoClass`]: outputs that are NaN are returned as such.
    #[cfg(not(target_family = "wasm"))]
    pub fn predict_proba(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.device.block_on(self.predict_proba_async(features))
    }

    /// [`predict_proba`](Self::predict_proba) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub async fn predict_proba_async(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.with_probabilities()?.forward_async(features).await
    }

    /// The model whose outputs are probabilities, where its loss makes them of logits.
    pub(crate) fn with_probabilities(&self) -> Result<Self> {
        let network = match self.link {
            Activation::Identity => self.network.clone(),
            link => self.network.followed_by(0, link)?,
        };
        Ok(Self { network, ..self.clone() })
    }

    /// What the network makes of a data set, for accuracy, confusion matrix and the like: the classes of
    /// [`predict`](Self::predict), and of a [`Trainer::evaluate`](crate::Trainer::evaluate). Rows with an output that is NaN
    /// have [no class](Scores::NO_CLASS). Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] where the features do not go with the network's inputs or the targets with its outputs;
    /// [`Error::LabelOutOfRange`]; [`Error::TargetOutOfRange`] where the network was trained by a loss that takes targets from
    /// 0 to 1; [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
            let expected = format!("{}, the network's input", self.network.inputs());
            return Err(Error::shape("features of the data set", expected, data.features()));
        }
        if let Some(loss) = self.ranks() {
            data.targets().check_range(loss)?;
        }
        let rows = data.rows() as u32;
        let of_chunk = ROWS.next_multiple_of(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        let (mut probabilities, mut ranks) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(of_chunk as usize) {
            let features = data.features_of(first as usize..rows.min(first.saturating_add(of_chunk)) as usize);
            ranks.extend(self.ranks_of(&features, rows).await?);
            if self.ranks().is_some() {
                probabilities.extend(self.predict_proba_async(&features).await?);
            }
        }
        let scores = match self.ranks() {
            Some(_) => {
                Scores::new(probabilities, self.network.outputs(), data.targets())?.ranked(ranks, self.threshold())
            }
            None => Scores::new(ranks, self.network.outputs(), data.targets())?,
        };
        match data.weights() {
            Some(weights) => scores.with_weights(weights.to_vec()),
            None => Ok(scores),
        }
    }

    /// The network's outputs, \[rows, outputs\]: logits, for a network trained with softmax and cross-entropy.
    /// Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.device.block_on(self.forward_async(features))
    }

    /// [`forward`](Self::forward) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub async fn forward_async(&self, features: &[f32]) -> Result<Vec<f32>> {
        self.check_features(features)?;
        let rows = self.device.rows_that_fit(&self.network, ROWS);
        self.run(features, rows, false, |rows| Plan::forward(&self.network, rows)).await
    }

    /// Refuses what are not whole rows, and features that are not finite.
    fn check_features(&self, features: &[f32]) -> Result<()> {
        let inputs = self.network.inputs() as usize;
        if !features.len().is_multiple_of(inputs) {
            let (expected, actual) = (format!("whole rows of {inputs}"), format!("{} numbers", features.len()));
            return Err(Error::shape("features", expected, actual));
        }
        check_finite(features, inputs)
    }

    /// Runs a plan over chunks of at most `rows` rows. With `full` the last chunk runs with all rows too, where those
    /// beyond its own hold what was there before.
    async fn run(
        &self,
        features: &[f32],
        rows: u32,
        full: bool,
        plan: impl Fn(u32) -> Result<Plan>,
    ) -> Result<Vec<f32>> {
        let inputs = self.network.inputs() as usize;
        let mut outputs = Vec::with_capacity(features.len() / inputs * self.network.outputs() as usize);
        let mut ready: Option<Executor> = None;
        for chunk in features.chunks(rows.max(1) as usize * inputs) {
            let present = (chunk.len() / inputs) as u32;
            let batch = if full { rows } else { present };
            let executor = match ready.take() {
                Some(executor) if executor.plan().batch == batch => executor,
                _ => self.forward_executor(plan(batch)?)?,
            };
            self.device.write(&executor.storage(Role::Input(0)), 0, bytemuck::cast_slice(chunk))?;
            executor.submit(Run { steps: 1, ..Run::default() }, None).await?;
            let words = (present * self.network.outputs()) as usize;
            let words = self.device.read(&executor.storage(Role::Output(0)), words).await?;
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
        let gpu = self.device.needs_gpu("Model::prepare_forward")?;
        let plan = Plan::forward(&self.network, rows)?;
        let ends = Ends::new(gpu, &plan, [(Role::Input(0), input.into()), (Role::Output(0), output.into())])?;
        let find = |role| plan.find(role).expect("a role of every forward plan");
        let mut given = vec![(find(Role::Parameters), self.parameters.gpu().clone().into())];
        let plan = ends.bind(plan, &mut given)?;
        Ok(Forward { executor: GpuExecutor::new(gpu, Arc::new(plan), &given)? })
    }

    /// The weights: [`Parameter`](crate::Parameter) tells where each tensor lies. They can be copied from and to, and bound
    /// as storage; what is copied there while nothing runs is what runs next.
    ///
    /// # Errors
    /// [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn parameter_buffer(&self) -> Result<&wgpu::Buffer> {
        self.device.needs_gpu("Model::parameter_buffer")?;
        Ok(self.parameters.gpu())
    }

    /// Swaps the weights, laid out as [`Network::parameters`] says, before whatever is submitted next: for every pass and
    /// trainer that shares them. What the optimizer keeps stays as it is. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are [`Network::parameter_words`] numbers; [`Error::NonFiniteParameter`] for the first that
    /// is NaN or infinite; [`Error::DeviceLost`]. Then the weights stay as they are.
    pub fn set_parameters(&self, parameters: &[f32]) -> Result<()> {
        self.network.check_parameters(parameters)?;
        self.device.check_alive()?;
        self.device.write(&self.parameters, 0, bytemuck::cast_slice(parameters))
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

    pub(crate) fn forward_executor(&self, plan: Plan) -> Result<Executor> {
        self.device.check_plan(&plan)?;
        let zeros = |features: u32| vec![0; plan.batch as usize * features as usize * 4];
        let input = self.device.upload("input", &zeros(self.network.inputs()))?;
        let output = self.device.upload("output", &zeros(self.network.outputs()))?;
        let parameters = self.parameters.clone();
        self.device
            .executor(plan, &[(Role::Parameters, parameters), (Role::Input(0), input), (Role::Output(0), output)])
    }

    /// What tells classes, with the input and the output of a forward pass of as many rows.
    pub(crate) fn ranks_executor(&self, forward: &Executor) -> Result<Executor> {
        let plan = Plan::ranks(&self.network, &[self.ranks()], forward.plan().batch, true)?;
        self.device.check_plan(&plan)?;
        let given = [Role::Parameters, Role::Input(0), Role::Output(0)].map(|role| (role, forward.storage(role)));
        self.device.executor(plan, &given)
    }
}

/// Names the first feature that is not finite, of rows of so many.
pub(crate) fn check_finite(features: &[f32], inputs: usize) -> Result<()> {
    match features.iter().position(|feature| !feature.is_finite()) {
        Some(at) => Err(Error::NonFiniteFeature { row: at / inputs, column: at % inputs, value: features[at] }),
        None => Ok(()),
    }
}

/// The class of each row of what ranks them, or an error that names the first row without one.
pub(crate) fn every_class(ranks: &[f32], outputs: usize, threshold: f32) -> Result<Vec<u32>> {
    match ranks.iter().position(|rank| rank.is_nan()) {
        Some(at) => Err(Error::NoClass { row: at / outputs, column: at % outputs }),
        None => Ok(classes(ranks, outputs, threshold)),
    }
}

/// A forward pass bound to an app's own buffers: see [`Model::prepare_forward`].
///
/// Each record evaluates all `rows` rows that [`prepare_forward`](Model::prepare_forward) was given, whatever the batch of a
/// trainer is, with the weights as they are when it runs. Prepare another pass for another number of rows.
#[derive(Debug, Clone)]
pub struct Forward {
    executor: GpuExecutor,
}

warm_up::methods!(Forward: executor);

impl Forward {
    /// Records the pass, into an encoder or into a compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        self.executor.record_steps(to, 1);
    }
}

//! Training: a network, a loss and an optimizer on a device.

mod averages;
mod best_weights;
mod chain;
mod compiling;
mod data_windows;
mod evaluating;
mod fitting;
mod frame_budget;
mod loss_totals;
mod parallel;
mod profiling;
mod progress;
mod snapshots;
mod training;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::config::TrainerConfig;
use crate::dataset::{Dataset, Matched};
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::executor::{Executor, Storage};
use crate::history::{Best, History};
use crate::loss::Loss;
use crate::model::Model;
use crate::named_values::Inputs;
use crate::network::Network;
use crate::optimizer::{Optimizer, option};
use crate::output_losses::Losses;
use crate::plan::{DataInfo, Plan, Role, StepState};
use crate::slices::Share;
use chain::Order;
pub use chain::{Chain, ChainRows, NetworkGradientRows};
pub use frame_budget::Frame;
use loss_totals::Totals;
pub(crate) use progress::{Cut, Progress};
#[cfg(feature = "files")]
pub(crate) use snapshots::CARRIED;
pub(crate) use snapshots::Snapshot;
pub use snapshots::Snapshots;
pub use training::Training;

/// Trains a network on a device.
///
/// ```no_run
/// use wgrad::{Activation::*, Adam, Dataset, Fit, Gpu, Loss, Network, Trainer, TrainerConfig};
/// # fn data() -> wgrad::Result<Dataset> { Dataset::from_u8(vec![0; 784], 784, vec![0], 10) }
/// let gpu = Gpu::request()?;
/// let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
/// let mut trainer =
///     Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default())?;
/// let train = data()?;
/// let history = trainer.fit(&train, Fit { epochs: 10, ..Fit::default() }, |event| println!("{event:?}"))?;
/// let digits = trainer.predict(&train.features_of(0..1))?;
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    pub(crate) device: Device,
    pub(crate) network: Network,
    pub(crate) losses: Losses,
    /// The loss and the loss weight of each output.
    pub(crate) of_outputs: Vec<(Loss, f32)>,
    pub(crate) optimizer: Optimizer,
    pub(crate) config: TrainerConfig,
    pub(crate) parameters: Storage,
    pub(crate) training: Executor,
    /// The slices of each batch that `training` and `evaluation` compute. `None` if batches have no slices.
    pub(crate) share: Option<Share>,
    evaluation: Option<Executor>,
    /// Finds weights and moments that are not finite: see [`Plan::finite`]. Made by the first `fit`.
    finite: Option<Executor>,
    pub(crate) progress: Progress,
    /// Copies the averaged weights to a buffer of their own, if there are averages: see [`Plan::averaged`].
    averaging: Option<Executor>,
    /// The best weights, if early stopping is used.
    pub(crate) best: Option<Storage>,
    /// Whether a step has run.
    warm: bool,
    /// The state from which training continues after the device is lost.
    snapshot: Arc<Mutex<Option<Snapshot>>>,
    /// Whether `prepare_*` leaves the cursor where a snapshot had it. True after `rebuild`, until `fit` or `reset`.
    pub(crate) keep_cursor: bool,
    /// Whether numbers that are not finite may be saved to a file.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
    /// The last recorded pass among the chains.
    order: Arc<Order>,
    /// How the totals of the training data become evaluations.
    totals: Totals,
    /// How the totals of the evaluation data become evaluations.
    evaluated: Totals,
}

impl Trainer {
    /// Plans the training step, allocates its buffers, draws the initial weights and compiles the kernels. Submits
    /// nothing.
    ///
    /// # Errors
    /// - [`Error::Shape`], [`Error::InvalidOption`] and [`Error::LimitExceeded`], before anything is allocated.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(
        device: impl Into<Device>,
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: impl Into<Optimizer>,
        config: TrainerConfig,
    ) -> Result<Self> {
        Self::with_parameters(device.into(), network, losses.into(), optimizer.into(), config, None)
    }

    /// A trainer with given initial weights, in the layout of [`Network::parameters`]. Use it to fine-tune, or to
    /// compare with another engine from the same weights.
    ///
    /// # Errors
    /// - As [`new`](Self::new).
    /// - [`Error::Shape`] if there are not [`Network::parameter_words`] numbers.
    /// - [`Error::NonFiniteParameter`] for the first number that is NaN or infinite.
    pub fn from_parameters(
        device: impl Into<Device>,
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: impl Into<Optimizer>,
        config: TrainerConfig,
        parameters: &[f32],
    ) -> Result<Self> {
        network.check_parameters(parameters)?;
        Self::with_parameters(device.into(), network, losses.into(), optimizer.into(), config, Some(parameters))
    }

    pub(crate) fn with_parameters(
        device: Device,
        network: &Network,
        losses: Losses,
        optimizer: Optimizer,
        config: TrainerConfig,
        parameters: Option<&[f32]>,
    ) -> Result<Self> {
        let of_outputs = losses.of_outputs(network)?;
        let plan = Plan::training(network, losses.clone(), &optimizer, &config)?;
        device.check_plan(&plan)?;
        let weights = match parameters {
            Some(given) => std::borrow::Cow::from(given),
            None => network.initial_parameters(config.seed).into(),
        };
        let parameters = device.upload("parameters", bytemuck::cast_slice(&weights))?;
        let training = device.executor(plan, &[(Role::Parameters, parameters.clone())])?;
        let averaging = averages::averaging(&device, &training)?;
        let trainer = Self {
            device,
            network: network.clone(),
            losses,
            totals: Totals::new(network, &of_outputs, &[], &[]),
            evaluated: Totals::new(network, &of_outputs, &[], &[]),
            of_outputs,
            optimizer,
            share: config.share(),
            config,
            parameters,
            training,
            evaluation: None,
            finite: None,
            averaging,
            progress: Progress::default(),
            best: None,
            warm: false,
            snapshot: Arc::default(),
            keep_cursor: false,
            #[cfg(feature = "files")]
            allow_non_finite: false,
            order: Arc::default(),
        };
        trainer.start_averages(&weights)?;
        Ok(trainer)
    }

    /// Warm-up: makes the driver compile the kernels of a training step now, in the background. Submits once; does
    /// not wait.
    ///
    /// Without it, some drivers compile at the first step. Call it before reading a data set. In browsers it does
    /// nothing, because they have already compiled. Prepared passes have their own `warm_up`; for evaluation see
    /// [`warm_up_evaluation`](Self::warm_up_evaluation).
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub fn warm_up(&self) -> Result<()> {
        if let Executor::Gpu(executor) = &self.training {
            executor.warm_up_step()?;
        }
        Ok(())
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The training options.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The plan of the training step: its buffers and its ops.
    pub fn plan(&self) -> &Plan {
        self.training.plan()
    }

    /// The network with its weights, for inference. It shares the trainer's weights: further training changes them.
    /// [`averaged_model`](Self::averaged_model) has the averaged weights.
    pub fn model(&self) -> Model {
        self.model_of(self.parameters.clone())
    }

    fn model_of(&self, parameters: Storage) -> Model {
        Model::of(self.device.clone(), self.network.clone(), parameters).trained_by(&self.of_outputs)
    }

    /// All epochs that `fit` has trained, including those before the trainer was saved and resumed.
    pub fn history(&self) -> &History {
        &self.progress.history
    }

    /// Evaluation of the weights that the last [`fit`](Self::fit) restored, with early stopping that [restores the
    /// best weights](crate::EarlyStopping::restore_best). `None` if no epoch was evaluated.
    pub fn best(&self) -> Option<Best> {
        self.progress.best
    }

    /// Number of complete epochs that `fit` has trained.
    pub fn epochs(&self) -> u32 {
        self.progress.history.epochs.len() as u32
    }

    /// Multiplies the scheduled learning rate by `scale`, from the next submission on.
    ///
    /// # Errors
    /// The old scale stays on an error:
    /// - [`Error::InvalidOption`] if `scale` is not at least 0, or the resulting rate is not finite.
    /// - [`Error::DeviceLost`].
    pub fn set_rate_scale(&mut self, scale: f32) -> Result<()> {
        let finite = scale.is_finite() && (scale * self.optimizer.learning_rate()).is_finite();
        let expected = "at least 0, and its product with the learning rate finite";
        option("scale of the learning rate", expected, scale, finite && scale >= 0.0)?;
        self.device.check_alive()?;
        let offset = std::mem::offset_of!(StepState, rate_scale) as u64;
        self.device.write(&self.training.storage(Role::Step), offset, &scale.to_ne_bytes())?;
        self.progress.rate_scale = Some(scale);
        Ok(())
    }

    fn rate_scale(&self) -> f32 {
        self.progress.rate_scale.unwrap_or(1.0)
    }

    /// The class of each row of `features`: see [`Model::predict`]. With averages of the weights, it uses these:
    /// see [`TrainerConfig::evaluate_averaged`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.device.block_on(self.evaluated_model())?.predict(features)
    }

    /// [`predict`](Self::predict) for async code and browsers: see [`Model::predict_async`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.evaluated_model().await?.predict_async(features).await
    }

    /// Uploads the training data. An owned data set is freed after the upload.
    pub(crate) fn bind_training(&mut self, data: Cow<'_, Dataset>, matched: &Matched, done: u32) -> Result<()> {
        upload(&self.device, &mut self.training, &data, matched, &all_rows(&data))?;
        self.start(&data.infos(matched, true), &data.ignored_labels(matched), done)
    }

    /// Moves the cursor to a step of an epoch of the data set. The step number and the epoch number go on, so that
    /// the next run has other shuffles. The data's kernel parameters get a new buffer, as the rows do: an earlier
    /// [`Training`] keeps its own.
    fn start(&mut self, data: &[DataInfo], ignored: &[u64], done: u32) -> Result<()> {
        self.set_data_info(data)?;
        self.totals = self.totals_of(data, ignored);
        self.rewind(done)
    }

    fn set_data_info(&mut self, data: &[DataInfo]) -> Result<()> {
        for (i, &data) in (0..).zip(data) {
            let info = self.device.upload("what is known of the data set", bytemuck::bytes_of(&self.shuffled(data)))?;
            self.training.bind(Role::Data(i), &info)?;
        }
        Ok(())
    }

    /// Whether the losses need more than one [`Loss`]: there are several outputs, or a loss has a weight.
    #[cfg(feature = "files")]
    pub(crate) fn has_losses(&self) -> bool {
        !matches!(self.of_outputs[..], [(_, 1.0)])
    }

    /// How the totals of each output become evaluations.
    fn totals_of(&self, data: &[DataInfo], ignored: &[u64]) -> Totals {
        Totals::new(&self.network, &self.of_outputs, data, ignored)
    }

    /// Moves the cursor to the start of the data, unless steps are done or `rebuild` has set the cursor.
    fn rewind(&mut self, done: u32) -> Result<()> {
        self.order.interrupt();
        if done > 0 {
            return Ok(());
        }
        // Recorded steps move the cursor without the host's knowledge, so a cut epoch cannot be finished.
        self.give_up_epoch();
        if !self.keep_cursor {
            // The next batch is the first of the data and begins its update, as with data of another length.
            for offset in [std::mem::offset_of!(StepState, position), std::mem::offset_of!(StepState, data_rows)] {
                self.device.write(&self.training.storage(Role::Step), offset as u64, &0u32.to_ne_bytes())?;
            }
        }
        Ok(())
    }

    /// Discards a cut epoch. Its updates still count.
    fn give_up_epoch(&mut self) {
        if let Some(cut) = self.progress.cut.take() {
            self.progress.updates += cut.updates(self.config.accumulate);
        }
    }

    /// The same parameters with the training's shuffle and seed.
    fn shuffled(&self, data: DataInfo) -> DataInfo {
        let (shuffle, seed) = (self.config.shuffle.into(), self.config.seed);
        DataInfo { shuffle, seed_low: seed as u32, seed_high: (seed >> 32) as u32, ..data }
    }

    /// Matches the data with the inputs and outputs. Returns an error if they do not match, or do not fit on the
    /// device as a whole.
    pub(crate) fn check_fits(&self, data: &Dataset) -> Result<Matched> {
        let matched = self.matched(data)?;
        if let Device::Gpu(gpu) = &self.device {
            for (what, of_none, of_row) in data.sizes(&matched) {
                gpu.check_size(&what, of_none + of_row * data.rows() as u64)?;
            }
        }
        Ok(matched)
    }

    /// Matches the data with the inputs and outputs. Returns an error if they do not match.
    fn matched(&self, data: &Dataset) -> Result<Matched> {
        data.matched(&self.network, self.of_outputs.iter().map(|(loss, _)| *loss))
    }
}

/// The range of all rows.
fn all_rows(data: &Dataset) -> [Range<usize>; 1] {
    std::array::from_fn(|_| 0..data.rows())
}

/// Binds the features and targets of some ranges of rows to an executor.
fn upload(
    device: &Device,
    executor: &mut Executor,
    data: &Dataset,
    matched: &Matched,
    rows: &[Range<usize>],
) -> Result<()> {
    for (i, words) in (0..).zip(data.feature_words(matched, rows)) {
        executor.bind(Role::Features(i), &device.upload("the data set's features", &words)?)?;
    }
    for (i, words) in (0..).zip(data.target_words(matched, rows)) {
        executor.bind(Role::Targets(i), &device.upload("the data set's targets", bytemuck::cast_slice(&words))?)?;
    }
    Ok(())
}

//! Training: a network, a loss and an optimizer on a device.

mod chain;
mod compiling;
mod data_windows;
mod evaluating;
mod fitting;
mod frame_budget;
mod loss_totals;
mod profiling;
mod readback_tokens;
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
use crate::fit::Watch;
use crate::history::{Best, History};
use crate::loss::Loss;
use crate::model::Model;
use crate::named_values::Inputs;
use crate::network::Network;
use crate::optimizer::{Optimizer, option};
use crate::output_losses::Losses;
use crate::plan::{DataInfo, Plan, Role, StepState};
use chain::Order;
pub use chain::{Chain, ChainRows};
#[cfg(feature = "files")]
use data_windows::Windows;
pub use frame_budget::Frame;
use loss_totals::Totals;
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
    /// The loss and the weight of each output.
    pub(crate) of_outputs: Vec<(Loss, f32)>,
    pub(crate) optimizer: Optimizer,
    pub(crate) config: TrainerConfig,
    pub(crate) parameters: Storage,
    pub(crate) training: Executor,
    evaluation: Option<Executor>,
    /// Looks for weights and moments that are not finite: see [`Plan::finite`]. Made by the first `fit`.
    finite: Option<Executor>,
    pub(crate) progress: Progress,
    /// The best weights, while early stopping watches.
    pub(crate) best: Option<Storage>,
    /// Whether a step has run.
    warm: bool,
    /// The state to go on from where the device is lost.
    snapshot: Arc<Mutex<Option<Snapshot>>>,
    /// Whether the cursor is to be left where a snapshot had it, whatever is prepared: until `fit` or `reset`.
    pub(crate) brought_back: bool,
    /// Whether it may be written to a file with numbers that are not finite.
    #[cfg(feature = "files")]
    pub(crate) allow_non_finite: bool,
    /// Which pass of which chain was recorded last.
    order: Arc<Order>,
    /// How the totals of the data that it trains on become evaluations.
    totals: Totals,
    /// The same of the data that it evaluates.
    evaluated: Totals,
}

/// What the host knows of the training so far.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Progress {
    /// A file has it as tensors: those of earlier versions, here.
    #[cfg_attr(feature = "files", serde(default, skip_serializing))]
    pub history: History,
    /// Updates that `fit` has made in whole epochs.
    pub updates: u32,
    /// An epoch that was cut short.
    pub cut: Option<Cut>,
    /// What the host multiplies the scheduled rate by.
    pub rate_scale: Option<f32>,
    pub plateau: Watch,
    pub stopping: Watch,
    /// What was measured of the best weights.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub best: Option<Best>,
}

/// An epoch that was cut short: by a callback, or by the end of the process that saved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Cut {
    /// Rows of its data set.
    pub rows: u32,
    /// Steps done.
    pub steps: u32,
    /// The steps, and the rows, that were done before it was resumed with another batch size or other updates.
    #[cfg_attr(feature = "files", serde(default))]
    pub before: (u32, u32),
    /// Whether some labels are ignored, so that fewer positions are counted than there are.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub ignores: bool,
    /// Rows of a window, where the data were not on the device as a whole; else 0.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "is_none"))]
    pub window: u32,
}

#[cfg(feature = "files")]
fn is_none(window: &u32) -> bool {
    *window == 0
}

impl Cut {
    /// Steps of the whole epoch, the rest in batches of this size.
    fn all_steps(&self, batch: u32) -> u32 {
        self.before.0 + (self.rows - self.before.1).div_ceil(batch)
    }

    /// Updates that were made since it was resumed with others, of so many batches each.
    pub(crate) fn updates(&self, accumulate: u32) -> u32 {
        (self.steps - self.before.0) / accumulate
    }

    /// Whether a cursor, within so many rows, stands where so many rows of the epoch are done.
    #[cfg(feature = "files")]
    pub(crate) fn is_at(&self, done: u64, position: u32, data_rows: u32) -> bool {
        match self.window {
            0 => (done, self.rows) == (position.into(), data_rows),
            window => {
                let windows = Windows { rows: self.rows, window };
                let Some(done) = u32::try_from(done).ok().filter(|done| *done < self.rows) else { return false };
                match windows.place(done) {
                    // At the end of the window before.
                    (_, 0) => position == 0,
                    (window, within) => (within, windows.rows_of(window)) == (position, data_rows),
                }
            }
        }
    }

    /// Rows that were done, by the steps.
    #[cfg(feature = "files")]
    pub(crate) fn rows_done(&self, batch: u32) -> u64 {
        u64::from(self.before.1) + u64::from(self.steps.saturating_sub(self.before.0)) * u64::from(batch)
    }
}

impl Trainer {
    /// Plans the step, allocates its buffers, draws the initial weights and compiles the kernels. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::InvalidOption`] and [`Error::LimitExceeded`] before anything is allocated;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(
        device: impl Into<Device>,
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: impl Into<Optimizer>,
        config: TrainerConfig,
    ) -> Result<Self> {
        Self::with_parameters(device.into(), network, losses.into(), optimizer.into(), config, None)
    }

    /// A trainer that starts from weights given, laid out as [`Network::parameters`] says: to fine-tune, or to compare
    /// with another engine from the same start.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Shape`] unless there are [`Network::parameter_words`] numbers;
    /// [`Error::NonFiniteParameter`] for the first that is NaN or infinite.
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
        Ok(Self {
            device,
            network: network.clone(),
            losses,
            totals: Totals::new(network, &of_outputs, &[], &[]),
            evaluated: Totals::new(network, &of_outputs, &[], &[]),
            of_outputs,
            optimizer,
            config,
            parameters,
            training,
            evaluation: None,
            finite: None,
            progress: Progress::default(),
            best: None,
            warm: false,
            snapshot: Arc::default(),
            brought_back: false,
            #[cfg(feature = "files")]
            allow_non_finite: false,
            order: Arc::default(),
        })
    }

    /// Warm-up: has the driver compile the kernels of a training step now, in the background. Some drivers would else do so at
    /// the first step; browsers have done so already, and there this does nothing. Worth calling before a data set is read.
    /// What is prepared has a `warm_up` of its own, and [evaluation](Self::warm_up_evaluation). Submits, once; waits for nothing.
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

    /// How it trains.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The training step: its buffers and its ops.
    pub fn plan(&self) -> &Plan {
        self.training.plan()
    }

    /// The network with its weights, to run it. It shares the weights: training goes on in it.
    pub fn model(&self) -> Model {
        Model::of(self.device.clone(), self.network.clone(), self.parameters.clone()).trained_by(&self.of_outputs)
    }

    /// Every epoch that `fit` has trained, also before it was saved and resumed.
    pub fn history(&self) -> &History {
        &self.progress.history
    }

    /// What was measured of the weights that the last [`fit`](Self::fit) has handed back, where early stopping was to
    /// [restore the best](crate::EarlyStopping::restore_best); none where no epoch was measured.
    pub fn best(&self) -> Option<Best> {
        self.progress.best
    }

    /// How many epochs `fit` has trained to their end.
    pub fn epochs(&self) -> u32 {
        self.progress.history.epochs.len() as u32
    }

    /// Multiplies the scheduled learning rate by this, from the next submission on.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] unless it is at least 0 and leaves the rate finite; [`Error::DeviceLost`]. Then the one before
    /// stays.
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

    /// The class of each row of `features`: [`Model::predict`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.model().predict(features)
    }

    /// [`predict`](Self::predict) for async code and browsers: [`Model::predict_async`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.model().predict_async(features).await
    }

    /// A data set that is given away is not held beyond this.
    pub(crate) fn bind_training(&mut self, data: Cow<'_, Dataset>, matched: &Matched, done: u32) -> Result<()> {
        upload(&self.device, &mut self.training, &data, matched, &all_rows(&data))?;
        self.start(&data.infos(matched, true), &data.ignored_labels(matched), done)
    }

    /// Points the cursor at a step of the data set's epoch. The step goes on counting, and the epoch, so that the next run
    /// has other shuffles. What is known of the data set gets a buffer of its own each time, as its rows do: a
    /// [`Training`] made before keeps its own.
    fn start(&mut self, data: &[DataInfo], ignored: &[u64], done: u32) -> Result<()> {
        self.tell(data)?;
        self.totals = self.totals_of(data, ignored);
        self.rewind(done)
    }

    fn tell(&mut self, data: &[DataInfo]) -> Result<()> {
        for (i, &data) in (0..).zip(data) {
            let info = self.device.upload("what is known of the data set", bytemuck::bytes_of(&self.shuffled(data)))?;
            self.training.bind(Role::Data(i), &info)?;
        }
        Ok(())
    }

    /// Whether a [`Loss`] alone would not say it all: of several outputs, or with a weight.
    #[cfg(feature = "files")]
    pub(crate) fn has_losses(&self) -> bool {
        !matches!(self.of_outputs[..], [(_, 1.0)])
    }

    /// How the totals of each output become evaluations.
    fn totals_of(&self, data: &[DataInfo], ignored: &[u64]) -> Totals {
        Totals::new(&self.network, &self.of_outputs, data, ignored)
    }

    /// Points the cursor at the start of the data, unless some steps are done or it was brought back from a snapshot.
    fn rewind(&mut self, done: u32) -> Result<()> {
        self.order.interrupt();
        if done > 0 {
            return Ok(());
        }
        // Steps that are recorded from here move the cursor unseen: no epoch can be finished any more.
        self.give_up_epoch();
        if !self.brought_back {
            // As in data of another length, the next batch is the first, and begins its update.
            for offset in [std::mem::offset_of!(StepState, position), std::mem::offset_of!(StepState, data_rows)] {
                self.device.write(&self.training.storage(Role::Step), offset as u64, &0u32.to_ne_bytes())?;
            }
        }
        Ok(())
    }

    /// An epoch that was cut short is not finished; the updates that it made have been made.
    fn give_up_epoch(&mut self) {
        if let Some(cut) = self.progress.cut.take() {
            self.progress.updates += cut.updates(self.config.accumulate);
        }
    }

    /// With the shuffle and the seed of the training.
    fn shuffled(&self, data: DataInfo) -> DataInfo {
        let (shuffle, seed) = (self.config.shuffle.into(), self.config.seed);
        DataInfo { shuffle, seed_low: seed as u32, seed_high: (seed >> 32) as u32, ..data }
    }

    /// Which of the data go to which input and output, if they fit there and, as a whole, on the device.
    pub(crate) fn check_fits(&self, data: &Dataset) -> Result<Matched> {
        let matched = self.matched(data)?;
        if let Device::Gpu(gpu) = &self.device {
            for (what, of_none, of_row) in data.sizes(&matched) {
                gpu.check_size(&what, of_none + of_row * data.rows() as u64)?;
            }
        }
        Ok(matched)
    }

    /// Which of the data go to which input and output, if they fit there.
    fn matched(&self, data: &Dataset) -> Result<Matched> {
        data.matched(&self.network, self.of_outputs.iter().map(|(loss, _)| *loss))
    }
}

/// The range of all rows.
fn all_rows(data: &Dataset) -> [Range<usize>; 1] {
    std::array::from_fn(|_| 0..data.rows())
}

/// Gives an executor the features and targets of some ranges of rows of a data set.
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

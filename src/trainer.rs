//! Training: a network, a loss and an optimizer on a device.

use std::collections::VecDeque;

use crate::dataset::Dataset;
use crate::device::{Device, Executor, Run, Storage, Submission};
use crate::error::{Error, Result};
use crate::history::{Epoch, Evaluation, Event, Fit, History};
use crate::loss::Loss;
use crate::model::Model;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::plan::{DataInfo, Plan, Role, RowMetrics, StepState};
use crate::training::Training;

/// How batches are made, and where chance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainerConfig {
    /// Rows of a batch. Default 32. The last batch of an epoch has what is left, and its mean is over its own rows.
    pub batch: u32,
    /// Seed of the initial weights and of the shuffle. Default 0. The same seed on the same adapter gives the same
    /// weights, bit for bit.
    pub seed: u64,
    /// Whether each epoch has an order of its own. Default true.
    pub shuffle: bool,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self { batch: 32, seed: 0, shuffle: true }
    }
}

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
    device: Device,
    network: Network,
    loss: Loss,
    config: TrainerConfig,
    parameters: Storage,
    training: Executor,
    evaluation: Option<Executor>,
    /// Steps that `fit` has taken.
    steps: u32,
    /// Whether a step has run.
    warm: bool,
}

/// Submissions that `fit` lets the GPU fall behind.
const IN_FLIGHT: usize = 2;

/// Submissions an epoch is cut into.
const SUBMISSIONS: u32 = 24;

/// Most work of one submission: well below the seconds after which an operating system resets a GPU.
const SUBMISSION_FLOPS: u64 = 50_000_000_000;
const SUBMISSION_BYTES: u64 = 10_000_000_000;

/// Rows of a batch of evaluation: enough to fill a GPU.
const EVALUATION_BATCH: u32 = 512;

impl Trainer {
    /// Plans the step, allocates its buffers, draws the initial weights and compiles the kernels. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::InvalidOption`] and [`Error::LimitExceeded`] before anything is allocated;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(
        device: impl Into<Device>,
        network: &Network,
        loss: Loss,
        optimizer: impl Into<Optimizer>,
        config: TrainerConfig,
    ) -> Result<Self> {
        let device = device.into();
        let plan = Plan::training(network, loss, &optimizer.into(), config.batch)?;
        device.check_plan(&plan)?;
        let weights = network.initial_parameters(config.seed);
        let parameters = device.upload("parameters", bytemuck::cast_slice(&weights))?;
        let training = device.executor(plan, &[(Role::Parameters, &parameters)])?;
        let network = network.clone();
        Ok(Self { device, network, loss, config, parameters, training, evaluation: None, steps: 0, warm: false })
    }

    /// Has the driver compile the kernels now, in the background, where it would else do so at the first step: worth
    /// calling before a data set is read. Submits, once; waits for nothing.
    pub fn warm_up(&self) {
        if let Executor::Gpu(executor) = &self.training {
            let mut encoder = executor.gpu().encoder();
            executor.record_warm_up(&mut encoder);
            executor.gpu().submit(encoder);
        }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The training step: its buffers and its ops.
    pub fn plan(&self) -> &Plan {
        self.training.plan()
    }

    /// The network with its weights, to run it. It shares the weights: training goes on in it.
    pub fn model(&self) -> Model {
        Model::of(self.device.clone(), self.network.clone(), self.parameters.clone())
    }

    /// Trains, batch by batch: the GPU shuffles and gathers the batches itself, many steps a submission, and at most
    /// three submissions are under way. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] where the data do not fit the network; [`Error::LimitExceeded`] where they do not fit the
    /// device; [`Error::NonFiniteLoss`] at the end of the epoch in which the loss became NaN or infinite, of training or
    /// of validation;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn fit(&mut self, train: &Dataset, fit: Fit<'_>, progress: impl FnMut(Event)) -> Result<History> {
        let device = self.device.clone();
        device.block_on(self.fit_async(train, fit, progress))
    }

    /// [`fit`](Self::fit) for async code and browsers: submits, but leaves polling the device to the app.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub async fn fit_async(
        &mut self,
        train: &Dataset,
        fit: Fit<'_>,
        mut progress: impl FnMut(Event),
    ) -> Result<History> {
        self.check_fits(train)?;
        fit.validation.map_or(Ok(()), |validation| self.check_fits(validation))?;
        self.bind_training(train)?;
        if let Some(validation) = fit.validation {
            self.bind_evaluation(validation)?;
        }
        if !self.warm {
            // Drivers that compile at a kernel's first use do so here, and not in an epoch's time.
            self.warm_up();
            self.training.finish().await?;
        }
        let mut history = History::default();
        for epoch in 1..=fit.epochs {
            let clock = Clock::start();
            let steps = (train.rows() as u32).div_ceil(self.config.batch);
            let train = self.train_epoch(epoch, steps, fit.live, &mut progress).await?;
            let seconds = clock.seconds();
            let validation = match fit.validation {
                Some(validation) => Some(self.run_evaluation(validation.rows() as u32).await?),
                None => None,
            };
            if validation.is_some_and(|v| !v.loss.is_finite()) {
                return Err(Error::NonFiniteLoss { epoch, step: self.steps });
            }
            let report = Epoch { epoch, train, validation, steps, seconds };
            history.epochs.push(report);
            progress(Event::Epoch(report));
        }
        Ok(history)
    }

    /// Mean loss and accuracy over a data set. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    #[cfg(not(target_family = "wasm"))]
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Evaluation> {
        let device = self.device.clone();
        device.block_on(self.evaluate_async(data))
    }

    /// [`evaluate`](Self::evaluate) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub async fn evaluate_async(&mut self, data: &Dataset) -> Result<Evaluation> {
        self.check_fits(data)?;
        self.bind_evaluation(data)?;
        self.run_evaluation(data.rows() as u32).await
    }

    /// The class of each row of `features`: [`Model::predict`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict(&self, features: &[f32]) -> Result<Vec<u32>> {
        self.model().predict(features)
    }

    /// [`predict`](Self::predict) for async code and browsers: [`Model::predict_async`].
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_async(&self, features: &[f32]) -> Result<Vec<u32>> {
        self.model().predict_async(features).await
    }

    /// Uploads a data set and returns the training steps over it, ready to be recorded into the app's own encoders.
    /// Uploads only: nothing is submitted or polled.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn prepare(&mut self, data: &Dataset) -> Result<Training> {
        self.needs_gpu("Trainer::prepare")?;
        self.check_fits(data)?;
        self.bind_training(data)?;
        self.recorder()
    }

    /// [`prepare`](Self::prepare) over data that are on the GPU already: `features` holds `rows` rows of f32,
    /// `labels` as many u32. A label that is not a class makes the loss NaN.
    ///
    /// # Errors
    /// [`Error::Shape`] where a buffer is too short; [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn prepare_buffers(&mut self, features: &wgpu::Buffer, labels: &wgpu::Buffer, rows: u32) -> Result<Training> {
        self.needs_gpu("Trainer::prepare_buffers")?;
        let bytes = [u64::from(rows) * u64::from(self.network.inputs()) * 4, u64::from(rows) * 4];
        for ((what, buffer), bytes) in [("features", features), ("labels", labels)].into_iter().zip(bytes) {
            let what = format!("buffer of {what} for {rows} rows");
            check_storage(&what, buffer)?;
            if buffer.size() < bytes || rows == 0 {
                let expected = format!("at least 1 row and {bytes} bytes");
                return Err(Error::Shape { what, expected, actual: format!("{} bytes", buffer.size()) });
            }
        }
        self.training.bind(Role::Features, &Storage::Gpu(features.clone()), Some(bytes[0]))?;
        self.training.bind(Role::Labels, &Storage::Gpu(labels.clone()), Some(bytes[1]))?;
        self.start(rows, false)?;
        self.recorder()
    }

    fn needs_gpu(&self, call: &'static str) -> Result<()> {
        match self.device {
            Device::Gpu(_) => Ok(()),
            Device::Cpu => Err(Error::NeedsGpu { call }),
        }
    }

    fn recorder(&self) -> Result<Training> {
        match &self.training {
            Executor::Gpu(executor) => Ok(Training::new(executor.clone())),
            Executor::Cpu(_) => Err(Error::NeedsGpu { call: "recording" }),
        }
    }

    fn bind_training(&mut self, data: &Dataset) -> Result<()> {
        upload(&self.device, &mut self.training, data)?;
        self.start(data.rows() as u32, data.is_u8())
    }

    /// Points the cursor at the start of a data set. The step goes on counting, and the epoch, so that the next run
    /// has other shuffles. What is known of the data set gets a buffer of its own each time, as its rows do: a
    /// [`Training`] made before keeps its own.
    fn start(&mut self, rows: u32, bytes: bool) -> Result<()> {
        let info = DataInfo {
            rows,
            shuffle: self.config.shuffle.into(),
            seed_low: self.config.seed as u32,
            seed_high: (self.config.seed >> 32) as u32,
            bytes: bytes.into(),
        };
        let info = self.device.upload("what is known of the data set", bytemuck::bytes_of(&info))?;
        self.training.bind(Role::Data, &info, None)?;
        let position = std::mem::offset_of!(StepState, position) as u64;
        self.device.write(&self.training.storage(Role::Step), position, &[0; 4]);
        Ok(())
    }

    fn bind_evaluation(&mut self, data: &Dataset) -> Result<()> {
        let rows = data.rows() as u32;
        let batch = rows.min(rows_that_fit(&self.device, &self.network, EVALUATION_BATCH));
        let mut executor = match self.evaluation.take() {
            Some(executor) if executor.plan().batch == batch => executor,
            _ => {
                let plan = Plan::evaluation(&self.network, self.loss, batch)?;
                self.device.executor(plan, &[(Role::Parameters, &self.parameters)])?
            }
        };
        upload(&self.device, &mut executor, data)?;
        let info = DataInfo { rows, bytes: data.is_u8().into(), ..DataInfo::default() };
        self.device.write(&executor.storage(Role::Data), 0, bytemuck::bytes_of(&info));
        self.device.write(&executor.storage(Role::Step), 0, bytemuck::bytes_of(&StepState::default()));
        self.evaluation = Some(executor);
        Ok(())
    }

    fn check_fits(&self, data: &Dataset) -> Result<()> {
        let fault =
            |what: &str, expected: String, actual: String| Err(Error::Shape { what: what.into(), expected, actual });
        if let Device::Gpu(gpu) = &self.device {
            gpu.check_size("the data set's features", data.feature_bytes())?;
            gpu.check_size("the data set's labels", data.rows() as u64 * 4)?;
        }
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        if data.features() != inputs as usize {
            return fault(
                "features of the data set",
                format!("{inputs}, the network's input"),
                data.features().to_string(),
            );
        }
        if data.classes() > outputs {
            return fault(
                "classes of the data set",
                format!("at most {outputs}, the network's output"),
                data.classes().to_string(),
            );
        }
        Ok(())
    }

    async fn train_epoch(
        &mut self,
        epoch: u32,
        steps: u32,
        live: bool,
        progress: &mut impl FnMut(Event),
    ) -> Result<Evaluation> {
        let each = self.steps_of_a_submission(self.training.plan(), steps);
        let mut under_way = VecDeque::new();
        let mut submitted = 0;
        let mut last = None;
        while submitted < steps || !under_way.is_empty() {
            // The first step of all goes alone, so that its end can be told.
            let behind = if self.warm { IN_FLIGHT } else { 0 };
            if submitted == steps || under_way.len() > behind {
                let (done, submission): (u32, Submission) = under_way.pop_front().expect("not empty");
                let metrics = submission.finish().await?;
                self.warm = true;
                if let Some(RowMetrics { non_finite_step: step @ 1.., .. }) = metrics {
                    return Err(Error::NonFiniteLoss { epoch, step });
                }
                last = metrics.map(Evaluation::new);
                progress(Event::Steps { epoch, done, steps, train: last });
            } else {
                let now = if self.warm { each.min(steps - submitted) } else { 1 };
                let clear = submitted == 0;
                submitted += now;
                let report = live || submitted == steps;
                under_way.push_back((submitted, self.training.submit(Run { steps: now, clear, report })?));
            }
        }
        self.steps += steps;
        Ok(last.expect("the last submission reports"))
    }

    async fn run_evaluation(&self, rows: u32) -> Result<Evaluation> {
        let executor = self.evaluation.as_ref().expect("bind_evaluation() comes first");
        let steps = rows.div_ceil(executor.plan().batch);
        let each = self.steps_of_a_submission(executor.plan(), steps);
        let mut metrics = None;
        for first in (0..steps).step_by(each as usize) {
            let now = each.min(steps - first);
            let run = Run { steps: now, clear: first == 0, report: first + now == steps };
            metrics = executor.submit(run)?.finish().await?;
        }
        Ok(Evaluation::new(metrics.expect("the last submission reports")))
    }

    fn steps_of_a_submission(&self, plan: &Plan, steps: u32) -> u32 {
        // The CPU is done when a submission returns: there, one step at a time keeps a progress bar alive.
        if let (Device::Cpu, "training") = (&self.device, plan.name) {
            return steps.div_ceil(SUBMISSIONS * 8);
        }
        let by_flops = SUBMISSION_FLOPS / plan.flops().max(1);
        let by_bytes = SUBMISSION_BYTES / plan.bytes().max(1);
        let most = by_flops.min(by_bytes).clamp(1, u32::MAX.into()) as u32;
        // An evaluation has no progress to show: as few submissions as will do.
        most.min(if plan.name == "training" { steps.div_ceil(SUBMISSIONS) } else { steps })
    }
}

/// Gives an executor the features and labels of a data set.
fn upload(device: &Device, executor: &mut Executor, data: &Dataset) -> Result<()> {
    let features = device.upload("the data set's features", &data.feature_words())?;
    let labels = device.upload("the data set's labels", bytemuck::cast_slice(data.labels()))?;
    executor.bind(Role::Features, &features, None)?;
    executor.bind(Role::Labels, &labels, None)
}

/// How many rows, up to `wanted`, a plan may have for its widest buffer to fit the device.
pub(crate) fn rows_that_fit(device: &Device, network: &Network, wanted: u32) -> u32 {
    let outputs = network.layers().map(|(_, layer)| layer.outputs());
    let widest = outputs.chain([network.inputs()]).max().unwrap_or(1);
    let fitting = device.largest_binding() / (u64::from(widest) * 4);
    fitting.clamp(1, wanted.into()) as u32
}

/// Refuses an app's buffer that kernels could not bind.
pub(crate) fn check_storage(what: &str, buffer: &wgpu::Buffer) -> Result<()> {
    if buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Ok(());
    }
    let (expected, actual) = ("the usage STORAGE".into(), format!("{:?}", buffer.usage()));
    Err(Error::Shape { what: what.into(), expected, actual })
}

/// A stopwatch, except in a browser.
struct Clock {
    #[cfg(not(target_family = "wasm"))]
    start: std::time::Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            #[cfg(not(target_family = "wasm"))]
            start: std::time::Instant::now(),
        }
    }

    fn seconds(&self) -> Option<f64> {
        #[cfg(not(target_family = "wasm"))]
        return Some(self.start.elapsed().as_secs_f64());
        #[cfg(target_family = "wasm")]
        None
    }
}

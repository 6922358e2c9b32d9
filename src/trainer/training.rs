//! Training steps for an app's own encoders.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Trainer;
use super::chain::Order;
use super::frame_budget::{Frame, Frames};
#[cfg(doc)]
use crate::buffer_rows::Rows;
use crate::dataset::Dataset;
#[cfg(doc)]
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{GpuExecutor, Recorder, warm_up};
use crate::named_values::NamedRows;
use crate::network::TensorSpec;
use crate::plan::{DataInfo, Epilogue, Matmul, Op, Role};

impl Trainer {
    /// Uploads a data set and returns the training steps over it, ready to be recorded into the app's own encoders.
    /// Uploads only: nothing is submitted or polled.
    ///
    /// A data set that is given away, `data` instead of `&data`, is freed once it is uploaded. To have it in memory only
    /// once from the start, read it into a buffer of your own: see [`prepare_buffers`](Self::prepare_buffers).
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn prepare<'a>(&mut self, data: impl Into<Cow<'a, Dataset>>) -> Result<Training> {
        let data = data.into();
        self.device.needs_gpu("Trainer::prepare")?;
        let matched = self.check_fits(&data)?;
        self.bind_training(data, &matched, 0)?;
        self.recorder()
    }

    /// [`prepare`](Self::prepare) over data that are on the GPU already, in the app's own buffers: `features` holds `rows`
    /// rows of f32, or of [bytes](Rows::bytes); `targets`, for a loss over classes, as many u32 labels, and for other losses
    /// `rows` rows of f32, one for each output. What the buffers hold when a step runs is what it trains on. A label that is
    /// not a class makes the loss NaN. So does a target of binary cross-entropy that is not from 0 to 1.
    ///
    /// Of a network with several inputs or outputs, `features` has [rows for each input](NamedRows) and `targets` for
    /// each output, by its name. An output with several positions, \[height, width, classes\] or the like, has a label,
    /// or as many numbers as classes, for each position of a row.
    ///
    /// ```no_run
    /// # fn f(trainer: &mut wgrad::Trainer, images: &wgrad::wgpu::Buffer, ages: &wgrad::wgpu::Buffer,
    /// #      kinds: &wgrad::wgpu::Buffer, sizes: &wgrad::wgpu::Buffer) -> wgrad::Result<()> {
    /// use wgrad::Rows;
    /// let features = [("image", Rows::from(images).bytes()), ("age", ages.into())];
    /// let training = trainer.prepare_buffers(features, [("kind", kinds), ("size", sizes)], 1000)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where an input or an output has no rows or a name is unknown or given twice, a buffer is too
    /// short, or rows do not start at multiples of 4 bytes; [`Error::NeedsGpu`] on [`Device::Cpu`];
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_buffers<'a>(
        &mut self,
        features: impl Into<NamedRows<'a>>,
        targets: impl Into<NamedRows<'a>>,
        rows: u32,
    ) -> Result<Training> {
        let gpu = self.device.needs_gpu("Trainer::prepare_buffers")?;
        let (inputs, outputs) = (self.network.input_specs(), self.network.output_specs());
        let features = features.into().all("input", inputs)?;
        let targets = targets.into().all("target", outputs)?;
        let title = |what: &str, end: &TensorSpec, of: usize| {
            if of == 1 { what.into() } else { format!("{what} of {:?}", end.name) }
        };
        let mut infos = vec![DataInfo { rows, ..DataInfo::default() }; inputs.len().max(outputs.len())];
        let mut given = Vec::new();
        for (i, (end, features)) in inputs.iter().zip(features).enumerate() {
            let what = title("features", end, inputs.len());
            let (features, bytes) = features.features(gpu, &what, rows, end.features())?;
            let (bytes, first_feature, feature_stride) = (bytes.into(), features.first, features.stride);
            infos[i] = DataInfo { bytes, first_feature, feature_stride, ..infos[i] };
            given.push((Role::Features(i as u32), features.region));
        }
        for (i, (end, targets)) in outputs.iter().zip(targets).enumerate() {
            let values = !self.of_outputs[i].0.is_softmax();
            // A label for each position, or every number.
            let width = if values { end.features() } else { end.features() / end.shape.last().copied().unwrap_or(1) };
            let targets = targets.strided(gpu, &title("targets", end, outputs.len()), rows, width)?;
            let (values, first_target, target_stride) = (values.into(), targets.first, targets.stride);
            infos[i] = DataInfo { values, first_target, target_stride, ..infos[i] };
            given.push((Role::Targets(i as u32), targets.region));
        }
        for (role, region) in given {
            self.training.bind_region(role, region)?;
        }
        self.start(&infos, &[], 0)?;
        self.recorder()
    }

    fn recorder(&self) -> Result<Training> {
        let executor = self.training.gpu().clone();
        let frames = Arc::new(Frames::new(executor.gpu(), self.totals.clone())?);
        Ok(Training { executor, frames, order: self.order.clone() })
    }
}

/// Training steps over a data set, to be recorded into an app's own command encoders and compute passes: see
/// [`Trainer::prepare`](crate::Trainer::prepare).
///
/// The batches, the cursor in the data set and the running metrics live on the GPU, so that any number of steps can
/// stand in one encoder, beside the app's own passes.
///
/// Each step trains on one batch: [`TrainerConfig::batch`](crate::TrainerConfig::batch) rows. `rows` rows, of the data set or of
/// the app's buffers, are an epoch of `rows` / `batch` steps, rounded up; its last batch has what is left. Each epoch visits each
/// row once, in an order drawn anew, or in that of the rows where [`shuffle`](crate::TrainerConfig::shuffle) is off. Steps go
/// on where the last recorded step ended, from frame to frame too. So where an app writes new rows in each frame,
/// `rows` = `batch` · steps of a frame trains on each of them exactly once; with other numbers some are skipped or repeated.
/// What a row holds when its step runs is what is trained on.
#[derive(Debug, Clone)]
pub struct Training {
    executor: GpuExecutor,
    frames: Arc<Frames>,
    order: Arc<Order>,
}

warm_up::methods!(Training: executor);

impl Training {
    /// Records steps: one compute pass, or into the one that is open. No allocation, no submission, no polling; cannot
    /// fail. The loss of these steps is in [`metrics_buffer`](Self::metrics_buffer) after
    /// [`record_metrics`](Self::record_metrics). Where `wgpu` refuses the submission, no step has run, and a copy of that buffer
    /// holds what it held before: copy a number of your own beside it to tell.
    pub fn record_steps(&self, to: &mut impl Recorder, steps: u32) {
        self.order.interrupt();
        self.executor.record_steps(to, steps);
    }

    /// Records as many steps as take `budget` on the GPU, by what steps have taken so far, and returns how many.
    ///
    /// Each call's steps are timed by timestamps around their pass, which arrive with their loss and accuracy, some frames
    /// later, while the app submits or polls; where the device lacks
    /// [`TIMESTAMP_QUERY`](wgpu::Features::TIMESTAMP_QUERY), by the time until then, which counts everything that was in the
    /// way and so errs on the side of few steps. A slower measurement is believed at once, up to four times the time before; a faster one half way. Calls
    /// that began before the first came back are not measured, as they may have waited for the driver's compiler: until one
    /// is, a call records one step, and then at most twice as many as the last timed one did. Where a step takes longer than
    /// the budget, calls record none until together they could have afforded it, or have saved a second. No more than three
    /// calls are under way: a fourth records nothing. Neither does a [paused](Self::pause) training, nor a budget of zero.
    ///
    /// What arrives carries the number of its call. Where `wgpu` refuses the app's submission, no step has run, nothing is told,
    /// and nothing is learnt of how long steps take.
    ///
    /// Clears the running metrics, as [`on_frame`](Self::on_frame) tells those of each call. Allocates nothing on the GPU;
    /// on the host, `wgpu` boxes a callback. What was measured is mapped by the app's own submission
    /// ([`maps_on_submit`](crate::Traffic::maps_on_submit)). The encoder has to be submitted, or dropped: what it is to be
    /// mapped for is free again then.
    pub fn record_within(&self, encoder: &mut wgpu::CommandEncoder, budget: Duration) -> u32 {
        let steps = self.frames.record(encoder, budget, &self.executor);
        if steps > 0 {
            self.order.interrupt();
        }
        steps
    }

    /// Has a function called with what each [`record_within`](Self::record_within) came to, once the GPU is done with it:
    /// while the app submits or polls, on that thread. It replaces the one before.
    pub fn on_frame(&self, told: impl FnMut(Frame) + Send + 'static) {
        self.frames.state().told = Some(Box::new(told));
    }

    /// The newest result that has arrived: loss, accuracy and step time of a [`record_within`](Self::record_within), with the
    /// number of the call. None before the first. Asks the GPU nothing.
    pub fn last_frame(&self) -> Option<Frame> {
        self.frames.state().last
    }

    /// From now on [`record_within`](Self::record_within) records nothing.
    pub fn pause(&self) {
        self.frames.state().paused = true;
    }

    /// Ends a [pause](Self::pause).
    pub fn resume(&self) {
        self.frames.state().paused = false;
    }

    /// Records the sum of the running metrics into [`metrics_buffer`](Self::metrics_buffer). No allocation, no submission, no
    /// polling; cannot fail.
    pub fn record_metrics(&self, to: &mut impl Recorder) {
        self.executor.record_report(to);
    }

    /// Records setting the running metrics to zero. No allocation, no submission, no polling; cannot fail.
    pub fn record_clear_metrics(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(self.executor.of(Role::RowMetrics), 0, None);
    }

    /// One [`RowMetrics`](crate::plan::RowMetrics): sums over the rows trained on since the metrics were last cleared. It
    /// can be copied from, and bound as storage.
    pub fn metrics_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Totals)
    }

    /// The weights: [`Network::parameters`](crate::Network::parameters) tells name, place and shape of each tensor. They can
    /// be copied from and to, and bound as storage.
    pub fn parameter_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Parameters)
    }

    /// The gradients of the last batch, laid out as the weights are: they can be copied from and bound as storage. None
    /// where some of them go straight into the optimizer, unless
    /// [`keep_gradients`](crate::TrainerConfig::keep_gradients) is set.
    pub fn gradient_buffer(&self) -> Option<&wgpu::Buffer> {
        let plan = self.executor.plan();
        let all_there = !plan.ops().any(|op| matches!(op, Op::Matmul(Matmul { epilogue: Epilogue::Update(_), .. })));
        plan.find(Role::Gradients).filter(|_| all_there).and_then(|id| self.executor.buffer(id))
    }
}

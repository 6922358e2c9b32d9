//! Training steps that an app records into its own encoders.

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
    /// Uploads a data set and returns the training steps over it, to record into the app's own encoders. Submits and
    /// polls nothing.
    ///
    /// Pass `data` instead of `&data` to free the data set's host memory after the upload. To avoid a second copy in
    /// memory, read the data into your own buffer: see [`prepare_buffers`](Self::prepare_buffers).
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::NeedsGpu`] on [`Device::Cpu`].
    pub fn prepare<'a>(&mut self, data: impl Into<Cow<'a, Dataset>>) -> Result<Training> {
        let data = data.into();
        self.device.needs_gpu("Trainer::prepare")?;
        let matched = self.check_fits(&data)?;
        self.plan_share(self.config.share())?;
        self.bind_training(data, &matched, 0)?;
        self.recorder()
    }

    /// [`prepare`](Self::prepare) for data in the app's own GPU buffers. Steps read the buffers when they run.
    ///
    /// - `features`: `rows` rows of f32 or of [bytes](Rows::bytes).
    /// - `targets`: for a loss over classes, one u32 label a row; for other losses, rows of f32 with one number for
    ///   each output.
    ///
    /// A label that is not a class makes the loss NaN. A target of binary cross-entropy outside 0 to 1 does too.
    ///
    /// For a network with several inputs or outputs, `features` has [rows for each input](NamedRows) and `targets`
    /// for each output, by name. An output with several positions (such as \[height, width, classes\]) has one label
    /// for each position of a row, or the numbers of all classes.
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
    /// - [`Error::Shape`] if an input or an output has no rows; if a name is unknown or given twice; if a buffer is
    ///   too short; if rows do not start at multiples of 4 bytes.
    /// - [`Error::NeedsGpu`] on [`Device::Cpu`].
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
            // One label for each position, or all numbers.
            let width = if values { end.features() } else { end.features() / end.shape.last().copied().unwrap_or(1) };
            let targets = targets.strided(gpu, &title("targets", end, outputs.len()), rows, width)?;
            let (values, first_target, target_stride) = (values.into(), targets.first, targets.stride);
            infos[i] = DataInfo { values, first_target, target_stride, ..infos[i] };
            given.push((Role::Targets(i as u32), targets.region));
        }
        self.plan_share(self.config.share())?;
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

/// Training steps over a data set, to record into an app's own command encoders and compute passes: see
/// [`Trainer::prepare`](crate::Trainer::prepare).
///
/// The batches, the cursor in the data set and the running metrics are on the GPU. One encoder can therefore hold any
/// number of steps, beside the app's own passes.
///
/// Each step trains on one batch of [`TrainerConfig::batch`](crate::TrainerConfig::batch) rows. An epoch of `rows`
/// rows has `rows` / `batch` steps, rounded up; its last batch has the remaining rows. Each epoch visits each row
/// once. The order is drawn for each epoch; without [`shuffle`](crate::TrainerConfig::shuffle) it is the order of the
/// rows.
///
/// Steps continue where the last recorded step ended, also in the next frame. If an app writes new rows in each
/// frame, set `rows` to `batch` · steps of a frame: then each row is used exactly once. With other numbers, some rows
/// are skipped or repeated. A step uses the rows as they are when it runs.
#[derive(Debug, Clone)]
pub struct Training {
    executor: GpuExecutor,
    frames: Arc<Frames>,
    order: Arc<Order>,
}

warm_up::methods!(Training: executor);

impl Training {
    /// Records steps in one compute pass, or into an open pass. No allocation, no submission, no polling; cannot
    /// fail.
    ///
    /// To read the loss of these steps, call [`record_metrics`](Self::record_metrics) and copy
    /// [`metrics_buffer`](Self::metrics_buffer). If `wgpu` rejects the submission, no step runs and the copy holds
    /// old values. To detect this, copy a number of your own beside it.
    pub fn record_steps(&self, to: &mut impl Recorder, steps: u32) {
        self.order.interrupt();
        self.executor.record_steps(to, steps);
    }

    /// Records the number of steps that fit in `budget` of GPU time, and returns that number.
    ///
    /// The number depends on measured step times:
    /// - Timestamps around each call's pass measure its steps. Without
    ///   [`TIMESTAMP_QUERY`](wgpu::Features::TIMESTAMP_QUERY), the time until the results arrive is used. It includes
    ///   other work, so fewer steps are recorded.
    /// - A slower measurement replaces the estimate at once, up to four times the old one. A faster one moves it
    ///   halfway.
    /// - Calls that began before the first results arrived are not measured, because they may include compilation.
    ///   Until the first measurement a call records one step. Afterwards it records at most twice the steps of the
    ///   last measured call.
    /// - If a step takes longer than `budget`, calls record no step until their budgets add up to a step's time or to
    ///   one second.
    /// - At most three calls are pending. A further call records nothing.
    /// - A [paused](Self::pause) training or a budget of zero records nothing.
    ///
    /// The times, loss and accuracy arrive some frames later, while the app submits or polls: see
    /// [`on_frame`](Self::on_frame). They carry the number of their call. If `wgpu` rejects the app's submission, no
    /// step runs and nothing is reported or measured.
    ///
    /// This call clears the running metrics, because `on_frame` reports those of each call. It allocates nothing on
    /// the GPU; on the host, `wgpu` allocates a callback. The app's own submission maps the results
    /// ([`maps_on_submit`](crate::Traffic::maps_on_submit)). Submit or drop the encoder, otherwise its staging buffer
    /// stays in use.
    pub fn record_within(&self, encoder: &mut wgpu::CommandEncoder, budget: Duration) -> u32 {
        let steps = self.frames.record(encoder, budget, &self.executor);
        if steps > 0 {
            self.order.interrupt();
        }
        steps
    }

    /// Sets a callback for the results of each [`record_within`](Self::record_within). It replaces the previous
    /// callback.
    ///
    /// It runs when the GPU has finished the steps, while the app submits or polls, on that thread.
    pub fn on_frame(&self, callback: impl FnMut(Frame) + Send + 'static) {
        self.frames.state().callback = Some(Box::new(callback));
    }

    /// The newest [`record_within`](Self::record_within) result that has arrived: loss, accuracy, step time and the
    /// number of the call. `None` before the first. Does not access the GPU.
    pub fn last_frame(&self) -> Option<Frame> {
        self.frames.state().last
    }

    /// Pauses: [`record_within`](Self::record_within) records nothing from now on.
    pub fn pause(&self) {
        self.frames.state().paused = true;
    }

    /// Ends a [pause](Self::pause).
    pub fn resume(&self) {
        self.frames.state().paused = false;
    }

    /// Records the sum of the running metrics into [`metrics_buffer`](Self::metrics_buffer). No allocation, no
    /// submission, no polling; cannot fail.
    pub fn record_metrics(&self, to: &mut impl Recorder) {
        self.executor.record_report(to);
    }

    /// Records clearing the running metrics. No allocation, no submission, no polling; cannot fail.
    pub fn record_clear_metrics(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(self.executor.of(Role::RowMetrics), 0, None);
    }

    /// The buffer of one [`RowMetrics`](crate::plan::RowMetrics): sums over the rows trained on since the metrics
    /// were last cleared. Its usages are copy source and storage.
    pub fn metrics_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Totals)
    }

    /// The buffer of the weights; [`Network::parameters`](crate::Network::parameters) has the name, offset and shape
    /// of each tensor. Its usages are copy source, copy destination and storage.
    pub fn parameter_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Parameters)
    }

    /// The buffer of the last batch's gradients, in the layout of the weights. Its usages are copy source and
    /// storage. `None` if the optimizer fuses some gradients without storing them;
    /// [`keep_gradients`](crate::TrainerConfig::keep_gradients) prevents this. `None` too with
    /// [`slices`](crate::TrainerConfig::slices), where the buffer holds the gradients of one slice.
    pub fn gradient_buffer(&self) -> Option<&wgpu::Buffer> {
        let plan = self.executor.plan();
        let passes_on = |op: &Op| match op {
            Op::Matmul(Matmul { epilogue: Epilogue::Update(_), .. }) => true,
            Op::HashGridGradient(gradient) => gradient.step.is_some(),
            _ => false,
        };
        let all_there = plan.find(Role::SliceSums).is_none() && !plan.ops().flat_map(Op::parts).any(passes_on);
        plan.find(Role::Gradients).filter(|_| all_there).and_then(|id| self.executor.buffer(id))
    }
}

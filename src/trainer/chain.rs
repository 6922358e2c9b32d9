//! A network inside a larger differentiable computation: forward, the app's own loss, backward, update.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Trainer;
#[cfg(doc)]
use crate::buffer_rows::Rows;
use crate::config::TrainerConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{GpuExecutor, Recorder, Region, warm_up};
use crate::named_values::NamedRows;
use crate::plan::{BufferId, DataInfo, Plan, Role, StepState};
use crate::plan_bindings::PlanBindings;

/// The app's buffers at the ends of a [`Chain`]: each holds as many rows of f32 as the chain has, with [any stride](Rows).
/// They may be in one buffer, if no word that is written is another's too.
///
/// Of a network with one input and one output a buffer, a part of one or [`Rows`] converts into each field. Several
/// inputs or outputs come as pairs of name and rows:
///
/// ```no_run
/// # fn f<'a>([image, ages, kind, size, dkind, dsize, dimage]: [&'a wgrad::wgpu::Buffer; 7]) -> wgrad::ChainRows<'a> {
/// # use wgrad::ChainRows;
/// ChainRows {
///     input: [("image", image), ("age", ages)].into(),
///     output: [("kind", kind), ("size", size)].into(),
///     output_gradient: [("kind", dkind), ("size", dsize)].into(),
///     input_gradient: Some([("image", dimage)].into()),
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChainRows<'a> {
    /// Read by the forward pass, and by the backward pass again.
    pub input: NamedRows<'a>,
    /// Written by the forward pass, and read by the backward pass: leave it as it is in between.
    pub output: NamedRows<'a>,
    /// Read by the backward pass: the derivative of the app's loss with respect to each number of each output. Of an
    /// output that the loss does not read it is a buffer of zeros.
    pub output_gradient: NamedRows<'a>,
    /// Written by the backward pass, if it is wanted: the derivative with respect to each number of the input. Of
    /// several inputs, of those that are named.
    pub input_gradient: Option<NamedRows<'a>>,
}

impl Trainer {
    /// Binds the network, as a part of a larger differentiable computation, to the app's own buffers: the app writes the
    /// input, records the forward pass, computes from the output a loss of its own and that one's gradient, records the
    /// backward pass, and goes on from the gradient of the input. The trainer's loss takes no part; its weights, optimizer
    /// and options do, of which [`accumulate`](TrainerConfig::accumulate) batches make an update: their gradients are
    /// *added*, so divide them by all rows where the loss is a mean. Submits nothing.
    ///
    /// A trainer has one cursor, which all that is prepared of it shares: a batch's [forward](Chain::record_forward),
    /// [backward](Chain::record_backward) and [update](Chain::record_update) go in that order, with nothing of the same
    /// trainer in between, steps or another chain; and this, as every `prepare_*` that trains, points it at the start of the
    /// data, unless it was brought back by [`rebuild`](Self::rebuild). To run the network in between, use [`Model::prepare_forward`](crate::Model::prepare_forward).
    ///
    /// ```no_run
    /// # fn f(trainer: &mut wgrad::Trainer, device: &wgrad::wgpu::Device, x: &wgrad::wgpu::Buffer, y: &wgrad::wgpu::Buffer,
    /// #      dy: &wgrad::wgpu::Buffer, dx: &wgrad::wgpu::Buffer, loss: impl Fn(&mut wgrad::wgpu::CommandEncoder),
    /// #      encoder: &mut wgrad::wgpu::CommandEncoder) -> wgrad::Result<()> {
    /// use wgrad::ChainRows;
    /// let rows = ChainRows {
    ///     input: x.into(),
    ///     output: y.into(),
    ///     output_gradient: dy.into(),
    ///     input_gradient: Some(dx.into()),
    /// };
    /// let chain = trainer.prepare_chain(rows, 256)?;
    /// chain.record_forward(encoder); // x -> y
    /// loss(encoder);                 // y -> dy, the app's own pass
    /// chain.record_backward(encoder); // dy -> dx, and the gradients of the weights
    /// chain.record_update(encoder);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where an input or an output has no rows or a name is unknown or given twice, a buffer is too
    /// short, rows do not start at multiples of 4 bytes, rows are written where others or the trainer's own buffers
    /// lie, or where `rows` is 0; [`Error::NeedsGpu`] on [`Device::Cpu`](crate::Device::Cpu); [`Error::LimitExceeded`],
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_chain(&mut self, rows: ChainRows<'_>, batch: u32) -> Result<Chain> {
        let gpu = self.device.needs_gpu("Trainer::prepare_chain")?.clone();
        let config = TrainerConfig { batch, ..self.config.clone() };
        let (inputs, outputs) = (self.network.input_specs(), self.network.output_specs());
        let wanted = match &rows.input_gradient {
            Some(gradients) => gradients.some("input gradient", inputs)?,
            None => vec![None; inputs.len()],
        };
        let [input, output, output_gradient] = [
            rows.input.all("input", inputs)?,
            rows.output.all("output", outputs)?,
            rows.output_gradient.all("output gradient", outputs)?,
        ];
        let are_wanted: Vec<bool> = wanted.iter().map(Option::is_some).collect();
        let plan = Plan::chain(&self.network, &self.optimizer, &config, &are_wanted)?;
        let wanted = (0..).zip(wanted).filter_map(|(i, rows)| Some((Role::InputGradient(i), rows?)));
        let ends = (0..).map(Role::Input).zip(input);
        let ends = ends.chain((0..).map(Role::Output).zip(output));
        let ends = ends.chain((0..).map(Role::OutputGradient).zip(output_gradient));
        let ends = PlanBindings::new(&gpu, &plan, ends.chain(wanted))?;
        ends.refuse_overlaps()?;
        // What the trainer has, the chain shares.
        let mut given: Vec<(BufferId, Region)> = Vec::new();
        for role in SHARED {
            if let (Some(id), Some(_)) = (plan.find(role), self.plan().find(role)) {
                given.push((id, self.training.storage(role).gpu().clone().into()));
            }
        }
        let plan = ends.bind(plan, &mut given)?;
        let phases = plan.phases();
        let mut executor = GpuExecutor::new(&gpu, Arc::new(plan), &given)?;
        let info = DataInfo { rows: batch.saturating_mul(self.config.accumulate), ..DataInfo::default() };
        // Rows come as the app has them.
        let info = DataInfo { shuffle: 0, ..self.shuffled(info) };
        gpu.write(executor.of(Role::Data(0)), 0, bytemuck::bytes_of(&info))?;
        let read: Vec<BufferId> =
            executor.plan().all(Role::Data(0)).chain(executor.plan().all(Role::ChainMarks)).collect();
        for (id, chain_pass) in read.into_iter().zip(0..) {
            let of_batch = |chain| DataInfo { chain, chain_pass, ..info };
            executor.vary(id, &(2..2 + BATCHES as u32).map(of_batch).collect::<Vec<_>>())?;
        }
        self.rewind(0)?;
        // No update is due before the first forward pass.
        let none = [1u32, 0, 0];
        let offset = std::mem::offset_of!(StepState, chain) as u64;
        self.device.write(&self.training.storage(Role::Step), offset, bytemuck::cast_slice(&none))?;
        let (order, id) = (self.order.clone(), self.order.chain());
        Ok(Chain { executor, phases, order, id })
    }
}

/// What a chain shares with its trainer, so that both train the same network.
const SHARED: [Role; 5] = [Role::Parameters, Role::Gradients, Role::AccumulatedGradients, Role::Moments, Role::Step];

/// A network bound to an app's own buffers at both ends, and back: see [`Trainer::prepare_chain`].
///
/// A chain's forward pass, backward pass and update together are one step over one batch: all `batch` rows that
/// [`prepare_chain`](Trainer::prepare_chain) was given, in their order. There is no data set, no epoch and no shuffle: what the
/// input holds when the forward pass runs is the batch. An update takes
/// [`accumulate`](TrainerConfig::accumulate) batches, and moves the learning-rate schedule on by one.
#[derive(Debug, Clone)]
pub struct Chain {
    executor: GpuExecutor,
    phases: [Range<usize>; 3],
    order: Arc<Order>,
    id: u64,
}

/// Batches that are told apart: what was recorded for one does nothing for another, whose passes may never have run.
const BATCHES: u64 = 16;

/// Which pass was recorded last, among all chains of a trainer: a pass out of order is not recorded. The cursor on the GPU asks
/// the same again, as a pass that was recorded may never run.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// (chain x [`BATCHES`] + batch) x 4 + pass, where pass 1 is forward, 2 backward, 3 update; 0 for none.
    last: AtomicU64,
    chains: AtomicU64,
    batches: AtomicU64,
    out_of_order: AtomicU64,
}

impl Order {
    /// The number of a new chain.
    fn chain(&self) -> u64 {
        self.chains.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Something else moves the cursor: a batch that is under way is given up.
    pub fn interrupt(&self) {
        self.last.store(0, Ordering::Release);
    }

    /// Begins a batch with its forward pass: which of [`BATCHES`] it is.
    fn forward(&self, chain: u64) -> usize {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed) % BATCHES;
        self.last.store((chain * BATCHES + batch) * 4 + 1, Ordering::Release);
        batch as usize
    }

    /// The batch whose pass may follow now: backward (2) after forward (1), update (3) after backward.
    fn follow(&self, chain: u64, pass: u64) -> Option<usize> {
        let last = self.last.load(Ordering::Acquire);
        let (batch, before) = (last / 4, last % 4);
        let follows = batch / BATCHES == chain && before + 1 == pass;
        let moved = |()| self.last.compare_exchange(last, last + 1, Ordering::AcqRel, Ordering::Acquire).ok();
        let batch = follows.then_some(()).and_then(moved).map(|_| (batch % BATCHES) as usize);
        if batch.is_none() {
            self.out_of_order.fetch_add(1, Ordering::Relaxed);
        }
        batch
    }
}

warm_up::methods!(Chain: executor);

impl Chain {
    /// Records the forward pass of a batch, as in training: with dropout, and keeping what the backward pass needs. No
    /// allocation, no submission, no polling; cannot fail. A batch whose backward pass has not run is given up.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        let batch = self.order.forward(self.id);
        self.executor.record_varied(to, "chain, forward", self.phases[0].clone(), batch);
    }

    /// Records the backward pass of that batch, once. No allocation, no submission, no polling; cannot fail. Records nothing
    /// where the call before it, among those that train this trainer, was not this chain's
    /// [`record_forward`](Self::record_forward): see [`out_of_order`](Self::out_of_order).
    pub fn record_backward(&self, to: &mut impl Recorder) {
        if let Some(batch) = self.order.follow(self.id, 2) {
            self.executor.record_varied(to, "chain, backward", self.phases[1].clone(), batch);
        }
    }

    /// Records the optimizer's step, which does nothing unless the batch was the last of its update. No allocation, no
    /// submission, no polling; cannot fail. Records nothing where the call before it was not this chain's
    /// [`record_backward`](Self::record_backward). It changes no weight where the forward or the backward pass of the batch
    /// never ran, because `wgpu` refused their submission or because their encoder was dropped.
    pub fn record_update(&self, to: &mut impl Recorder) {
        if let Some(batch) = self.order.follow(self.id, 3) {
            self.executor.record_varied(to, "chain, update", self.phases[2].clone(), batch);
        }
    }

    /// How many calls of [`record_backward`](Self::record_backward) and [`record_update`](Self::record_update) came out of
    /// order and recorded nothing, of all chains of the trainer: 0 in an app that records each batch's passes in order.
    pub fn out_of_order(&self) -> u64 {
        self.order.out_of_order.load(Ordering::Relaxed)
    }

    /// The weights: [`Network::parameters`](crate::Network::parameters) tells name, place and shape of each tensor. They can
    /// be copied from and to, and bound as storage.
    pub fn parameter_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Parameters)
    }

    /// The gradients that the update takes, laid out as the weights are: those of the last batch, or the sum of an update's
    /// batches. They can be copied from and to, and bound as storage: to look at them, or to change them before the update.
    pub fn gradient_buffer(&self) -> &wgpu::Buffer {
        match self.executor.plan().find(Role::AccumulatedGradients) {
            Some(_) => self.executor.of(Role::AccumulatedGradients),
            None => self.executor.of(Role::Gradients),
        }
    }
}

//! Training a network as a part of a larger differentiable computation, with a loss that the app computes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Trainer;
use crate::buffer_rows::Rows;
use crate::config::TrainerConfig;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{GpuExecutor, Recorder, Region, warm_up};
use crate::named_values::NamedRows;
use crate::plan::{BufferId, DataInfo, Plan, Role, StepState};
use crate::plan_bindings::PlanBindings;

/// The app's buffers for the inputs, outputs and gradients of a [`Chain`].
///
/// Each has the chain's number of rows of f32, with [any stride](Rows). They may be ranges of one buffer. A written
/// range must not overlap another range.
///
/// For a network with one input and one output, a buffer, a range of a buffer or [`Rows`] converts into each field.
/// Several inputs or outputs are given as pairs of name and rows:
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
    /// Read by the forward pass and by the backward pass. Do not change it between them.
    pub input: NamedRows<'a>,
    /// Written by the forward pass and read by the backward pass. Do not change it between them.
    pub output: NamedRows<'a>,
    /// Gradient of the app's loss with respect to each number of each output. Read by the backward pass. If the loss
    /// does not read an output, give zeros for that output.
    pub output_gradient: NamedRows<'a>,
    /// Gradient with respect to each number of the input, written by the backward pass. Optional: with several
    /// inputs, only the named ones are written.
    pub input_gradient: Option<NamedRows<'a>>,
}

/// The app's buffers for the network gradient of a [`Chain`] with one input and one output, beside its [`ChainRows`].
///
/// With the weights c, the network gradient is g = d(Σ c · y)/dx: the gradient of the weighted output with respect to the
/// input. For one output number, use the weight 1. The rows have the layout of the input.
#[derive(Debug, Clone)]
pub struct NetworkGradientRows<'a> {
    /// g, written by the forward pass.
    pub value: Rows<'a>,
    /// Gradient of the app's loss with respect to each number of g. Read by the backward pass.
    pub gradient: Rows<'a>,
    /// Weight of each number of the output.
    pub output_weights: &'a [f32],
}

impl Trainer {
    /// Like [`prepare_chain`](Self::prepare_chain), for a loss L(y, g) that reads the network gradient g too. An example is
    /// the eikonal term (|g| − 1)² of a signed distance; [`Losses::eikonal`](crate::Losses::eikonal) adds it without a
    /// chain.
    ///
    /// The forward pass also writes g. The backward pass also reads the gradient of the loss with respect to g. The
    /// gradients of the weights and of the input are those of both. Dropout has the same mask in y and in g.
    ///
    /// The layers must have second derivatives: dense layers, activations except softmax and custom ones, encodings, and
    /// layers that only move or add numbers. Piecewise linear functions have the second derivative 0. Encodings other
    /// than [`Encoding::Identity`](crate::Encoding::Identity) must come before all trained layers, and then the gradient of
    /// the input is not available.
    ///
    /// ```no_run
    /// # fn f(trainer: &mut wgrad::Trainer, [x, y, dy, g, dg]: [&wgrad::wgpu::Buffer; 5],
    /// #      loss: impl Fn(&mut wgrad::wgpu::CommandEncoder), encoder: &mut wgrad::wgpu::CommandEncoder)
    /// #      -> wgrad::Result<()> {
    /// use wgrad::{ChainRows, NetworkGradientRows};
    /// let rows = ChainRows { input: x.into(), output: y.into(), output_gradient: dy.into(), input_gradient: None };
    /// let gradient = NetworkGradientRows { value: g.into(), gradient: dg.into(), output_weights: &[1.0] };
    /// let chain = trainer.prepare_chain_with_gradient(rows, gradient, 256)?;
    /// chain.record_forward(encoder); // x -> y and g = dy/dx
    /// loss(encoder);                 // y, g -> dy, dg, the app's own pass
    /// chain.record_backward(encoder);
    /// chain.record_update(encoder);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - As [`prepare_chain`](Self::prepare_chain), also for the rows of g.
    /// - [`Error::Shape`] if the network has several inputs or outputs, if a layer has no second derivative here (the error
    ///   names all such layers), or if there is not one weight for each number of the output.
    pub fn prepare_chain_with_gradient(
        &mut self,
        rows: ChainRows<'_>,
        gradient: NetworkGradientRows<'_>,
        batch: u32,
    ) -> Result<Chain> {
        self.any_chain(rows, Some(gradient), batch)
    }

    /// Binds the network to the app's own buffers, as a part of a larger differentiable computation. Submits nothing.
    ///
    /// The app does this for each batch:
    /// 1. It writes the input and records the forward pass.
    /// 2. It computes its own loss from the output, and the gradient of the loss with respect to the output.
    /// 3. It records the backward pass and the update.
    /// 4. It may use the gradient with respect to the input.
    ///
    /// The trainer's loss is not used. Its weights, optimizer and options are. An update follows every
    /// [`accumulate`](TrainerConfig::accumulate) batches. Their gradients are *summed*: if the app's loss is a mean,
    /// divide it by the number of rows of all these batches.
    ///
    /// A trainer has one cursor, which everything that is prepared from it shares. Record a batch's
    /// [forward](Chain::record_forward), [backward](Chain::record_backward) and [update](Chain::record_update) in
    /// this order. Record no training steps and no other chain of the same trainer between them. To run the network
    /// in between, use [`Model::prepare_forward`](crate::Model::prepare_forward).
    ///
    /// Like every `prepare_*` that trains, this moves the cursor to the start of the data. After
    /// [`rebuild`](Self::rebuild) it does not.
    ///
    /// ```no_run
    /// # fn f(trainer: &mut wgrad::Trainer, device: &wgrad::wgpu::Device, x: &wgrad::wgpu::Buffer,
    /// #      y: &wgrad::wgpu::Buffer,
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
    /// - [`Error::Shape`] if an input or an output has no rows; if a name is unknown or given twice; if a buffer is
    ///   too short; if a range does not start at a multiple of 4 bytes; if a written range overlaps another range or
    ///   the trainer's own buffers; if `batch` is 0.
    /// - [`Error::NeedsGpu`] on [`Device::Cpu`](crate::Device::Cpu).
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_chain(&mut self, rows: ChainRows<'_>, batch: u32) -> Result<Chain> {
        self.any_chain(rows, None, batch)
    }

    fn any_chain(
        &mut self,
        rows: ChainRows<'_>,
        gradient: Option<NetworkGradientRows<'_>>,
        batch: u32,
    ) -> Result<Chain> {
        let gpu = self.device.needs_gpu("Trainer::prepare_chain")?.clone();
        self.plan_share(self.config.share())?;
        let config = TrainerConfig { batch, slices: None, ..self.config.clone() };
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
        let weights = gradient.as_ref().map(|gradient| gradient.output_weights);
        let plan = Plan::any_chain(&self.network, &self.optimizer, &config, &are_wanted, weights)?;
        let wanted = (0..).zip(wanted).filter_map(|(i, rows)| Some((Role::InputGradient(i), rows?)));
        let bindings = (0..).map(Role::Input).zip(input);
        let bindings = bindings.chain((0..).map(Role::Output).zip(output));
        let bindings = bindings.chain((0..).map(Role::OutputGradient).zip(output_gradient));
        let of_gradient = gradient.into_iter().flat_map(|NetworkGradientRows { value, gradient, .. }| {
            [(Role::NetworkGradient, value), (Role::NetworkGradientGradient, gradient)]
        });
        let bindings = PlanBindings::new(&gpu, &plan, bindings.chain(wanted).chain(of_gradient))?;
        bindings.check_overlaps()?;
        // The chain shares these buffers with the trainer.
        let mut given: Vec<(BufferId, Region)> = Vec::new();
        for role in SHARED {
            if let (Some(id), Some(_)) = (plan.find(role), self.plan().find(role)) {
                given.push((id, self.training.storage(role).gpu().clone().into()));
            }
        }
        let plan = bindings.bind(plan, &mut given)?;
        let phases = plan.phases();
        let mut executor = GpuExecutor::new(&gpu, Arc::new(plan), &given)?;
        let info = DataInfo { rows: batch.saturating_mul(self.config.accumulate), ..DataInfo::default() };
        // Rows are used in the app's order, without a shuffle.
        let info = DataInfo { shuffle: 0, ..self.shuffled(info) };
        gpu.write(executor.of(Role::Data(0)), 0, bytemuck::bytes_of(&info))?;
        let read: Vec<BufferId> =
            executor.plan().all(Role::Data(0)).chain(executor.plan().all(Role::ChainMarks)).collect();
        for (id, chain_pass) in read.into_iter().zip(0..) {
            let of_batch = |chain| DataInfo { chain, chain_pass, ..info };
            executor.make_variants(id, &(2..2 + BATCHES as u32).map(of_batch).collect::<Vec<_>>())?;
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

/// Buffers that a chain shares with its trainer, so that both train the same network.
const SHARED: [Role; 5] = [Role::Parameters, Role::Gradients, Role::AccumulatedGradients, Role::Moments, Role::Step];

/// A network bound to an app's own input, output and gradient buffers: see [`Trainer::prepare_chain`].
///
/// The forward pass, the backward pass and the update together are one step over one batch. The batch is all rows of
/// [`prepare_chain`](Trainer::prepare_chain), in their order, as they are when the forward pass runs. There is no
/// data set, no epoch and no shuffle. An update takes [`accumulate`](TrainerConfig::accumulate) batches and advances
/// the learning-rate schedule by one.
#[derive(Debug, Clone)]
pub struct Chain {
    executor: GpuExecutor,
    phases: [Range<usize>; 3],
    order: Arc<Order>,
    id: u64,
}

/// Number of batches with separate recordings. Commands recorded for one batch do nothing in another, whose passes
/// may never have run.
const BATCHES: u64 = 16;

/// The last recorded pass among all chains of a trainer. A pass out of order is not recorded. The cursor on the GPU
/// checks the order again, because a recorded pass may never run.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// (chain × [`BATCHES`] + batch) × 4 + pass. The pass is 1 for forward, 2 for backward, 3 for update; 0 for none.
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

    /// Discards the current batch, because another recording moves the cursor.
    pub fn interrupt(&self) {
        self.last.store(0, Ordering::Release);
    }

    /// Begins a batch with its forward pass. Returns its index among [`BATCHES`].
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
    /// Records the forward pass of a batch in training mode: with dropout, and keeping the values that the backward
    /// pass needs. No allocation, no submission, no polling; cannot fail. An earlier batch whose backward pass has
    /// not run is discarded.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        let batch = self.order.forward(self.id);
        self.executor.record_variant(to, "chain, forward", self.phases[0].clone(), batch);
    }

    /// Records the backward pass of the batch, once. No allocation, no submission, no polling; cannot fail.
    ///
    /// Records nothing if the previous training call of this trainer was not this chain's
    /// [`record_forward`](Self::record_forward): see [`out_of_order`](Self::out_of_order).
    pub fn record_backward(&self, to: &mut impl Recorder) {
        if let Some(batch) = self.order.follow(self.id, 2) {
            self.executor.record_variant(to, "chain, backward", self.phases[1].clone(), batch);
        }
    }

    /// Records the optimizer's update. No allocation, no submission, no polling; cannot fail.
    ///
    /// The update changes weights only after the last of its [`accumulate`](TrainerConfig::accumulate) batches.
    /// Records nothing if the previous training call was not this chain's [`record_backward`](Self::record_backward).
    /// It changes no weight if the forward or the backward pass of the batch never ran. This happens if `wgpu`
    /// rejects their submission, or if their encoder is dropped.
    pub fn record_update(&self, to: &mut impl Recorder) {
        if let Some(batch) = self.order.follow(self.id, 3) {
            self.executor.record_variant(to, "chain, update", self.phases[2].clone(), batch);
        }
    }

    /// Number of calls of [`record_backward`](Self::record_backward) and [`record_update`](Self::record_update) that
    /// recorded nothing because they were out of order, over all chains of the trainer. 0 if the app records every
    /// batch in order.
    pub fn out_of_order(&self) -> u64 {
        self.order.out_of_order.load(Ordering::Relaxed)
    }

    /// The buffer of the weights; [`Network::parameters`](crate::Network::parameters) has the name, offset and shape
    /// of each tensor. Its usages are copy source, copy destination and storage.
    pub fn parameter_buffer(&self) -> &wgpu::Buffer {
        self.executor.of(Role::Parameters)
    }

    /// The buffer of the gradients that the update reads, in the layout of the weights. It holds the gradients of the
    /// last batch, or the sum over the batches of an update. Its usages are copy source, copy destination and
    /// storage, so the app can read the gradients or change them before the update.
    pub fn gradient_buffer(&self) -> &wgpu::Buffer {
        match self.executor.plan().find(Role::AccumulatedGradients) {
            Some(_) => self.executor.of(Role::AccumulatedGradients),
            None => self.executor.of(Role::Gradients),
        }
    }
}

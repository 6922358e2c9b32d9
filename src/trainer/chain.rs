//! A network inside a larger differentiable computation: forward, the app's own loss, backward, update.

use std::ops::Range;
use std::sync::Arc;

use super::Trainer;
use crate::config::TrainerConfig;
use crate::ends::Ends;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{GpuExecutor, Recorder, Region};
use crate::plan::{BufferId, DataInfo, Plan, Role};
use crate::rows::Rows;

/// The app's buffers at the ends of a [`Chain`]: each holds as many rows of f32 as the chain has, with [any stride](Rows).
/// They may be in one buffer, if no word that is written is another's too.
#[derive(Debug, Clone, Copy)]
pub struct ChainRows<'a> {
    /// Read by the forward pass, and by the backward pass again.
    pub input: Rows<'a>,
    /// Written by the forward pass, and read by the backward pass: leave it as it is in between.
    pub output: Rows<'a>,
    /// Read by the backward pass: the derivative of the app's loss with respect to each output.
    pub output_gradient: Rows<'a>,
    /// Written by the backward pass, if it is wanted: the derivative with respect to each input.
    pub input_gradient: Option<Rows<'a>>,
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
    /// [`Error::Shape`] where a buffer is too short, rows do not start at multiples of 4 bytes, rows are written where others
    /// or the trainer's own buffers lie, or where `rows` is 0; [`Error::NeedsGpu`] on [`Device::Cpu`](crate::Device::Cpu);
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_chain(&mut self, rows: ChainRows<'_>, batch: u32) -> Result<Chain> {
        let gpu = self.gpu("Trainer::prepare_chain")?;
        let config = TrainerConfig { batch, ..self.config.clone() };
        let plan = Plan::chain(&self.network, &self.optimizer, &config, rows.input_gradient.is_some())?;
        let input_gradient = rows.input_gradient.map(|rows| (Role::InputGradient, rows));
        let ends =
            [(Role::Input, rows.input), (Role::Output, rows.output), (Role::OutputGradient, rows.output_gradient)];
        let ends = Ends::new(&gpu, &plan, ends.into_iter().chain(input_gradient))?;
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
        let executor = GpuExecutor::new(&gpu, Arc::new(plan), &given, false)?;
        let info = DataInfo { rows: batch.saturating_mul(self.config.accumulate), ..DataInfo::default() };
        // Rows come as the app has them.
        let info = DataInfo { shuffle: 0, ..self.shuffled(info) };
        gpu.queue().write_buffer(executor.of(Role::Data), 0, bytemuck::bytes_of(&info));
        self.rewind(0);
        Ok(Chain { executor, phases })
    }
}

/// What a chain shares with its trainer, so that both train the same network.
const SHARED: [Role; 6] =
    [Role::Parameters, Role::Gradients, Role::AccumulatedGradients, Role::Moment1, Role::Moment2, Role::Step];

/// A network bound to an app's own buffers at both ends, and back: see [`Trainer::prepare_chain`].
#[derive(Debug, Clone)]
pub struct Chain {
    executor: GpuExecutor,
    phases: [Range<usize>; 3],
}

impl Chain {
    /// Records the forward pass of a batch, as in training: with dropout, and keeping what the backward pass needs. No
    /// allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        self.executor.record_part(to, "chain, forward", self.phases[0].clone());
    }

    /// Records the backward pass of that batch. No allocation, no submission, no polling; cannot fail.
    pub fn record_backward(&self, to: &mut impl Recorder) {
        self.executor.record_part(to, "chain, backward", self.phases[1].clone());
    }

    /// Records the optimizer's step, which does nothing unless the batch was the last of its update. No allocation, no
    /// submission, no polling; cannot fail.
    pub fn record_update(&self, to: &mut impl Recorder) {
        self.executor.record_part(to, "chain, update", self.phases[2].clone());
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

//! Network + loss + optimizer + batch size → [`Plan`]: buffers and ops in order. Pure data that needs no GPU; two
//! executors run it, the GPU and the CPU reference.

mod backward;
mod builder;
pub(crate) mod cost;
mod display;
mod forward;
mod fuse;
mod layers;
mod losses;
mod memory_sharing;
mod narrow;
mod role;
mod updates;

pub use crate::ops::*;
pub use crate::shape::LONGEST_TENSOR;
pub use cost::{BufferCost, Cost};
pub(crate) use memory_sharing::Life;
pub(crate) use narrow::{NarrowEncoding, NarrowNetwork, narrow};
pub use role::Role;

use crate::config::TrainerConfig;
use crate::error::Result;
use crate::loss::Loss;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::output_losses::Losses;
use backward::Wanted;
use builder::Builder;

/// Largest batch of a data set: what the single workgroup of `next_batch` can number within the 65,535 iterations of a
/// loop that Mesa's lavapipe allows. A row takes one, and as many again as its place is drawn anew; lanes of a subgroup
/// wait for the unluckiest.
pub const LARGEST_BATCH: u32 = 1 << 20;

/// Longest row of a softmax, a layer normalisation or a loss: what the 64 lanes of a row can pass over three times.
pub const LONGEST_ROW: u32 = 1 << 20;

/// A buffer: a name, a shape and a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// Unique within the plan.
    pub name: String,
    /// What its elements are.
    pub dtype: Dtype,
    /// How many there are, row-major; `None` where that is known at run time only.
    pub shape: Option<Shape>,
    /// What it is for.
    pub role: Role,
    /// What it starts with; zeros from the end of this on.
    pub contents: Vec<u32>,
    /// On a GPU, the number of the memory that it lies in: buffers of one number are never in use at the same op, and
    /// share an allocation as long as the longest of them. `None` for memory of its own.
    pub memory: Option<u32>,
}

impl Buffer {
    /// Its length in 32-bit words, or `None` where it is known at run time only.
    pub fn words(&self) -> Option<u64> {
        self.bytes().map(|bytes| bytes / 4)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> Option<u64> {
        self.shape.map(|shape| self.dtype.bytes_of(shape.elements()))
    }
}

/// Buffers and the ops of one step, in order. Print it to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it does: "training", "evaluation", "forward", "chain" or "finite".
    pub name: &'static str,
    /// Rows of a full batch.
    pub batch: u32,
    /// Every buffer; ops name them by index.
    pub buffers: Vec<Buffer>,
    /// One step.
    pub step: Vec<Op>,
    /// What sums up the metrics when they are to be read: after many steps, not after each.
    pub report: Vec<Op>,
}

impl Plan {
    /// A training step: next batch, forward, loss, backward, update.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for an option out of range or a last layer that does not
    /// go with the loss; [`Error::Shape`](crate::Error::Shape) for a batch of 0, a group without a layer, or losses
    /// that are not one for each output; [`Error::LimitExceeded`](crate::Error::LimitExceeded) for what no kernel can
    /// address.
    pub fn training(
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: &Optimizer,
        config: &TrainerConfig,
    ) -> Result<Self> {
        Ok(Self::plain_training(network, losses.into(), optimizer, config)?.finish())
    }

    /// The same before its ops are fused.
    fn plain_training<'a>(
        network: &'a Network,
        losses: Losses,
        optimizer: &Optimizer,
        config: &TrainerConfig,
    ) -> Result<Builder<'a>> {
        optimizer.check()?;
        config.check(network)?;
        let losses = losses.of_outputs(network)?;
        let mut plan = Builder::new("training", network, config.batch)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        plan.gather(&data)?;
        plan.train(config);
        plan.forward(Some(&data))?;
        plan.losses(&losses, &data, true)?;
        let wanted = Wanted::new(&plan, vec![false; network.input_specs().len()]);
        let step = plan.optimizer(optimizer, config, &data);
        plan.backward(&wanted)?;
        plan.update(step, config, losses.iter().all(|(loss, _)| loss.is_mean()), None)?;
        Ok(plan)
    }

    /// A step of a network inside a larger computation, in three [`phases`](Self::phases): forward from buffers of
    /// exactly `config.batch` rows for each input to one for each output; backward, from the gradients of the outputs
    /// to that of the weights and, of those inputs for which `input_gradients` says so, of the inputs; update. The
    /// gradients of `config.accumulate` batches are summed.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn chain(
        network: &Network,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        input_gradients: &[bool],
    ) -> Result<Self> {
        optimizer.check()?;
        config.check(network)?;
        let mut plan = Builder::new("chain", network, config.batch)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        plan.given_inputs()?;
        plan.train(config);
        plan.forward(Some(&data))?;
        plan.hand_out(&[])?;
        let asked: Vec<bool> =
            (0..network.input_specs().len()).map(|i| input_gradients.get(i).copied().unwrap_or(false)).collect();
        plan.given_gradients()?;
        let wanted = Wanted::new(&plan, asked.clone());
        let step = plan.optimizer(optimizer, config, &data);
        plan.backward(&wanted)?;
        plan.hand_back(&asked)?;
        // The update is a phase of its own.
        let config = TrainerConfig { keep_gradients: true, ..config.clone() };
        plan.update(step, &config, false, Some(&data))?;
        Ok(plan.finish())
    }

    /// Where in [`step`](Self::step) the phases of a chain are: forward, backward, update.
    pub fn phases(&self) -> [std::ops::Range<usize>; 3] {
        let of_chain =
            |op: &Op| matches!(op, Op::NextBatch(next) if self.buffer(next.data.buffer).role == Role::ChainMarks);
        // The first mark ends the backward pass.
        let mark = self.step.iter().position(of_chain).unwrap_or(self.step.len());
        let update = self.step.len().min(mark + 1);
        let is_gradient = |tensor: Tensor| {
            use Role::*;
            matches!(
                self.buffer(tensor.buffer).role,
                OutputGradient(_) | InputGradient(_) | ActivationGradient | Gradients
            )
        };
        let has_gradient = |op: &Op| {
            let written = op.outputs().into_iter().map(|(tensor, _)| tensor);
            op.inputs().into_iter().chain(written).any(is_gradient)
        };
        // Of a network that is frozen whole, no op before the mark has a gradient.
        let backward = self.step[..mark].iter().position(has_gradient).unwrap_or(mark);
        [0..backward, backward..update, update..self.step.len()]
    }

    /// A step of evaluation: next batch in order, forward, loss; nothing is changed but the metrics.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn evaluation(network: &Network, losses: impl Into<Losses>, batch: u32) -> Result<Self> {
        let losses = losses.into().of_outputs(network)?;
        let mut plan = Builder::new("evaluation", network, batch)?;
        let data = plan.data_set(0.0, Default::default(), 1)?;
        plan.gather(&data)?;
        plan.forward(None)?;
        plan.losses(&losses, &data, false)?;
        Ok(plan.finish())
    }

    /// As [`forward`](Self::forward), but for last activations that losses compute themselves: what an
    /// [`evaluation`](Self::evaluation) tells classes by. Layer by layer, as that one runs them, unless it `may_be_one_op`.
    pub(crate) fn ranks(network: &Network, losses: &[Option<Loss>], rows: u32, may_be_one_op: bool) -> Result<Self> {
        let mut plan = Builder::new("forward", network, rows)?;
        plan.given_inputs()?;
        if !may_be_one_op || !plan.narrow(losses.first().copied().flatten())? {
            plan.forward(None)?;
            plan.hand_out(losses)?;
        }
        Ok(plan.finish())
    }

    /// What looks for weights and moments of a training plan that are not finite: it marks the totals of the metrics. Its
    /// buffers have the roles and the lengths of that plan's.
    pub fn finite(training: &Self) -> Self {
        let roles = [Role::Step, Role::Totals, Role::Parameters, Role::Moments];
        let find = |role| training.find(role).map(|id| Buffer { contents: Vec::new(), ..training.buffer(id).clone() });
        let buffers: Vec<Buffer> = roles.into_iter().filter_map(find).collect();
        let len = |i: usize| buffers[i].words().unwrap_or(0) as u32;
        let tensor = |i: usize| Tensor::new(BufferId(i), buffers[i].dtype, buffers[i].shape.unwrap_or(0.into()));
        let parts = |i: usize| (0..len(i)).step_by(LONGEST_UPDATE as usize).map(move |start| (i, start));
        let look = |(i, start): (usize, u32)| {
            let input = tensor(i).part(start, LONGEST_UPDATE.min(len(i) - start));
            Op::NonFinite(NonFinite { input, step: tensor(0), totals: tensor(1) })
        };
        let step = (2..buffers.len()).flat_map(parts).map(look).collect();
        Self { name: "finite", batch: training.batch, step, report: Vec::new(), buffers }
    }

    /// The forward pass alone, from buffers of exactly `rows` rows for each input to one of `rows` rows for each
    /// output. A network of dense layers no wider than [`WIDEST_NARROW`], its input included, is one op, [`Narrow`].
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn forward(network: &Network, rows: u32) -> Result<Self> {
        Self::ranks(network, &[], rows, true)
    }

    /// The same plan with rows that have any place and stride at one of its ends, [`Role::Input`], [`Role::Output`] or the
    /// gradient of either: in a buffer of any length the first row begins at the word `first`, the next ones `stride`
    /// words further each, at least as many as a row has. One more op, [`CopyRows`], copies them from there before they are
    /// first read, or there once they are written.
    pub fn strided(mut self, role: Role, first: u32, stride: u32) -> Self {
        let Some(packed) = self.find(role) else { return self };
        let writes = |op: &Op| op.outputs().iter().any(|(tensor, _)| tensor.buffer == packed);
        let reads = |op: &Op| op.inputs().iter().any(|tensor| tensor.buffer == packed);
        let (last_write, first_read) = (self.step.iter().rposition(writes), self.step.iter().position(reads));
        // Inputs may lie where an output is to be: what other outputs read of them is read before.
        let last_write = match role {
            Role::Output(_) => last_write.map(|last| last.max(self.phases()[0].end - 1)),
            _ => last_write,
        };

        let given = BufferId(self.buffers.len());
        let buffer = &mut self.buffers[packed.0];
        let Some(shape) = buffer.shape else { return self };
        let name = buffer.name.clone();
        buffer.name += ".packed";
        buffer.role = Role::Activation;
        let dtype = buffer.dtype;
        self.buffers.push(Buffer { name, dtype, shape: None, role, contents: Vec::new(), memory: None });

        let packed = Tensor::new(packed, dtype, shape);
        let given = Tensor::new(given, dtype, shape).strided(first, stride);
        let copy = match last_write {
            Some(_) => CopyRows { input: packed, output: given },
            None => CopyRows { input: given, output: packed },
        };
        // What no op uses needs no copy.
        if let Some(at) = last_write.map(|last| last + 1).or(first_read) {
            self.step.insert(at, Op::CopyRows(copy));
        }
        self.share_memory();
        self
    }

    /// The buffer of a role that only one buffer can have, if the plan has it.
    pub fn find(&self, role: Role) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.role == role).map(BufferId)
    }

    /// The buffers of a role.
    pub(crate) fn all(&self, role: Role) -> impl Iterator<Item = BufferId> {
        self.buffers.iter().enumerate().filter(move |(_, buffer)| buffer.role == role).map(|(i, _)| BufferId(i))
    }

    /// The buffer of that index.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// Where in its buffer, of so many words, a tensor lies: of what is given at run time, all of it.
    pub(crate) fn words_of(&self, tensor: Tensor, words: usize) -> std::ops::Range<usize> {
        if self.buffer(tensor.buffer).shape.is_none() { 0..words } else { tensor.words() }
    }

    /// Every op: those of a step, then those of the report.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.step.iter().chain(&self.report)
    }
}

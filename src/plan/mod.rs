//! A [`Plan`]: the list of buffers and ops for a network, a loss, an optimizer and a batch size. It is plain data that
//! needs no GPU. Two executors run it: the GPU and the CPU reference.

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
mod network_gradient;
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

/// The largest batch. Mesa's lavapipe allows at most 65,535 loop iterations in an invocation, and a single workgroup of
/// `next_batch` draws all row numbers. Each row takes one iteration, plus one each time that its number is drawn again.
/// The lanes of a subgroup wait for the slowest one.
pub const LARGEST_BATCH: u32 = 1 << 20;

/// The longest row of a softmax, a layer normalisation or a loss. The 64 lanes of a row pass over it three times.
pub const LONGEST_ROW: u32 = 1 << 20;

/// A buffer: its name, shape and role.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// The name, unique within the plan.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The row-major shape. `None` if it is only known at run time.
    pub shape: Option<Shape>,
    /// The purpose of the buffer.
    pub role: Role,
    /// The initial words. The rest of the buffer starts as zeros.
    pub contents: Vec<u32>,
    /// The index of the memory that the buffer shares with others on a GPU. Buffers with the same index are never used
    /// at the same time. The memory is as long as the longest of them. `None` if the buffer has its own memory.
    pub memory: Option<u32>,
}

impl Buffer {
    /// The length in 32-bit words. `None` if it is only known at run time.
    pub fn words(&self) -> Option<u64> {
        self.bytes().map(|bytes| bytes / 4)
    }

    /// The length in bytes. `None` if it is only known at run time.
    pub fn bytes(&self) -> Option<u64> {
        self.shape.map(|shape| self.dtype.bytes_of(shape.elements()))
    }
}

/// The buffers, and the ops of one step in order. It implements `Display`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The kind of plan: "training", "evaluation", "forward", "chain", "finite" or "averaged".
    pub name: &'static str,
    /// The number of rows in a full batch, or in a full slice of one: see [`TrainerConfig::slices`].
    pub batch: u32,
    /// All buffers. Ops refer to them by index.
    pub buffers: Vec<Buffer>,
    /// The ops of one step.
    pub step: Vec<Op>,
    /// The ops that sum the metrics before they are read. They run once after many steps.
    pub report: Vec<Op>,
}

impl Plan {
    /// The plan of a training step: next batch, forward pass, losses, backward pass, update.
    ///
    /// # Errors
    /// - [`Error::InvalidOption`](crate::Error::InvalidOption) if an option is out of range, or the last activation
    ///   does not work with the loss.
    /// - [`Error::Shape`](crate::Error::Shape) if the batch is 0, a group has no layer, or the number of losses is not
    ///   the number of outputs.
    /// - [`Error::LimitExceeded`](crate::Error::LimitExceeded) if a tensor is too large for the kernels.
    pub fn training(
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: &Optimizer,
        config: &TrainerConfig,
    ) -> Result<Self> {
        Self::training_of(network, losses.into(), optimizer, config, config.share())
    }

    /// [`training`](Self::training) for a share of the slices of each batch.
    pub(crate) fn training_of(
        network: &Network,
        losses: Losses,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        share: Option<Share>,
    ) -> Result<Self> {
        Ok(Self::plain_training(network, losses, optimizer, config, share)?.finish())
    }

    /// The training plan before its ops are fused.
    fn plain_training<'a>(
        network: &'a Network,
        losses: Losses,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        share: Option<Share>,
    ) -> Result<Builder<'a>> {
        optimizer.check()?;
        config.check(network)?;
        let eikonal = losses.eikonal_weight()?;
        let losses = losses.of_outputs(network)?;
        let mut plan = Builder::sliced("training", network, config.batch, share)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        plan.gather(&data)?;
        plan.train(config);
        plan.forward(Some(&data))?;
        let wanted = Wanted::new(&plan, vec![false; network.input_specs().len()]);
        if let Some(weight) = eikonal {
            plan.eikonal(weight, &data, &wanted)?;
        }
        plan.losses(&losses, &data, true)?;
        let step = plan.optimizer(optimizer, config, &data);
        plan.backward(&wanted)?;
        plan.update(step, config, losses.iter().all(|(loss, _)| loss.is_mean()), None)?;
        Ok(plan)
    }

    /// The plan of a network inside a larger computation. A step has three [`phases`](Self::phases).
    ///
    /// - Forward: reads one buffer for each input and writes one for each output, with exactly `config.batch` rows.
    /// - Backward: reads the gradients of the outputs. It writes the gradients of the weights, and of the inputs that
    ///   `input_gradients` selects.
    /// - Update: changes the weights with the summed gradients of `config.accumulate` batches.
    ///
    /// # Errors
    /// The errors of [`training`](Self::training).
    pub fn chain(
        network: &Network,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        input_gradients: &[bool],
    ) -> Result<Self> {
        Self::any_chain(network, optimizer, config, input_gradients, None)
    }

    /// The plan of a [`chain`](Self::chain) whose loss may read the network gradient too, for a network with one input
    /// and one output.
    ///
    /// The network gradient is that of Σ `output_weights` · output with respect to the input. The forward phase writes
    /// it. The backward phase reads the gradient of the loss with respect to it.
    ///
    /// # Errors
    /// - The errors of [`training`](Self::training).
    /// - [`Error::Shape`](crate::Error::Shape) if the network has several inputs or outputs, if it has layers without a
    ///   second derivative here, or if the number of weights is wrong.
    pub fn chain_with_network_gradient(
        network: &Network,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        input_gradients: &[bool],
        output_weights: &[f32],
    ) -> Result<Self> {
        Self::any_chain(network, optimizer, config, input_gradients, Some(output_weights))
    }

    pub(crate) fn any_chain(
        network: &Network,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        input_gradients: &[bool],
        output_weights: Option<&[f32]>,
    ) -> Result<Self> {
        optimizer.check()?;
        let config = &TrainerConfig { slices: None, ..config.clone() };
        config.check(network)?;
        let mut plan = Builder::new("chain", network, config.batch)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        plan.given_inputs()?;
        plan.train(config);
        plan.forward(Some(&data))?;
        plan.write_outputs(&[])?;
        let asked: Vec<bool> =
            (0..network.input_specs().len()).map(|i| input_gradients.get(i).copied().unwrap_or(false)).collect();
        let wanted = Wanted::new(&plan, asked.clone());
        if let Some(weights) = output_weights {
            let gradient = plan.network_gradient(weights, &wanted)?;
            plan.write_network_gradient(gradient)?;
            let shape = plan.inputs[0].shape;
            let start = plan.buffer("network_gradient_gradient", shape, Role::NetworkGradientGradient)?;
            plan.tangents(start, &wanted)?;
        }
        plan.given_gradients()?;
        let step = plan.optimizer(optimizer, config, &data);
        plan.backward(&wanted)?;
        plan.write_input_gradients(&asked)?;
        // The update is a separate phase, so the gradients stay in their buffer.
        let config = TrainerConfig { keep_gradients: true, ..config.clone() };
        plan.update(step, &config, false, Some(&data))?;
        Ok(plan.finish())
    }

    /// The slices of a batch that the plan computes.
    pub(crate) fn share(&self) -> Share {
        let share = |op: &Op| if let Op::NextBatch(next) = op { Some(next.share) } else { None };
        self.step.first().and_then(share).unwrap_or_default()
    }

    /// Number of rows of a batch: those of all its slices, and of all ranks.
    pub(crate) fn batch_rows(&self) -> u32 {
        self.batch * self.share().all
    }

    /// The end of the ops in [`step`](Self::step) that run once for each slice. The others run once for each batch.
    pub(crate) fn end_of_slice(&self) -> usize {
        self.step.iter().position(|op| matches!(op, Op::CombineSlices(_))).unwrap_or(self.step.len())
    }

    /// The ops of one step, in the order in which they run.
    pub(crate) fn ops_of_step(&self) -> impl Iterator<Item = &Op> {
        let (of_slice, of_batch) = self.step.split_at(self.end_of_slice());
        std::iter::repeat_n(of_slice, self.share().own as usize).flatten().chain(of_batch)
    }

    /// The work of one step, and its number of ops.
    pub(crate) fn work_of_step(&self) -> (Work, usize) {
        self.ops_of_step().fold((Work::default(), 0), |(work, ops), op| (work + op.work(), ops + 1))
    }

    /// The ranges of a chain's phases in [`step`](Self::step): forward, backward, update.
    pub fn phases(&self) -> [std::ops::Range<usize>; 3] {
        let of_chain =
            |op: &Op| matches!(op, Op::NextBatch(next) if self.buffer(next.data.buffer).role == Role::ChainMarks);
        // The first mark is the end of the backward pass.
        let mark = self.step.iter().position(of_chain).unwrap_or(self.step.len());
        let update = self.step.len().min(mark + 1);
        let is_gradient = |tensor: Tensor| {
            use Role::*;
            matches!(
                self.buffer(tensor.buffer).role,
                OutputGradient(_) | NetworkGradientGradient | InputGradient(_) | ActivationGradient | Gradients
            )
        };
        let has_gradient = |op: &Op| {
            let written = op.outputs().into_iter().map(|(tensor, _)| tensor);
            op.inputs().into_iter().chain(written).any(is_gradient)
        };
        // If the whole network is frozen, no op before the mark has a gradient.
        let backward = self.step[..mark].iter().position(has_gradient).unwrap_or(mark);
        [0..backward, backward..update, update..self.step.len()]
    }

    /// The plan of an evaluation step: next batch in order, forward pass, losses. It changes only the metrics.
    ///
    /// # Errors
    /// The errors of [`training`](Self::training).
    pub fn evaluation(network: &Network, losses: impl Into<Losses>, batch: u32) -> Result<Self> {
        Self::evaluation_of(network, losses.into(), batch, None)
    }

    /// [`evaluation`](Self::evaluation) for a share of the slices of each batch.
    pub(crate) fn evaluation_of(network: &Network, losses: Losses, batch: u32, share: Option<Share>) -> Result<Self> {
        let losses = losses.of_outputs(network)?;
        let mut plan = Builder::sliced("evaluation", network, batch, share)?;
        let data = plan.data_set(0.0, Default::default(), 1)?;
        plan.gather(&data)?;
        plan.forward(None)?;
        plan.losses(&losses, &data, false)?;
        Ok(plan.finish())
    }

    /// The plan of a forward pass. If the loss of an output computes the last activation, the plan leaves it out. An
    /// [`evaluation`](Self::evaluation) finds the classes from these outputs. If `may_be_one_op` is set, a narrow
    /// network becomes one op. Otherwise the layers are separate ops, as in an evaluation.
    pub(crate) fn class_scores(
        network: &Network,
        losses: &[Option<Loss>],
        rows: u32,
        may_be_one_op: bool,
    ) -> Result<Self> {
        let mut plan = Builder::new("forward", network, rows)?;
        plan.given_inputs()?;
        if !may_be_one_op || !plan.narrow(losses.first().copied().flatten())? {
            plan.forward(None)?;
            plan.write_outputs(losses)?;
        }
        Ok(plan.finish())
    }

    /// The plan that searches the weights and moments of a training plan for NaN and infinities. If it finds one, it
    /// writes the step's number into the totals of the metrics. Its buffers have the roles and lengths of the training
    /// plan's buffers.
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

    /// The plan that copies the averaged weights of a training plan to a buffer in the layout of the parameters: the EMA,
    /// or else the slow weights of lookahead. Running statistics are copied as they are. The buffers of parameters and
    /// moments have the lengths of the training plan's buffers. `None` if the training plan has no averages.
    pub fn averaged(training: &Self) -> Option<Self> {
        let step = training.step.iter().find_map(|op| match op {
            Op::Update(update) if update.step.averages.count() > 0 => Some(&update.step),
            _ => None,
        })?;
        let buffer = |role| Some(Buffer { contents: Vec::new(), ..training.buffer(training.find(role)?).clone() });
        let (parameters, moments) = (buffer(Role::Parameters)?, buffer(Role::Moments)?);
        let averaged = Buffer { name: "averaged".into(), role: Role::Averaged, ..parameters.clone() };
        let buffers = vec![parameters, moments, averaged];
        let tensor = |i: usize| Tensor::new(BufferId(i), buffers[i].dtype, buffers[i].shape.unwrap_or(0.into()));
        let (states, last) = (tensor(1), step.states() - 1);
        let copy = |input, output| Op::Rearrange(Rearrange { input, output, scale: 1.0 });
        let each = step.longest() / PARAMETER_ALIGNMENT;
        let mut ops: Vec<Op> = Vec::new();
        for start in (0..states.rows()).step_by(each as usize) {
            let blocks = start..states.rows().min(start + each);
            let input = states.range(0, blocks.clone()).range(1, last..last + 1);
            let output = tensor(2).part(start * PARAMETER_ALIGNMENT, input.len());
            ops.push(copy(input, seen_as(output, input.shape)));
        }
        let (trained, all) = (states.rows() * PARAMETER_ALIGNMENT, tensor(0).len());
        if trained < all {
            ops.push(copy(tensor(0).part(trained, all - trained), tensor(2).part(trained, all - trained)));
        }
        Some(Self { name: "averaged", batch: training.batch, step: ops, report: Vec::new(), buffers })
    }

    /// The plan of a forward pass. It reads one buffer for each input and writes one for each output, with exactly
    /// `rows` rows.
    ///
    /// If all layers are dense and no input or layer is wider than [`WIDEST_NARROW`], the network is one op,
    /// [`Narrow`].
    ///
    /// # Errors
    /// The errors of [`training`](Self::training).
    pub fn forward(network: &Network, rows: u32) -> Result<Self> {
        Self::class_scores(network, &[], rows, true)
    }

    /// The same plan with another row layout of an input, an output or one of their gradients.
    ///
    /// `role` selects the buffer, which then may have any length. The first row begins at the word `first`. The next
    /// rows follow at a distance of `stride` words, at least the length of a row. An additional op, [`CopyRows`],
    /// copies an input before its first use, or an output after its last write.
    pub fn strided(mut self, role: Role, first: u32, stride: u32) -> Self {
        let Some(packed) = self.find(role) else { return self };
        let writes = |op: &Op| op.outputs().iter().any(|(tensor, _)| tensor.buffer == packed);
        let reads = |op: &Op| op.inputs().iter().any(|tensor| tensor.buffer == packed);
        let (last_write, first_read) = (self.step.iter().rposition(writes), self.step.iter().position(reads));
        // Inputs and outputs may overlap in memory. So outputs are written after all inputs have been read.
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
        // A buffer that no op uses needs no copy.
        if let Some(at) = last_write.map(|last| last + 1).or(first_read) {
            self.step.insert(at, Op::CopyRows(copy));
        }
        self.share_memory();
        self
    }

    /// The buffer with this role, if the plan has one.
    pub fn find(&self, role: Role) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.role == role).map(BufferId)
    }

    /// The buffers with this role.
    pub(crate) fn all(&self, role: Role) -> impl Iterator<Item = BufferId> {
        self.buffers.iter().enumerate().filter(move |(_, buffer)| buffer.role == role).map(|(i, _)| BufferId(i))
    }

    /// The buffer with this index.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The range of a tensor in a buffer of this number of words. For a buffer that is bound at run time, it is the
    /// whole buffer.
    pub(crate) fn words_of(&self, tensor: Tensor, words: usize) -> std::ops::Range<usize> {
        if self.buffer(tensor.buffer).shape.is_none() { 0..words } else { tensor.words() }
    }

    /// All ops: those of a step, then those of the report.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.step.iter().chain(&self.report)
    }
}

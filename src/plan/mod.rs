//! Network + loss + optimizer + batch size → [`Plan`]: buffers and ops in order. Pure data that needs no GPU; two
//! executors run it, the GPU and the CPU reference.

mod builder;
pub(crate) mod cost;
mod display;
mod layers;
mod narrow;

pub use crate::ops::*;
pub use cost::Cost;
pub(crate) use narrow::{NarrowEncoding, NarrowNetwork, narrow};

use crate::config::TrainerConfig;
use crate::error::Result;
use crate::loss::Loss;
use crate::network::Network;
use crate::optimizer::Optimizer;
use builder::Builder;

/// Largest batch of a data set: what the single workgroup of `next_batch` can number within the 65,535 iterations of a
/// loop that Mesa's lavapipe allows. A row takes one, and as many again as its place is drawn anew; lanes of a subgroup
/// wait for the unluckiest.
pub const LARGEST_BATCH: u32 = 1 << 20;

/// Longest row of a softmax, a layer normalisation or a loss: what the 64 lanes of a row can pass over three times.
pub const LONGEST_ROW: u32 = 1 << 20;

/// Longest tensor that is not a parameter, in 32-bit words (4 GiB): what the kernels' 32-bit indices can address.
pub const LONGEST_TENSOR: u64 = 1 << 30;

/// What a buffer of a plan is for. Each buffer holds f32 unless said otherwise. The numbers of those that have one are
/// those of the network's inputs and outputs, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Every weight. Shared by all plans of a trainer.
    Parameters,
    /// The gradient of every weight, laid out alike.
    Gradients,
    /// The gradients of an update that several batches make, laid out alike.
    AccumulatedGradients,
    /// The optimizer's moments, \[parameters / 64, moments, 64\]: of every 64 weights the first moments, then the
    /// second ones.
    Moments,
    /// For every 64 weights, what their learning rate and weight decay are multiplied by.
    Multipliers,
    /// Partial sums of squared gradients.
    SquareSums,
    /// What gradients are scaled by.
    GradientScale,
    /// The data set's features: given at run time, of any length.
    Features(u32),
    /// The data set's targets: given at run time, of any length. A row has a u32 label or an f32 for each output, then its
    /// weight if rows have one.
    Targets(u32),
    /// One [`DataInfo`]: written by the host when a data set is given.
    Data(u32),
    /// One [`StepState`]: the cursor.
    Step,
    /// u32 row numbers of the batch.
    Indices,
    /// Slots of [`RowMetrics`] for the rows of the batch: see [`LossOp::metrics`].
    RowMetrics,
    /// One [`RowMetrics`]: their sum.
    Totals,
    /// The input of a forward plan: given at run time.
    Input(u32),
    /// The output of a forward plan: given at run time.
    Output(u32),
    /// The gradient of a chain's output: given at run time.
    OutputGradient(u32),
    /// The gradient of a chain's input: given at run time.
    InputGradient(u32),
    /// What a layer puts out, or the gathered batch.
    Activation,
    /// The gradient of a layer's sums.
    ActivationGradient,
    /// Means and deviations of rows, kept for the backward pass.
    Statistics,
    /// u32: the levels of a hash grid, or the level of every 64 numbers of its table.
    GridLevels,
    /// For each level of a hash grid, what makes its gradients whole numbers, and one over it.
    GridScales,
    /// i32: the gradient of a hash grid's table, as sums of whole numbers; zeros between steps.
    GridSums,
    /// One [`DataInfo`]: by which a chain tells its cursor that a pass has run.
    ChainMarks,
}

impl Role {
    /// What the elements of such a buffer are.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Data(_) | Self::Step | Self::Indices | Self::RowMetrics | Self::Totals => Dtype::U32,
            Self::GridLevels | Self::ChainMarks => Dtype::U32,
            Self::GridSums => Dtype::I32,
            _ => Dtype::F32,
        }
    }
}

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
    /// go with the loss; [`Error::Shape`](crate::Error::Shape) for a batch of 0 or a group without a layer;
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) for what no kernel can address.
    pub fn training(network: &Network, loss: Loss, optimizer: &Optimizer, config: &TrainerConfig) -> Result<Self> {
        optimizer.check()?;
        config.check(network)?;
        let mut plan = Builder::new("training", network, config.batch)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        let x = plan.gather(&data)?;
        plan.forward(x, None, Some(loss), Some(&data))?;
        let gradient = plan.loss(loss, &data, true)?;
        plan.optimizer(optimizer, config, &data);
        plan.backward(gradient, config, None)?;
        plan.update(config, loss.is_mean(), None);
        Ok(plan.finish())
    }

    /// A step of a network inside a larger computation, in three [`phases`](Self::phases): forward from a buffer of exactly
    /// `config.batch` input rows to one of outputs; backward, from the gradient of the outputs to that of the weights and,
    /// if `input_gradient` says so, of the inputs; update. The gradients of `config.accumulate` batches are summed.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn chain(
        network: &Network,
        optimizer: &Optimizer,
        config: &TrainerConfig,
        input_gradient: bool,
    ) -> Result<Self> {
        optimizer.check()?;
        config.check(network)?;
        let mut plan = Builder::new("chain", network, config.batch)?;
        let data = plan.data_set(optimizer.learning_rate(), config.schedule, config.accumulate)?;
        let (of_x, of_y) = ([config.batch, network.inputs()], [config.batch, network.outputs()]);
        let x = plan.buffer("input", of_x, Role::Input(0))?;
        let y = plan.buffer("output", of_y, Role::Output(0))?;
        plan.forward(x, Some(y), None, Some(&data))?;
        let dy = plan.buffer("output_gradient", of_y, Role::OutputGradient(0))?;
        let dx = match input_gradient {
            true => Some(plan.buffer("input_gradient", of_x, Role::InputGradient(0))?),
            false => None,
        };
        let gradient = plan.gradient_of_sums(dy)?;
        plan.optimizer(optimizer, config, &data);
        // The update is a phase of its own.
        let config = TrainerConfig { keep_gradients: true, ..config.clone() };
        plan.backward(Some(gradient), &config, dx)?;
        plan.update(&config, false, Some(&data));
        Ok(plan.finish())
    }

    /// Where in [`step`](Self::step) the phases of a chain are: forward, backward, update.
    pub fn phases(&self) -> [std::ops::Range<usize>; 3] {
        let makes_output = |op: &Op| op.outputs().iter().any(|(t, _)| self.buffer(t.buffer).role == Role::Output(0));
        let backward = self.step.iter().rposition(makes_output).map_or(0, |last| last + 1);
        let updates = |op: &Op| matches!(op, Op::SumSquares(_) | Op::Update(_));
        let update = self.step.iter().position(updates).unwrap_or(self.step.len());
        [0..backward, backward..update, update..self.step.len()]
    }

    /// A step of evaluation: next batch in order, forward, loss; nothing is changed but the metrics.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn evaluation(network: &Network, loss: Loss, batch: u32) -> Result<Self> {
        let mut plan = Builder::new("evaluation", network, batch)?;
        let data = plan.data_set(0.0, Default::default(), 1)?;
        let x = plan.gather(&data)?;
        plan.forward(x, None, Some(loss), None)?;
        plan.loss(loss, &data, false)?;
        Ok(plan.finish())
    }

    /// As [`forward`](Self::forward), but for a last activation that the loss computes itself: what an
    /// [`evaluation`](Self::evaluation) tells classes by. Layer by layer, as that one runs them, unless it `may_be_one_op`.
    pub(crate) fn ranks(network: &Network, loss: Option<Loss>, rows: u32, may_be_one_op: bool) -> Result<Self> {
        let mut plan = Builder::new("forward", network, rows)?;
        let x = plan.buffer("input", [rows, network.inputs()], Role::Input(0))?;
        let y = plan.buffer("output", [rows, network.outputs()], Role::Output(0))?;
        if !may_be_one_op || !plan.narrow(x, y, loss) {
            plan.forward(x, Some(y), loss, None)?;
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

    /// The forward pass alone, from a buffer of exactly `rows` input rows to one of `rows` output rows. A network of dense
    /// layers no wider than [`WIDEST_NARROW`], its input included, is one op, [`Narrow`].
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn forward(network: &Network, rows: u32) -> Result<Self> {
        let mut plan = Builder::new("forward", network, rows)?;
        let x = plan.buffer("input", [rows, network.inputs()], Role::Input(0))?;
        let y = plan.buffer("output", [rows, network.outputs()], Role::Output(0))?;
        if !plan.narrow(x, y, None) {
            plan.forward(x, Some(y), None, None)?;
        }
        Ok(plan.finish())
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

        let given = BufferId(self.buffers.len());
        let buffer = &mut self.buffers[packed.0];
        let Some(shape) = buffer.shape else { return self };
        let name = buffer.name.clone();
        buffer.name += ".packed";
        buffer.role = Role::Activation;
        let dtype = buffer.dtype;
        self.buffers.push(Buffer { name, dtype, shape: None, role, contents: Vec::new() });

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

//! Network + loss + optimizer + batch size → [`Plan`]: buffers and ops in order. Pure data that needs no GPU; two
//! executors run it, the GPU and the CPU reference.

mod builder;
mod cost;
mod display;
mod layers;
mod narrow;
mod op;

pub use cost::{Cost, Work};
pub(crate) use narrow::{NarrowEncoding, NarrowNetwork, narrow};
pub use op::*;

use crate::config::TrainerConfig;
use crate::error::{Error, Result};
use crate::history::Evaluation;
use crate::loss::Loss;
use crate::network::Network;
use crate::optimizer::Optimizer;
use builder::Builder;

/// Longest sum of one op: Mesa's lavapipe gives an invocation 65,535 loop iterations and then silently stops
/// looping, and no kernel takes two iterations per k. Longer products are split into slices of this length.
pub const LONGEST_SLICE: u32 = 1 << 15;

/// Largest batch of a data set: what the single workgroup of `next_batch` can number within the same 65,535 iterations. A row takes
/// one, and as many again as its place is drawn anew; lanes of a subgroup wait for the unluckiest.
pub const LARGEST_BATCH: u32 = 1 << 20;

/// Longest row of a softmax, a layer normalisation or a loss: what the 64 lanes of a row can pass over three times.
pub const LONGEST_ROW: u32 = 1 << 20;

/// Most parameters of one [`Update`]: what a device's binding holds by default, 128 MiB.
pub const LONGEST_UPDATE: u32 = 1 << 25;

/// Longest tensor that is not a parameter, in 32-bit words (4 GiB): what the kernels' 32-bit indices can address.
pub const LONGEST_TENSOR: u64 = 1 << 30;

/// What a buffer of a plan is for. Each buffer holds 32-bit words, f32 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Every weight. Shared by all plans of a trainer.
    Parameters,
    /// The gradient of every weight, laid out alike.
    Gradients,
    /// The gradients of an update that several batches make, laid out alike.
    AccumulatedGradients,
    /// The optimizer's first moment, laid out alike.
    Moment1,
    /// The optimizer's second moment, laid out alike.
    Moment2,
    /// For every 64 weights, what their learning rate and weight decay are multiplied by.
    Multipliers,
    /// Partial sums of squared gradients.
    SquareSums,
    /// What gradients are scaled by.
    GradientScale,
    /// The data set's features: given at run time, of any length.
    Features,
    /// The data set's targets: given at run time, of any length. A row has a u32 label or an f32 for each output, then its
    /// weight if rows have one.
    Targets,
    /// One [`DataInfo`]: written by the host when a data set is given.
    Data,
    /// One [`StepState`]: the cursor.
    Step,
    /// u32 row numbers of the batch.
    Indices,
    /// Slots of [`RowMetrics`] for the rows of the batch: see [`LossOp::metrics`].
    RowMetrics,
    /// One [`RowMetrics`]: their sum.
    Totals,
    /// The input of a forward plan: given at run time.
    Input,
    /// The output of a forward plan: given at run time.
    Output,
    /// The gradient of a chain's output: given at run time.
    OutputGradient,
    /// The gradient of a chain's input: given at run time.
    InputGradient,
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

/// A buffer: a name, a shape and a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// Unique within the plan.
    pub name: String,
    /// Row-major shape in 32-bit words; empty where the length is known at run time only.
    pub shape: Vec<u32>,
    /// What it is for.
    pub role: Role,
    /// What it starts with; zeros from the end of this on.
    pub contents: Vec<u32>,
}

impl Buffer {
    /// Its length in 32-bit words, or `None` where it is known at run time only.
    pub fn words(&self) -> Option<u64> {
        (!self.shape.is_empty()).then(|| self.shape.iter().map(|&d| u64::from(d)).product())
    }
}

/// Index of a buffer in [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A range of a buffer, in 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Of which buffer.
    pub buffer: BufferId,
    /// Where it starts; a multiple of 64 (256 bytes).
    pub offset: u32,
    /// How long it is; 0 where the buffer is given at run time: all of it.
    pub len: u32,
}

/// What the kernels know of a data set: [`Role::Data`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DataInfo {
    /// Rows of the data set.
    pub rows: u32,
    /// 1 where each epoch has an order of its own, 0 where rows come as they are.
    pub shuffle: u32,
    /// The shuffle's seed, low word.
    pub seed_low: u32,
    /// The shuffle's seed, high word.
    pub seed_high: u32,
    /// 1 where features are bytes, four to a word and rows padded to words; 0 where they are f32.
    pub bytes: u32,
    /// 1 where targets are numbers, as many as outputs; 0 where they are labels.
    pub values: u32,
    /// 1 where each row of the targets ends with its weight.
    pub weighted: u32,
    /// Where the first row's features begin, in words.
    pub first_feature: u32,
    /// Words from one row's features to the next one's; 0 where they stand side by side.
    pub feature_stride: u32,
    /// Where the first row's targets begin, in words.
    pub first_target: u32,
    /// Words from one row's targets to the next one's; 0 where they stand side by side.
    pub target_stride: u32,
    /// Of a chain, whose passes are recorded one by one, the batch's number, from 2; else 0.
    pub chain: u32,
    /// What the cursor is told: 0 of the next batch, 1 of a chain's backward pass, 2 of its update.
    pub chain_pass: u32,
}

impl DataInfo {
    /// Where a row's features begin, in words, of rows that are `words` long.
    pub(crate) fn feature(&self, row: usize, words: usize) -> usize {
        start(self.first_feature, self.feature_stride, row, words)
    }

    /// Where a row's targets begin, in words, of rows that are `words` long.
    pub(crate) fn target(&self, row: usize, words: usize) -> usize {
        start(self.first_target, self.target_stride, row, words)
    }
}

fn start(first: u32, stride: u32, row: usize, words: usize) -> usize {
    first as usize + row * if stride == 0 { words } else { stride as usize }
}

/// The cursor in the data set: [`Role::Step`]. Kernels move it, not the host, so that any number of steps can be recorded
/// into one submission.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct StepState {
    /// Steps begun, this one included.
    pub step: u32,
    /// Rows in this batch.
    pub rows: u32,
    /// Epoch of the next batch, from 0.
    pub epoch: u32,
    /// Where in the epoch's order the next batch starts.
    pub position: u32,
    /// The update that this batch belongs to, from 1.
    pub update: u32,
    /// Batches of this update so far, this one included.
    pub batches: u32,
    /// Their rows.
    pub update_rows: u32,
    /// 1 where this batch is the update's last.
    pub due: u32,
    /// Of this update.
    pub learning_rate: f32,
    /// What the scheduled rate is multiplied by: the host's to change.
    pub rate_scale: f32,
    /// Rows of the data in which `position` is.
    pub data_rows: u32,
    /// The number of a chain's batch, from 2; 1 before its first; 0 for a training step.
    pub chain: u32,
    /// The number that the chain's last backward pass was recorded for since; 0 for none.
    pub gradients_of: u32,
    /// 1 once the batch's backward pass has run, 2 once its update has, 0 before.
    pub passes: u32,
}

impl StepState {
    /// Whether gradients are those of the batch: a chain's backward pass may be of another one.
    pub(crate) fn takes_gradients(&self) -> bool {
        self.chain == 0 || self.chain == self.gradients_of
    }
}

impl Default for StepState {
    /// Before the first step.
    fn default() -> Self {
        Self { rate_scale: 1.0, ..bytemuck::Zeroable::zeroed() }
    }
}

/// Running metrics of a row of the batch, or their sum: [`Role::RowMetrics`], [`Role::Totals`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RowMetrics {
    /// Sum of losses.
    pub loss: f32,
    /// Rows whose class is the target's: see [`Evaluation::accuracy`].
    pub correct: u32,
    /// Rows seen.
    pub rows: u32,
    /// The first step whose loss was not finite, or 0.
    pub non_finite_step: u32,
}

impl RowMetrics {
    /// An error unless so many rows were counted: where a device drops commands, as browsers do with those that they find
    /// at fault, a loss of zero would be a lie.
    pub(crate) fn check_rows(self, what: &str, expected: u32) -> Result<()> {
        if self.rows == expected {
            return Ok(());
        }
        let reason = format!(
            "of {expected} rows it has done {}; what is wrong went to the device's own error handler, or the console",
            self.rows
        );
        Err(Error::Gpu { what: what.into(), reason })
    }

    /// What the sum comes to, of a loss that is a mean over rows or not.
    pub(crate) fn evaluation(self, mean: bool) -> Evaluation {
        let rows = f64::from(self.rows.max(1));
        let loss = f64::from(self.loss) / if mean { rows } else { 1.0 };
        Evaluation { loss, accuracy: f64::from(self.correct) / rows, rows: self.rows }
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
    /// [`Error::InvalidOption`] for an option out of range or a last layer that does not go
    /// with the loss; [`Error::Shape`] for a batch of 0 or a group without a layer;
    /// [`Error::LimitExceeded`] for what no kernel can address.
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
        let x = plan.buffer("input", &of_x, Role::Input)?;
        let y = plan.buffer("output", &of_y, Role::Output)?;
        plan.forward(x, Some(y), None, Some(&data))?;
        let dy = plan.buffer("output_gradient", &of_y, Role::OutputGradient)?;
        let dx = match input_gradient {
            true => Some(plan.buffer("input_gradient", &of_x, Role::InputGradient)?),
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
        let makes_output = |op: &Op| op.outputs().iter().any(|(t, _)| self.buffer(t.buffer).role == Role::Output);
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
        let x = plan.buffer("input", &[rows, network.inputs()], Role::Input)?;
        let y = plan.buffer("output", &[rows, network.outputs()], Role::Output)?;
        if !may_be_one_op || !plan.narrow(x, y, loss) {
            plan.forward(x, Some(y), loss, None)?;
        }
        Ok(plan.finish())
    }

    /// What looks for weights and moments of a training plan that are not finite: it marks the totals of the metrics. Its
    /// buffers have the roles and the lengths of that plan's.
    pub fn finite(training: &Self) -> Self {
        let roles = [Role::Step, Role::Totals, Role::Parameters, Role::Moment1, Role::Moment2];
        let find = |role| training.find(role).map(|id| Buffer { contents: Vec::new(), ..training.buffer(id).clone() });
        let buffers: Vec<Buffer> = roles.into_iter().filter_map(find).collect();
        let len = |i: usize| buffers[i].words().unwrap_or(0) as u32;
        let tensor = |i: usize| Tensor { buffer: BufferId(i), offset: 0, len: len(i) };
        let parts = |i: usize| (0..len(i)).step_by(LONGEST_UPDATE as usize).map(move |start| (i, start));
        let look = |(i, start): (usize, u32)| {
            let input = Tensor { offset: start, len: LONGEST_UPDATE.min(len(i) - start), ..tensor(i) };
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
        let x = plan.buffer("input", &[rows, network.inputs()], Role::Input)?;
        let y = plan.buffer("output", &[rows, network.outputs()], Role::Output)?;
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
        let [rows, columns] = buffer.shape[..] else { return self };
        let name = buffer.name.clone();
        buffer.name += ".packed";
        buffer.role = Role::Activation;
        self.buffers.push(Buffer { name, shape: Vec::new(), role, contents: Vec::new() });

        let packed = Tensor { buffer: packed, offset: 0, len: rows * columns };
        let given = Tensor { buffer: given, offset: 0, len: 0 };
        let copy = match last_write {
            Some(_) => CopyRows {
                input: packed,
                input_first: 0,
                input_stride: columns,
                output: given,
                output_first: first,
                output_stride: stride,
                rows,
                columns,
            },
            None => CopyRows {
                input: given,
                input_first: first,
                input_stride: stride,
                output: packed,
                output_first: 0,
                output_stride: columns,
                rows,
                columns,
            },
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

    /// Every op: those of a step, then those of the report.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.step.iter().chain(&self.report)
    }
}

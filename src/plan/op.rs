//! The operations a plan is made of: data only. Each names its kernel, its tensors and its dimensions.

use super::Tensor;
use crate::activation::Activation;
use crate::loss::Loss;
use crate::network::Encoding;
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// See [`NextBatch`].
    NextBatch(NextBatch),
    /// See [`Gather`].
    Gather(Gather),
    /// See [`Matmul`].
    Matmul(Matmul),
    /// See [`Pointwise`].
    Pointwise(Pointwise),
    /// See [`Softmax`].
    Softmax(Softmax),
    /// See [`LayerNormForward`].
    LayerNorm(LayerNormForward),
    /// See [`LayerNormInput`].
    LayerNormInput(LayerNormInput),
    /// See [`LayerNormParameters`].
    LayerNormParameters(LayerNormParameters),
    /// See [`Encode`].
    Encode(Encode),
    /// See [`HashGridForward`].
    HashGrid(HashGridForward),
    /// See [`HashGridScale`].
    HashGridScale(HashGridScale),
    /// See [`HashGridScatter`].
    HashGridScatter(HashGridScatter),
    /// See [`HashGridGradient`].
    HashGridGradient(HashGridGradient),
    /// See [`HashGridInput`].
    HashGridInput(HashGridInput),
    /// See [`LossOp`]; of outputs taken one by one.
    PointwiseLoss(LossOp),
    /// See [`LossOp`]; of classes that exclude each other.
    SoftmaxCrossEntropy(LossOp),
    /// See [`Accumulate`].
    Accumulate(Accumulate),
    /// See [`SumSquares`].
    SumSquares(SumSquares),
    /// See [`Update`].
    Update(Update),
    /// See [`Metrics`].
    Metrics(Metrics),
    /// See [`Narrow`].
    Narrow(Narrow),
}

/// Moves the cursor to the next batch, writes which rows of the data set it holds, shuffled anew each epoch, and the
/// learning rate of its update.
#[derive(Debug, Clone, PartialEq)]
pub struct NextBatch {
    /// What is known of the data set: [`DataInfo`](super::DataInfo).
    pub data: Tensor,
    /// The cursor: [`StepState`](super::StepState). Read and written.
    pub step: Tensor,
    /// \[batch\] row numbers; those beyond the rows of a partial batch are not written.
    pub indices: Tensor,
    /// Rows of a full batch.
    pub batch: u32,
    /// Batches of an update.
    pub accumulate: u32,
    /// Before the schedule.
    pub learning_rate: f32,
    /// What it is multiplied by.
    pub schedule: Schedule,
}

/// Copies the batch's rows out of the data set: bytes are scaled, rows that a partial batch lacks become zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The features of the whole data set.
    pub features: Tensor,
    /// What is known of the data set.
    pub data: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// \[batch\] row numbers.
    pub indices: Tensor,
    /// \[batch, columns\], written.
    pub x: Tensor,
    /// Rows of a full batch.
    pub batch: u32,
    /// Features of a row.
    pub columns: u32,
}

/// C = op(A) · op(B) over a slice of k, then the epilogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Matmul {
    /// \[m, k\], or \[k, m\] where transposed.
    pub a: Tensor,
    /// \[k, n\], or \[n, k\] where transposed.
    pub b: Tensor,
    /// \[m, n\], written; a slice of k that does not start at 0 adds to it. Under [`Epilogue::Update`] the weights.
    pub c: Tensor,
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Length of every sum.
    pub k: u32,
    /// The slice of k that this op sums.
    pub slice: std::ops::Range<u32>,
    /// Which of the operands are stored transposed.
    pub layout: Layout,
    /// What is done to the sums before they are written; by the last slice only.
    pub epilogue: Epilogue,
    /// \[n\]: the column sums of B over the slice, the gradient of a bias where B is the gradient of its outputs. Under
    /// [`Epilogue::Update`] the biases.
    pub bias_gradient: Option<Tensor>,
}

/// How the operands of a product are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A \[m, k\], B \[k, n\]: the forward pass, X · W.
    Nn,
    /// A \[m, k\], B \[n, k\]: the gradient of the inputs, dZ · Wᵀ.
    Nt,
    /// A \[k, m\], B \[k, n\]: the gradient of the weights, Xᵀ · dZ.
    Tn,
}

impl Matmul {
    /// What the epilogue reads, if anything.
    pub fn extra(&self) -> Option<Tensor> {
        match self.epilogue {
            Epilogue::None | Epilogue::Update(_) => None,
            Epilogue::Bias { bias, .. } => bias,
            Epilogue::Derivative { saved, .. } => Some(saved),
        }
    }
}

/// What happens to a sum before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// activation(sum + bias\[column\]).
    Bias {
        /// \[n\], if there is one.
        bias: Option<Tensor>,
        /// Applied last.
        activation: Activation,
    },
    /// sum · activation′.
    Derivative {
        /// \[m, n\]: the activation's output in the forward pass, or its input where the derivative takes that.
        saved: Tensor,
        /// Whose derivative.
        activation: Activation,
    },
    /// The sums are the gradient of weights, C, and go straight into the optimizer, as the column sums do for the biases:
    /// neither is written anywhere. The update's parameters are the weights and, behind them, the biases; its gradients
    /// are not read. Of a product in one slice only.
    Update(Box<Update>),
}

/// output = f(input) · mask, number by number; f is the activation, or · activation′ where `saved` is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointwise {
    /// Numbers, or their gradient.
    pub input: Tensor,
    /// For the derivative: the activation's output in the forward pass, or its input where the derivative takes that.
    pub saved: Option<Tensor>,
    /// As long as the input, written.
    pub output: Tensor,
    /// Applied, or whose derivative.
    pub activation: Activation,
    /// The mask.
    pub dropout: Option<Dropout>,
}

/// A mask of random zeros and 1 / (1 − rate), a function of the seed, the step, the layer and the place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of zeros.
    pub rate: f32,
    /// Tells the masks of a step apart.
    pub layer: u32,
    /// The cursor, for the number of the step.
    pub step: Tensor,
    /// What is known of the data set, for the seed.
    pub data: Tensor,
}

/// Softmax of each row, or its gradient: y ⊙ (dy − Σ dy ⊙ y) where the softmax itself is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// \[rows, columns\]: z, or dy.
    pub input: Tensor,
    /// For the gradient: y, what the softmax returned.
    pub saved: Option<Tensor>,
    /// \[rows, columns\], written: y, or dz.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

/// Layer normalisation of each row: y = x̂ · scale + shift, with x̂ = (x − mean) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormForward {
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[columns\].
    pub shift: Tensor,
    /// \[rows, columns\], written.
    pub y: Tensor,
    /// \[rows, 2\], written: mean and 1 / √(variance + epsilon).
    pub statistics: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
    /// Keeps the division finite.
    pub epsilon: f32,
}

/// The gradient of layer normalisation's input: with d = dy · scale, (d − mean d − x̂ · mean(d · x̂)) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormInput {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// dx, \[rows, columns\], written.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

/// The gradient of layer normalisation's weights: Σ dy · x̂ and Σ dy over the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormParameters {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// \[columns\], written.
    pub scale_gradient: Tensor,
    /// \[columns\], written.
    pub shift_gradient: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

/// An encoding of coordinates one by one, or its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Encode {
    /// Which; no hash grid.
    pub encoding: Encoding,
    /// \[rows, columns\]: the coordinates.
    pub x: Tensor,
    /// For the gradient: dy, \[rows, columns · features\].
    pub gradient: Option<Tensor>,
    /// \[rows, columns · features\], written: y; or dx, \[rows, columns\].
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Coordinates of a row.
    pub columns: u32,
}

/// What the ops of a hash grid share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridShape {
    /// How many points.
    pub rows: u32,
    /// Coordinates of a point, 1 to 4.
    pub dimensions: u32,
    /// How many levels.
    pub levels: u32,
    /// Weights of an entry: 1, 2 or 4.
    pub features: u32,
}

/// The features of points in a hash grid: of each level, the entries at the corners of a point's cell, interpolated.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridForward {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// u32 \[levels, 4\]: cells along a side, the first entry, the mask of hashes or 0 where entries are numbered, 0.
    pub levels: Tensor,
    /// \[rows, levels · features\], written.
    pub y: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// For each level, what turns the gradients of its entries into whole numbers whose sums 32 bits can hold: a power of
/// two, and one over it; NaN where the gradients are not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScale {
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// \[levels, 2\], written.
    pub scales: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// Adds the gradients of the entries that each point took part of, as whole numbers: in any order, the sums are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScatter {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// i32 \[entries, features\], added to.
    pub sums: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// The gradient of a hash grid's table from its sums, which go back to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridGradient {
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// u32: the level of every 64 numbers of the table.
    pub blocks: Tensor,
    /// i32 \[entries, features\], read and set to zero.
    pub sums: Tensor,
    /// \[entries, features\], written.
    pub table_gradient: Tensor,
}

/// The gradient of a hash grid's points; 0 for a coordinate that lies outside.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridInput {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// dx, \[rows, dimensions\], written.
    pub output: Tensor,
    /// The grid.
    pub shape: GridShape,
}

/// A loss and its gradient, and each row's share of the running loss and correct count.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOp {
    /// Which.
    pub loss: Loss,
    /// \[batch, outputs\]: what the network puts out, or the logits where the loss takes them.
    pub output: Tensor,
    /// The targets of the whole data set.
    pub targets: Tensor,
    /// What is known of the data set.
    pub data: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// \[batch\] row numbers.
    pub indices: Tensor,
    /// \[batch, outputs\], written: zeros in the rows that a partial batch lacks.
    pub gradient: Option<Tensor>,
    /// \[batch\] of [`RowMetrics`](super::RowMetrics), added to.
    pub metrics: Tensor,
    /// The activation that made the output, one whose derivative its output tells: the gradient is that of its input.
    pub activation: Activation,
    /// Rows of a full batch.
    pub batch: u32,
    /// Numbers of an output row.
    pub outputs: u32,
}

/// Adds the gradients of a batch to those of the batches before it that make one update; divided by all their rows at
/// the last of them, where the loss is a mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Accumulate {
    /// Of this batch.
    pub gradients: Tensor,
    /// Read and written; overwritten by the first batch of an update.
    pub sum: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// Whether the loss is a mean over rows.
    pub mean: bool,
}

/// The sum of squares of a long tensor, in two ops. The first leaves partial sums; the second, which has a limit, adds
/// those and writes what the tensor must be scaled by for its norm to stay within: min(1, limit / (norm + 1e-6)).
#[derive(Debug, Clone, PartialEq)]
pub struct SumSquares {
    /// The tensor, or the partial sums.
    pub input: Tensor,
    /// [`SUM_PARTS`] partial sums, or 1 factor; written.
    pub output: Tensor,
    /// For the second op.
    pub limit: Option<f32>,
}

/// Partial sums of [`SumSquares`]: enough workgroups to fill a GPU.
pub const SUM_PARTS: u32 = 256;

/// An optimizer's step over the whole parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Which, with its hyperparameters.
    pub optimizer: Optimizer,
    /// Read and written.
    pub parameters: Tensor,
    /// Read; laid out as the parameters.
    pub gradients: Tensor,
    /// Up to two for each parameter; read and written. Of Adam the means of gradients and of their squares, of SGD the
    /// velocity, of RMSProp the mean of squares and the velocity, of Adagrad their sum, of Lion the mean.
    pub moments: Vec<Tensor>,
    /// The cursor, for the number of the update and its learning rate.
    pub step: Tensor,
    /// For every 64 parameters, what their learning rate and their weight decay are multiplied by, if not by 1.
    pub multipliers: Option<Tensor>,
    /// One factor for all gradients, if their norm has a limit.
    pub scale: Option<Tensor>,
    /// Each gradient is held between ± this.
    pub clip: Option<f32>,
    /// Whether it only acts at the last batch of an update.
    pub accumulates: bool,
}

impl Update {
    fn outputs(&self) -> Vec<(Tensor, Access)> {
        [self.parameters].iter().chain(&self.moments).map(|&tensor| (tensor, Access::ReadWrite)).collect()
    }
}

/// Sums the rows' metrics, in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// \[batch\] of [`RowMetrics`](super::RowMetrics).
    pub rows: Tensor,
    /// One [`RowMetrics`](super::RowMetrics), written.
    pub totals: Tensor,
    /// How many rows.
    pub batch: u32,
}

/// A whole network of narrow dense layers, a forward pass in one dispatch: what lies between its layers is stored nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrow {
    /// \[rows, inputs\].
    pub input: Tensor,
    /// Every weight of the network.
    pub parameters: Tensor,
    /// \[rows, outputs\], written.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// First to last, at least one; none takes in or puts out more than [`WIDEST_NARROW`].
    pub layers: Vec<NarrowLayer>,
}

/// A layer of [`Narrow`]: y = activation(x · W + b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NarrowLayer {
    /// Where W, \[inputs, units\], starts in the parameters: a multiple of 64.
    pub weight: u32,
    /// Where b, \[units\], starts, if there is one: a multiple of 64.
    pub bias: Option<u32>,
    /// Length of a row that comes in.
    pub inputs: u32,
    /// Length of a row that goes out.
    pub units: u32,
    /// Applied last; may be softmax.
    pub activation: Activation,
}

/// The widest layer of [`Narrow`]: a row of it, in and out, still fits the registers of one GPU invocation.
pub const WIDEST_NARROW: u32 = 64;

impl Narrow {
    /// Length of an input row.
    pub fn inputs(&self) -> u32 {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Length of an output row.
    pub fn outputs(&self) -> u32 {
        self.layers.last().map_or(0, |layer| layer.units)
    }
}

/// How an op uses a tensor that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every element is written, none is read.
    Write,
    /// What is there matters, and elements may stay as they are.
    ReadWrite,
}

impl Op {
    /// The stem of the kernel: `shaders/<kernel>.wgsl`, `src/gpu/kernels/<kernel>.rs` and `src/cpu/<kernel>.rs`.
    pub fn kernel(&self) -> &'static str {
        match self {
            Op::NextBatch(_) => "next_batch",
            Op::Gather(_) => "gather",
            Op::Matmul(_) => "matmul",
            Op::Pointwise(_) => "pointwise",
            Op::Softmax(_) => "softmax",
            Op::LayerNorm(_) => "layer_norm",
            Op::LayerNormInput(_) => "layer_norm_input",
            Op::LayerNormParameters(_) => "layer_norm_parameters",
            Op::Encode(_) => "encode",
            Op::HashGrid(_) => "hash_grid",
            Op::HashGridScale(_) => "hash_grid_scale",
            Op::HashGridScatter(_) => "hash_grid_scatter",
            Op::HashGridGradient(_) => "hash_grid_gradient",
            Op::HashGridInput(_) => "hash_grid_input",
            Op::PointwiseLoss(_) => "pointwise_loss",
            Op::SoftmaxCrossEntropy(_) => "softmax_cross_entropy",
            Op::Accumulate(_) => "accumulate",
            Op::SumSquares(_) => "sum_squares",
            Op::Update(_) => "update",
            Op::Metrics(_) => "metrics",
            Op::Narrow(_) => "narrow",
        }
    }

    /// Every tensor it only reads.
    pub fn inputs(&self) -> Vec<Tensor> {
        match self {
            Op::NextBatch(op) => vec![op.data],
            Op::Gather(op) => vec![op.features, op.data, op.step, op.indices],
            Op::Matmul(op) => {
                let step = match &op.epilogue {
                    Epilogue::Update(update) => Some(update.step),
                    _ => None,
                };
                [op.a, op.b].into_iter().chain(op.extra()).chain(step).collect()
            }
            Op::Pointwise(op) => {
                let cursor = op.dropout.iter().flat_map(|d| [d.step, d.data]);
                [op.input].into_iter().chain(op.saved).chain(cursor).collect()
            }
            Op::Softmax(op) => [op.input].into_iter().chain(op.saved).collect(),
            Op::LayerNorm(op) => vec![op.x, op.scale, op.shift],
            Op::LayerNormInput(op) => vec![op.gradient, op.x, op.scale, op.statistics],
            Op::LayerNormParameters(op) => vec![op.gradient, op.x, op.statistics],
            Op::Encode(op) => [op.x].into_iter().chain(op.gradient).collect(),
            Op::HashGrid(op) => vec![op.x, op.levels, op.table],
            Op::HashGridScale(op) => vec![op.gradient],
            Op::HashGridScatter(op) => vec![op.x, op.levels, op.gradient, op.scales],
            Op::HashGridGradient(op) => vec![op.scales, op.blocks],
            Op::HashGridInput(op) => vec![op.x, op.levels, op.table, op.gradient],
            Op::PointwiseLoss(op) | Op::SoftmaxCrossEntropy(op) => {
                vec![op.output, op.targets, op.data, op.step, op.indices]
            }
            Op::Accumulate(op) => vec![op.gradients, op.step],
            Op::SumSquares(op) => vec![op.input],
            Op::Update(op) => [op.gradients, op.step].into_iter().chain(op.multipliers).chain(op.scale).collect(),
            Op::Metrics(op) => vec![op.rows],
            Op::Narrow(op) => vec![op.input, op.parameters],
        }
    }

    /// Every tensor it writes.
    pub fn outputs(&self) -> Vec<(Tensor, Access)> {
        use Access::{ReadWrite, Write};
        match self {
            Op::NextBatch(op) => vec![(op.step, ReadWrite), (op.indices, ReadWrite)],
            Op::Gather(op) => vec![(op.x, Write)],
            Op::Matmul(Matmul { epilogue: Epilogue::Update(update), .. }) => update.outputs(),
            Op::Matmul(op) => {
                let access = if op.slice.start == 0 { Write } else { ReadWrite };
                std::iter::once(op.c).chain(op.bias_gradient).map(|tensor| (tensor, access)).collect()
            }
            Op::Pointwise(op) => vec![(op.output, Write)],
            Op::Softmax(op) => vec![(op.output, Write)],
            Op::LayerNorm(op) => vec![(op.y, Write), (op.statistics, Write)],
            Op::LayerNormInput(op) => vec![(op.output, Write)],
            Op::LayerNormParameters(op) => vec![(op.scale_gradient, Write), (op.shift_gradient, Write)],
            Op::Encode(op) => vec![(op.output, Write)],
            Op::HashGrid(op) => vec![(op.y, Write)],
            Op::HashGridScale(op) => vec![(op.scales, Write)],
            Op::HashGridScatter(op) => vec![(op.sums, ReadWrite)],
            Op::HashGridGradient(op) => vec![(op.sums, ReadWrite), (op.table_gradient, Write)],
            Op::HashGridInput(op) => vec![(op.output, Write)],
            Op::PointwiseLoss(op) | Op::SoftmaxCrossEntropy(op) => {
                op.gradient.map(|g| (g, Write)).into_iter().chain([(op.metrics, ReadWrite)]).collect()
            }
            Op::Accumulate(op) => vec![(op.sum, ReadWrite)],
            Op::SumSquares(op) => vec![(op.output, Write)],
            Op::Update(op) => op.outputs(),
            Op::Metrics(op) => vec![(op.totals, Write)],
            Op::Narrow(op) => vec![(op.output, Write)],
        }
    }
}

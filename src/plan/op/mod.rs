//! The operations a plan is made of: data only. Each names its kernel, its tensors and its dimensions.

mod batch;
mod encoding;
mod layer;
mod product;
mod update;

pub use batch::*;
pub use encoding::*;
pub use layer::*;
pub use product::*;
pub use update::*;

use super::Tensor;

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// See [`NextBatch`].
    NextBatch(NextBatch),
    /// See [`Gather`].
    Gather(Gather),
    /// See [`CopyRows`].
    CopyRows(CopyRows),
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
    /// See [`NonFinite`].
    NonFinite(NonFinite),
    /// See [`Narrow`].
    Narrow(Narrow),
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
            Op::CopyRows(_) => "copy_rows",
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
            Op::Metrics(_) | Op::NonFinite(_) => "metrics",
            Op::Narrow(_) => "narrow",
        }
    }

    /// Every tensor it only reads.
    pub fn inputs(&self) -> Vec<Tensor> {
        match self {
            Op::NextBatch(op) => vec![op.data],
            Op::Gather(op) => vec![op.features, op.data, op.step, op.indices],
            Op::CopyRows(op) => vec![op.input],
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
            Op::Metrics(op) => vec![op.slots],
            Op::NonFinite(op) => vec![op.input, op.step],
            Op::Narrow(op) => vec![op.input, op.parameters],
        }
    }

    /// Every tensor it writes.
    pub fn outputs(&self) -> Vec<(Tensor, Access)> {
        use Access::{ReadWrite, Write};
        match self {
            Op::NextBatch(op) => vec![(op.step, ReadWrite), (op.indices, ReadWrite)],
            Op::Gather(op) => vec![(op.x, Write)],
            Op::CopyRows(op) => {
                // Without gaps, all of it.
                let whole = op.output.len == op.rows * op.columns;
                vec![(op.output, if whole { Write } else { ReadWrite })]
            }
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
            Op::NonFinite(op) => vec![(op.totals, ReadWrite)],
            Op::Narrow(op) => vec![(op.output, Write)],
        }
    }
}

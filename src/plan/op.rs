//! The operations a plan is made of: data only. Each names its kernel, its tensors and its dimensions.

use super::Tensor;
use crate::network::Activation;
use crate::optimizer::{Adam, Sgd};

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
    /// See [`SoftmaxCrossEntropy`].
    SoftmaxCrossEntropy(SoftmaxCrossEntropy),
    /// See [`SgdUpdate`].
    Sgd(SgdUpdate),
    /// See [`AdamUpdate`].
    Adam(AdamUpdate),
    /// See [`Metrics`].
    Metrics(Metrics),
}

/// Moves the cursor to the next batch and writes which rows of the data set it holds, shuffled anew each epoch.
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
    /// \[m, n\], written; a slice of k that does not start at 0 adds to it.
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
    /// \[n\]: the column sums of B over the slice, the gradient of a bias where B is the gradient of its outputs.
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

/// What happens to a sum before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// activation(sum + bias\[column\]).
    Bias {
        /// \[n\].
        bias: Tensor,
        /// Applied last.
        activation: Activation,
    },
    /// sum · activation′, from the activation's output in the forward pass.
    Derivative {
        /// \[m, n\].
        output: Tensor,
        /// Whose derivative.
        activation: Activation,
    },
}

/// Loss and gradient of softmax and cross-entropy, and each row's share of the running loss and correct count.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// \[batch, classes\].
    pub logits: Tensor,
    /// The labels of the whole data set.
    pub labels: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// \[batch\] row numbers.
    pub indices: Tensor,
    /// \[batch, classes\], written: (softmax − one_hot) / rows, and zeros in the rows that a partial batch lacks.
    pub gradient: Option<Tensor>,
    /// \[batch\] of [`RowMetrics`](super::RowMetrics), added to.
    pub metrics: Tensor,
    /// Rows of a full batch.
    pub batch: u32,
    /// Columns of the logits.
    pub classes: u32,
}

/// One step of SGD over the whole parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct SgdUpdate {
    /// Read and written.
    pub parameters: Tensor,
    /// Read.
    pub gradients: Tensor,
    /// Read and written.
    pub velocity: Tensor,
    /// The hyperparameters.
    pub options: Sgd,
}

/// One step of Adam over the whole parameter buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamUpdate {
    /// Read and written.
    pub parameters: Tensor,
    /// Read.
    pub gradients: Tensor,
    /// Mean of gradients; read and written.
    pub moment1: Tensor,
    /// Mean of squared gradients; read and written.
    pub moment2: Tensor,
    /// The cursor, for the number of the step.
    pub step: Tensor,
    /// The hyperparameters.
    pub options: Adam,
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
            Op::SoftmaxCrossEntropy(_) => "softmax_cross_entropy",
            Op::Sgd(_) => "sgd",
            Op::Adam(_) => "adam",
            Op::Metrics(_) => "metrics",
        }
    }

    /// Every tensor it only reads.
    pub fn inputs(&self) -> Vec<Tensor> {
        match self {
            Op::NextBatch(op) => vec![op.data],
            Op::Gather(op) => vec![op.features, op.data, op.step, op.indices],
            Op::Matmul(op) => match &op.epilogue {
                Epilogue::None => vec![op.a, op.b],
                Epilogue::Bias { bias: extra, .. } | Epilogue::Derivative { output: extra, .. } => {
                    vec![op.a, op.b, *extra]
                }
            },
            Op::SoftmaxCrossEntropy(op) => vec![op.logits, op.labels, op.step, op.indices],
            Op::Sgd(op) => vec![op.gradients],
            Op::Adam(op) => vec![op.gradients, op.step],
            Op::Metrics(op) => vec![op.rows],
        }
    }

    /// Every tensor it writes.
    pub fn outputs(&self) -> Vec<(Tensor, Access)> {
        use Access::{ReadWrite, Write};
        match self {
            Op::NextBatch(op) => vec![(op.step, ReadWrite), (op.indices, ReadWrite)],
            Op::Gather(op) => vec![(op.x, Write)],
            Op::Matmul(op) => {
                let access = if op.slice.start == 0 { Write } else { ReadWrite };
                std::iter::once(op.c).chain(op.bias_gradient).map(|tensor| (tensor, access)).collect()
            }
            Op::SoftmaxCrossEntropy(op) => {
                op.gradient.map(|g| (g, Write)).into_iter().chain([(op.metrics, ReadWrite)]).collect()
            }
            Op::Sgd(op) => vec![(op.parameters, ReadWrite), (op.velocity, ReadWrite)],
            Op::Adam(op) => vec![(op.parameters, ReadWrite), (op.moment1, ReadWrite), (op.moment2, ReadWrite)],
            Op::Metrics(op) => vec![(op.totals, Write)],
        }
    }

    /// Bytes read and written, each tensor counted once; those given at run time are not counted.
    pub fn bytes(&self) -> u64 {
        let read: u64 = self.inputs().iter().map(|t| u64::from(t.len)).sum();
        let written: u64 = self.outputs().iter().map(|(t, _)| u64::from(t.len)).sum();
        4 * (read + written)
    }

    /// Floating-point operations, a multiply-add counted as two; 0 for ops that only move data.
    pub fn flops(&self) -> u64 {
        match self {
            Op::Matmul(op) => 2 * u64::from(op.m) * u64::from(op.n) * op.slice.len() as u64,
            _ => 0,
        }
    }
}

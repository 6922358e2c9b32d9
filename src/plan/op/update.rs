//! From gradients to weights.

use super::Access;
use crate::optimizer::Optimizer;
use crate::plan::Tensor;

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

/// An optimizer's step over the parameters, or a part of them.
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
    pub(super) fn outputs(&self) -> Vec<(Tensor, Access)> {
        [self.parameters].iter().chain(&self.moments).map(|&tensor| (tensor, Access::ReadWrite)).collect()
    }
}

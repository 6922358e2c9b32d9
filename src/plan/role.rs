//! What buffers are for.

#[cfg(doc)]
use super::{DataInfo, LossOp, RowMetrics, StepState};
use crate::ops::Dtype;

/// What a buffer of a plan is for. Each buffer holds f32 unless said otherwise. The numbers of those that have one are
/// those of the network's inputs and outputs, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Every weight, then every state of layers that is not trained. Shared by all plans of a trainer.
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
    /// The data set's targets: given at run time, of any length. A row has a u32 label or an f32 for each output, then
    /// its weight if rows have one.
    Targets(u32),
    /// One [`DataInfo`]: written by the host when a data set is given. It tells of the input and of the output of that
    /// number; the first one, of the order of rows too.
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
    /// Means and deviations of rows or of channels, and sums of their gradients, for the backward pass.
    Statistics,
    /// u32: which number of each window was the largest, for the backward pass.
    Choices,
    /// u32: which numbers a resampled one is made of, and their weights.
    ResampleTable,
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
            Self::Choices | Self::ResampleTable | Self::GridLevels | Self::ChainMarks => Dtype::U32,
            Self::GridSums => Dtype::I32,
            _ => Dtype::F32,
        }
    }
}

impl Role {
    /// Whether what is in it between steps, or after them, is of no use to anybody: all of it is written before it is
    /// read.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::Activation | Self::ActivationGradient | Self::Statistics | Self::Choices)
    }
}

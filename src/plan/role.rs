//! Roles of buffers.

#[cfg(doc)]
use super::{DataInfo, LossOp, RowMetrics, StepState};
use crate::ops::Dtype;

/// The role of a buffer in a plan. Its elements are f32 unless stated otherwise. A number in a role is the index of the
/// network's input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// All weights, then all states. All plans of a trainer share this buffer.
    Parameters,
    /// The gradients of all weights, in the same layout.
    Gradients,
    /// The accumulated gradients of several batches, in the same layout.
    AccumulatedGradients,
    /// For each slice of a batch, the sum of its gradients over the batches of an update: \[own slices, weights and
    /// states\]. A state has the statistics of the slice's rows.
    SliceSums,
    /// The optimizer's moments and the averages, \[parameters / 64, states, 64\]. Each block of 64 weights has its
    /// first moments, then its second moments, then its slow weights, then its EMA.
    Moments,
    /// The averaged weights, then all states, in the layout of the parameters.
    Averaged,
    /// For each block of 64 weights, the factors of the learning rate and of the weight decay.
    Multipliers,
    /// Partial sums of squared gradients.
    SquareSums,
    /// The factor that clips the gradients.
    GradientScale,
    /// The features of the data set. Bound at run time, with any length.
    Features(u32),
    /// The targets of the data set. Bound at run time, with any length. A row has a u32 label or an f32 for each
    /// output, then its weight if rows have weights.
    Targets(u32),
    /// One [`DataInfo`], which the host writes for each data set. It describes the input and the output with this
    /// index. The first one also has the order of the rows.
    Data(u32),
    /// One [`StepState`]: the cursor.
    Step,
    /// The row numbers of the batch, as u32.
    Indices,
    /// Slots of [`RowMetrics`] for the rows of the batch. See [`LossOp::metrics`].
    RowMetrics,
    /// One [`RowMetrics`]: the sum of the slots.
    Totals,
    /// The input of a forward plan. Bound at run time.
    Input(u32),
    /// The output of a forward plan. Bound at run time.
    Output(u32),
    /// The gradient of a chain's output. Bound at run time.
    OutputGradient(u32),
    /// The gradient of a chain's input. Bound at run time.
    InputGradient(u32),
    /// The gradient of a network's output with respect to its input, which a chain writes. Bound at run time.
    NetworkGradient,
    /// The gradient of a chain's loss with respect to the network gradient. Bound at run time.
    NetworkGradientGradient,
    /// The weights of the outputs in the network gradient, once for each row of the batch.
    OutputWeights,
    /// The output of a layer, or the gathered batch.
    Activation,
    /// The gradient of a layer's output or pre-activation.
    ActivationGradient,
    /// Means and deviations of rows or channels, and sums of their gradients, for the backward pass.
    Statistics,
    /// The index of each window's maximum, as u32, for the backward pass.
    Choices,
    /// The source elements of each resampled element, and their weights, as u32.
    ResampleTable,
    /// The levels of a hash grid, or the level of each block of 64 weights of its table, as u32.
    GridLevels,
    /// For each level of a hash grid, the factor that converts its gradients to integers, and its reciprocal.
    GridScales,
    /// The gradient of a hash grid's table as integer sums, i32. Zeros between steps.
    GridSums,
    /// One [`DataInfo`], with which a chain tells its cursor that a pass has run.
    ChainMarks,
}

impl Role {
    /// The type of the elements.
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
    /// Whether the contents are only needed within a step. All of it is written before it is read.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self, Self::Activation | Self::ActivationGradient | Self::Statistics | Self::Choices)
    }
}

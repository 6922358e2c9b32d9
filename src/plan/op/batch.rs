//! What batches come from and go to: the cursor, the rows, the loss, the metrics.

use crate::activation::Activation;
use crate::loss::Loss;
use crate::plan::{RowMetrics, StepState, Tensor};
use crate::schedule::Schedule;

/// Moves the cursor to the next batch, writes which rows of the data set it holds, shuffled anew each epoch, and the
/// learning rate of its update.
#[derive(Debug, Clone, PartialEq)]
pub struct NextBatch {
    /// What is known of the data set: [`DataInfo`](super::super::DataInfo).
    pub data: Tensor,
    /// The cursor: [`StepState`](super::super::StepState). Read and written.
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

/// Copies rows, word for word, between where an app has them and where they stand side by side. Nothing else is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRows {
    /// The rows, and whatever lies before and between them.
    pub input: Tensor,
    /// The word at which the first row begins.
    pub input_first: u32,
    /// Words from the start of one row to the start of the next.
    pub input_stride: u32,
    /// Where they go to, written.
    pub output: Tensor,
    /// The word at which the first row is to begin.
    pub output_first: u32,
    /// Words from the start of one row to the start of the next.
    pub output_stride: u32,
    /// How many rows.
    pub rows: u32,
    /// Words of a row.
    pub columns: u32,
}

/// Of a [`RowMetrics`](super::super::RowMetrics).
const METRIC_WORDS: u32 = (size_of::<RowMetrics>() / 4) as u32;

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
    /// \[levels, turns, batch\] of [`RowMetrics`](super::super::RowMetrics), added to. Counts are at the first level. Every
    /// 8th row that a slot has seen, its sum of losses moves to the slot's next level, every 64th that sum to the one after:
    /// no sum has many terms, so rounding takes little from the sum of millions.
    pub metrics: Tensor,
    /// Steps add to their rows' slots of the metrics by turns, so that no slot's sum grows long where batches are small.
    pub turns: u32,
    /// The activation that made the output, one whose derivative its output tells: the gradient is that of its input.
    pub activation: Activation,
    /// Rows of a full batch.
    pub batch: u32,
    /// Numbers of an output row.
    pub outputs: u32,
}

impl LossOp {
    /// How many levels of slots there are.
    pub(crate) fn levels(&self) -> u32 {
        (self.metrics.len / (METRIC_WORDS * self.turns * self.batch)).max(1)
    }

    /// Where the metrics of a row of the batch are summed in this step.
    pub(crate) fn slot(&self, row: usize, state: &StepState) -> usize {
        (state.step % self.turns * self.batch) as usize + row
    }
}

/// Marks the totals of the metrics as not finite where weights or moments hold NaN or an infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// What is looked over; a whole number of vec4s.
    pub input: Tensor,
    /// One [`StepState`].
    pub step: Tensor,
    /// One [`RowMetrics`](super::super::RowMetrics), whose `non_finite_step` becomes the step's unless it is set already.
    pub totals: Tensor,
}

/// Sums the metrics of all slots, in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// \[count\] of [`RowMetrics`](super::super::RowMetrics).
    pub slots: Tensor,
    /// One [`RowMetrics`](super::super::RowMetrics), written.
    pub totals: Tensor,
    /// How many.
    pub count: u32,
}

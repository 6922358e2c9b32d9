//! Losses.

use super::*;
use crate::activation::Activation;
use crate::loss::Loss;

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
    /// \[levels, turns, batch\] of [`RowMetrics`](super::RowMetrics), added to. Counts are at the first level. Every
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
        (self.metrics.len() / (METRIC_WORDS * self.turns * self.batch)).max(1)
    }

    /// Where the metrics of a row of the batch are summed in this step.
    pub(crate) fn slot(&self, row: usize, state: &StepState) -> usize {
        (state.step % self.turns * self.batch) as usize + row
    }
}

impl Kernel for LossOp {
    fn stem(&self) -> &'static str {
        if self.loss.is_softmax() { "softmax_cross_entropy" } else { "pointwise_loss" }
    }

    fn options(&self) -> String {
        format!(" {:?}", self.loss)
    }

    fn operands(&self) -> Vec<Operand> {
        let data = [self.output, self.targets, self.data, self.step, self.indices].map(read);
        data.into_iter().chain([change(self.metrics), write(self.gradient)]).collect()
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_loss(self)
    }

    // Of the data set's targets, those of the batch.
    fn bytes(&self) -> u64 {
        let rest = self.operands().iter().map(Operand::traffic).sum::<u64>() - self.targets.bytes();
        rest + u64::from(self.batch) * self.targets.bytes()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        use crate::gpu::kernels::{pointwise_loss, softmax_cross_entropy};
        vec![match self.loss.is_softmax() {
            true => softmax_cross_entropy::launch(self, *adapter),
            false => pointwise_loss::launch(self, *adapter),
        }]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        use crate::cpu::{pointwise_loss, softmax_cross_entropy};
        let run = match self.loss.is_softmax() {
            true => softmax_cross_entropy::softmax_cross_entropy,
            false => pointwise_loss::pointwise_loss,
        };
        let batch = pointwise_loss::Batch {
            targets: at.words(self.targets),
            data: at.data(self.data),
            state: at.step(self.step),
            indices: at.words(self.indices),
        };
        let gradient = self.gradient.map(|t| at.out(t));
        run(self, at.f32s(self.output), &batch, gradient, at.out(self.metrics));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        match self.loss.is_softmax() {
            true => legacy::loss::of_softmax_cross_entropy(self, at),
            false => legacy::loss::of_pointwise_loss(self, at),
        }
    }
}

//! The cursor of a data set.

use super::*;
use crate::schedule::Schedule;

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

impl Kernel for NextBatch {
    fn stem(&self) -> &'static str {
        "next_batch"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.data), change(self.step), change(self.indices)]
    }

    fn flops(&self) -> u64 {
        0
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        crate::gpu::kernels::next_batch::launches(self)
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (step, indices) = (at.out(self.step), at.out(self.indices));
        crate::cpu::next_batch::next_batch(self, &at.data(self.data), &mut step[0], indices);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::of_state(self, at), Bounds::Exact]
    }
}

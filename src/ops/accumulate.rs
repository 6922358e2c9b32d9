//! Gradients of several batches.

use super::*;

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

impl Kernel for Accumulate {
    fn stem(&self) -> &'static str {
        "accumulate"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.gradients), read(self.step), change(self.sum)]
    }

    fn flops(&self) -> u64 {
        u64::from(self.sum.len()) * if self.mean { 2 } else { 1 }
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::accumulate::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (gradients, state) = (at.f32s(self.gradients), at.step(self.step));
        crate::cpu::accumulate::accumulate(self, gradients, &state, at.out(self.sum));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::update::of_accumulate(self, at)]
    }
}

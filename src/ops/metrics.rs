//! The sum of running metrics.

use super::*;

/// Sums the metrics of all slots, in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// \[count\] of [`RowMetrics`](super::RowMetrics).
    pub slots: Tensor,
    /// One [`RowMetrics`](super::RowMetrics), written.
    pub totals: Tensor,
    /// How many.
    pub count: u32,
}

impl Kernel for Metrics {
    fn stem(&self) -> &'static str {
        "metrics"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.slots), write(self.totals)]
    }

    fn flops(&self) -> u64 {
        self.count.into()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::metrics::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        at.out(self.totals)[0] = crate::cpu::metrics::metrics(bytemuck::cast_slice(at.words(self.slots)));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::of_metrics(self, at)
    }
}

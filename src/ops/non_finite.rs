//! A look for numbers that are not finite.

use super::*;

/// Marks the totals of the metrics as not finite where weights or moments hold NaN or an infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct NonFinite {
    /// What is looked over; a whole number of vec4s.
    pub input: Tensor,
    /// One [`StepState`].
    pub step: Tensor,
    /// One [`RowMetrics`](super::RowMetrics), whose `non_finite_step` becomes the step's unless it is set already.
    pub totals: Tensor,
}

impl Kernel for NonFinite {
    fn stem(&self) -> &'static str {
        "metrics"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.input), read(self.step), change(self.totals)]
    }

    fn flops(&self) -> u64 {
        // Looks at bits.
        0
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::metrics::finite(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        crate::cpu::metrics::non_finite(at.f32s(self.input), &at.step(self.step), &mut at.out(self.totals)[0]);
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

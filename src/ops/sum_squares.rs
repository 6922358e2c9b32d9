//! Norms.

use super::*;

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

impl Kernel for SumSquares {
    fn stem(&self) -> &'static str {
        "sum_squares"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.input), write(self.output)]
    }

    fn flops(&self) -> u64 {
        // The second op sums, takes the root, adds, divides, compares.
        match self.limit {
            None => 2 * u64::from(self.input.len()),
            Some(_) => u64::from(self.input.len()) + 4,
        }
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::sum_squares::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        crate::cpu::sum_squares::sum_squares(self, at.f32s(self.input), at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::update::of_sum_squares(self, at)]
    }
}

//! What makes a hash grid's gradients whole numbers.

use super::*;

/// For each level, what turns the gradients of its entries into whole numbers whose sums 32 bits can hold: a power of
/// two, and one over it; NaN where the gradients are not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScale {
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// \[levels, 2\], written.
    pub scales: Tensor,
    /// The grid.
    pub shape: GridShape,
}

impl Kernel for HashGridScale {
    fn stem(&self) -> &'static str {
        "hash_grid_scale"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.gradient), write(self.scales)]
    }

    fn flops(&self) -> u64 {
        2 * u64::from(self.gradient.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        crate::gpu::kernels::hash_grid_scale::launches(self)
    }

    fn twin(&self, at: &mut Operands<'_>) {
        crate::cpu::hash_grid_scale::hash_grid_scale(self, at.f32s(self.gradient), at.out(self.scales));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::encoding::of_scale(self, at)]
    }
}

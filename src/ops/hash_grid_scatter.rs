//! The sums of a hash grid's gradients.

use super::*;

/// Adds the gradients of the entries that each point took part of, as whole numbers: in any order, the sums are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridScatter {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// i32 \[entries, features\], added to.
    pub sums: Tensor,
    /// The grid.
    pub shape: GridShape,
}

impl Kernel for HashGridScatter {
    fn stem(&self) -> &'static str {
        "hash_grid_scatter"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.x), read(self.levels), read(self.gradient), read(self.scales), change(self.sums)]
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_corners(&self.shape, 5 + 3 * u64::from(self.shape.features))
    }

    fn bytes(&self) -> u64 {
        let all = self.operands().iter().map(Operand::traffic).sum::<u64>();
        all - 2 * self.sums.bytes() + 4 * crate::plan::cost::of_corners(&self.shape, 2 * u64::from(self.shape.features))
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::hash_grid_scatter::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, levels) = (at.f32s(self.x), at.words(self.levels));
        let (gradient, scales) = (at.f32s(self.gradient), at.f32s(self.scales));
        crate::cpu::hash_grid_scatter::hash_grid_scatter(self, x, levels, gradient, scales, at.out(self.sums));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::encoding::of_scatter(self, at)]
    }
}

//! The gradient of a hash grid's table.

use super::*;

/// The gradient of a hash grid's table from its sums, which go back to zero.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridGradient {
    /// From [`HashGridScale`].
    pub scales: Tensor,
    /// u32: the level of every 64 numbers of the table.
    pub blocks: Tensor,
    /// i32 \[entries, features\], read and set to zero.
    pub sums: Tensor,
    /// \[entries, features\], written.
    pub table_gradient: Tensor,
}

impl Kernel for HashGridGradient {
    fn stem(&self) -> &'static str {
        "hash_grid_gradient"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.scales), read(self.blocks), change(self.sums), write(self.table_gradient)]
    }

    fn flops(&self) -> u64 {
        self.sums.len().into()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::hash_grid_gradient::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (scales, blocks) = (at.f32s(self.scales), at.words(self.blocks));
        let (sums, gradient) = (at.out(self.sums), at.out(self.table_gradient));
        crate::cpu::hash_grid_gradient::hash_grid_gradient(scales, blocks, sums, gradient);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact, legacy::encoding::of_gradient(self, at)]
    }
}

//! The gradient of a hash grid's points.

use super::*;

/// The gradient of a hash grid's points; 0 for a coordinate that lies outside.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridInput {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// As in [`HashGridForward`].
    pub levels: Tensor,
    /// dy, \[rows, levels · features\].
    pub gradient: Tensor,
    /// dx, \[rows, dimensions\], written.
    pub output: Tensor,
    /// The grid.
    pub shape: GridShape,
}

impl Kernel for HashGridInput {
    fn stem(&self) -> &'static str {
        "hash_grid_input"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.x), read(self.levels), read(self.table), read(self.gradient), write(self.output)]
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_corners(&self.shape, 12 + 2 * u64::from(self.shape.features))
    }

    // Of a table, the entries at the corners of each point's cells.
    fn bytes(&self) -> u64 {
        let all = self.operands().iter().map(Operand::traffic).sum::<u64>();
        all - self.table.bytes() + 4 * crate::plan::cost::of_corners(&self.shape, self.shape.features.into())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::hash_grid_input::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, levels, table) = (at.f32s(self.x), at.words(self.levels), at.f32s(self.table));
        let gradient = at.f32s(self.gradient);
        crate::cpu::hash_grid_input::hash_grid_input(self, x, levels, table, gradient, at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::encoding::of_input(self, at)]
    }
}

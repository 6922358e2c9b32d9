//! Hash grids.

use super::*;

/// What the ops of a hash grid share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridShape {
    /// How many points.
    pub rows: u32,
    /// Coordinates of a point, 1 to 4.
    pub dimensions: u32,
    /// How many levels.
    pub levels: u32,
    /// Weights of an entry: 1, 2 or 4.
    pub features: u32,
}

/// The features of points in a hash grid: of each level, the entries at the corners of a point's cell, interpolated.
#[derive(Debug, Clone, PartialEq)]
pub struct HashGridForward {
    /// \[rows, dimensions\].
    pub x: Tensor,
    /// \[entries, features\].
    pub table: Tensor,
    /// u32 \[levels, 4\]: cells along a side, the first entry, the mask of hashes or 0 where entries are numbered, 0.
    pub levels: Tensor,
    /// \[rows, levels · features\], written.
    pub y: Tensor,
    /// The grid.
    pub shape: GridShape,
}

impl Kernel for HashGridForward {
    fn stem(&self) -> &'static str {
        "hash_grid"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.x), read(self.levels), read(self.table), write(self.y)]
    }

    fn flops(&self) -> u64 {
        // Of a corner: its shares and their product; then its entry's numbers, multiplied and added, each way.
        crate::plan::cost::of_corners(&self.shape, 5 + 2 * u64::from(self.shape.features))
    }

    // Of a table, the entries at the corners of each point's cells.
    fn bytes(&self) -> u64 {
        let all = self.operands().iter().map(Operand::traffic).sum::<u64>();
        all - self.table.bytes() + 4 * crate::plan::cost::of_corners(&self.shape, self.shape.features.into())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::hash_grid::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, levels, table) = (at.f32s(self.x), at.words(self.levels), at.f32s(self.table));
        crate::cpu::hash_grid::hash_grid(self, x, levels, table, at.out(self.y));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::encoding::of_hash_grid(self, at)]
    }
}

//! The gradient of layer normalisation's input.

use super::*;

/// The gradient of layer normalisation's input: with d = dy · scale, (d − mean d − x̂ · mean(d · x̂)) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormInput {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// dx, \[rows, columns\], written.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

impl Kernel for LayerNormInput {
    fn stem(&self) -> &'static str {
        "layer_norm_input"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.gradient), read(self.x), read(self.scale), read(self.statistics), write(self.output)]
    }

    fn flops(&self) -> u64 {
        // Of a row: two means. Of a number: x̂ 2, dy · scale 1, the sums 3, and 4.
        2 * u64::from(self.rows) + 10 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::layer_norm_input::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (gradient, x, scale) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.scale));
        let statistics = at.f32s(self.statistics);
        crate::cpu::layer_norm_input::layer_norm_input(self, gradient, x, scale, statistics, at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::norm::of_input(self, at)]
    }
}

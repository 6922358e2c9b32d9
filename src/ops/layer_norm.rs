//! Layer normalisation.

use super::*;

/// Layer normalisation of each row: y = x̂ · scale + shift, with x̂ = (x − mean) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormForward {
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[columns\].
    pub shift: Tensor,
    /// \[rows, columns\], written.
    pub y: Tensor,
    /// \[rows, 2\], written: the mean less the row's first number, and 1 / √(variance + epsilon).
    pub statistics: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
    /// Keeps the division finite.
    pub epsilon: f32,
}

impl Kernel for LayerNormForward {
    fn stem(&self) -> &'static str {
        "layer_norm"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.x), read(self.scale), read(self.shift), write(self.y), write(self.statistics)]
    }

    fn flops(&self) -> u64 {
        // Of a row: two means, epsilon, the root and its reciprocal. Of a number: 1 for the mean, 3 for the variance, 4.
        5 * u64::from(self.rows) + 8 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::layer_norm::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (x, scale, shift) = (at.f32s(self.x), at.f32s(self.scale), at.f32s(self.shift));
        crate::cpu::layer_norm::layer_norm(self, x, scale, shift, at.out(self.y), at.out(self.statistics));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::norm::of_forward(self, at)
    }
}

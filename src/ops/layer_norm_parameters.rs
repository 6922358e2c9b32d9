//! The gradient of layer normalisation's weights.

use super::*;

/// The gradient of layer normalisation's weights: Σ dy · x̂ and Σ dy over the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormParameters {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// \[columns\], written.
    pub scale_gradient: Tensor,
    /// \[columns\], written.
    pub shift_gradient: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

impl Kernel for LayerNormParameters {
    fn stem(&self) -> &'static str {
        "layer_norm_parameters"
    }

    fn operands(&self) -> Vec<Operand> {
        let gradients = [self.scale_gradient, self.shift_gradient].map(write);
        [read(self.gradient), read(self.x), read(self.statistics)].into_iter().chain(gradients).collect()
    }

    fn flops(&self) -> u64 {
        // x̂ 2, its product, two sums.
        5 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        crate::gpu::kernels::layer_norm_parameters::launches(self)
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (gradient, x, statistics) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.statistics));
        let (scale, shift) = (at.out(self.scale_gradient), at.out(self.shift_gradient));
        crate::cpu::layer_norm_parameters::layer_norm_parameters(self, gradient, x, statistics, scale, shift);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        legacy::norm::of_parameters(self, at)
    }
}

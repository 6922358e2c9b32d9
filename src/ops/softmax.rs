//! Softmax of rows.

use super::*;

/// Softmax of each row, or its gradient: y ⊙ (dy − Σ dy ⊙ y) where the softmax itself is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// \[rows, columns\]: z, or dy.
    pub input: Tensor,
    /// For the gradient: y, what the softmax returned.
    pub saved: Option<Tensor>,
    /// \[rows, columns\], written: y, or dz.
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Numbers of a row.
    pub columns: u32,
}

impl Kernel for Softmax {
    fn stem(&self) -> &'static str {
        "softmax"
    }

    fn detail(&self) -> String {
        if self.saved.is_some() { " gradient".into() } else { String::new() }
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.input), read(self.saved), write(self.output)]
    }

    fn flops(&self) -> u64 {
        // Largest, difference, exponential, sum, quotient; or product, sum, difference, product.
        u64::from(self.input.len()) * if self.saved.is_some() { 4 } else { 5 }
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::softmax::launch(self, *adapter)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let saved = self.saved.map(|t| at.f32s(t));
        crate::cpu::softmax::softmax(self, at.f32s(self.input), saved, at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::loss::of_softmax(self, at)]
    }
}

//! Rows between an app's buffers and a plan's.

use super::*;

/// Copies rows, word for word, between where an app has them and where they stand side by side. Nothing else is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRows {
    /// \[rows, columns\], and whatever lies before and between them.
    pub input: Tensor,
    /// \[rows, columns\], written.
    pub output: Tensor,
}

impl Kernel for CopyRows {
    fn stem(&self) -> &'static str {
        "copy_rows"
    }

    fn detail(&self) -> String {
        format!(" {}x{}", self.input.rows(), self.input.columns())
    }

    fn operands(&self) -> Vec<Operand> {
        // Without gaps, all of it.
        let gaps = self.output.words().len() > self.output.len() as usize;
        vec![read(self.input), if gaps { change(self.output) } else { write(self.output) }]
    }

    fn flops(&self) -> u64 {
        0
    }

    fn bytes(&self) -> u64 {
        2 * self.input.bytes()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::copy_rows::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        crate::cpu::copy_rows::copy_rows(self, at.words(self.input), at.out(self.output));
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

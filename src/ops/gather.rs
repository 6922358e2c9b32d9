//! The rows of a batch.

use super::*;

/// Copies the batch's rows out of the data set: bytes are scaled, rows that a partial batch lacks become zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// The features of the whole data set.
    pub features: Tensor,
    /// What is known of the data set.
    pub data: Tensor,
    /// The cursor.
    pub step: Tensor,
    /// \[batch\] row numbers.
    pub indices: Tensor,
    /// \[batch, columns\], written.
    pub x: Tensor,
    /// Rows of a full batch.
    pub batch: u32,
    /// Features of a row.
    pub columns: u32,
}

impl Kernel for Gather {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.features), read(self.data), read(self.step), read(self.indices), write(self.x)]
    }

    fn flops(&self) -> u64 {
        0
    }

    // From the data set, of which a plan knows a row.
    fn bytes(&self) -> u64 {
        let rest = self.operands().iter().skip(1).map(Operand::traffic).sum::<u64>();
        rest + self.x.bytes()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::gather::launch(self, *adapter)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (features, indices) = (at.words(self.features), at.words(self.indices));
        let (data, state) = (at.data(self.data), at.step(self.step));
        crate::cpu::gather::gather(self, features, &data, &state, indices, at.out(self.x));
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        vec![Bounds::Exact]
    }
}

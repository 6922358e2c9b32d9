//! Encodings of coordinates one by one.

use super::*;
use crate::network::Encoding;

/// An encoding of coordinates one by one, or its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Encode {
    /// Which; no hash grid.
    pub encoding: Encoding,
    /// \[rows, columns\]: the coordinates.
    pub x: Tensor,
    /// For the gradient: dy, \[rows, columns · features\].
    pub gradient: Option<Tensor>,
    /// \[rows, columns · features\], written: y; or dx, \[rows, columns\].
    pub output: Tensor,
    /// How many rows.
    pub rows: u32,
    /// Coordinates of a row.
    pub columns: u32,
}

impl Kernel for Encode {
    fn stem(&self) -> &'static str {
        "encode"
    }

    fn detail(&self) -> String {
        format!(" {}{:?}", if self.gradient.is_some() { "gradient of " } else { "" }, self.encoding)
    }

    fn operands(&self) -> Vec<Operand> {
        vec![read(self.x), read(self.gradient), write(self.output)]
    }

    fn flops(&self) -> u64 {
        crate::plan::cost::of_encode(self)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        vec![crate::gpu::kernels::encode::launch(self)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let gradient = self.gradient.map(|t| at.f32s(t));
        crate::cpu::encode::encode(self, at.f32s(self.x), gradient, at.out(self.output));
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        vec![legacy::encoding::of_encode(self, at)]
    }
}

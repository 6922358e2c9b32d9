//! Multiplies numbers by a constant and adds a constant.

use super::*;

/// Element-wise output = input · scale + shift. The gradient is the same op with a shift of 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleShift {
    /// Values, or their gradient; packed.
    pub input: Tensor,
    /// Same length as the input, written.
    pub output: Tensor,
    /// Factor.
    pub scale: f32,
    /// Number that is added.
    pub shift: f32,
}

const LANES: u32 = 64;

impl Kernel for ScaleShift {
    binds! { "scale_shift": read input, write output }

    fn detail(&self) -> String {
        format!(" * {} + {}", self.scale, self.shift)
    }

    fn flops(&self) -> u64 {
        2 * u64::from(self.output.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (quads, &Self { scale, shift, .. }) = (self.output.len().div_ceil(4), self);
        let shader = shader("scale_shift", text!("scale_shift.wgsl"), []);
        vec![Launch::of(self, shader, uniforms![quads, scale, shift], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        for (y, x) in at.out::<f32>(self.output).iter_mut().zip(at.f32s(self.input)) {
            *y = x * self.scale + self.shift;
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (scale, shift) = (f64::from(self.scale), f64::from(self.shift));
        // Both sides round the product and the sum. Numbers, products and the shift may be flushed to zero.
        let bound = |&x: &f32| {
            let product = f64::from(x) * scale;
            2.0 * U * (product.abs() + (product + shift).abs()) + flushed(x) * scale.abs() + 2.0 * FLUSHED
        };
        vec![Bounds::Each(at.f32s(self.input).iter().map(bound).collect())]
    }
}

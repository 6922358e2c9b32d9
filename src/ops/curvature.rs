//! Second derivatives of activations.

use super::*;
use crate::activation::Activation;

/// Element-wise output = tangent · gradient · f″(saved) for an activation f. It is the derivative of
/// tangent · gradient · f′(z) with respect to z.
#[derive(Debug, Clone, PartialEq)]
pub struct Curvature {
    /// The tangent of z, packed.
    pub tangent: Tensor,
    /// The gradient of f(z) in the pass that computed the network gradient; same length.
    pub gradient: Tensor,
    /// f(z), or z if the derivative of the activation needs its input; same length.
    pub saved: Tensor,
    /// The activation f. Its second derivative is not 0 everywhere.
    pub activation: Activation,
    /// Same length, written.
    pub output: Tensor,
}

const LANES: u32 = 64;

impl Kernel for Curvature {
    binds! { "curvature": read tangent, read gradient, read saved, write output }

    fn detail(&self) -> String {
        format!(" of {}", self.activation)
    }

    fn flops(&self) -> u64 {
        let second = self.activation.second_derivative().map_or(0, |second| second.flops);
        u64::from(self.output.len()) * (second + 2)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.output.len().div_ceil(4);
        let shader = shader(
            format!("curvature {}", self.activation),
            self.activation.text().to_owned() + text!("curvature.wgsl.in"),
            self.activation.constant().into_iter().collect::<Vec<_>>(),
        );
        vec![Launch::of(self, shader, uniforms![quads], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let factors = at.f32s(self.tangent).iter().zip(at.f32s(self.gradient));
        for ((y, (t, dy)), &saved) in at.out::<f32>(self.output).iter_mut().zip(factors).zip(at.f32s(self.saved)) {
            *y = t * dy * self.activation.second_derivative_at(saved).0;
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let factors = at.f32s(self.tangent).iter().zip(at.f32s(self.gradient)).zip(at.f32s(self.saved));
        let bound = |((&t, &dy), &saved): ((&f32, &f32), &f32)| {
            let (second, off) = self.activation.second_derivative_at(saved);
            let second = f64::from(second).abs();
            let [t_size, dy_size] = [t, dy].map(|x| f64::from(x).abs());
            // Each factor, and the first product, may be flushed to zero.
            let flushed = second * (flushed(t) * dy_size + flushed(dy) * t_size + FLUSHED);
            t_size * dy_size * (off + 4.0 * U * second) + flushed
        };
        vec![Bounds::Each(factors.map(bound).collect())]
    }
}

//! Batch normalisation, forward pass.

use super::channel_statistics::{by_width, inverse, inverse_error, normal_epsilon, normalised_bound, width};
use super::*;
use crate::activation::Activation;

/// Batch normalisation with given statistics, of the batch or running. For each channel, y = (x − mean) / √(variance
/// + epsilon) · scale + shift. An activation follows.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormForward {
    /// \[rows, channels\].
    pub x: Tensor,
    /// \[channels\].
    pub scale: Tensor,
    /// \[channels\].
    pub shift: Tensor,
    /// \[2, channels rounded up to 64\]: means, then variances.
    pub statistics: Tensor,
    /// \[rows, channels\], written.
    pub y: Tensor,
    /// Added to the variance, so that the quotient stays finite.
    pub epsilon: f32,
    /// Activation, applied last. Softmax is not supported.
    pub activation: Activation,
}

/// Most rows per invocation, and invocations per workgroup.
const ROWS: u32 = 16;
const LANES: u32 = 64;

/// Invocations that share the rows of a channel (or of four channels), and the number of workgroups.
pub(super) fn grid(x: &Tensor) -> (u32, u64) {
    let lanes = x.rows().div_ceil(ROWS);
    (lanes, (u64::from(lanes) * u64::from(x.columns() / width(x))).div_ceil(LANES.into()))
}

impl Kernel for BatchNormForward {
    binds! { "batch_norm": read x, read scale, read shift, read statistics, write y }

    fn detail(&self) -> String {
        match self.activation {
            Activation::Identity => String::new(),
            activation => format!(" {activation}"),
        }
    }

    fn flops(&self) -> u64 {
        // Per channel: epsilon, the root and its reciprocal.
        3 * u64::from(self.x.columns()) + (4 + self.activation.flops()[0]) * u64::from(self.x.len())
    }

    fn without_twin(&self) -> Option<String> {
        self.activation.without_twin()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (lanes, workgroups) = grid(&self.x);
        let [columns, stride] = [self.x, self.statistics].map(|tensor| tensor.columns() / width(&self.x));
        let text = text!("shared/numbers.wgsl.in", "batch_norm.wgsl.in");
        let source = self.activation.text().to_owned() + &by_width(&self.x, text);
        let constants = self.activation.constant().into_iter().collect::<Vec<_>>();
        let shader = shader(format!("batch_norm{}", self.detail()), source, constants);
        let uniforms = uniforms![rows: self.x.rows(), columns, stride, lanes, epsilon: normal_epsilon(self.epsilon)];
        vec![Launch::of(self, shader, uniforms, workgroups)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let (x, y, epsilon) = (at.f32s(self.x), at.out::<f32>(self.y), normal_epsilon(self.epsilon));
        let (scale, shift, statistics) = (at.f32s(self.scale), at.f32s(self.shift), at.f32s(self.statistics));
        let inverses: Vec<f64> = (0..columns).map(|c| inverse(statistics[stride + c], epsilon)).collect();
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            for (c, (x, y)) in x.iter().zip(y).enumerate() {
                let normalised = (f64::from(*x) - f64::from(statistics[c])) * inverses[c];
                *y = self.activation.value((normalised * f64::from(scale[c]) + f64::from(shift[c])) as f32);
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let (scale, shift, epsilon) = (at.f64s(self.scale), at.f64s(self.shift), normal_epsilon(self.epsilon));
        let statistics = at.f32s(self.statistics);
        let inverses: Vec<_> = (statistics[stride..][..columns].iter())
            .map(|&variance| (inverse(variance, epsilon), inverse_error(variance, epsilon)))
            .collect();
        let bound = |(i, &x): (usize, &f32)| {
            let c = i % columns;
            let (value, off) = normalised_bound(x.into(), statistics[c].into(), inverses[c].0, inverses[c].1);
            let off = scale[c].abs() * (off + 2.0 * U * value + FLUSHED)
                + 2.0 * U * (2.0 * value * scale[c].abs() + shift[c].abs());
            let y = (f64::from(x) - f64::from(statistics[c])) * inverses[c].0 * scale[c] + shift[c];
            self.activation.value_bound(y, off)
        };
        vec![Bounds::Each(at.f32s(self.x).iter().enumerate().map(bound).collect())]
    }
}

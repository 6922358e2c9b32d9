//! Gradient of batch normalisation's input.

use super::batch_norm::grid;
use super::channel_statistics::{
    by_width, inverse, inverse_error, normal_epsilon, normalised_bound, valid_rows, width,
};
use super::*;

/// Gradient of batch normalisation's input: dx = scale / √(variance + epsilon) · (dy − mean(dy) − x̂ · mean(dy ·
/// x̂)). The means are over the valid rows. The other rows of dx are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormInput {
    /// dy, \[rows, channels\].
    pub gradient: Tensor,
    /// \[rows, channels\]. The rows of a sample are its positions.
    pub x: Tensor,
    /// \[channels\].
    pub scale: Tensor,
    /// \[2, channels rounded up to 64\]: statistics of the batch.
    pub statistics: Tensor,
    /// \[2, channels\]: Σ dy · x̂, then Σ dy. `None` if the statistics are constants; both means are then 0.
    pub sums: Option<Tensor>,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// Rows per sample.
    pub positions: u32,
    /// dx, \[rows, channels\], written.
    pub output: Tensor,
    /// The same value as in the forward pass.
    pub epsilon: f32,
}

impl BatchNormInput {
    fn valid_rows(&self, at: &Operands<'_>) -> u32 {
        valid_rows(at, self.step, self.positions, self.x.rows())
    }
}

impl Kernel for BatchNormInput {
    binds! {
        "batch_norm_input":
        read gradient, read x, read scale, read statistics, read sums, read step, write output
    }

    fn flops(&self) -> u64 {
        // Per channel: epsilon, the root, its reciprocal, two means, two products.
        7 * u64::from(self.x.columns()) + 5 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (lanes, workgroups) = grid(&self.x);
        let [columns, stride] = [self.x, self.statistics].map(|tensor| tensor.columns() / width(&self.x));
        let (rows, positions, epsilon) = (self.x.rows(), self.positions, normal_epsilon(self.epsilon));
        let text = text!("shared/step_state.wgsl", "shared/numbers.wgsl.in", "batch_norm_input.wgsl.in");
        let shader = shader("batch_norm_input", by_width(&self.x, text), [("FIXED", self.sums.is_none().into())]);
        vec![Launch::of(self, shader, uniforms![rows, columns, stride, positions, lanes, epsilon], workgroups)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let valid_rows = self.valid_rows(at);
        let (numbers, n) = (valid_rows as usize * columns, f64::from(valid_rows.max(1)));
        let (gradient, x, scale) = (at.f32s(self.gradient), at.f32s(self.x), at.f32s(self.scale));
        let (statistics, sums) = (at.f32s(self.statistics), self.sums.map(|t| at.f32s(t)));
        let output = at.out::<f32>(self.output);
        output[numbers..].fill(0.0);
        let inverses: Vec<f64> =
            (0..columns).map(|c| inverse(statistics[stride + c], normal_epsilon(self.epsilon))).collect();
        for (i, dx) in output[..numbers].iter_mut().enumerate() {
            let c = i % columns;
            let normalised = (f64::from(x[i]) - f64::from(statistics[c])) * inverses[c];
            let means = [c, columns + c].map(|i| sums.map_or(0.0, |sums| f64::from(sums[i])) / n);
            let along = f64::from(gradient[i]) - means[1] - normalised * means[0];
            *dx = (f64::from(scale[c]) * inverses[c] * along) as f32;
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (columns, stride) = (self.x.columns() as usize, self.statistics.columns() as usize);
        let valid_rows = self.valid_rows(at);
        let (numbers, n) = (valid_rows as usize * columns, f64::from(valid_rows.max(1)));
        let (gradient, x, scale) = (at.f64s(self.gradient), at.f64s(self.x), at.f64s(self.scale));
        let (statistics, sums) = (at.f32s(self.statistics), self.sums.map(|t| at.f64s(t)));
        let inverses: Vec<_> = (statistics[stride..][..columns].iter())
            .map(|&variance| {
                (inverse(variance, normal_epsilon(self.epsilon)), inverse_error(variance, normal_epsilon(self.epsilon)))
            })
            .collect();
        let bound = |(i, dy): (usize, f64)| {
            let (c, mean) = (i % columns, |i: usize| sums.as_ref().map_or(0.0, |sums| sums[i].abs()) / n);
            let (inverse, inverse_error) = inverses[c];
            let (value, off) = normalised_bound(x[i], statistics[c].into(), inverse, inverse_error);
            let (along, level) = (mean(c), mean(columns + c));
            // Errors of the quotients of the means, then roundings of the sum.
            let means_error = 2.0 * (DIVISION + U) * (level + value * along) + off * along;
            let size = dy.abs() + level + value * along;
            let flushed = FLUSHED * (3.0 + (x[i] - f64::from(statistics[c])).abs() * (1.0 + inverse));
            let total_error = (means_error + 2.0 * 6.0 * U * size + 2.0 * flushed) * inverse + size * inverse_error;
            scale[c].abs() * total_error + FLUSHED * size
        };
        let mut bounds: Vec<f64> = gradient.into_iter().take(numbers).enumerate().map(bound).collect();
        bounds.resize(x.len(), 0.0);
        vec![Bounds::Each(bounds)]
    }
}

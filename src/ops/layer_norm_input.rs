//! The gradient of layer normalisation's input.

use super::layer_norm::{depth, normalised, normalised_bound};
use super::*;

/// The gradient of layer normalisation's input: with d = dy · scale, (d − mean d − x̂ · mean(d · x̂)) / √(variance +
/// epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormInput {
    /// dy, \[rows, columns\].
    pub gradient: Tensor,
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[rows, 2\], from the forward pass.
    pub statistics: Tensor,
    /// dx, \[rows, columns\], written.
    pub output: Tensor,
}

impl Kernel for LayerNormInput {
    binds! { "layer_norm_input": read gradient, read x, read scale, read statistics, write output }

    fn flops(&self) -> u64 {
        // Of a row: two means. Of a number: x̂ 2, dy · scale 1, the sums 3, and 4.
        2 * u64::from(self.x.rows()) + 10 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let shader = shader("layer_norm_input", text!("shared/from_first.wgsl.in", "layer_norm_input.wgsl.in"), []);
        let uniforms = uniforms![rows: self.x.rows(), columns: self.x.columns(), zero: 0];
        vec![Launch::of(self, shader, uniforms, self.x.rows())]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let columns = self.x.columns() as usize;
        let (x, scale, output) = (at.f32s(self.x), at.f32s(self.scale), at.out::<f32>(self.output));
        let (gradient, statistics) = (at.f32s(self.gradient), at.f32s(self.statistics));
        let rows = gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).zip(statistics.chunks_exact(2));
        for (((dy, x), statistics), dx) in rows.zip(output.chunks_exact_mut(columns)) {
            let normalised = |i: usize| normalised(x, statistics, i);
            let scaled = |i: usize| f64::from(dy[i]) * f64::from(scale[i]);
            let mean_scaled = (0..columns).map(scaled).sum::<f64>() / columns as f64;
            let mean_along = (0..columns).map(|i| scaled(i) * normalised(i)).sum::<f64>() / columns as f64;
            for (i, dx) in dx.iter_mut().enumerate() {
                *dx = ((scaled(i) - mean_scaled - normalised(i) * mean_along) * f64::from(statistics[1])) as f32;
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let columns = self.x.columns() as usize;
        let (x, scale) = (at.f32s(self.x), at.f64s(self.scale));
        let (gradient, statistics) = (at.f64s(self.gradient), at.f32s(self.statistics));
        let mut bounds = Vec::with_capacity(x.len());
        let rows = gradient.chunks_exact(columns).zip(x.chunks_exact(columns)).zip(statistics.chunks_exact(2));
        for ((dy, x), statistics) in rows {
            let normalised: Vec<_> = (0..columns).map(|i| normalised_bound(x, statistics, i)).collect();
            let scaled = |i: usize| (dy[i] * scale[i]).abs();
            let mean = |f: &dyn Fn(usize) -> f64| (0..columns).map(f).sum::<f64>() / columns as f64;
            let mean_scaled = mean(&scaled);
            let mean_along = mean(&|i| scaled(i) * normalised[i].0);
            let of_along = mean(&|i| scaled(i) * normalised[i].1);
            let of_sum = 2.0 * ((depth(columns) + 4.0) * U + DIVISION);
            for (i, (value, off)) in normalised.into_iter().enumerate() {
                let magnitude = scaled(i) + mean_scaled + value * mean_along;
                let of_means = of_sum * (mean_scaled + value * mean_along) + value * of_along + off * mean_along;
                bounds.push((of_means + 2.0 * 6.0 * U * magnitude) * f64::from(statistics[1]));
            }
        }
        vec![Bounds::Each(bounds)]
    }
}

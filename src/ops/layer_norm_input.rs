//! Gradient of the input of layer, group, instance and RMS normalisation.

use super::layer_norm::{Members, depth, normalised, normalised_bound};
use super::*;

/// Gradient of [`LayerNormForward`]'s input: dx = (d − mean(d) − x̂ · mean(d · x̂)) / √(variance + epsilon), with d =
/// dy · scale. RMS normalisation leaves out mean(d).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormInput {
    /// dy, \[rows, columns\], or \[samples, positions, channels\].
    pub gradient: Tensor,
    /// Same shape as dy.
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[rows · groups, 2\]: statistics of the forward pass.
    pub statistics: Tensor,
    /// dx, same shape as dy, written.
    pub output: Tensor,
    /// The same number as in the forward pass.
    pub groups: u32,
    /// True if the forward pass subtracts the mean.
    pub centred: bool,
}

impl Kernel for LayerNormInput {
    binds! { "layer_norm_input": read gradient, read x, read scale, read statistics, write output }

    fn flops(&self) -> u64 {
        // Per group: two means. Per number: 2 for x̂, 1 for dy · scale, 3 for the sums, 4 for dx.
        2 * u64::from(self.statistics.rows()) + 10 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let of = Members::of(self.x, self.groups);
        let source = text!("shared/from_first.wgsl.in", "shared/members.wgsl.in", "layer_norm_input.wgsl.in");
        let shader = shader("layer_norm_input", source, of.constants(self.centred));
        let uniforms = uniforms![rows: of.count(), columns: of.len(), groups: of.groups, width: of.width, zero: 0];
        vec![Launch::of(self, shader, uniforms, of.count())]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (of, x, scale) = (Members::of(self.x, self.groups), at.f32s(self.x), at.f32s(self.scale));
        let (gradient, statistics) = (at.f32s(self.gradient), at.f32s(self.statistics));
        let dx = at.out::<f32>(self.output);
        for (group, statistics) in statistics.chunks_exact(2).enumerate() {
            let first = if self.centred { x[of.start(group)] } else { 0.0 };
            let normalised = |at: usize| normalised(x[at], first, statistics);
            let scaled = |(at, c): (usize, usize)| f64::from(gradient[at]) * f64::from(scale[c]);
            let n = f64::from(of.len());
            let mean_scaled = if self.centred { of.each(group).map(scaled).sum::<f64>() / n } else { 0.0 };
            let mean_along = of.each(group).map(|i| scaled(i) * normalised(i.0)).sum::<f64>() / n;
            of.each(group).for_each(|i| {
                let along = normalised(i.0) * mean_along;
                dx[i.0] = ((scaled(i) - mean_scaled - along) * f64::from(statistics[1])) as f32;
            });
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (of, x, scale) = (Members::of(self.x, self.groups), at.f32s(self.x), at.f64s(self.scale));
        let (gradient, statistics) = (at.f64s(self.gradient), at.f32s(self.statistics));
        let mut bounds = vec![0.0; x.len()];
        for (group, statistics) in statistics.chunks_exact(2).enumerate() {
            let first = if self.centred { x[of.start(group)] } else { 0.0 };
            let normalised = |at: usize| normalised_bound(x[at], first, statistics);
            let scaled = |(at, c): (usize, usize)| (gradient[at] * scale[c]).abs();
            let mean = |f: &dyn Fn((usize, usize)) -> f64| of.each(group).map(f).sum::<f64>() / f64::from(of.len());
            let mean_scaled = if self.centred { mean(&scaled) } else { 0.0 };
            let mean_along = mean(&|i| scaled(i) * normalised(i.0).0);
            let along_error = mean(&|i| scaled(i) * normalised(i.0).1);
            let sum_error = 2.0 * ((depth(of.len()) + 4.0) * U + DIVISION);
            for i in of.each(group) {
                let (value, off) = normalised(i.0);
                let magnitude = scaled(i) + mean_scaled + value * mean_along;
                let means_error =
                    sum_error * (mean_scaled + value * mean_along) + value * along_error + off * mean_along;
                bounds[i.0] = (means_error + 2.0 * 6.0 * U * magnitude) * f64::from(statistics[1]);
            }
        }
        vec![Bounds::Each(bounds)]
    }
}

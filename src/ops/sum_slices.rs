//! Sums of the gradients of each slice.

use super::*;
use crate::slices::flushed;

/// Adds the gradients of the current slice to the sum of this slice over the batches of an update. If the loss is a
/// mean, the gradients are multiplied by the number of rows of the slice. [`CombineSlices`] adds the sums.
#[derive(Debug, Clone, PartialEq)]
pub struct SumSlices {
    /// Gradients of the current slice.
    pub gradients: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// \[own slices, gradients\], read and written: the sums. The first batch of an update overwrites them.
    pub sums: Tensor,
    /// The slices that have a sum.
    pub share: Share,
    /// True if the loss is a mean over rows.
    pub mean: bool,
}

const LANES: u32 = 64;

impl SumSlices {
    /// Range of the current slice's sum in `sums`.
    fn current(&self, state: &StepState) -> std::ops::Range<usize> {
        let slice = state.step.wrapping_sub(1) % self.share.all;
        let start = (slice.wrapping_sub(self.share.first) % self.share.own * self.sums.strides[0]) as usize;
        start..start + self.gradients.len() as usize
    }

    /// The factor of the gradients. Without rows it is 0.
    fn factor(&self, state: &StepState) -> f32 {
        if self.mean { state.rows as f32 } else { state.rows.min(1) as f32 }
    }
}

impl Kernel for SumSlices {
    binds! { "sum_slices": read gradients, read step, change sums }

    fn flops(&self) -> u64 {
        2 * u64::from(self.gradients.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (quads, stride) = (self.gradients.len() / 4, self.sums.strides[0] / 4);
        let Share { first, own, all } = self.share;
        let source = text!("shared/step_state.wgsl", "sum_slices.wgsl.in");
        let uniforms = uniforms![quads, stride, first, own, all];
        let shader = shader("sum_slices", source, [("MEAN", self.mean.into())]);
        vec![Launch::of(self, shader, uniforms, quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let state = at.step(self.step);
        let (range, factor) = (self.current(&state), self.factor(&state));
        for (sum, g) in at.out::<f32>(self.sums)[range].iter_mut().zip(at.f32s(self.gradients)) {
            let added = if factor == 0.0 { 0.0 } else { g * factor };
            *sum = flushed(if state.batches > 1 { *sum + added } else { added });
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let state = at.step(self.step);
        let (range, factor) = (self.current(&state), f64::from(self.factor(&state)));
        let sums = at.f64s(self.sums);
        let mut bounds = vec![0.0; sums.len()];
        for (i, g) in range.zip(at.f64s(self.gradients)) {
            let before = if state.batches > 1 { sums[i].abs() } else { 0.0 };
            bounds[i] = 2.0 * (2.0 * U * ((g * factor).abs() + before) + FLUSHED);
        }
        vec![Bounds::Each(bounds)]
    }
}

//! Gradient accumulation over several batches.

use super::*;

/// Adds the gradients of a batch to the gradients of the earlier batches of the same update. If the loss is a mean,
/// the last batch divides the sum by the number of all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Accumulate {
    /// Gradients of this batch.
    pub gradients: Tensor,
    /// Accumulated gradients, read and written. The first batch of an update overwrites them.
    pub sum: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// True if the loss is a mean over rows.
    pub mean: bool,
}

const LANES: u32 = 64;

impl Kernel for Accumulate {
    binds! { "accumulate": read gradients, read step, change sum }

    fn flops(&self) -> u64 {
        u64::from(self.sum.len()) * if self.mean { 2 } else { 1 }
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let quads = self.sum.len() / 4;
        let (source, mean) = (text!("shared/step_state.wgsl", "accumulate.wgsl.in"), self.mean.into());
        vec![Launch::of(self, shader("accumulate", source, [("MEAN", mean)]), uniforms![quads], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let state = at.step(self.step);
        if !state.takes_gradients() {
            return;
        }
        for (sum, g) in at.out::<f32>(self.sum).iter_mut().zip(at.f32s(self.gradients)) {
            let before = if state.batches == 1 { 0.0 } else { *sum };
            // The batch's mean becomes a sum again. At the last batch, the total becomes a mean over all rows.
            *sum = before + if self.mean { g * state.rows as f32 } else { *g };
            if self.mean && state.due != 0 {
                *sum /= state.update_rows as f32;
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let state = at.step(self.step);
        let rows = if self.mean { f64::from(state.rows) } else { 1.0 };
        let all = if self.mean && state.due != 0 { f64::from(state.update_rows) } else { 1.0 };
        let bound = |(g, sum): (f64, f64)| {
            let before = if state.batches > 1 { sum.abs() } else { 0.0 };
            2.0 * (2.0 * U + DIVISION) * ((g * rows).abs() + before) / all
        };
        vec![Bounds::Each(at.f64s(self.gradients).into_iter().zip(at.f64s(self.sum)).map(bound).collect())]
    }
}

//! The sum over the slices of a batch.

use super::*;
use crate::slices::flushed;

/// Adds the sums of the slices of one rank, as far as the order of all additions allows: see [`Share`]. It does so when
/// an update is due. Each sum is then at the place of its first slice. If the loss is a mean, it divides the first sum
/// by the number of rows of the update.
#[derive(Debug, Clone, PartialEq)]
pub struct CombineSlices {
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// \[own slices, gradients\], read and written.
    pub sums: Tensor,
    /// The slices that have a sum.
    pub share: Share,
    /// True if the result is a mean over the rows of the update.
    pub mean: bool,
}

const LANES: u32 = 64;

impl CombineSlices {
    /// Places of two sums that are added, from 0.
    fn additions(&self) -> impl Iterator<Item = [usize; 2]> {
        let first = self.share.first;
        self.share.additions().map(move |(to, from)| [(to - first) as usize, (from - first) as usize])
    }
}

impl Kernel for CombineSlices {
    binds! { "combine_slices": read step, change sums }

    fn flops(&self) -> u64 {
        (self.additions().count() as u64 + u64::from(self.mean)) * u64::from(self.sums.columns())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (quads, stride) = (self.sums.columns() / 4, self.sums.strides[0] / 4);
        let Share { first, own, all } = self.share;
        let source = text!("shared/step_state.wgsl", "combine_slices.wgsl.in");
        let shader = shader("combine_slices", source, [("MEAN", self.mean.into())]);
        vec![Launch::of(self, shader, uniforms![quads, stride, first, own, all], quads.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let state = at.step(self.step);
        if state.due == 0 {
            return;
        }
        let (stride, columns) = (self.sums.strides[0] as usize, self.sums.columns() as usize);
        let sums = at.out::<f32>(self.sums);
        for [to, from] in self.additions() {
            for i in 0..columns {
                sums[to * stride + i] = flushed(sums[to * stride + i] + sums[from * stride + i]);
            }
        }
        if self.mean {
            sums[..columns].iter_mut().for_each(|sum| *sum /= state.update_rows as f32);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let state = at.step(self.step);
        let (stride, columns) = (self.sums.strides[0] as usize, self.sums.columns() as usize);
        let mut sizes: Vec<f64> = at.f64s(self.sums).into_iter().map(f64::abs).collect();
        let mut bounds = vec![0.0; sizes.len()];
        if state.due == 0 {
            return vec![Bounds::Each(bounds)];
        }
        for [to, from] in self.additions() {
            for i in 0..columns {
                let (to, from) = (to * stride + i, from * stride + i);
                sizes[to] += sizes[from];
                bounds[to] += bounds[from] + 2.0 * (U * sizes[to] + FLUSHED);
            }
        }
        if self.mean {
            let rows = f64::from(state.update_rows);
            for (bound, size) in bounds.iter_mut().zip(sizes).take(columns) {
                *bound = (*bound + 2.0 * DIVISION * size) / rows + 2.0 * FLUSHED;
            }
        }
        vec![Bounds::Each(bounds)]
    }
}

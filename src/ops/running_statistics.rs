//! Running means and variances of channels.

use super::channel_statistics::{JOINED, present};
use super::*;

/// Moves the running mean and variance of each channel towards a batch's: (1 − momentum) · running + momentum · batch.
/// The batch's variance counts as n / (n − 1) of itself, n being its rows, which makes it unbiased; a batch of one row
/// has no such variance, and leaves the running one as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningStatistics {
    /// \[2, channels, rounded up to 64\]: means, then variances.
    pub statistics: Tensor,
    /// One [`StepState`].
    pub step: Tensor,
    /// Rows of the batch, those that do not exist too: a sample's are its positions.
    pub rows: u32,
    /// Rows of a sample.
    pub positions: u32,
    /// Channels.
    pub channels: u32,
    /// Like `statistics`, changed.
    pub running: Tensor,
    /// From 0, where nothing changes, to 1, where the batch's take their place.
    pub momentum: f32,
}

impl RunningStatistics {
    fn keep(&self) -> f32 {
        1.0 - self.momentum
    }

    /// The batch's numbers by their places, each with a factor: of the mean 1, of the variance n / (n − 1).
    fn taken(&self, at: &Operands<'_>) -> Vec<(usize, f64)> {
        let n = present(at, self.step, self.positions, self.rows);
        let (channels, stride) = (self.channels as usize, self.statistics.columns() as usize);
        let means = (0..channels).map(|c| (c, 1.0)).filter(|_| n > 0);
        let unbiased = f64::from(n) / (f64::from(n) - 1.0);
        means.chain((0..channels).map(|c| (stride + c, unbiased)).filter(|_| n > 1)).collect()
    }
}

impl Kernel for RunningStatistics {
    binds! { "running_statistics": read statistics, read step, change running }

    fn flops(&self) -> u64 {
        // Two products and a sum each; of a variance its factor and the product with it, too.
        8 * u64::from(self.channels)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let &Self { rows, positions, channels: columns, momentum, .. } = self;
        let (stride, keep) = (self.statistics.columns(), self.keep());
        let shader = shader("running_statistics", text!("shared/step_state.wgsl", "running_statistics.wgsl.in"), []);
        let uniforms = uniforms![rows, columns, stride, positions, momentum, keep];
        vec![Launch::of(self, shader, uniforms, columns.div_ceil(JOINED))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (keep, momentum) = (f64::from(self.keep()), f64::from(self.momentum));
        let (taken, batch) = (self.taken(at), at.f32s(self.statistics));
        let running = at.out::<f32>(self.running);
        for (i, factor) in taken {
            running[i] = (keep * f64::from(running[i]) + momentum * f64::from(batch[i]) * factor) as f32;
        }
    }

    /// Three roundings; of a variance's factor those of two numbers of rows, their quotient and a product.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (batch, running) = (at.f64s(self.statistics), at.f64s(self.running));
        let (keep, momentum) = (f64::from(self.keep()), f64::from(self.momentum));
        let mut bounds = vec![0.0; running.len()];
        for (i, factor) in self.taken(at) {
            let [kept, new] = [keep * running[i], momentum * batch[i] * factor].map(f64::abs);
            bounds[i] = 2.0 * (3.0 * U * (kept + new) + (DIVISION + 3.0 * U) * new) + 4.0 * FLUSHED;
        }
        vec![Bounds::Each(bounds)]
    }
}

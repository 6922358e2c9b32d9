//! Running mean and variance of each channel.

use super::channel_statistics::{JOINED, valid_rows};
use super::*;

/// Updates the running mean and variance of each channel: (1 − momentum) · running + momentum · batch. The batch's
/// variance is multiplied by n / (n − 1), where n is the number of valid rows, so that it is unbiased. A batch of one
/// row leaves the running variance unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningStatistics {
    /// \[2, channels rounded up to 64\]: means, then variances.
    pub statistics: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// Rows of the batch, including rows that are not valid. The rows of a sample are its positions.
    pub rows: u32,
    /// Rows per sample.
    pub positions: u32,
    /// Number of channels.
    pub channels: u32,
    /// Same layout as `statistics`, read and written.
    pub running: Tensor,
    /// True if the statistics are the average over the slices of an update: they are applied when an update is due,
    /// and `rows` are those of a full slice.
    pub of_update: bool,
    /// Weight of the batch's statistics: 0 changes nothing, 1 replaces the running statistics.
    pub momentum: f32,
}

impl RunningStatistics {
    fn keep(&self) -> f32 {
        1.0 - self.momentum
    }

    /// Indices of the batch's statistics, each with a factor: 1 for a mean, n / (n − 1) for a variance.
    fn taken(&self, at: &Operands<'_>) -> Vec<(usize, f64)> {
        let n = match self.of_update {
            true => self.rows * at.step(self.step).due,
            false => valid_rows(at, self.step, self.positions, self.rows),
        };
        let (channels, stride) = (self.channels as usize, self.statistics.columns() as usize);
        let means = (0..channels).map(|c| (c, 1.0)).filter(|_| n > 0);
        let unbiased = f64::from(n) / (f64::from(n) - 1.0);
        means.chain((0..channels).map(|c| (stride + c, unbiased)).filter(|_| n > 1)).collect()
    }
}

impl Kernel for RunningStatistics {
    binds! { "running_statistics": read statistics, read step, change running }

    fn flops(&self) -> u64 {
        // Two products and a sum each. A variance also has its factor and the product with it.
        8 * u64::from(self.channels)
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let &Self { rows, positions, channels: columns, momentum, .. } = self;
        let (stride, keep) = (self.statistics.columns(), self.keep());
        let source = text!("shared/step_state.wgsl", "running_statistics.wgsl.in");
        let constants = Vec::from_iter(self.of_update.then_some(("OF_UPDATE", 1.0)));
        let shader = shader("running_statistics", source, constants);
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

    /// Three roundings. The factor of a variance adds those of two row counts, a quotient and a product.
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

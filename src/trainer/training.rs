//! Training steps for an app's own encoders.

use crate::gpu::GpuExecutor;
use crate::plan::Role;

/// Training steps over a data set, to be recorded into an app's own command encoders: see
/// [`Trainer::prepare`](crate::Trainer::prepare).
///
/// The batches, the cursor in the data set and the running metrics live on the GPU, so that any number of steps can
/// stand in one encoder, beside the app's own passes.
#[derive(Debug, Clone)]
pub struct Training {
    executor: GpuExecutor,
}

impl Training {
    pub(crate) fn new(executor: GpuExecutor) -> Self {
        Self { executor }
    }

    /// Records steps: one compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_steps(&self, encoder: &mut wgpu::CommandEncoder, steps: u32) {
        self.executor.record_steps(encoder, steps);
    }

    /// Records the sum of the running metrics into [`metrics_buffer`](Self::metrics_buffer).
    pub fn record_metrics(&self, encoder: &mut wgpu::CommandEncoder) {
        self.executor.record_report(encoder);
    }

    /// Records setting the running metrics to zero.
    pub fn record_clear_metrics(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(self.buffer(Role::RowMetrics), 0, None);
    }

    /// One [`RowMetrics`](crate::plan::RowMetrics): sums over the rows trained on since the metrics were last cleared. It
    /// can be copied from, and bound as storage.
    pub fn metrics_buffer(&self) -> &wgpu::Buffer {
        self.buffer(Role::Totals)
    }

    /// The weights, as [`Network::parameters`](crate::Network::parameters) lays them out. They can be copied from and to, and bound as storage.
    pub fn parameter_buffer(&self) -> &wgpu::Buffer {
        self.buffer(Role::Parameters)
    }

    fn buffer(&self, role: Role) -> &wgpu::Buffer {
        let id = self.executor.plan().find(role).expect("a role of every training plan");
        self.executor.buffer(id).expect("a buffer that was made")
    }
}

//! Sum of the running metrics.

use super::*;

/// Adds the metrics of all slots, in a fixed order.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// \[count, 4\]: one [`RowMetrics`](super::RowMetrics) per slot.
    pub slots: Tensor,
    /// One [`RowMetrics`](super::RowMetrics), written.
    pub totals: Tensor,
}

impl Kernel for Metrics {
    binds! { "metrics": read slots, write totals }

    fn flops(&self) -> u64 {
        self.slots.rows().into()
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let shader = shader("metrics", text!("shared/row_metrics.wgsl", "metrics.wgsl.in"), []);
        vec![Launch::of(self, shader, uniforms![count: self.slots.rows()], 1u32)]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let slots: &[RowMetrics] = bytemuck::cast_slice(at.words(self.slots));
        // The losses are added in f64 and rounded once. A running sum in f32 would drift.
        let loss = slots.iter().map(|slot| f64::from(slot.loss)).sum::<f64>() as f32;
        at.out(self.totals)[0] =
            slots.iter().fold(RowMetrics { loss, ..RowMetrics::default() }, |sum, slot| RowMetrics {
                loss,
                correct: sum.correct + slot.correct,
                rows: sum.rows + slot.rows,
                non_finite_step: match (sum.non_finite_step, slot.non_finite_step) {
                    (0, step) | (step, 0) => step,
                    (a, b) => a.min(b),
                },
            });
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let slots: &[RowMetrics] = bytemuck::cast_slice(at.words(self.slots));
        let magnitude: f64 = slots.iter().map(|slot| f64::from(slot.loss).abs()).sum();
        vec![Bounds::Losses(vec![2.0 * f64::from(self.slots.rows()) * U * magnitude])]
    }
}

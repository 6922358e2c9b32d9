//! Twin of `shaders/metrics.wgsl` and of `metrics.finite.wgsl`.

use crate::plan::{RowMetrics, StepState};

/// Marks the totals where a weight or a moment is NaN or infinite.
pub fn non_finite(input: &[f32], state: &StepState, totals: &mut RowMetrics) {
    if totals.non_finite_step == 0 && input.iter().any(|number| !number.is_finite()) {
        totals.non_finite_step = state.step.max(1);
    }
}

pub fn metrics(slots: &[RowMetrics]) -> RowMetrics {
    // The losses in f64: rounded once, where a running sum would drift.
    let loss = slots.iter().map(|slot| f64::from(slot.loss)).sum::<f64>() as f32;
    slots.iter().fold(RowMetrics { loss, ..RowMetrics::default() }, |sum, slot| RowMetrics {
        loss,
        correct: sum.correct + slot.correct,
        rows: sum.rows + slot.rows,
        non_finite_step: match (sum.non_finite_step, slot.non_finite_step) {
            (0, step) | (step, 0) => step,
            (a, b) => a.min(b),
        },
    })
}

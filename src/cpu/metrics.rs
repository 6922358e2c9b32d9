//! Twin of `shaders/metrics.wgsl`.

use crate::plan::RowMetrics;

pub fn metrics(rows: &[RowMetrics]) -> RowMetrics {
    rows.iter().fold(RowMetrics::default(), |sum, row| RowMetrics {
        loss: sum.loss + row.loss,
        correct: sum.correct + row.correct,
        rows: sum.rows + row.rows,
        non_finite_step: match (sum.non_finite_step, row.non_finite_step) {
            (0, step) | (step, 0) => step,
            (a, b) => a.min(b),
        },
    })
}

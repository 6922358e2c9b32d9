//! Twin of `shaders/metrics.wgsl`.

use crate::plan::RowMetrics;

pub fn metrics(rows: &[RowMetrics]) -> RowMetrics {
    // The losses in f64: rounded once, where a running sum would drift.
    let loss = rows.iter().map(|row| f64::from(row.loss)).sum::<f64>() as f32;
    rows.iter().fold(RowMetrics { loss, ..RowMetrics::default() }, |sum, row| RowMetrics {
        loss,
        correct: sum.correct + row.correct,
        rows: sum.rows + row.rows,
        non_finite_step: match (sum.non_finite_step, row.non_finite_step) {
            (0, step) | (step, 0) => step,
            (a, b) => a.min(b),
        },
    })
}

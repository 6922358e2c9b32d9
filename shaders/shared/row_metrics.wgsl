// A slot of the running metrics: `RowMetrics` in src/plan/mod.rs.
struct RowMetrics {
    loss: f32,
    correct: u32,
    rows: u32,
    non_finite_step: u32,
}

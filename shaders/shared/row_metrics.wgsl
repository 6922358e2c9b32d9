// A slot of the running metrics: the same struct as `RowMetrics` in src/ops/state.rs.
struct RowMetrics {
    loss: f32,
    correct: u32,
    rows: u32,
    non_finite_step: u32,
}

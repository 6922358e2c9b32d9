// The cursor in the data set: the same struct as `StepState` in src/ops/state.rs, where its fields are documented.
struct StepState {
    step: u32,
    rows: u32,
    epoch: u32,
    position: u32,
    update: u32,
    batches: u32,
    update_rows: u32,
    due: u32,
    learning_rate: f32,
    rate_scale: f32,
    data_rows: u32,
    chain: u32,
    gradients_of: u32,
    passes: u32,
    batch_rows: u32,
}

//! Twin of `shaders/accumulate.wgsl`.

use crate::plan::{Accumulate, StepState};

pub fn accumulate(op: &Accumulate, gradients: &[f32], state: &StepState, sum: &mut [f32]) {
    if !state.takes_gradients() {
        return;
    }
    for (sum, g) in sum.iter_mut().zip(gradients) {
        let before = if state.batches == 1 { 0.0 } else { *sum };
        // A mean over this batch's rows is a sum again, and at the last batch a mean over all rows.
        *sum = before + if op.mean { g * state.rows as f32 } else { *g };
        if op.mean && state.due != 0 {
            *sum /= state.update_rows as f32;
        }
    }
}

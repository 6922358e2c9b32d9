//! Twin of `shaders/adam.wgsl`.

use crate::optimizer::Adam;
use crate::plan::{AdamUpdate, StepState};

pub fn adam(
    op: &AdamUpdate,
    gradients: &[f32],
    state: &StepState,
    parameters: &mut [f32],
    moment1: &mut [f32],
    moment2: &mut [f32],
) {
    let Adam { learning_rate, beta1, beta2, epsilon } = op.options;
    let correction = |beta: f32| (1.0 - f64::from(beta).powf(f64::from(state.step))) as f32;
    let (correction1, correction2) = (correction(beta1), correction(beta2));
    let rest = |beta: f32| (1.0 - f64::from(beta)) as f32;
    let (rest1, rest2) = (rest(beta1), rest(beta2));
    for (((w, m), v), &g) in parameters.iter_mut().zip(moment1).zip(moment2).zip(gradients) {
        *m = beta1 * *m + rest1 * g;
        *v = beta2 * *v + rest2 * g * g;
        *w -= learning_rate / correction1 * *m / ((*v / correction2).sqrt() + epsilon);
    }
}

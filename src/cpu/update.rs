//! Twin of `shaders/update.wgsl`.

use crate::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};
use crate::plan::{StepState, Update, moment_at};

/// Of the parameters that begin with number `first` of the op's; `moments` are the op's.
#[expect(clippy::too_many_arguments)]
pub fn update(
    op: &Update,
    first: usize,
    gradients: &[f32],
    state: &StepState,
    multipliers: Option<&[f32]>,
    scale: Option<f32>,
    parameters: &mut [f32],
    moments: &mut [f32],
) {
    if op.accumulates && (state.due == 0 || !state.takes_gradients() || state.passes > 1) {
        return;
    }
    let (weight_decay, decoupled) = op.optimizer.weight_decay();
    let count = op.optimizer.moments() as usize;
    for (i, w) in parameters.iter_mut().enumerate() {
        let [rate, decay] = multipliers.map_or([1.0, 1.0], |m| [m[i / 64 * 2], m[i / 64 * 2 + 1]]);
        let rate = state.learning_rate * rate;
        let decay = weight_decay * decay;
        let mut g = match scale {
            // See `sum_squares`: −factor · 2⁹⁶.
            Some(scale) if scale < 0.0 => gradients[i] * (1.0 / (1u128 << 96) as f32) * -scale,
            scale => gradients[i] * scale.unwrap_or(1.0),
        };
        if let Some(limit) = op.clip {
            g = g.clamp(-limit, limit);
        }
        match decoupled {
            // Else an infinite weight would become NaN.
            _ if weight_decay == 0.0 => {}
            true => *w -= rate * decay * *w,
            false => g += decay * *w,
        }
        let mut own = [0.0; 2];
        for (number, moment) in own.iter_mut().enumerate().take(count) {
            *moment = moments[moment_at(first + i, number, count)];
        }
        *w -= step(&op.optimizer, rate, g, state, &mut own);
        for (number, moment) in own.into_iter().enumerate().take(count) {
            moments[moment_at(first + i, number, count)] = moment;
        }
        // An infinite weight would stay as it is, and behind a relu the loss would not show it.
        *w = within(*w, 3.4e38);
    }
}

/// NaN where x is beyond the limit.
fn within(x: f32, limit: f32) -> f32 {
    if x.abs() > limit { f32::NAN } else { x }
}

/// √squares + epsilon. Where squares have overflowed it is NaN: infinity would make every later step 0.
fn divisor(squares: f32, epsilon: f32) -> f32 {
    within(squares.sqrt() + epsilon, 1.8e19)
}

/// What is taken from a weight.
fn step(optimizer: &Optimizer, rate: f32, g: f32, state: &StepState, [m, v]: &mut [f32; 2]) -> f32 {
    let first = state.update == 1;
    let rest = |beta: f32| (1.0 - f64::from(beta)) as f32;
    match *optimizer {
        Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
            if momentum == 0.0 {
                return rate * g;
            }
            *m = if first { g } else { momentum * *m + rest(dampening) * g };
            rate * if nesterov { g + momentum * *m } else { *m }
        }
        Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
            *m = alpha * *m + rest(alpha) * g * g;
            let direction = g / divisor(*m, epsilon);
            if momentum == 0.0 {
                return rate * direction;
            }
            *v = momentum * *v + direction;
            rate * *v
        }
        Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
            *m = if first { initial_accumulator } else { *m } + g * g;
            rate / (1.0 + (state.update - 1) as f32 * rate_decay) * g / divisor(*m, epsilon)
        }
        Optimizer::Adam(Adam { beta1, beta2, epsilon, .. }) | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
            let correction = |beta: f32| (1.0 - f64::from(beta).powf(f64::from(state.update))) as f32;
            *m = beta1 * *m + rest(beta1) * g;
            *v = beta2 * *v + rest(beta2) * g * g;
            rate / correction(beta1) * *m / divisor(*v / correction(beta2), epsilon)
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => {
            let direction = beta1 * *m + rest(beta1) * g;
            *m = beta2 * *m + rest(beta2) * g;
            // The sign of an infinite mean would never change.
            rate * if m.abs() > 3.4e38 {
                f32::NAN
            } else if direction == 0.0 {
                0.0
            } else {
                direction.signum()
            }
        }
    }
}

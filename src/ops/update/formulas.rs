//! Formulas of the optimizers: shader constants, flops, CPU twin and error bounds.

use crate::averaging::{Averages, Ema, Lookahead};
use crate::ops::*;
use crate::optimizer::{AdaBound, Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};

/// 1 − value.
fn rest(value: f32) -> f64 {
    1.0 - f64::from(value)
}

/// ln beta. ln 0 is −∞, which a shader need not support. e^−100 is close enough to 0.
fn log(beta: f32) -> f64 {
    libm::log(f64::from(beta)).max(-100.0)
}

/// 1 − betaᵗ at update t.
fn correction(beta: f32, update: u32) -> f64 {
    1.0 - f64::from(beta).powf(f64::from(update))
}

/// Number of an optimizer in the shader, and its hyperparameters.
pub(super) fn constants(optimizer: &Optimizer) -> Vec<(&'static str, f64)> {
    let betas = |beta1: f32, beta2: f32| {
        let first = [("BETA1", beta1.into()), ("ONE_MINUS_BETA1", rest(beta1)), ("LOG_BETA1", log(beta1))];
        [first, [("BETA2", beta2.into()), ("ONE_MINUS_BETA2", rest(beta2)), ("LOG_BETA2", log(beta2))]].concat()
    };
    let (kind, betas, others) = match *optimizer {
        Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
            let dampening = ("ONE_MINUS_DAMPENING", rest(dampening));
            (0, vec![], vec![("MOMENTUM", momentum.into()), dampening, ("NESTEROV", nesterov.into())])
        }
        Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
            (1, betas(0.0, alpha), vec![("EPSILON", epsilon.into()), ("MOMENTUM", momentum.into())])
        }
        Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
            let initial = ("INITIAL_ACCUMULATOR", initial_accumulator.into());
            (2, vec![], vec![("EPSILON", epsilon.into()), ("RATE_DECAY", rate_decay.into()), initial])
        }
        Optimizer::Adam(Adam { beta1, beta2, epsilon, .. }) | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
            (3, betas(beta1, beta2), vec![("EPSILON", epsilon.into())])
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => (4, betas(beta1, beta2), vec![]),
        Optimizer::AdaBound(AdaBound { learning_rate, beta1, beta2, epsilon, final_learning_rate, gamma, .. }) => {
            let ratio = ("FINAL_RATIO", f64::from(final_learning_rate / learning_rate));
            (5, betas(beta1, beta2), vec![("EPSILON", epsilon.into()), ratio, ("GAMMA", gamma.into())])
        }
    };
    [vec![("OPTIMIZER", f64::from(kind))], betas, others].concat()
}

/// Flops per parameter. Each formula ends with a product with the learning rate and a difference.
pub(super) fn flops(optimizer: &Optimizer) -> u64 {
    match *optimizer {
        Optimizer::Sgd(Sgd { momentum: 0.0, .. }) => 2,
        Optimizer::Sgd(Sgd { nesterov: false, .. }) => 5,
        Optimizer::Sgd(_) | Optimizer::Adagrad(_) => 7,
        Optimizer::RmsProp(RmsProp { momentum: 0.0, .. }) | Optimizer::Lion(_) => 9,
        Optimizer::RmsProp(_) => 11,
        Optimizer::Adam(_) | Optimizer::AdamW(_) => 13,
        Optimizer::AdaBound(_) => 15,
    }
}

/// Returns x, or NaN if |x| exceeds the limit.
pub(super) fn within(x: f32, limit: f32) -> f32 {
    if x.abs() > limit { f32::NAN } else { x }
}

/// √squares + epsilon. NaN if squares have overflowed: with infinity, every later step would be 0.
fn divisor(squares: f32, epsilon: f32) -> f32 {
    within(squares.sqrt() + epsilon, 1.8e19)
}

/// Amount that is subtracted from a weight.
pub(super) fn step(optimizer: &Optimizer, rate: f32, g: f32, state: &StepState, [m, v]: &mut [f32; 2]) -> f32 {
    let first = state.update == 1;
    let rest = |beta: f32| rest(beta) as f32;
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
            let correction = |beta: f32| correction(beta, state.update) as f32;
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
        Optimizer::AdaBound(AdaBound { learning_rate, beta1, beta2, epsilon, final_learning_rate, gamma, .. }) => {
            let correction = |beta: f32| correction(beta, state.update) as f32;
            *m = beta1 * *m + rest(beta1) * g;
            *v = beta2 * *v + rest(beta2) * g * g;
            let limit = rate * (final_learning_rate / learning_rate);
            let t = gamma * state.update as f32;
            let step = rate * correction(beta2).sqrt() / correction(beta1) / divisor(*v, epsilon);
            // NaN stays NaN.
            step.clamp(limit * (t / (t + 1.0)), limit * ((t + 1.0) / t)) * *m
        }
    }
}

/// Shader constants of the averages.
pub(super) fn averaging_constants(averages: &Averages) -> Vec<(&'static str, f64)> {
    let Lookahead { alpha, updates } = averages.lookahead.unwrap_or(Lookahead { updates: 0, ..Lookahead::default() });
    let Ema { decay } = averages.ema.unwrap_or_default();
    let lookahead = vec![("LOOKAHEAD", updates.into()), ("ALPHA", alpha.into())];
    let ema = vec![("EMA", averages.ema.is_some().into()), ("ONE_MINUS_DECAY", rest(decay)), ("LOG_DECAY", log(decay))];
    [lookahead, ema].concat()
}

/// Updates the averages of a weight: slow weight first, then EMA. Lookahead can change the weight.
pub(super) fn average(averages: &Averages, w: &mut f32, own: &mut [f32; 2], state: &StepState) {
    let mut own = own.iter_mut();
    if let Some(Lookahead { alpha, updates }) = averages.lookahead {
        let slow = own.next().expect("two averages");
        if state.update.is_multiple_of(updates) {
            *slow += alpha * (*w - *slow);
            *w = *slow;
        }
    }
    if let Some(Ema { decay }) = averages.ema {
        let ema = own.next().expect("two averages");
        *ema += rest(decay) as f32 / correction(decay, state.update) as f32 * (*w - *ema);
    }
}

/// Error bounds of a weight and of its averages, from those of the weight after the optimizer step.
pub(super) fn average_bounds(averages: &Averages, mut w: Off, own: [f64; 2], state: &StepState) -> (Off, [Off; 2]) {
    let mut bounds = own.map(Off::exact);
    let mut each = bounds.iter_mut();
    if let Some(Lookahead { alpha, updates }) = averages.lookahead {
        let slow = each.next().expect("two averages");
        if state.update.is_multiple_of(updates) {
            let way = Off::sum([w, slow.times(-1.0)], 1.0);
            *slow = Off::sum([*slow, Off::sum([way.times(alpha.into())], 1.0)], 1.0);
            w = *slow;
        }
    }
    if let Some(Ema { decay }) = averages.ema {
        let ema = each.next().expect("two averages");
        let way = Off::sum([w, ema.times(-1.0)], 1.0).times(rest(decay) / correction(decay, state.update));
        // The rate: 1 − decay is rounded, and divided by the correction.
        let off = way.off + (CORRECTION + 2.0 * (DIVISION + U)) * way.value.abs();
        *ema = Off::sum([*ema, Off::sum([Off { off, ..way }], 1.0)], 1.0);
    }
    (w, bounds)
}

/// Difference of GPU and CPU in 1 − β^t. The GPU has a series of nine terms (nine roundings), or uses exp. The error of
/// exp then grows by at most e^x / (1 − e^x) ≤ 1.6. The rounding of ln β to f32 adds u |x| of e^x.
const CORRECTION: f64 = 2.0 * (16.0 * U + 1.6 * 4.0 * ULP);

/// A number and its error bound.
#[derive(Clone, Copy)]
pub(crate) struct Off {
    pub value: f64,
    pub off: f64,
}

impl Off {
    /// Sum of terms, each with its error. Both sides add this many roundings.
    pub(crate) fn sum<const N: usize>(terms: [Off; N], roundings: f64) -> Off {
        let magnitude: f64 = terms.iter().map(|t| t.value.abs()).sum();
        let off = terms.iter().map(|t| t.off).sum::<f64>() + 2.0 * roundings * U * magnitude;
        Off { value: terms.iter().map(|t| t.value).sum(), off }
    }

    pub(crate) fn exact(value: f64) -> Off {
        Off { value, off: 0.0 }
    }

    fn times(self, factor: f64) -> Off {
        Off { value: self.value * factor, off: self.off * factor.abs() }
    }

    /// The product of two numbers, before it is rounded.
    fn of(self, other: Off) -> Off {
        let off = self.off * (other.value.abs() + other.off) + self.value.abs() * other.off;
        Off { value: self.value * other.value, off }
    }

    fn squared(self) -> Off {
        Off { value: self.value * self.value, off: (2.0 * self.value.abs() + self.off) * self.off }
    }

    /// self / (√v + epsilon). The root and the division have the errors of WGSL's table.
    fn over_root(self, v: Off, epsilon: f64) -> Off {
        let root = v.value.sqrt();
        let root_error = (v.off / (2.0 * root)).min(v.off.sqrt()) + 2.0 * ROOT * root;
        let divisor = root + epsilon;
        // The divisor's error can be as large as the divisor. Then the smallest possible divisor bounds the quotient.
        let smallest = (divisor - root_error).max(epsilon);
        let value = self.value / divisor;
        let off = self.off / smallest + self.value.abs() * (1.0 / smallest - 1.0 / divisor);
        Off { value, off: off + 2.0 * (DIVISION + 2.0 * U) * value.abs() }
    }
}

/// Error bounds of the amount that is subtracted from a weight, and of the moments.
pub(super) fn bounds(optimizer: &Optimizer, rate: f64, g: Off, state: &StepState, m: f64, v: f64) -> (Off, [Off; 2]) {
    let none = Off::exact(0.0);
    let mix = |beta: f32, m: f64, g: Off| {
        let beta = f64::from(beta);
        Off::sum([Off::exact(beta * m), g.times(1.0 - beta)], 4.0)
    };
    let scaled = |direction: Off, rate: f64| Off::sum([direction.times(rate)], 3.0);
    match *optimizer {
        Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
            if momentum == 0.0 {
                return (scaled(g, rate), [none, none]);
            }
            let (momentum, dampening) = (f64::from(momentum), f64::from(dampening));
            let velocity = match state.update {
                1 => g,
                _ => Off::sum([Off::exact(momentum * m), g.times(1.0 - dampening)], 3.0),
            };
            let direction = if nesterov { Off::sum([g, velocity.times(momentum)], 2.0) } else { velocity };
            (scaled(direction, rate), [velocity, none])
        }
        Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
            let squares = mix(alpha, m, g.squared());
            let direction = g.over_root(squares, epsilon.into());
            let velocity = Off::sum([Off::exact(f64::from(momentum) * v), direction], 2.0);
            let direction = if momentum == 0.0 { direction } else { velocity };
            (scaled(direction, rate), [squares, velocity])
        }
        Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
            let before = if state.update == 1 { initial_accumulator.into() } else { m };
            let squares = Off::sum([Off::exact(before), g.squared()], 2.0);
            let rate = rate / (1.0 + f64::from(state.update - 1) * f64::from(rate_decay));
            let step = scaled(g.over_root(squares, epsilon.into()), rate);
            (Off { off: step.off + 2.0 * (DIVISION + 2.0 * U) * step.value.abs(), ..step }, [squares, none])
        }
        Optimizer::Adam(Adam { beta1, beta2, epsilon, .. }) | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
            let (mean, squares) = (mix(beta1, m, g), mix(beta2, v, g.squared()));
            let correction = |beta: f32| correction(beta, state.update);
            let corrected = squares.times(1.0 / correction(beta2));
            let corrected = Off { off: corrected.off + corrected.value * (CORRECTION + 2.0 * DIVISION), ..corrected };
            let step = scaled(mean.over_root(corrected, epsilon.into()), rate / correction(beta1));
            (Off { off: step.off + (CORRECTION + 2.0 * DIVISION) * step.value.abs(), ..step }, [mean, squares])
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => {
            let direction = mix(beta1, m, g);
            // If the direction's error exceeds its value, the sign may differ. A 0 from zeros has no error.
            let unsure = direction.off > 0.0 && direction.value.abs() <= direction.off + FLUSHED;
            let off = if unsure { 2.0 } else { 0.0 };
            let sign = if direction.value == 0.0 { 0.0 } else { direction.value.signum() };
            (scaled(Off { value: sign, off }, rate), [mix(beta2, m, g), none])
        }
        Optimizer::AdaBound(AdaBound { learning_rate, beta1, beta2, epsilon, final_learning_rate, gamma, .. }) => {
            let (mean, squares) = (mix(beta1, m, g), mix(beta2, v, g.squared()));
            let correction = |beta: f32| correction(beta, state.update);
            let first = rate * correction(beta2).sqrt() / correction(beta1);
            let step = Off::exact(first).over_root(squares, epsilon.into());
            // The root halves the error of its correction and adds its own. Two products, and two divisions in all.
            let off = step.off + (1.5 * CORRECTION + 2.0 * (ROOT + DIVISION + 2.0 * U)) * step.value.abs();
            let limit = rate * f64::from(final_learning_rate / learning_rate);
            let t = f64::from(gamma) * f64::from(state.update);
            let [low, high] = [limit * (t / (t + 1.0)), limit * ((t + 1.0) / t)];
            // t + 1 and t are rounded, divided, and multiplied; so is the limit.
            let bounded = |x: f64, to: f64| x.clamp(low, high) * (1.0 + to * 2.0 * (DIVISION + 5.0 * U));
            let value = step.value.clamp(low, high);
            let off = (bounded(step.value + off, 1.0) - value).max(value - bounded(step.value - off, -1.0));
            (Off::sum([Off { value, off }.of(mean)], 1.0), [mean, squares])
        }
    }
}

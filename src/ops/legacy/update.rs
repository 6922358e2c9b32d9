//! Optimizers.

use super::{f64s, state};
use crate::ops::*;
use crate::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};

/// A number and what it may be off by.
#[derive(Clone, Copy)]
pub(crate) struct Off {
    pub value: f64,
    pub off: f64,
}

impl Off {
    /// A sum of terms, each already with its error, that `roundings` more on either side made.
    fn sum<const N: usize>(terms: [Off; N], roundings: f64) -> Off {
        let magnitude: f64 = terms.iter().map(|t| t.value.abs()).sum();
        let off = terms.iter().map(|t| t.off).sum::<f64>() + 2.0 * roundings * U * magnitude;
        Off { value: terms.iter().map(|t| t.value).sum(), off }
    }

    fn exact(value: f64) -> Off {
        Off { value, off: 0.0 }
    }

    fn times(self, factor: f64) -> Off {
        Off { value: self.value * factor, off: self.off * factor.abs() }
    }

    fn squared(self) -> Off {
        Off { value: self.value * self.value, off: (2.0 * self.value.abs() + self.off) * self.off }
    }

    /// self / (√v + epsilon): the root and the division by their table.
    fn over_root(self, v: Off, epsilon: f64) -> Off {
        let root = v.value.sqrt();
        let of_root = (v.off / (2.0 * root)).min(v.off.sqrt()) + 2.0 * ROOT * root;
        let divisor = root + epsilon;
        // The divisor may be off by as much as it is: then the quotient is bounded by the smallest it can be.
        let smallest = (divisor - of_root).max(epsilon);
        let value = self.value / divisor;
        let off = self.off / smallest + self.value.abs() * (1.0 / smallest - 1.0 / divisor);
        Off { value, off: off + 2.0 * (DIVISION + 2.0 * U) * value.abs() }
    }
}

pub(crate) fn of_update(op: &Update, memory: &Operands<'_>) -> Vec<Bounds> {
    let gradients: Vec<Off> = f64s(memory, op.gradients).into_iter().map(Off::exact).collect();
    of_update_by(op, &gradients, memory)
}

/// The same where the gradients come with errors of their own.
pub(crate) fn of_update_by(op: &Update, gradients: &[Off], memory: &Operands<'_>) -> Vec<Bounds> {
    let state = state(memory, op.step);
    let w = f64s(memory, op.parameters);
    let moments = op.moments.map(|m| f64s(memory, m));
    let count = op.optimizer.moments() as usize;
    let mut bounds = [vec![0.0; w.len()], vec![0.0; moments.as_ref().map_or(0, Vec::len)]];
    let outputs = 1 + usize::from(moments.is_some());
    if op.accumulates && (state.due == 0 || !state.takes_gradients() || state.passes > 1) {
        return bounds.into_iter().take(outputs).map(Bounds::Each).collect();
    }
    let multipliers = op.multipliers.map(|m| f64s(memory, m));
    // A negative factor is −factor · 2⁹⁶.
    let scale = op.scale.map_or(1.0, |s| f64s(memory, s)[0]);
    let scale = if scale < 0.0 { -scale / (1u128 << 96) as f64 } else { scale };
    let (weight_decay, decoupled) = op.optimizer.weight_decay();
    for i in 0..w.len() {
        let [rate, decay] = multipliers.as_ref().map_or([1.0, 1.0], |m| [m[i / 64 * 2], m[i / 64 * 2 + 1]]);
        let rate = f64::from(state.learning_rate) * rate;
        let decay = f64::from(weight_decay) * decay;
        let mut g = Off::sum([gradients[i].times(scale)], f64::from(u8::from(op.scale.is_some())));
        if let Some(limit) = op.clip {
            g.value = g.value.clamp(-f64::from(limit), limit.into());
        }
        let mut before = Off::exact(w[i]);
        if decay != 0.0 && decoupled {
            before = Off::sum([before, Off::sum([Off::exact(-rate * decay * w[i])], 3.0)], 1.0);
        } else if decay != 0.0 {
            g = Off::sum([g, Off::exact(decay * w[i])], 3.0);
        }
        let own = |m: usize| moments.as_ref().filter(|_| m < count).map_or(0.0, |all| all[moment_at(i, m, count)]);
        let (step, kept) = of_step(&op.optimizer, rate, g, &state, own(0), own(1));
        bounds[0][i] = Off::sum([before, step], 1.0).off;
        for (number, kept) in kept.into_iter().enumerate().take(count) {
            bounds[1][moment_at(i, number, count)] = kept.off;
        }
    }
    bounds.into_iter().take(outputs).map(Bounds::Each).collect()
}

/// What is taken from a weight, and the moments.
pub(crate) fn of_step(optimizer: &Optimizer, rate: f64, g: Off, state: &StepState, m: f64, v: f64) -> (Off, [Off; 2]) {
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
            let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(state.update));
            // 1 − β^t by nine terms of a series (nine roundings) or by exp, whose error grows by e^x / (1 − e^x) ≤ 1.6;
            // ln β is rounded to f32, which x times over is u |x| of e^x.
            let of_correction = 2.0 * (16.0 * U + 1.6 * 4.0 * ULP);
            let corrected = squares.times(1.0 / correction(beta2));
            let corrected =
                Off { off: corrected.off + corrected.value * (of_correction + 2.0 * DIVISION), ..corrected };
            let step = scaled(mean.over_root(corrected, epsilon.into()), rate / correction(beta1));
            (Off { off: step.off + (of_correction + 2.0 * DIVISION) * step.value.abs(), ..step }, [mean, squares])
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => {
            let direction = mix(beta1, m, g);
            // Where the direction may be off by more than it is, so may its sign; a 0 of zeros is none.
            let unsure = direction.off > 0.0 && direction.value.abs() <= direction.off + FLUSHED;
            let off = if unsure { 2.0 } else { 0.0 };
            let sign = if direction.value == 0.0 { 0.0 } else { direction.value.signum() };
            (scaled(Off { value: sign, off }, rate), [mix(beta2, m, g), none])
        }
    }
}

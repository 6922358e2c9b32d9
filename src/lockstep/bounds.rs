//! How far a GPU's result may lie from the reference's, derived op by op from the accuracy of the arithmetic.
//!
//! u = 2⁻²⁴ is the unit roundoff of f32: +, − and × err by at most u relative. A sum of k products in any order errs by
//! at most (k + 1) u Σ|a·b| (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.1), so two of them lie
//! within twice that. WGSL's accuracy table (§15.7.4) gives division 2.5 ulp, exp 3 + 2|x| ulp, log 3 ulp or 2⁻²¹, sqrt
//! and tanh what is used below; an ulp is at most 2u relative. Denormals may be flushed to zero.

use crate::cpu::{CpuExecutor, activate, derivative, matmul};
use crate::network::Activation;
use crate::optimizer::{Adam, Sgd};
use crate::plan::{
    AdamUpdate, Epilogue, Matmul, Metrics, Op, RowMetrics, SgdUpdate, SoftmaxCrossEntropy, StepState, Tensor,
};

const U: f64 = 1.0 / 16_777_216.0;
const ULP: f64 = 2.0 * U;
const DIVISION: f64 = 2.5 * ULP;

/// The bounds of one output.
pub(super) enum Bounds {
    /// Bit for bit: integers, and numbers that are copied or rounded once.
    Exact,
    /// One for each number.
    Each(Vec<f64>),
    /// [`RowMetrics`]: a bound for each loss; the counts are exact.
    Losses(Vec<f64>),
}

impl Bounds {
    /// The bound of a 32-bit word of the output.
    pub fn of(&self, word: usize) -> f64 {
        let flushed = f64::from(f32::MIN_POSITIVE);
        match self {
            Bounds::Exact => 0.0,
            Bounds::Each(bounds) => bounds[word] + flushed,
            Bounds::Losses(bounds) if word.is_multiple_of(4) => bounds[word / 4] + flushed,
            Bounds::Losses(_) => 0.0,
        }
    }
}

/// The bounds of each output of an op, from what its inputs are before it runs.
pub(super) fn bounds(op: &Op, memory: &CpuExecutor) -> Vec<Bounds> {
    match op {
        Op::NextBatch(_) => vec![Bounds::Exact, Bounds::Exact],
        Op::Gather(_) => vec![Bounds::Exact],
        Op::Matmul(op) => of_matmul(op, memory),
        Op::SoftmaxCrossEntropy(op) => of_softmax_cross_entropy(op, memory),
        Op::Sgd(op) => of_sgd(op, memory),
        Op::Adam(op) => of_adam(op, memory),
        Op::Metrics(op) => of_metrics(op, memory),
    }
}

fn f32s(memory: &CpuExecutor, tensor: Tensor) -> Vec<f32> {
    bytemuck::cast_vec(memory.words(tensor))
}

fn f64s(memory: &CpuExecutor, tensor: Tensor) -> Vec<f64> {
    f32s(memory, tensor).into_iter().map(f64::from).collect()
}

fn of_matmul(op: &Matmul, memory: &CpuExecutor) -> Vec<Bounds> {
    let abs = |tensor| f32s(memory, tensor).into_iter().map(f32::abs).collect::<Vec<_>>();
    let before = |tensor: Tensor| if op.slice.start == 0 { vec![0.0; tensor.len as usize] } else { abs(tensor) };
    // Σ|a·b|: the product of the absolute values, on top of what the slices before have left.
    let sums = Matmul { epilogue: Epilogue::None, ..op.clone() };
    let (a, b, mut magnitude) = (abs(op.a), abs(op.b), before(op.c));
    let mut column_magnitude = op.bias_gradient.map(before);
    matmul(&sums, &a, &b, &[], &mut magnitude, column_magnitude.as_deref_mut());
    let roundings = 2.0 * (op.slice.len() as f64 + 2.0) * U;
    let of_sums = |magnitudes: Vec<f32>| magnitudes.into_iter().map(|m| roundings * f64::from(m)).collect();

    let mut bounds: Vec<f64> = of_sums(magnitude);
    if !matches!(op.epilogue, Epilogue::None) {
        let mut exact = before(op.c);
        matmul(
            &sums,
            &f32s(memory, op.a),
            &f32s(memory, op.b),
            &[],
            &mut exact,
            column_magnitude.clone().as_deref_mut(),
        );
        let n = op.n as usize;
        match op.epilogue {
            Epilogue::None => {}
            Epilogue::Bias { bias, activation } => {
                let bias = f32s(memory, bias);
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let z = exact[i] + bias[i % n];
                    *bound += 2.0 * U * f64::from(z.abs());
                    *bound = of_activation(activation, f64::from(z), *bound);
                }
            }
            Epilogue::Derivative { output, activation } => {
                let y = f32s(memory, output);
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let slope = f64::from(derivative(activation, y[i]));
                    // 1 − y² cancels: its error is relative to 1, not to the slope.
                    *bound = *bound * slope.abs() + f64::from(exact[i].abs()) * 2.0 * (3.0 * U);
                }
            }
        }
    }
    std::iter::once(bounds).chain(column_magnitude.map(of_sums)).map(Bounds::Each).collect()
}

/// The bound of activation(z) where z is off by `error`: the slope's share, and the function's own inaccuracy.
fn of_activation(activation: Activation, z: f64, error: f64) -> f64 {
    match activation {
        Activation::Identity | Activation::Relu => error,
        Activation::Sigmoid => {
            // e^−z is off by a share e of itself, which moves 1 / (1 + e^−z) by y (1 − y) e ≤ e / 4 (or y·e in the tail).
            let y = f64::from(activate(activation, z as f32));
            let share = 2.0 * (3.0 + 2.0 * z.abs()) * ULP;
            error / 4.0 + y * (1.0 - y) * share + 2.0 * y * (U + DIVISION)
        }
        // WGSL: within 1e-5; the host's own is far closer.
        Activation::Tanh => error + 1e-5,
    }
}

fn of_softmax_cross_entropy(op: &SoftmaxCrossEntropy, memory: &CpuExecutor) -> Vec<Bounds> {
    let classes = op.classes as usize;
    let logits = f64s(memory, op.logits);
    let state: StepState = bytemuck::cast_slice(&memory.words(op.step))[0];
    let (labels, indices) = (memory.words(op.labels), memory.words(op.indices));
    let metrics: Vec<RowMetrics> = bytemuck::cast_slice(&memory.words(op.metrics)).to_vec();
    let rows = f64::from(state.rows);
    let mut gradients = Vec::new();
    let mut losses = Vec::new();
    for (row, z) in logits.chunks_exact(classes).enumerate() {
        if row >= state.rows as usize {
            gradients.extend(std::iter::repeat_n(0.0, classes));
            losses.push(0.0);
            continue;
        }
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // e^d with d = z − max rounded (off by u|d|), by exp's table: twice, as both sides err.
        let share = |z: f64| 2.0 * (U * (z - largest).abs() + (3.0 + 2.0 * (z - largest).abs()) * ULP);
        let exps: Vec<f64> = z.iter().map(|z| (z - largest).exp()).collect();
        let sum: f64 = exps.iter().sum();
        let of_sum = exps.iter().zip(z).map(|(e, &z)| e * share(z)).sum::<f64>() / sum + 2.0 * (classes as f64) * U;
        let label = labels[indices[row] as usize] as usize;
        for (class, (e, &z)) in exps.iter().zip(z).enumerate() {
            let softmax = e / sum;
            let off = softmax * (share(z) + of_sum + 2.0 * DIVISION);
            let gradient = softmax - f64::from(u8::from(class == label));
            gradients.push((off + gradient.abs() * 2.0 * (U + DIVISION)) / rows);
        }
        let distance = z.get(label).map_or(0.0, |z| (z - largest).abs());
        let loss = sum.ln() + distance;
        let log = 2.0 * (1.0 / 2_097_152.0 + 3.0 * ULP * sum.ln().abs());
        let total = f64::from(metrics[row].loss) + loss;
        losses.push(log + of_sum + 2.0 * U * (distance + loss + total.abs()));
    }
    let losses = Bounds::Losses(losses);
    match op.gradient {
        Some(_) => vec![Bounds::Each(gradients), losses],
        None => vec![losses],
    }
}

fn of_sgd(op: &SgdUpdate, memory: &CpuExecutor) -> Vec<Bounds> {
    let Sgd { learning_rate, momentum } = op.options;
    let (rate, momentum) = (f64::from(learning_rate), f64::from(momentum));
    let (w, g, v) = (f64s(memory, op.parameters), f64s(memory, op.gradients), f64s(memory, op.velocity));
    let of_velocity: Vec<f64> =
        v.iter().zip(&g).map(|(v, g)| 2.0 * 2.0 * U * ((momentum * v).abs() + g.abs())).collect();
    let of_weight = (0..w.len())
        .map(|i| {
            let update = rate * (momentum * v[i] + g[i]);
            rate * of_velocity[i] + 2.0 * U * (w[i].abs() + 2.0 * update.abs())
        })
        .collect();
    vec![Bounds::Each(of_weight), Bounds::Each(of_velocity)]
}

fn of_adam(op: &AdamUpdate, memory: &CpuExecutor) -> Vec<Bounds> {
    let Adam { learning_rate, beta1, beta2, epsilon } = op.options;
    let (rate, epsilon) = (f64::from(learning_rate), f64::from(epsilon));
    let (beta1, beta2) = (f64::from(beta1), f64::from(beta2));
    let state: StepState = bytemuck::cast_slice(&memory.words(op.step))[0];
    let step = f64::from(state.step);
    let (w, g) = (f64s(memory, op.parameters), f64s(memory, op.gradients));
    let (m, v) = (f64s(memory, op.moment1), f64s(memory, op.moment2));
    // 1 − β^t by nine terms of a series (nine roundings) or by exp, whose error grows by e^x / (1 − e^x) ≤ 1.6;
    // ln β is rounded to f32, which x times over is u |x| of e^x.
    let of_correction = 16.0 * U + 1.6 * 4.0 * ULP;
    let mut bounds: [Vec<f64>; 3] = Default::default();
    for i in 0..w.len() {
        let (old_m, new_m) = (beta1 * m[i], (1.0 - beta1) * g[i]);
        let (old_v, new_v) = (beta2 * v[i], (1.0 - beta2) * g[i] * g[i]);
        let off_m = 2.0 * 3.0 * U * (old_m.abs() + new_m.abs());
        let off_v = 2.0 * 4.0 * U * (old_v + new_v);
        let (correction1, correction2) = (1.0 - beta1.powf(step), 1.0 - beta2.powf(step));
        let root = ((old_v + new_v) / correction2).sqrt();
        let scale = rate / correction1 / (root + epsilon);
        let update = scale * (old_m + new_m);
        // v's own error and its correction count half under the root; the root is 3 ulp; two divisions more, a
        // product and a sum.
        let share = of_correction * 1.5 + 4.0 * U + 3.0 * DIVISION + 3.0 * ULP + 3.0 * U;
        bounds[0].push(scale * off_m + update.abs() * 2.0 * share + 2.0 * U * (w[i].abs() + update.abs()));
        bounds[1].push(off_m);
        bounds[2].push(off_v);
    }
    bounds.map(Bounds::Each).into()
}

fn of_metrics(op: &Metrics, memory: &CpuExecutor) -> Vec<Bounds> {
    let words = memory.words(op.rows);
    let rows: &[RowMetrics] = bytemuck::cast_slice(&words);
    let magnitude: f64 = rows.iter().map(|r| f64::from(r.loss).abs()).sum();
    vec![Bounds::Losses(vec![2.0 * f64::from(op.batch) * U * magnitude])]
}

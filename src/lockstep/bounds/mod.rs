//! How far a GPU's result may lie from the reference's, derived op by op from the accuracy of the arithmetic.
//!
//! u = 2⁻²⁴ is the unit roundoff of f32: +, − and × err by at most u relative. A sum of k products in any order errs by
//! at most (k + 1) u Σ|a·b| (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.1), so two of them lie
//! within twice that. WGSL's accuracy table (§15.7.4) gives division 2.5 ulp, exp 3 + 2|x| ulp, log 3 ulp or 2⁻²¹, tanh
//! 10⁻⁵, and sqrt what 1 / inverseSqrt has, 2 ulp and a division; an ulp is at most 2u relative. Denormals may be flushed
//! to zero.

mod activation;
mod encoding;
mod loss;
mod narrow;
mod norm;
mod update;

use crate::cpu::{CpuExecutor, derivative, matmul};
use crate::plan::{Epilogue, Matmul, Metrics, NextBatch, Op, RowMetrics, StepState, Tensor, Update};
use activation::{of_activation, of_derivative};
use update::Off;

const U: f64 = 1.0 / 16_777_216.0;
const ULP: f64 = 2.0 * U;
const DIVISION: f64 = 2.5 * ULP;
const ROOT: f64 = 2.0 * ULP + DIVISION;
/// The largest number that may be flushed to zero.
const FLUSHED: f64 = f32::MIN_POSITIVE as f64;

/// The bounds of one output.
#[derive(Debug)]
pub(super) enum Bounds {
    /// Bit for bit: integers, and numbers that are copied or rounded once.
    Exact,
    /// One for each number.
    Each(Vec<f64>),
    /// Whole numbers, i32: one for each.
    Whole(Vec<f64>),
    /// [`RowMetrics`]: a bound for each loss; the counts are exact.
    Losses(Vec<f64>),
    /// [`StepState`]: a bound for the learning rate; the rest is exact.
    State(f64),
}

impl Bounds {
    /// The bound of a 32-bit word of the output.
    pub fn of(&self, word: usize) -> f64 {
        match self {
            Bounds::Exact => 0.0,
            Bounds::Each(bounds) => bounds[word] + FLUSHED,
            Bounds::Whole(bounds) => bounds[word],
            Bounds::Losses(bounds) if word.is_multiple_of(4) => bounds[word / 4] + FLUSHED,
            Bounds::Losses(_) => 0.0,
            Bounds::State(rate) if word * 4 == std::mem::offset_of!(StepState, learning_rate) => rate + FLUSHED,
            Bounds::State(_) => 0.0,
        }
    }
}

/// The bounds of each output of an op, from what its inputs are before it runs.
pub(super) fn bounds(op: &Op, memory: &CpuExecutor) -> Vec<Bounds> {
    match op {
        Op::NextBatch(op) => vec![of_state(op, memory), Bounds::Exact],
        Op::Gather(_) | Op::CopyRows(_) | Op::NonFinite(_) => vec![Bounds::Exact],
        Op::Matmul(op) => of_matmul(op, memory),
        Op::Pointwise(op) => vec![activation::of_pointwise(op, memory)],
        Op::Softmax(op) => vec![loss::of_softmax(op, memory)],
        Op::LayerNorm(op) => norm::of_forward(op, memory),
        Op::LayerNormInput(op) => vec![norm::of_input(op, memory)],
        Op::LayerNormParameters(op) => norm::of_parameters(op, memory),
        Op::Encode(op) => vec![encoding::of_encode(op, memory)],
        Op::HashGrid(op) => vec![encoding::of_hash_grid(op, memory)],
        Op::HashGridScale(op) => vec![encoding::of_scale(op, memory)],
        Op::HashGridScatter(op) => vec![encoding::of_scatter(op, memory)],
        Op::HashGridGradient(op) => vec![Bounds::Exact, encoding::of_gradient(op, memory)],
        Op::HashGridInput(op) => vec![encoding::of_input(op, memory)],
        Op::PointwiseLoss(op) => loss::of_pointwise_loss(op, memory),
        Op::SoftmaxCrossEntropy(op) => loss::of_softmax_cross_entropy(op, memory),
        Op::Accumulate(op) => vec![update::of_accumulate(op, memory)],
        Op::SumSquares(op) => vec![update::of_sum_squares(op, memory)],
        Op::Update(op) => update::of_update(op, memory),
        Op::Metrics(op) => of_metrics(op, memory),
        Op::Narrow(op) => vec![narrow::of_narrow(op, memory)],
    }
}

/// The state of a cursor.
fn state(memory: &CpuExecutor, tensor: Tensor) -> StepState {
    bytemuck::cast_slice(&memory.words(tensor))[0]
}

/// Schedules: e^x errs by exp's table and by 2u |x| for its argument; half a cosine by a series of sines, some 20
/// roundings, of the difference of two shares of at most 1.
fn of_state(op: &NextBatch, memory: &CpuExecutor) -> Bounds {
    let before = state(memory, op.step);
    let n =
        before.update + u32::from(before.step == 0 || (before.due != 0 && (before.chain < 2 || before.passes > 1))) - 1;
    let base = f64::from(op.learning_rate) * f64::from(before.rate_scale);
    let factor = f64::from(op.schedule.factor(n));
    let exponent = factor.max(FLUSHED).ln().abs();
    Bounds::State(base * (factor * 2.0 * ((3.0 + 2.0 * exponent) * ULP + 2.0 * U * exponent) + 2.0 * 20.0 * U))
}

fn f32s(memory: &CpuExecutor, tensor: Tensor) -> Vec<f32> {
    bytemuck::cast_vec(memory.words(tensor))
}

fn f64s(memory: &CpuExecutor, tensor: Tensor) -> Vec<f64> {
    f32s(memory, tensor).into_iter().map(f64::from).collect()
}

fn of_matmul(op: &Matmul, memory: &CpuExecutor) -> Vec<Bounds> {
    if let Epilogue::Update(update) = &op.epilogue {
        return of_matmul_update(op, update, memory);
    }
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
            Epilogue::None | Epilogue::Update(_) => {}
            Epilogue::Bias { bias, activation } => {
                let bias = bias.map(|bias| f32s(memory, bias));
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let z = exact[i] + bias.as_ref().map_or(0.0, |bias| bias[i % n]);
                    *bound += 2.0 * U * f64::from(z.abs());
                    *bound = of_activation(activation, f64::from(z), *bound);
                }
            }
            Epilogue::Derivative { saved, activation } => {
                let saved = f32s(memory, saved);
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let slope = f64::from(derivative(activation, saved[i]).abs());
                    let off = of_derivative(activation, f64::from(saved[i]));
                    *bound = *bound * slope + f64::from(exact[i].abs()) * (off + slope * 2.0 * U);
                }
            }
        }
    }
    std::iter::once(bounds).chain(column_magnitude.map(of_sums)).map(Bounds::Each).collect()
}

/// The gradients err as sums do, and the update goes on from there.
fn of_matmul_update(op: &Matmul, update: &Update, memory: &CpuExecutor) -> Vec<Bounds> {
    let (a, b) = (f32s(memory, op.a), f32s(memory, op.b));
    let abs = |values: &[f32]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let sums = Matmul { epilogue: Epilogue::None, ..op.clone() };
    let weights = op.c.len as usize;
    let products = |a: &[f32], b: &[f32]| {
        let mut all = vec![0.0; update.parameters.len as usize];
        let (c, rest) = all.split_at_mut(weights);
        let biases =
            op.bias_gradient.map(|bias| &mut rest[(bias.offset - op.c.offset) as usize - weights..][..op.n as usize]);
        matmul(&sums, a, b, &[], c, biases);
        all
    };
    let roundings = 2.0 * (op.slice.len() as f64 + 2.0) * U;
    let off = |(value, magnitude): (f32, f32)| Off { value: value.into(), off: roundings * f64::from(magnitude) };
    let gradients: Vec<Off> = products(&a, &b).into_iter().zip(products(&abs(&a), &abs(&b))).map(off).collect();
    update::of_update_by(update, &gradients, memory)
}

fn of_metrics(op: &Metrics, memory: &CpuExecutor) -> Vec<Bounds> {
    let words = memory.words(op.slots);
    let slots: &[RowMetrics] = bytemuck::cast_slice(&words);
    let magnitude: f64 = slots.iter().map(|slot| f64::from(slot.loss).abs()).sum();
    vec![Bounds::Losses(vec![2.0 * f64::from(op.count) * U * magnitude])]
}

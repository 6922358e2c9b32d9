//! Losses, and the softmax.

use super::{f32s, f64s, state};
use crate::cpu::Target;
use crate::loss::Loss;
use crate::ops::*;

/// e^d with d = z − max rounded (off by u |d|), by exp's table: twice, as both sides err. A share of itself.
pub(crate) fn of_distance(d: f64) -> f64 {
    2.0 * (U * d.abs() + (3.0 + 2.0 * d.abs()) * ULP)
}

/// The softmax of a row: the distances to the largest, the exponentials' sum, and what the sum is off by, as a share.
fn softmax(z: &[f64]) -> (Vec<f64>, f64, f64) {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let distances: Vec<f64> = z.iter().map(|z| z - largest).collect();
    let sum: f64 = distances.iter().map(|d| d.exp()).sum();
    let off = distances.iter().filter(|d| d.is_finite()).map(|d| d.exp() * of_distance(*d)).sum::<f64>();
    (distances, sum, off / sum + 2.0 * z.len() as f64 * U)
}

/// The sum of the exponentials but for the largest, which is 1, and what it is off by; each may be flushed to zero.
fn others(distances: &[f64]) -> (f64, f64) {
    let largest = distances.iter().position(|d| *d == 0.0);
    let rest = distances.iter().enumerate().filter(|(i, d)| Some(*i) != largest && d.is_finite());
    let (sum, off) =
        rest.fold((0.0, 0.0), |(sum, off), (_, d)| (sum + d.exp(), off + d.exp() * of_distance(*d) + FLUSHED));
    (sum, off + 2.0 * distances.len() as f64 * U * sum)
}

/// The softmax of a row, and the bounds of it.
pub(crate) fn of_softmax_row(z: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let (distances, sum, of_sum) = softmax(z);
    distances.into_iter().map(move |d| match d.is_finite() {
        true => (d.exp() / sum, d.exp() / sum * (of_distance(d) + of_sum + 2.0 * DIVISION)),
        false => (0.0, 0.0),
    })
}

pub(crate) fn of_softmax(op: &Softmax, memory: &Operands<'_>) -> Bounds {
    let columns = op.columns as usize;
    let input = f64s(memory, op.input);
    let mut bounds = Vec::with_capacity(input.len());
    match op.saved {
        None => {
            for z in input.chunks_exact(columns) {
                bounds.extend(of_softmax_row(z).map(|(_, bound)| bound));
            }
        }
        Some(saved) => {
            let saved = f64s(memory, saved);
            for (dy, y) in input.chunks_exact(columns).zip(saved.chunks_exact(columns)) {
                let along: f64 = dy.iter().zip(y).map(|(dy, y)| (dy * y).abs()).sum();
                let of_along = 2.0 * (columns as f64 + 1.0) * U * along;
                bounds
                    .extend(dy.iter().zip(y).map(|(dy, y)| y.abs() * (of_along + 2.0 * 2.0 * U * (dy.abs() + along))));
            }
        }
    }
    Bounds::Each(bounds)
}

/// The running loss of a row's slot after it, in magnitude, and its bound: the row's own error, and the sum's.
fn running(metrics: &RowMetrics, loss: f64, off: f64) -> [f64; 2] {
    let sum = (f64::from(metrics.loss) + loss).abs();
    [sum, off + 2.0 * U * (loss.abs() + sum)]
}

fn metrics(op: &LossOp, memory: &Operands<'_>) -> Vec<RowMetrics> {
    bytemuck::cast_slice(&memory.words(op.metrics)).to_vec()
}

fn data(op: &LossOp, memory: &Operands<'_>) -> DataInfo {
    bytemuck::cast_slice(&memory.words(op.data))[0]
}

/// Of the slots that are another step's turn nothing may change. Sums move up a level as they do in the kernels.
fn with_gradient(
    op: &LossOp,
    state: &StepState,
    gradients: Vec<f64>,
    losses: &[[f64; 2]],
    before: &[RowMetrics],
) -> Vec<Bounds> {
    let mut slots = vec![0.0; before.len()];
    for (row, &[mut sum, mut off]) in losses.iter().enumerate().take(state.rows as usize) {
        let mut at = op.slot(row, state);
        let rows = before[at].rows + 1;
        for _ in (1..op.levels()).take_while(|&level| rows.is_multiple_of(8u32.pow(level))) {
            at += (op.turns * op.batch) as usize;
            sum += f64::from(before[at].loss).abs();
            off += 2.0 * U * sum;
        }
        slots[at] = off;
    }
    let gradients = op.gradient.map(|_| Bounds::Each(gradients));
    [Bounds::Losses(slots)].into_iter().chain(gradients).collect()
}

pub(crate) fn of_pointwise_loss(op: &LossOp, memory: &Operands<'_>) -> Vec<Bounds> {
    let outputs = op.outputs as usize;
    let (output, targets, indices) = (f32s(memory, op.output), memory.words(op.targets), memory.words(op.indices));
    let (data, state, metrics) = (data(op, memory), state(memory, op.step), metrics(op, memory));
    let (mut gradients, mut losses) = (Vec::new(), Vec::new());
    let (of_row, of_batch) = match op.loss.is_mean() {
        true => (outputs as f64, f64::from(state.rows)),
        false => (1.0, 1.0),
    };
    for (row, y) in output.chunks_exact(outputs).enumerate() {
        if row >= state.rows as usize {
            gradients.extend(std::iter::repeat_n(0.0, outputs));
            losses.push([0.0, 0.0]);
            continue;
        }
        let target = Target::of(indices[row] as usize, &targets, outputs, &data);
        let weight = f64::from(target.weight).abs();
        let (mut sum, mut off) = (0.0, 0.0);
        for (i, &y) in y.iter().enumerate() {
            let (value, of_value, slope, of_slope) = of_output(op.loss, f64::from(y), f64::from(target.value(i)));
            sum += value;
            off += of_value;
            let through = f64::from(op.activation.derivative(y)).abs();
            let scale = weight / (of_row * of_batch);
            let of_product = of_slope * through + slope * op.activation.derivative_bound(f64::from(y));
            gradients.push(scale * (of_product + slope * through * 2.0 * (4.0 * U + DIVISION)));
        }
        let off = (off + 2.0 * (outputs as f64 + 1.0) * U * sum) / of_row * weight;
        let loss = sum / of_row * weight;
        losses.push(running(&metrics[op.slot(row, &state)], loss, off + loss * 2.0 * (DIVISION + U)));
    }
    with_gradient(op, &state, gradients, &losses, &metrics)
}

/// The loss of an output and its slope, in magnitude, each with its bound.
pub(crate) fn of_output(loss: Loss, y: f64, t: f64) -> (f64, f64, f64, f64) {
    let error = (y - t).abs();
    // The difference is rounded once on both sides.
    let off = 2.0 * U * error;
    match loss {
        Loss::MeanAbsoluteError => (error, off, 1.0, 0.0),
        Loss::Huber { delta } => {
            let delta = f64::from(delta);
            let value = if error <= delta { 0.5 * error * error } else { delta * (error - 0.5 * delta) };
            (
                value,
                delta.max(error) * off + 6.0 * U * (value + 0.5 * delta * delta),
                delta.min(error),
                off + 2.0 * U * delta,
            )
        }
        Loss::BinaryCrossEntropy => {
            // e = e^−|y| is off by a share, or flushed to zero; the series has some 20 roundings.
            let e = (-y.abs()).exp();
            let share = (3.0 + 2.0 * y.abs()) * ULP;
            let (answer, tail) = (e.ln_1p(), e / (1.0 + e));
            let of_answer = 2.0 * (e * share + answer * (24.0 * U + DIVISION)) + FLUSHED;
            let of_tail = 2.0 * tail * (share + 2.0 * U + DIVISION) + FLUSHED;
            // 1 − t, the product and the sum are rounded.
            let against = if y > 0.0 { 1.0 - t } else { t }.abs();
            let value = answer + y.abs() * against;
            (
                value,
                of_answer + 2.0 * U * (2.0 * y.abs() * against + value),
                tail.max(against),
                of_tail + 2.0 * U * (against + tail.max(against)),
            )
        }
        _ => (error * error, 2.0 * error * off + 2.0 * U * error * error, 2.0 * error, 2.0 * off),
    }
}

pub(crate) fn of_softmax_cross_entropy(op: &LossOp, memory: &Operands<'_>) -> Vec<Bounds> {
    let classes = op.outputs as usize;
    let (logits, targets, indices) = (f64s(memory, op.output), memory.words(op.targets), memory.words(op.indices));
    let (data, state, metrics) = (data(op, memory), state(memory, op.step), metrics(op, memory));
    let smoothing = match op.loss {
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => f64::from(smoothing),
        _ => 0.0,
    };
    let rows = f64::from(state.rows);
    let (mut gradients, mut losses) = (Vec::new(), Vec::new());
    for (row, z) in logits.chunks_exact(classes).enumerate() {
        if row >= state.rows as usize {
            gradients.extend(std::iter::repeat_n(0.0, classes));
            losses.push([0.0, 0.0]);
            continue;
        }
        let target = Target::of(indices[row] as usize, &targets, classes, &data);
        let weight = f64::from(target.weight).abs();
        let (distances, sum, of_sum) = softmax(z);
        let (others, of_others) = others(&distances);
        // Three roundings of each side's target, and more of their sum, where they are not 0 and 1.
        let t: Vec<f64> =
            (0..classes).map(|c| (1.0 - smoothing) * f64::from(target.value(c)) + smoothing / classes as f64).collect();
        let total: f64 = t.iter().map(|t| t.abs()).sum();
        let exact = smoothing == 0.0 && target.label().is_some();
        let of_t = if exact { 0.0 } else { 2.0 * (3.0 * U + DIVISION) };
        let of_total = if exact { 0.0 } else { total * (of_t + 2.0 * classes as f64 * U) };
        for (&d, &t) in distances.iter().zip(&t) {
            let softmax = d.exp() / sum;
            let off = softmax * total * (of_distance(d) + of_sum + 2.0 * DIVISION + 2.0 * U) + softmax * of_total;
            let gradient = (softmax * total - t).abs();
            gradients.push(weight / rows * (off + t.abs() * of_t + gradient * 2.0 * (2.0 * U + DIVISION)));
        }
        let along: f64 = t.iter().zip(&distances).filter(|(t, _)| **t != 0.0).map(|(t, d)| (t * d).abs()).sum();
        // By a series of some 20 roundings, or log of a rounded sum: its value is then more than 1/2.
        let log = others.ln_1p();
        let of_log = 2.0 * log * (26.0 * U + DIVISION + 3.0 * ULP) + of_others / (1.0 + others);
        let of_along = along * (of_t + 2.0 * (classes as f64 + 2.0) * U);
        let loss = weight * (log * total + along);
        let off = weight * (of_log * total + log * of_total + of_along);
        losses.push(running(&metrics[op.slot(row, &state)], loss, off + loss * 2.0 * 3.0 * U));
    }
    with_gradient(op, &state, gradients, &losses, &metrics)
}

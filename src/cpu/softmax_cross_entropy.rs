//! Twin of `shaders/softmax_cross_entropy.wgsl`.

use super::pointwise_loss::Batch;
use crate::loss::Loss;
use crate::plan::{LossOp, RowMetrics, StepState};

pub fn softmax_cross_entropy(
    op: &LossOp,
    logits: &[f32],
    batch: &Batch,
    mut gradient: Option<&mut [f32]>,
    metrics: &mut [RowMetrics],
) {
    let classes = op.outputs as usize;
    let rows = batch.state.rows as usize;
    let smoothing = match op.loss {
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => smoothing,
        _ => 0.0,
    };
    for (row, z) in logits.chunks_exact(classes).take(rows).enumerate() {
        let target = batch.target(row, classes);
        let smoothed = |class| {
            let one_hot = match target.label() {
                Some(label) => f32::from(u8::from(label == class)),
                None => target.value(class),
            };
            (1.0 - smoothing) * one_hot + smoothing / classes as f32
        };
        let predicted = first_largest(z);
        let largest = z[predicted];
        let sum: f32 = z.iter().map(|z| (z - largest).exp()).sum();
        // The loss in f64, and the sum without the predicted class, whose 1 would swallow the others.
        let (mut total, mut along, mut others) = (0.0, 0.0, 0.0);
        for (class, &z) in z.iter().enumerate() {
            let t = smoothed(class);
            total += t;
            // A target of 0 asks nothing of its class, be its logit −∞.
            let distance = f64::from(z) - f64::from(largest);
            along += if t != 0.0 { f64::from(t) * distance } else { 0.0 };
            others += if class == predicted { 0.0 } else { distance.exp() };
        }
        if let Some(gradient) = gradient.as_deref_mut() {
            for (class, &z) in z.iter().enumerate() {
                let softmax = (z - largest).exp() / sum;
                gradient[row * classes + class] = (softmax * total - smoothed(class)) * target.weight / rows as f32;
            }
        }
        // A label that is no class, in data that the host has not seen, has no loss.
        let unknown = target.label().is_some_and(|label| label >= classes);
        // NaN, where a logit is.
        let unknown = unknown || sum.is_nan();
        let loss = if unknown { f32::NAN } else { (others.ln_1p() * f64::from(total) - along) as f32 };
        let correct = class(z) == Some(target.class());
        count(op, metrics, row, &batch.state, loss * target.weight, correct);
    }
    if let Some(gradient) = gradient {
        gradient[rows * classes..].fill(0.0);
    }
}

/// Counts a row in its slot; see [`LossOp::metrics`] for the levels.
pub(super) fn count(op: &LossOp, metrics: &mut [RowMetrics], row: usize, state: &StepState, loss: f32, correct: bool) {
    let mut at = op.slot(row, state);
    let slot = &mut metrics[at];
    slot.rows += 1;
    slot.correct += u32::from(correct);
    if !loss.is_finite() && slot.non_finite_step == 0 {
        slot.non_finite_step = state.step;
    }
    let (rows, mut sum) = (slot.rows, slot.loss + loss);
    for level in 1..op.levels() {
        if !rows.is_multiple_of(8u32.pow(level)) {
            break;
        }
        metrics[at].loss = 0.0;
        at += (op.turns * op.batch) as usize;
        sum += metrics[at].loss;
    }
    metrics[at].loss = sum;
}

/// The class that a row of outputs ranks first: the largest of them, of equal ones the first. A row with NaN in it has none.
pub fn class(z: &[f32]) -> Option<usize> {
    (!z.iter().any(|z| z.is_nan())).then(|| first_largest(z))
}

/// The index of the largest number; of several, the first. NaN is never the largest.
pub fn first_largest(z: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in z.iter().enumerate() {
        if *value > z[best] || z[best].is_nan() {
            best = i;
        }
    }
    best
}

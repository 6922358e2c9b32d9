//! Twin of `shaders/softmax_cross_entropy.wgsl`.

use crate::plan::{RowMetrics, SoftmaxCrossEntropy, StepState};

pub fn softmax_cross_entropy(
    op: &SoftmaxCrossEntropy,
    logits: &[f32],
    labels: &[u32],
    state: &StepState,
    indices: &[u32],
    mut gradient: Option<&mut [f32]>,
    metrics: &mut [RowMetrics],
) {
    let classes = op.classes as usize;
    let rows = state.rows as usize;
    for (row, z) in logits.chunks_exact(classes).take(rows).enumerate() {
        let predicted = first_largest(z);
        let largest = z[predicted];
        let sum: f32 = z.iter().map(|z| (z - largest).exp()).sum();
        let label = labels[indices[row] as usize] as usize;
        if let Some(gradient) = gradient.as_deref_mut() {
            for (class, (g, z)) in gradient[row * classes..].iter_mut().zip(z).enumerate() {
                let softmax = (z - largest).exp() / sum;
                *g = (softmax - f32::from(class == label)) / rows as f32;
            }
        }
        // A label that is no class, in data that the host has not seen, has no loss.
        let loss = z.get(label).map_or(f32::NAN, |z| sum.ln() - (z - largest));
        let metrics = &mut metrics[row];
        metrics.loss += loss;
        metrics.rows += 1;
        metrics.correct += u32::from(predicted == label);
        if !loss.is_finite() && metrics.non_finite_step == 0 {
            metrics.non_finite_step = state.step;
        }
    }
    if let Some(gradient) = gradient {
        gradient[rows * classes..].fill(0.0);
    }
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

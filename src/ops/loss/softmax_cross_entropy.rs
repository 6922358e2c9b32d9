//! Loss of classes that exclude each other: `shaders/softmax_cross_entropy.wgsl.in`.

use super::*;

fn smoothing(op: &LossOp) -> f32 {
    match op.loss {
        Loss::SmoothedSoftmaxCrossEntropy { smoothing } => smoothing,
        _ => 0.0,
    }
}

/// Shader, and label smoothing.
pub(super) fn shader(op: &LossOp) -> (Shader, Uniform) {
    let source = [SHARED, text!("softmax_cross_entropy.wgsl.in")].concat();
    (super::shader(op.stem(), source, []), ("smoothing", smoothing(op).into()))
}

/// Loss of a row in a batch of `rows` rows, and whether the prediction is correct.
pub(super) fn row(op: &LossOp, z: &[f32], target: &Target<'_>, rows: f32, gradient: Option<&mut [f32]>) -> (f32, bool) {
    let (classes, smoothing) = (z.len(), smoothing(op));
    let smoothed = |class| {
        let one_hot = match target.label() {
            Some(label) => f32::from(u8::from(label == class)),
            None => target.value(class),
        };
        (1.0 - smoothing) * one_hot + smoothing / classes as f32
    };
    let predicted = argmax(z);
    let largest = z[predicted];
    let sum: f32 = z.iter().map(|z| (z - largest).exp()).sum();
    // The loss is in f64. Its sum leaves out the predicted class, whose 1 would absorb the others.
    let (mut total, mut along, mut others) = (0.0, 0.0, 0.0);
    for (class, &z) in z.iter().enumerate() {
        let t = smoothed(class);
        total += t;
        // A class with target 0 contributes nothing, even if its logit is −∞.
        let distance = f64::from(z) - f64::from(largest);
        along += if t != 0.0 { f64::from(t) * distance } else { 0.0 };
        others += if class == predicted { 0.0 } else { distance.exp() };
    }
    for (class, gradient) in gradient.into_iter().flatten().enumerate() {
        let softmax = (z[class] - largest).exp() / sum;
        *gradient = (softmax * total - smoothed(class)) * target.weight * op.weight / rows;
    }
    // Data that the host has not seen can have labels that are no class. Their loss is NaN, like that of a NaN logit.
    let unknown = target.label().is_some_and(|label| label >= classes) || sum.is_nan();
    let loss = if unknown { f32::NAN } else { (others.ln_1p() * f64::from(total) - along) as f32 };
    (loss * target.weight, class(z) == Some(target.class()))
}

/// Magnitude of a row's loss and its error bound. Appends the error bounds of its gradient.
pub(super) fn bound(op: &LossOp, z: &[f32], target: &Target<'_>, rows: f64, gradients: &mut Vec<f64>) -> (f64, f64) {
    let (classes, smoothing, weight) = (z.len() as f64, f64::from(smoothing(op)), f64::from(target.weight).abs());
    let z: Vec<f64> = z.iter().copied().map(f64::from).collect();
    let (distances, sum, sum_error) = softmax(&z);
    let (others, others_error) = others(&distances);
    // If targets are not exactly 0 and 1, each side rounds each of them three times, and then their sum.
    let smoothed = |class| (1.0 - smoothing) * f64::from(target.value(class)) + smoothing / classes;
    let t: Vec<f64> = (0..z.len()).map(smoothed).collect();
    let total: f64 = t.iter().map(|t| t.abs()).sum();
    let exact = smoothing == 0.0 && target.label().is_some();
    let t_error = if exact { 0.0 } else { 2.0 * (3.0 * U + DIVISION) };
    let total_error = if exact { 0.0 } else { total * (t_error + 2.0 * classes * U) };
    let (scale, flushed, roundings) = op.scale(target, 1.0, rows);
    for (&d, &t) in distances.iter().zip(&t) {
        let softmax = d.exp() / sum;
        let off = softmax * total * (distance_error(d) + sum_error + 2.0 * DIVISION + 2.0 * U) + softmax * total_error;
        let gradient = (softmax * total - t).abs();
        let off = off + t.abs() * t_error + gradient * 2.0 * (2.0 * U + DIVISION + roundings);
        gradients.push(scale * off + flushed);
    }
    let along: f64 = t.iter().zip(&distances).filter(|(t, _)| **t != 0.0).map(|(t, d)| (t * d).abs()).sum();
    // A series of about 20 roundings, or the logarithm of a rounded sum. That logarithm is more than 1/2.
    let log = others.ln_1p();
    let log_error = 2.0 * log * (26.0 * U + DIVISION + 3.0 * ULP) + others_error / (1.0 + others);
    let along_error = along * (t_error + 2.0 * (classes + 2.0) * U);
    let loss = weight * (log * total + along);
    let off = weight * (log_error * total + log * total_error + along_error);
    (loss, off + loss * 2.0 * 3.0 * U)
}

/// Sum of the exponentials without the largest, which is 1, and its error. Each may be flushed to zero.
fn others(distances: &[f64]) -> (f64, f64) {
    let largest = distances.iter().position(|d| *d == 0.0);
    let rest = distances.iter().enumerate().filter(|(i, d)| Some(*i) != largest && d.is_finite());
    let (sum, off) =
        rest.fold((0.0, 0.0), |(sum, off), (_, d)| (sum + d.exp(), off + d.exp() * distance_error(*d) + FLUSHED));
    (sum, off + 2.0 * distances.len() as f64 * U * sum)
}

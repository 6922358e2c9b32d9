//! Losses that act on each output separately: `shaders/pointwise_loss.wgsl.in`, which follows the text of an
//! activation.

use std::borrow::Cow;

use super::*;

pub(crate) fn source(loss: Loss, activation: Activation) -> String {
    let functions = match loss {
        Loss::Custom(own) => own.text().into(),
        _ => Cow::Borrowed(text!("pointwise_loss.functions.wgsl.in")),
    };
    [activation.text(), SHARED, &functions, text!("pointwise_loss.wgsl.in")].concat()
}

/// Shader, and Huber's δ.
pub(super) fn shader(op: &LossOp) -> (Shader, Uniform) {
    let (code, delta) = match op.loss {
        Loss::SumOfSquares => (1, 0.0),
        Loss::MeanAbsoluteError => (2, 0.0),
        Loss::Huber { delta } => (3, delta),
        Loss::BinaryCrossEntropy => (4, 0.0),
        _ => (0, 0.0),
    };
    let constants = op.activation.constant().into_iter().chain([("LOSS", code.into())]);
    let own = if let Loss::Custom(own) = op.loss { format!(" {}", own.name()) } else { String::new() };
    let name = format!("pointwise_loss{own} {}", op.activation);
    let shader = super::shader(name, source(op.loss, op.activation), constants.collect::<Vec<_>>());
    (shader, ("delta", delta.into()))
}

/// Loss of a row in a batch of `rows` rows, and whether the prediction is correct.
pub(super) fn row(
    op: &LossOp,
    y: &[f32],
    target: &Target<'_>,
    rows: f32,
    mut gradient: Option<&mut [f32]>,
) -> (f32, bool) {
    let (row_divisor, batch_divisor) = if op.loss.is_mean() { (y.len() as f32, rows) } else { (1.0, 1.0) };
    // In f64, because rows may be long.
    let mut loss = 0.0;
    for (i, &y) in y.iter().enumerate() {
        let (value, slope) = loss_of(op.loss, y, target.value(i));
        loss += f64::from(value);
        if let Some(gradient) = &mut gradient {
            let through = op.activation.derivative(y);
            gradient[i] = slope * through * target.weight * op.weight / (row_divisor * batch_divisor);
        }
    }
    // Data that the host has not seen can have invalid targets. Such a row has no loss and no class.
    let binary = op.loss == Loss::BinaryCrossEntropy;
    let taken = |t: f32| !t.is_nan() && (!binary || (0.0..=1.0).contains(&t));
    if !(0..y.len()).all(|i| taken(target.value(i))) {
        return (f32::NAN, false);
    }
    // One output separates two classes: at logit 0, or half way between targets 0 and 1.
    let threshold = if binary { 0.0 } else { 0.5 };
    let correct = match y {
        [y] => !y.is_nan() && (*y > threshold) == (target.value(0) > 0.5),
        _ => class(y) == Some(target.class()),
    };
    (loss as f32 / row_divisor * target.weight, correct)
}

/// Loss of one output, and its derivative.
fn loss_of(loss: Loss, y: f32, t: f32) -> (f32, f32) {
    let error = y - t;
    match loss {
        Loss::MeanSquaredError | Loss::SumOfSquares => (error * error, 2.0 * error),
        Loss::MeanAbsoluteError => (error.abs(), if error == 0.0 { 0.0 } else { error.signum() }),
        Loss::Huber { delta } if error.abs() <= delta => (0.5 * error * error, error),
        Loss::Huber { delta } => (delta * (error.abs() - 0.5 * delta), delta * error.signum()),
        Loss::Custom(own) => own.twin_of(y.into(), t.into()).map(|result| result as f32).into(),
        // y is a logit.
        _ => {
            let (z, t) = (f64::from(y), f64::from(t));
            let e = (-z.abs()).exp();
            // How much the target contradicts the sign of the logit. NaN stays NaN.
            let against = if z > 0.0 { 1.0 - t } else { t };
            let excess = e / (1.0 + e) - against;
            ((e.ln_1p() + z.abs() * against) as f32, if z > 0.0 { -excess } else { excess } as f32)
        }
    }
}

/// Magnitude of a row's loss and its error bound. Appends the error bounds of its gradient.
pub(super) fn bound(op: &LossOp, y: &[f32], target: &Target<'_>, rows: f64, gradients: &mut Vec<f64>) -> (f64, f64) {
    let (row_divisor, batch_divisor) = if op.loss.is_mean() { (y.len() as f64, rows) } else { (1.0, 1.0) };
    let weight = f64::from(target.weight).abs();
    let (scale, flushed, roundings) = op.scale(target, row_divisor, batch_divisor);
    let (mut sum, mut off) = (0.0, 0.0);
    for (i, &y) in y.iter().enumerate() {
        let (value, value_error, slope, slope_error) = bound_of(op.loss, y.into(), target.value(i).into());
        sum += value;
        off += value_error;
        let through = f64::from(op.activation.derivative(y)).abs();
        let product_error = slope_error * through + slope * op.activation.derivative_bound(y.into());
        let off = product_error + slope * through * 2.0 * (4.0 * U + DIVISION + roundings);
        gradients.push(scale * off + flushed);
    }
    let loss = sum / row_divisor * weight;
    let off = (off + 2.0 * (y.len() as f64 + 1.0) * U * sum) / row_divisor * weight;
    (loss, off + loss * 2.0 * (DIVISION + U))
}

/// Magnitudes of an output's loss and derivative, each with its error bound.
fn bound_of(loss: Loss, y: f64, t: f64) -> (f64, f64, f64, f64) {
    let error = (y - t).abs();
    // Both sides round the difference once.
    let off = 2.0 * U * error;
    match loss {
        Loss::MeanAbsoluteError => (error, off, 1.0, 0.0),
        Loss::Huber { delta } => {
            let delta = f64::from(delta);
            let value = if error <= delta { 0.5 * error * error } else { delta * (error - 0.5 * delta) };
            let value_error = delta.max(error) * off + 6.0 * U * (value + 0.5 * delta * delta);
            (value, value_error, delta.min(error), off + 2.0 * U * delta)
        }
        Loss::BinaryCrossEntropy => {
            // e = e^−|y| has a relative error, or is flushed to zero. The series has about 20 roundings.
            let e = (-y.abs()).exp();
            let share = (3.0 + 2.0 * y.abs()) * ULP;
            let (answer, tail) = (e.ln_1p(), e / (1.0 + e));
            let answer_error = 2.0 * (e * share + answer * (24.0 * U + DIVISION)) + FLUSHED;
            let tail_error = 2.0 * tail * (share + 2.0 * U + DIVISION) + FLUSHED;
            // 1 − t, the product and the sum are rounded.
            let against = if y > 0.0 { 1.0 - t } else { t }.abs();
            let (value, slope) = (answer + y.abs() * against, tail.max(against));
            let value_error = answer_error + 2.0 * U * (2.0 * y.abs() * against + value);
            (value, value_error, slope, tail_error + 2.0 * U * (against + slope))
        }
        Loss::Custom(own) => {
            let [value, slope] = own.twin_of(y, t);
            (value.abs(), own.bound(value), slope.abs(), own.bound(slope))
        }
        _ => (error * error, 2.0 * error * off + 2.0 * U * error * error, 2.0 * error, 2.0 * off),
    }
}

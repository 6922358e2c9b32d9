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

/// Shader, and Huber's δ or the epsilon.
pub(super) fn shader(op: &LossOp) -> (Shader, Uniform) {
    let code = match op.loss {
        Loss::SumOfSquares => 1,
        Loss::MeanAbsoluteError => 2,
        Loss::Huber { .. } => 3,
        Loss::BinaryCrossEntropy => 4,
        Loss::RelativeL2 { .. } => 5,
        Loss::RelativeL2Luminance { .. } => 6,
        Loss::RelativeL1 { .. } => 7,
        Loss::Mape { .. } => 8,
        Loss::Smape { .. } => 9,
        Loss::LogL1 => 10,
        Loss::Variance { .. } => 11,
        Loss::DensityCrossEntropy { .. } => 12,
        _ => 0,
    };
    let parameter = match op.loss {
        Loss::Huber { delta } => delta,
        loss => loss.epsilon().map_or(0.0, |(epsilon, _)| epsilon),
    };
    let constants = op.activation.constant().into_iter().chain([("LOSS", code.into())]);
    let own = if let Loss::Custom(own) = op.loss { format!(" {}", own.name()) } else { String::new() };
    let name = format!("pointwise_loss{own} {}", op.activation);
    let shader = super::shader(name, source(op.loss, op.activation), constants.collect::<Vec<_>>());
    (shader, ("parameter", parameter.into()))
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
    for (i, &output) in y.iter().enumerate() {
        let (value, slope) = loss_of(op.loss, output, target.value(i), norm(op.loss, y, i).value);
        loss += f64::from(value);
        if let Some(gradient) = &mut gradient {
            let through = op.activation.derivative(output);
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

/// The number whose square divides a relative squared error, and its error on a GPU: the output itself, or the
/// luminance of the row. The coefficients, the products and two sums are rounded.
fn norm(loss: Loss, row: &[f32], i: usize) -> Off {
    if !matches!(loss, Loss::RelativeL2Luminance { .. }) {
        return Off::exact(row[i].into());
    }
    let colour: [f64; 3] = std::array::from_fn(|i| LUMINANCE[i] * f64::from(row[i]));
    Off { value: colour.iter().sum(), off: 4.0 * U * colour.iter().map(|x| x.abs()).sum::<f64>() }
}

/// Contributions of red, green and blue to the luminance, as in tiny-cuda-nn.
const LUMINANCE: [f64; 3] = [0.299, 0.587, 0.114];

/// What an absolute error is divided by.
fn divisor(loss: Loss, y: f64, t: f64) -> f64 {
    match loss {
        Loss::RelativeL1 { epsilon } => y.abs() + f64::from(epsilon),
        Loss::Mape { epsilon } => t.abs() + f64::from(epsilon),
        Loss::Smape { epsilon } => 0.5 * (y.abs() + t.abs()) + f64::from(epsilon),
        _ => 1.0,
    }
}

/// y + epsilon for a density y, and how far y is below 0 in units of epsilon.
fn density(y: f64, epsilon: f32) -> (f64, f64) {
    let epsilon = f64::from(epsilon);
    if y < 0.0 { (epsilon, -y / epsilon) } else { (y + epsilon, 0.0) }
}

/// Loss of one output, and its derivative. `norm` is explained at the function of this name.
fn loss_of(loss: Loss, y: f32, t: f32, norm: f64) -> (f32, f32) {
    let error = y - t;
    let sign = if error == 0.0 { 0.0 } else { error.signum() };
    let [y_wide, t_wide] = [y, t].map(f64::from);
    match loss {
        Loss::MeanSquaredError | Loss::SumOfSquares => (error * error, 2.0 * error),
        Loss::MeanAbsoluteError => (error.abs(), sign),
        Loss::RelativeL2 { epsilon } | Loss::RelativeL2Luminance { epsilon } => {
            let share = f64::from(error) / (norm * norm + f64::from(epsilon));
            ((f64::from(error) * share) as f32, (2.0 * share) as f32)
        }
        Loss::RelativeL1 { .. } | Loss::Mape { .. } | Loss::Smape { .. } => {
            let divisor = divisor(loss, y_wide, t_wide);
            ((f64::from(error.abs()) / divisor) as f32, (f64::from(sign) / divisor) as f32)
        }
        Loss::LogL1 => {
            let size = f64::from(error.abs());
            (size.ln_1p() as f32, (f64::from(sign) / (1.0 + size)) as f32)
        }
        Loss::Variance { epsilon } => {
            let (density, below) = density(y_wide, epsilon);
            let share = t_wide / density;
            ((t_wide * share * (1.0 + below)) as f32, (-share * share) as f32)
        }
        Loss::DensityCrossEntropy { epsilon } => {
            let (density, below) = density(y_wide, epsilon);
            ((t_wide * (below - density.ln())) as f32, (-t_wide / density) as f32)
        }
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
    for (i, &output) in y.iter().enumerate() {
        let (value, value_error, slope, slope_error) =
            bound_of(op.loss, output.into(), target.value(i).into(), norm(op.loss, y, i));
        sum += value;
        off += value_error;
        let through = f64::from(op.activation.derivative(output)).abs();
        let product_error = slope_error * through + slope * op.activation.derivative_bound(output.into());
        let off = product_error + slope * through * 2.0 * (4.0 * U + DIVISION + roundings);
        gradients.push(scale * off + flushed);
    }
    let loss = sum / row_divisor * weight;
    let off = (off + 2.0 * (y.len() as f64 + 1.0) * U * sum) / row_divisor * weight;
    (loss, off + loss * 2.0 * (DIVISION + U))
}

/// Magnitudes of an output's loss and derivative, each with its error bound.
fn bound_of(loss: Loss, y: f64, t: f64, norm: Off) -> (f64, f64, f64, f64) {
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
        Loss::RelativeL2 { epsilon } | Loss::RelativeL2Luminance { epsilon } => {
            // The difference, the square, the sum and the quotient are rounded. The divisor also has the error of
            // `norm`. A small difference may be flushed to zero before it is divided.
            let divisor = norm.value * norm.value + f64::from(epsilon);
            let of_divisor = (2.0 * norm.value.abs() + norm.off) * norm.off / divisor + 2.0 * U;
            let share = error / divisor;
            let relative = of_divisor + U + DIVISION;
            let flushed = FLUSHED + 2.0 * FLUSHED / divisor;
            let value = error * share;
            (value, 2.0 * value * (relative + 2.0 * U) + flushed, 2.0 * share, 4.0 * share * relative + flushed)
        }
        Loss::RelativeL1 { .. } | Loss::Mape { .. } | Loss::Smape { .. } => {
            // The difference, up to three sums and the quotient.
            let divisor = divisor(loss, y, t);
            let (relative, flushed) = (3.0 * U + DIVISION, FLUSHED + FLUSHED / divisor);
            let value = error / divisor;
            (value, 2.0 * value * (relative + U) + flushed, 1.0 / divisor, 2.0 * relative / divisor + flushed)
        }
        Loss::LogL1 => {
            // The series for errors up to 1 has about 20 roundings, more than the logarithm.
            let value = error.ln_1p();
            let slope = 1.0 / (1.0 + error);
            (value, 2.0 * value * (26.0 * U + DIVISION) + FLUSHED, slope, 2.0 * slope * (2.0 * U + DIVISION) + FLUSHED)
        }
        Loss::Variance { epsilon } => {
            // The density is rounded, the two quotients, 1 + below, and two products.
            let (density, below) = density(y, epsilon);
            let share = (t / density).abs();
            let (value, slope) = (t.abs() * share * (1.0 + below), share * share);
            let (of_share, flushed) = (U + DIVISION, FLUSHED * (1.0 + t.abs() * (1.0 + below) + share));
            let value_error = 2.0 * value * (2.0 * of_share + 4.0 * U) + 2.0 * flushed;
            (value, value_error, slope, 2.0 * slope * (2.0 * of_share + U) + 2.0 * flushed)
        }
        Loss::DensityCrossEntropy { epsilon } => {
            // The logarithm of a density near 1 has an absolute error. That of the density adds to it.
            let (density, below) = density(y, epsilon);
            let log = density.ln().abs();
            let log_error = (3.0 * ULP * log).max(2f64.powi(-21)) + U;
            let inner_error = log_error + below * (U + DIVISION) + U * (log + below);
            let (value, slope) = (t.abs() * (log + below), (t / density).abs());
            let value_error = 2.0 * (t.abs() * inner_error + value * U + FLUSHED);
            (value, value_error, slope, 2.0 * slope * (U + DIVISION) + FLUSHED)
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

//! Twin of `shaders/pointwise_loss.wgsl`.

use super::softmax_cross_entropy::count;
use super::{class, first_largest};
use crate::loss::Loss;
use crate::plan::{DataInfo, LossOp, RowMetrics, StepState};

/// What is known of a row: its targets and its weight.
pub struct Target<'a> {
    words: &'a [u32],
    outputs: usize,
    values: bool,
    pub weight: f32,
}

impl<'a> Target<'a> {
    pub fn of(row: usize, targets: &'a [u32], outputs: usize, data: &DataInfo) -> Self {
        let (values, weighted) = (data.values != 0, data.weighted != 0);
        let width = if values { outputs } else { 1 };
        let stride = width + usize::from(weighted);
        let words = &targets[data.target(row, stride)..][..stride];
        let weight = if weighted { f32::from_bits(words[width]) } else { 1.0 };
        Self { words: &words[..width], outputs, values, weight }
    }

    /// The label, where it is one.
    pub fn label(&self) -> Option<usize> {
        (!self.values).then(|| self.words[0] as usize)
    }

    /// The target of an output.
    pub fn value(&self, output: usize) -> f32 {
        match self.label() {
            None => f32::from_bits(self.words[output]),
            Some(label) if self.outputs == 1 => label as f32,
            Some(label) => f32::from(u8::from(label == output)),
        }
    }

    /// The class it names.
    pub fn class(&self) -> usize {
        let largest = || first_largest(&(0..self.outputs).map(|i| self.value(i)).collect::<Vec<_>>());
        self.label().unwrap_or_else(largest)
    }
}

/// The rows of a batch and where their targets are.
pub struct Batch<'a> {
    pub targets: &'a [u32],
    pub data: DataInfo,
    pub state: StepState,
    pub indices: &'a [u32],
}

impl<'a> Batch<'a> {
    pub fn target(&self, row: usize, outputs: usize) -> Target<'a> {
        Target::of(self.indices[row] as usize, self.targets, outputs, &self.data)
    }
}

pub fn pointwise_loss(
    op: &LossOp,
    output: &[f32],
    batch: &Batch,
    mut gradient: Option<&mut [f32]>,
    metrics: &mut [RowMetrics],
) {
    let outputs = op.outputs as usize;
    let rows = batch.state.rows as usize;
    let of_row = if op.loss.is_mean() { outputs as f32 } else { 1.0 };
    let of_batch = if op.loss.is_mean() { rows as f32 } else { 1.0 };
    for (row, y) in output.chunks_exact(outputs).take(rows).enumerate() {
        let target = batch.target(row, outputs);
        // In f64, as rows may be long.
        let mut loss = 0.0;
        for (i, &y) in y.iter().enumerate() {
            let (value, slope) = loss_of(op.loss, y, target.value(i));
            loss += f64::from(value);
            if let Some(gradient) = gradient.as_deref_mut() {
                let through = op.activation.derivative(y);
                gradient[row * outputs + i] = slope * through * target.weight / (of_row * of_batch);
            }
        }
        // A target that the loss does not take, in data that the host has not seen, has no loss and no class.
        let taken = |t: f32| !t.is_nan() && (op.loss != Loss::BinaryCrossEntropy || (0.0..=1.0).contains(&t));
        let taken = (0..outputs).all(|i| taken(target.value(i)));
        let loss = if taken { loss as f32 / of_row * target.weight } else { f32::NAN };
        // One output tells two classes apart: at logit 0, or half way between targets 0 and 1.
        let threshold = if op.loss == Loss::BinaryCrossEntropy { 0.0 } else { 0.5 };
        let correct = match outputs {
            1 => !y[0].is_nan() && (y[0] > threshold) == (target.value(0) > 0.5),
            _ => class(y) == Some(target.class()),
        };
        count(op, metrics, row, &batch.state, loss, correct && taken);
    }
    if let Some(gradient) = gradient {
        gradient[rows * outputs..].fill(0.0);
    }
}

/// The loss of one output and its derivative.
fn loss_of(loss: Loss, y: f32, t: f32) -> (f32, f32) {
    let error = y - t;
    match loss {
        Loss::MeanSquaredError | Loss::SumOfSquares => (error * error, 2.0 * error),
        Loss::MeanAbsoluteError => (error.abs(), if error == 0.0 { 0.0 } else { error.signum() }),
        Loss::Huber { delta } if error.abs() <= delta => (0.5 * error * error, error),
        Loss::Huber { delta } => (delta * (error.abs() - 0.5 * delta), delta * error.signum()),
        // y is a logit.
        _ => {
            let (z, t) = (f64::from(y), f64::from(t));
            let e = (-z.abs()).exp();
            // What the target says against the answer that the logit's sign gives. NaN stays NaN.
            let against = if z > 0.0 { 1.0 - t } else { t };
            let excess = e / (1.0 + e) - against;
            ((e.ln_1p() + z.abs() * against) as f32, if z > 0.0 { -excess } else { excess } as f32)
        }
    }
}

//! Metrics of a model's outputs against targets.

mod images;
mod weighted;

use crate::dataset::Targets;
use crate::error::{Error, Result};
use crate::ops::class;
pub use images::{psnr, ssim};

/// A model's outputs beside the targets, for metrics: see [`Model::score`](crate::Model::score). Outputs of a
/// classifier are probabilities.
///
/// Scores from `Model::score` compare the logits to find classes, like
/// [`Trainer::evaluate`](crate::Trainer::evaluate) and [`Model::predict`](crate::Model::predict): probabilities of
/// large logits all round to 1. Scores from given outputs ([`new`](Self::new)) compare these outputs.
///
/// A row with an output that is NaN has no class. It counts as wrong in every metric.
///
/// ```
/// use wgrad::{Scores, Targets};
/// // Three rows, two classes.
/// let targets = Targets::Labels { labels: vec![0, 1, 1], classes: 2 };
/// let scores = Scores::new(vec![0.9, 0.1, 0.6, 0.4, 0.2, 0.8], 2, &targets)?;
/// assert_eq!(scores.predictions(), [0, 0, 1]);
/// assert_eq!(scores.accuracy(), 2.0 / 3.0);
/// assert_eq!(scores.top_k_accuracy(2), 1.0);
/// assert_eq!(scores.confusion_matrix(), [[1, 0], [1, 1]]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    outputs: Vec<f32>,
    width: usize,
    targets: Targets,
    weights: Option<Vec<f32>>,
    /// The values that determine the classes, if these are not the outputs.
    class_scores: Option<Vec<f32>>,
    /// The value above which a single output means class 1.
    threshold: f32,
}

impl Scores {
    /// The value in [`predictions`](Self::predictions) of a row without a class, because an output is NaN.
    pub const NO_CLASS: u32 = u32::MAX;

    /// Scores of any model's outputs, \[rows, width\].
    ///
    /// With one output a row and two classes, the output is compared with 1/2. With one output and more classes, the
    /// labels are used as target numbers.
    ///
    /// # Errors
    /// - [`Error::Shape`] if there is not one row of outputs for each target; if `width` differs from the number of
    ///   target numbers; if `width` is less than the number of classes (except for one output).
    /// - [`Error::LabelOutOfRange`] for the first label not below the number of classes.
    /// - [`Error::NonFiniteTarget`] for the first target that is NaN or infinite.
    pub fn new(outputs: Vec<f32>, width: u32, targets: &Targets) -> Result<Self> {
        let (fits, expected) = match targets {
            Targets::Labels { classes, .. } => {
                (width >= *classes || width == 1, format!("{classes} (one per class), or 1"))
            }
            Targets::Values { outputs, .. } => {
                (width == *outputs, format!("{} (the outputs of the targets)", outputs.max(&1)))
            }
        };
        if !fits || width == 0 {
            return Err(Error::shape("outputs of a row", expected, width));
        }
        let numbers = |count: usize| format!("{count} numbers");
        if let Targets::Values { values, .. } = targets
            && !values.len().is_multiple_of(width as usize)
        {
            return Err(Error::shape("targets", format!("whole rows of {width} numbers"), numbers(values.len())));
        }
        targets.check()?;
        let rows = targets.rows();
        if outputs.len() != rows * width as usize {
            return Err(Error::shape("outputs", format!("{rows} rows of {width}"), numbers(outputs.len())));
        }
        let (width, targets) = (width as usize, targets.clone());
        Ok(Self { outputs, width, targets, weights: None, class_scores: None, threshold: 0.5 })
    }

    /// The same scores with other values to determine the classes, in the same layout.
    pub(crate) fn with_class_scores(self, class_scores: Vec<f32>, threshold: f32) -> Self {
        Self { class_scores: Some(class_scores), threshold, ..self }
    }

    /// The values that determine the classes, \[rows, width\].
    fn class_scores(&self) -> &[f32] {
        self.class_scores.as_ref().unwrap_or(&self.outputs)
    }

    /// The outputs, \[rows, width\].
    pub fn outputs(&self) -> &[f32] {
        &self.outputs
    }

    /// The predicted class of each row: the index of the largest output, the first of equal ones. With one output:
    /// whether it is above 1/2. [`NO_CLASS`](Self::NO_CLASS) for a row with an output that is NaN.
    pub fn predictions(&self) -> Vec<u32> {
        classes(self.class_scores(), self.width, self.threshold)
    }

    /// The right class of each row: its label, or the class of its target numbers. With one output, a label is such a
    /// number.
    pub fn expected(&self) -> Vec<u32> {
        match &self.targets {
            Targets::Labels { labels, .. } if self.width == 1 => labels.iter().map(|&label| label.min(1)).collect(),
            Targets::Labels { labels, .. } => labels.clone(),
            Targets::Values { values, .. } => classes(values, self.width, 0.5),
        }
    }

    /// Accuracy: the fraction of rows whose predicted class is right.
    pub fn accuracy(&self) -> f64 {
        mean(self.predictions().iter().zip(self.expected()).map(|(p, e)| f64::from(u8::from(*p == e))))
    }

    /// Top-k accuracy: the fraction of rows whose right class is among the `k` largest outputs. Of equal outputs the
    /// first counts as larger. With one output there are two classes, 0 and 1.
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        if self.width == 1 {
            let rank = |(&y, class): (&f32, u32)| usize::from(u32::from(y > self.threshold) != class);
            let hit = |row: (&f32, u32)| f64::from(u8::from(!row.0.is_nan() && rank(row) < k));
            return mean(self.class_scores().iter().zip(self.expected()).map(hit));
        }
        let hit = |(row, expected): (&[f32], u32)| {
            let expected = expected as usize;
            let Some(&own) = row.get(expected) else { return 0.0 };
            let larger = row.iter().enumerate().filter(|&(i, &y)| y > own || (y == own && i < expected));
            f64::from(u8::from(!row.iter().any(|y| y.is_nan()) && larger.count() < k))
        };
        mean(self.class_scores().chunks_exact(self.width).zip(self.expected()).map(hit))
    }

    /// Binary accuracy: the fraction of outputs that are right, each a yes-or-no question of its own. An output is
    /// right if it is above `threshold` and its target above 1/2, or neither. NaN is wrong. For sigmoid outputs.
    pub fn binary_accuracy(&self, threshold: f32) -> f64 {
        // For a sigmoid, compare the logit with 0 instead of the rounded probability with 1/2.
        let (numbers, threshold) = match (threshold, self.threshold) {
            (0.5, 0.0) => (self.class_scores(), 0.0),
            _ => (self.outputs(), threshold),
        };
        let right = |(y, (_, t)): (&f32, (f32, f32))| !y.is_nan() && (*y > threshold) == (t > 0.5);
        mean(numbers.iter().zip(self.pairs()).map(|pair| f64::from(u8::from(right(pair)))))
    }

    /// Mean absolute error: the mean of |output − target| over all outputs.
    pub fn mean_absolute_error(&self) -> f64 {
        mean(self.pairs().map(|(y, t)| (f64::from(y) - f64::from(t)).abs()))
    }

    /// Mean squared error: the mean of (output − target)² over all outputs.
    pub fn mean_squared_error(&self) -> f64 {
        mean(self.pairs().map(|(y, t)| (f64::from(y) - f64::from(t)).powi(2)))
    }

    /// Confusion matrix: entry \[i\]\[j\] is the number of rows of class i that were predicted as class j. Rows
    /// [without a class](Self::NO_CLASS) are not counted.
    pub fn confusion_matrix(&self) -> Vec<Vec<u32>> {
        let (expected, predicted) = (self.expected(), self.predictions());
        let classes = self.width.max(2);
        let mut counts = vec![vec![0; classes]; classes];
        for (expected, predicted) in expected.into_iter().zip(predicted) {
            if predicted != Self::NO_CLASS {
                counts[expected as usize][predicted as usize] += 1;
            }
        }
        counts
    }

    /// Each output with its target.
    fn pairs(&self) -> impl ExactSizeIterator<Item = (f32, f32)> {
        self.outputs.iter().enumerate().map(|(i, &output)| {
            let (row, column) = (i / self.width, i % self.width);
            let target = match &self.targets {
                Targets::Values { values, .. } => values[i],
                Targets::Labels { labels, .. } if self.width == 1 => labels[row] as f32,
                Targets::Labels { labels, .. } => f32::from(u8::from(labels[row] as usize == column)),
            };
            (output, target)
        })
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    // `sum` of no numbers would give −0.
    values.fold(0.0, |sum, value| sum + value) / count
}

/// The class of each row of outputs. With one output: whether it is above the threshold.
pub(crate) fn classes(outputs: &[f32], width: usize, threshold: f32) -> Vec<u32> {
    let class = |row: &[f32]| match row {
        [one] if !one.is_nan() => u32::from(*one > threshold),
        row => class(row).map_or(Scores::NO_CLASS, |class| class as u32),
    };
    outputs.chunks_exact(width).map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_output_tells_two_classes_apart() {
        let targets = Targets::Labels { labels: vec![0, 1, 1, 0], classes: 2 };
        let scores = Scores::new(vec![0.2, 0.7, 0.4, 0.9], 1, &targets).unwrap();
        assert_eq!(scores.predictions(), [0, 1, 0, 1]);
        assert_eq!(scores.confusion_matrix(), [[1, 1], [1, 1]]);
        assert_eq!((scores.accuracy(), scores.binary_accuracy(0.3)), (0.5, 0.75));
        assert_eq!([0, 1, 2].map(|k| scores.top_k_accuracy(k)), [0.0, 0.5, 1.0]);
        assert!((scores.mean_absolute_error() - (0.2 + 0.3 + 0.6 + 0.9) / 4.0).abs() < 1e-7);
        // If all labels are ignored there are no rows.
        assert_eq!(mean([0.0; 0].into_iter()).to_bits(), 0);
    }

    #[test]
    fn a_row_with_nan_has_no_class_and_is_wrong_everywhere() {
        let nan = f32::NAN;
        let targets = Targets::Labels { labels: vec![0, 0, 1, 2], classes: 3 };
        let outputs = vec![0.9, nan, 0.1, nan, nan, nan, f32::NEG_INFINITY, 0.5, 0.4, 0.1, 0.2, f32::INFINITY];
        let scores = Scores::new(outputs, 3, &targets).unwrap();
        assert_eq!(scores.predictions(), [Scores::NO_CLASS, Scores::NO_CLASS, 1, 2]);
        assert_eq!((scores.accuracy(), scores.weighted_accuracy(), scores.balanced_accuracy()), (0.5, 0.5, 2.0 / 3.0));
        assert_eq!([1, 3].map(|k| scores.top_k_accuracy(k)), [0.5, 0.5]);
        assert_eq!(scores.confusion_matrix(), [[0, 0, 0], [0, 1, 0], [0, 0, 1]]);
        // Of the outputs that are not NaN, only 0.5 is wrong: it is not above 1/2, but its target is.
        assert_eq!(scores.binary_accuracy(0.5), 7.0 / 12.0);
        let one = Scores::new(vec![nan, nan], 1, &Targets::Labels { labels: vec![0, 1], classes: 2 }).unwrap();
        assert_eq!((one.predictions(), one.accuracy()), (vec![Scores::NO_CLASS; 2], 0.0));
        assert_eq!((one.top_k_accuracy(2), one.binary_accuracy(0.5), one.balanced_accuracy()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn errors_of_numbers_are_means_over_all_outputs() {
        let targets = Targets::Values { values: vec![1.0, 2.0, 3.0, 4.0], outputs: 2 };
        let scores = Scores::new(vec![1.0, 4.0, 3.0, 3.0], 2, &targets).unwrap();
        assert_eq!((scores.mean_absolute_error(), scores.mean_squared_error()), (0.75, 1.25));
        assert_eq!(scores.expected(), [1, 1]);
        assert_eq!(scores.predictions(), [1, 0]);
    }

    #[test]
    fn the_k_largest_count_ties_once() {
        let targets = Targets::Labels { labels: vec![2, 2, 0], classes: 3 };
        let scores = Scores::new(vec![0.5, 0.3, 0.2, 0.4, 0.2, 0.4, 0.1, 0.1, 0.8], 3, &targets).unwrap();
        assert_eq!([1, 2, 3].map(|k| scores.top_k_accuracy(k)), [0.0, 2.0 / 3.0, 1.0]);
    }

    #[test]
    fn outputs_that_do_not_go_with_the_targets_are_refused() {
        let labels = Targets::Labels { labels: vec![0, 2], classes: 3 };
        let fault = |outputs: usize, width, targets: &Targets| {
            Scores::new(vec![0.0; outputs], width, targets).unwrap_err().to_string()
        };
        assert_eq!(fault(4, 2, &labels), "outputs of a row: expected 3 (one per class), or 1, got 2");
        assert_eq!(fault(5, 3, &labels), "outputs: expected 2 rows of 3, got 5 numbers");
        let values = Targets::Values { values: vec![0.0; 4], outputs: 2 };
        assert_eq!(fault(2, 1, &values), "outputs of a row: expected 2 (the outputs of the targets), got 1");
        let part = Targets::Values { values: vec![0.0; 3], outputs: 2 };
        assert_eq!(fault(2, 2, &part), "targets: expected whole rows of 2 numbers, got 3 numbers");
        let nan = Targets::Values { values: vec![0.0, 1.0, f32::NAN, 1.0], outputs: 2 };
        assert_eq!(fault(4, 2, &nan), "target of row 1: expected a finite number, got NaN");
        let none = Targets::Values { values: vec![], outputs: 0 };
        assert_eq!(fault(0, 0, &none), "outputs of a row: expected 1 (the outputs of the targets), got 0");
        let beyond = Targets::Labels { labels: vec![0, u32::MAX], classes: 3 };
        assert_eq!(
            fault(6, 3, &beyond),
            Error::LabelOutOfRange { row: 1, label: u32::MAX, classes: 3, of_target: String::new() }.to_string()
        );
    }
}

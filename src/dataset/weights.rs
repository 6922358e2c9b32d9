//! Sample weights and class weights.

use super::targets::check_finite;
use super::{Dataset, Target, Targets, listed};
use crate::error::{Error, Result};

/// The largest number of classes for balanced weights. A table of this size is allocated.
const MOST_CLASSES: u32 = 1 << 24;

impl Dataset {
    /// Sample weights: in the loss of every output, each row is multiplied by its weight. The mean still divides by
    /// the number of rows: see [`Loss`](crate::Loss). Replaces earlier sample weights; [class
    /// weights](Self::with_class_weights) are kept.
    ///
    /// # Errors
    /// - [`Error::Shape`] if there is not one weight for each row.
    /// - [`Error::NonFiniteTarget`] for the first weight that is NaN or infinite.
    pub fn with_weights(mut self, weights: Vec<f32>) -> Result<Self> {
        check_weights(&weights, self.rows)?;
        for target in &mut self.targets {
            if let (Some(of_classes), Targets::Labels { labels, .. }) = (&target.class_weights, &target.targets) {
                let mut products = weights.clone();
                multiply(&mut products, labels, of_classes)?;
                target.weights = Some(products);
            }
        }
        self.sample_weights = Some(weights);
        Ok(self)
    }

    /// Class weights: each row's loss is multiplied by the weight of its label, like Keras' `class_weight`.
    ///
    /// The mean still divides by the number of rows. PyTorch's `weight` divides by the sum of the rows' weights
    /// instead. Both give the same loss if the rows' weights sum to the number of rows, as
    /// [balanced](Self::balanced_class_weights) weights do.
    ///
    /// Class weights multiply [sample weights](Self::with_weights) and earlier class weights. Training, evaluation
    /// and [`Scores::weighted_accuracy`](crate::Scores::weighted_accuracy) use the resulting
    /// [`weights`](Self::weights). For several targets, see [`with_class_weights_of`](Self::with_class_weights_of).
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let data = Dataset::from_f32(vec![0.1, 0.2, 0.3], 1, vec![0, 0, 1], 2)?.with_class_weights(&[1.0, 5.0])?;
    /// assert_eq!(data.weights(), Some(&[1.0, 1.0, 5.0][..]));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`]:
    /// - if targets are numbers or have several positions, or there are several targets
    /// - if there is not one weight for each class
    /// - for the first weight that is negative, NaN or infinite
    /// - for the first row whose resulting weight overflows
    pub fn with_class_weights(self, weights: &[f32]) -> Result<Self> {
        let target = self.sole_target()?;
        self.class_weighted(target, weights)
    }

    /// [Class weights](Self::with_class_weights) for the target named `name`. They apply only to the loss of its
    /// output.
    ///
    /// # Errors
    /// As [`with_class_weights`](Self::with_class_weights); [`Error::Shape`] if no target has this name.
    pub fn with_class_weights_of(self, name: &str, weights: &[f32]) -> Result<Self> {
        let target = self.target_index(name)?;
        self.class_weighted(target, weights)
    }

    fn class_weighted(mut self, target: usize, weights: &[f32]) -> Result<Self> {
        let target = &mut self.targets[target];
        let (labels, classes) = target.one_a_row()?;
        if weights.len() != classes as usize {
            return Err(Error::shape("class weights", format!("{classes} (one per class)"), weights.len()));
        }
        if let Some(class) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            let what = format!("weight of class {class}");
            return Err(Error::shape(what, "a finite number of at least 0", weights[class]));
        }
        let of_rows = target.weights.clone().or_else(|| self.sample_weights.clone());
        let mut of_rows = of_rows.unwrap_or_else(|| vec![1.0; labels.len()]);
        multiply(&mut of_rows, labels, weights)?;
        target.weights = Some(of_rows);
        target.class_weights = Some(match target.class_weights.take() {
            Some(before) => before.iter().zip(weights).map(|(a, b)| a * b).collect(),
            None => weights.to_vec(),
        });
        Ok(self)
    }

    /// Balanced class weights: rows / (classes · rows of the class), like scikit-learn's `"balanced"`.
    ///
    /// All classes have the same total weight, and the mean weight of a row is 1. A class without rows is not counted
    /// as a class and has weight 1. Rows whose label is [ignored](super::DatasetBuilder::ignoring) are not counted.
    ///
    /// Compute the weights from the training set, and give the validation set the same weights.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let train = Dataset::from_f32(vec![0.1, 0.2, 0.3, 0.4], 1, vec![0, 0, 0, 1], 2)?;
    /// let weights = train.balanced_class_weights()?;
    /// assert_eq!(weights, [4.0 / (2.0 * 3.0), 2.0]);
    /// let train = train.with_class_weights(&weights)?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if targets are numbers or have several positions, if there are more than 16,777,216 classes,
    /// or if there are several targets.
    pub fn balanced_class_weights(&self) -> Result<Vec<f32>> {
        self.targets[self.sole_target()?].balanced()
    }

    /// [Balanced class weights](Self::balanced_class_weights) of the target named `name`.
    ///
    /// # Errors
    /// As [`balanced_class_weights`](Self::balanced_class_weights); [`Error::Shape`] if no target has this name.
    pub fn balanced_class_weights_of(&self, name: &str) -> Result<Vec<f32>> {
        self.targets[self.target_index(name)?].balanced()
    }

    fn sole_target(&self) -> Result<usize> {
        if let [_] = &self.targets[..] {
            return Ok(0);
        }
        let names = listed(self.targets.iter().map(|target| &*target.name));
        let actual = format!(
            "{names}; use Dataset::with_class_weights_of and Dataset::balanced_class_weights_of, which take a name"
        );
        Err(Error::shape("class weights", "a data set with one target", actual))
    }

    /// The weight of each row's loss: its sample weight times the weight of its class. `None` if the data set has
    /// neither. For several targets, that of the first.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights_for(&self.targets[0])
    }

    /// As `weights`, for one target.
    pub(super) fn weights_for<'a>(&'a self, target: &'a Target) -> Option<&'a [f32]> {
        target.weights.as_deref().or(self.sample_weights.as_deref())
    }

    /// The weight of each class, if [`with_class_weights`](Self::with_class_weights) set them. For several targets,
    /// those of the first.
    pub fn class_weights(&self) -> Option<&[f32]> {
        self.targets[0].class_weights.as_deref()
    }
}

impl Target {
    /// The labels and the number of classes, if a row has one label.
    fn one_a_row(&self) -> Result<(&[u32], u32)> {
        match &self.targets {
            Targets::Labels { labels, classes } if self.width() == 1 => Ok((labels, *classes)),
            Targets::Labels { .. } => {
                let actual = format!("{} per row; use Dataset::with_weights, one weight per row", self.width());
                Err(Error::shape("class weights", "one label per row", actual))
            }
            Targets::Values { .. } => Err(no_labels()),
        }
    }

    fn balanced(&self) -> Result<Vec<f32>> {
        let (labels, classes) = self.one_a_row()?;
        if classes > MOST_CLASSES {
            return Err(Error::shape("classes to balance the weights of", format!("at most {MOST_CLASSES}"), classes));
        }
        let mut counts = vec![0u32; classes as usize];
        let mut rows = 0u32;
        for label in labels.iter().filter(|label| self.ignored != Some(**label)) {
            counts[*label as usize] += 1;
            rows += 1;
        }
        let present = counts.iter().filter(|count| **count > 0).count() as f64;
        let weight = |count: u32| match count {
            0 => 1.0,
            _ => (f64::from(rows) / (present * f64::from(count))) as f32,
        };
        Ok(counts.into_iter().map(weight).collect())
    }
}

fn no_labels() -> Error {
    let actual = "numbers; use Dataset::with_weights, one weight per row";
    Error::shape("class weights", "targets that are labels", actual)
}

/// Returns an error unless there is one finite weight for each row.
pub(crate) fn check_weights(weights: &[f32], rows: usize) -> Result<()> {
    if weights.len() != rows {
        return Err(Error::shape("sample weights", format!("{rows} (one per row)"), weights.len()));
    }
    check_finite("weight", weights, 1, "")
}

/// Multiplies the weights of rows by those of their classes.
fn multiply(of_rows: &mut [f32], labels: &[u32], of_classes: &[f32]) -> Result<()> {
    for (weight, label) in of_rows.iter_mut().zip(labels) {
        // An ignored label may be outside the classes.
        *weight *= of_classes.get(*label as usize).unwrap_or(&1.0);
    }
    check_finite("weight", of_rows, 1, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(labels: &[u32], classes: u32) -> Dataset {
        Dataset::from_f32(vec![0.5; labels.len()], 1, labels.to_vec(), classes).unwrap()
    }

    #[test]
    fn class_weights_multiply_sample_weights_in_either_order() {
        let (samples, classes) = (vec![1.0, 2.0, 3.0, 4.0], [0.5, 10.0]);
        let expected = [0.5, 20.0, 30.0, 2.0];
        let labels = [0, 1, 1, 0];
        let first = data(&labels, 2).with_weights(samples.clone()).unwrap().with_class_weights(&classes).unwrap();
        let last = data(&labels, 2).with_class_weights(&classes).unwrap().with_weights(samples).unwrap();
        assert_eq!(first.weights().unwrap(), expected);
        assert_eq!(first, last);
        let (head, tail) = first.split(1).unwrap();
        assert_eq!((head.weights().unwrap(), tail.weights().unwrap()), (&expected[..1], &expected[1..]));
        assert_eq!((head.class_weights(), tail.class_weights()), (Some(&classes[..]), Some(&classes[..])));
        let twice = data(&labels, 2).with_class_weights(&classes).unwrap().with_class_weights(&[2.0, 1.0]).unwrap();
        assert_eq!(twice.class_weights().unwrap(), [1.0, 10.0]);
        let sum = |data: &Dataset| data.weights().unwrap().iter().sum::<f32>();
        assert_eq!(sum(&twice.shuffled(3)), sum(&twice));
    }

    #[test]
    fn balanced_weights_are_rows_over_classes_times_count() {
        // Computed by hand: 6 rows; 3 classes that occur, with 1, 2 and 3 rows.
        let data = data(&[2, 0, 2, 1, 2, 1], 4);
        let weights = data.balanced_class_weights().unwrap();
        assert_eq!(weights, [2.0, 1.0, 2.0 / 3.0, 1.0]);
        let data = data.with_class_weights(&weights).unwrap();
        assert_eq!(data.weights().unwrap().iter().sum::<f32>(), 6.0);
    }

    #[test]
    fn class_weights_that_do_not_fit_are_refused() {
        let numbers = || Dataset::from_f32_targets(vec![0.5; 2], 1, vec![0.0, 1.0], 1).unwrap();
        let no_labels = "class weights: expected targets that are labels, got numbers; use Dataset::with_weights, one \
                         weight per row";
        let of = |weights: &[f32]| data(&[0, 1], 2).with_class_weights(weights).map(drop);
        let large = || data(&[0, 1], 2).with_weights(vec![1.0, 1e30]).unwrap();
        let cases = [
            (of(&[1.0]), "class weights: expected 2 (one per class), got 1"),
            (of(&[1.0, -0.5]), "weight of class 1: expected a finite number of at least 0, got -0.5"),
            (of(&[f32::NAN, 1.0]), "weight of class 0: expected a finite number of at least 0, got NaN"),
            (of(&[1.0, f32::INFINITY]), "weight of class 1: expected a finite number of at least 0, got inf"),
            (numbers().with_class_weights(&[1.0, 1.0]).map(drop), no_labels),
            (numbers().balanced_class_weights().map(drop), no_labels),
            (large().with_class_weights(&[1.0, 1e30]).map(drop), "weight of row 1: expected a finite number, got inf"),
            (
                data(&[0, 1], u32::MAX).balanced_class_weights().map(drop),
                "classes to balance the weights of: expected at most 16777216, got 4294967295",
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
    }
}

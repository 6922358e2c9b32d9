//! Accuracies with weights of rows or classes, and intersection over union.

use super::Scores;
use crate::dataset::check_weights;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

impl Scores {
    /// Sets a weight for each row, for [`weighted_accuracy`](Self::weighted_accuracy). Scores from
    /// [`Model::score`](crate::Model::score) have the weights of the data set.
    ///
    /// # Errors
    /// - [`Error::Shape`] if there is not one weight for each row.
    /// - [`Error::NonFiniteTarget`] for the first weight that is NaN or infinite.
    pub fn with_weights(mut self, weights: Vec<f32>) -> Result<Self> {
        check_weights(&weights, self.outputs.len() / self.width)?;
        self.weights = Some(weights);
        Ok(self)
    }

    /// The weight of each row, if rows have weights.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// Weighted accuracy: the total weight of the rows whose class is right, divided by the total weight of all rows.
    /// Equals Keras' `weighted_metrics` and scikit-learn's `sample_weight`. Without weights it is
    /// [`accuracy`](Self::accuracy). NaN if the weights sum to 0.
    ///
    /// ```
    /// use wgrad::{Scores, Targets};
    /// let targets = Targets::Labels { labels: vec![0, 1], classes: 2 };
    /// let scores = Scores::new(vec![0.9, 0.1, 0.6, 0.4], 2, &targets)?.with_weights(vec![3.0, 1.0])?;
    /// assert_eq!((scores.accuracy(), scores.weighted_accuracy()), (0.5, 0.75));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn weighted_accuracy(&self) -> f64 {
        let Some(weights) = &self.weights else { return self.accuracy() };
        let (mut right, mut all) = (0.0, 0.0);
        for (weight, (predicted, expected)) in weights.iter().zip(self.predictions().iter().zip(self.expected())) {
            all += f64::from(*weight);
            right += if *predicted == expected { f64::from(*weight) } else { 0.0 };
        }
        right / all
    }

    /// Balanced accuracy: the mean recall over the classes. The recall of a class is the fraction of its rows that
    /// are right. Classes without rows are not counted. A row [without a class](Self::NO_CLASS) is wrong. Row weights
    /// are not used.
    pub fn balanced_accuracy(&self) -> f64 {
        // For each class, the number of its rows and the number of right ones.
        let mut counts = vec![(0u64, 0u64); self.width.max(2)];
        for (expected, predicted) in self.expected().into_iter().zip(self.predictions()) {
            let (rows, right) = &mut counts[expected as usize];
            *rows += 1;
            *right += u64::from(predicted == expected);
        }
        let seen = counts.into_iter().filter(|(rows, _)| *rows > 0);
        let recalls: Vec<f64> = seen.map(|(rows, right)| right as f64 / rows as f64).collect();
        super::mean(recalls.into_iter())
    }

    /// IoU (intersection over union) of each class, for example for the pixels of a segmentation.
    ///
    /// The intersection is the number of rows of the class that were predicted as it. The union is the number of rows
    /// that are of the class or were predicted as it. `None` if the union is 0. For an output with several positions
    /// (such as pixels), each position is a row; positions whose label is ignored are left out.
    ///
    /// ```
    /// use wgrad::{Scores, Targets};
    /// // Four pixels, predicted as the classes 0, 0, 1 and 1.
    /// let targets = Targets::Labels { labels: vec![0, 1, 1, 1], classes: 2 };
    /// let scores = Scores::new(vec![0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.2, 0.8], 2, &targets)?;
    /// assert_eq!((scores.accuracy(), scores.iou()), (0.75, vec![Some(0.5), Some(2.0 / 3.0)]));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn iou(&self) -> Vec<Option<f64>> {
        let mut counts = vec![(0u64, 0u64); self.width.max(2)];
        for (expected, predicted) in self.expected().into_iter().zip(self.predictions()) {
            counts[expected as usize].1 += 1;
            match predicted {
                Self::NO_CLASS => {}
                hit if hit == expected => counts[hit as usize].0 += 1,
                other => counts[other as usize].1 += 1,
            }
        }
        let share = |(both, either)| (either > 0).then(|| both as f64 / either as f64);
        counts.into_iter().map(share).collect()
    }

    /// Mean [IoU](Self::iou) over the classes that have one.
    pub fn mean_iou(&self) -> f64 {
        super::mean(self.iou().into_iter().flatten().collect::<Vec<_>>().into_iter())
    }
}

#[cfg(test)]
mod tests {
    use crate::dataset::Targets;
    use crate::scores::Scores;

    #[test]
    fn weighted_and_balanced_accuracy_are_what_hand_and_definition_say() {
        // Predictions 0, 0, 1, 0. Class 0 is right in 2 of 2 rows, class 1 in 1 of 2; class 2 has no rows.
        let targets = Targets::Labels { labels: vec![0, 0, 1, 1], classes: 3 };
        let outputs = vec![0.8, 0.1, 0.1, 0.5, 0.3, 0.2, 0.1, 0.9, 0.0, 0.6, 0.4, 0.0];
        let scores = Scores::new(outputs, 3, &targets).unwrap();
        assert_eq!((scores.accuracy(), scores.weighted_accuracy(), scores.balanced_accuracy()), (0.75, 0.75, 0.75));
        let weighted = scores.clone().with_weights(vec![1.0, 0.5, 2.0, 4.5]).unwrap();
        assert_eq!((weighted.accuracy(), weighted.weighted_accuracy()), (0.75, 3.5 / 8.0));
        assert_eq!(weighted.weights(), Some(&[1.0, 0.5, 2.0, 4.5][..]));
        let none = scores.clone().with_weights(vec![0.0; 4]).unwrap();
        assert!(none.weighted_accuracy().is_nan());
        let fault = |weights: Vec<f32>| scores.clone().with_weights(weights).unwrap_err().to_string();
        assert_eq!(fault(vec![1.0]), "sample weights: expected 4 (one per row), got 1");
        assert_eq!(fault(vec![1.0, 1.0, f32::NAN, 1.0]), "weight of row 2: expected a finite number, got NaN");
        // Three of four rows of class 0 are right, none of class 1.
        let targets = Targets::Labels { labels: vec![0, 0, 0, 0, 1], classes: 2 };
        let scores = Scores::new(vec![0.1, 0.2, 0.3, 0.9, 0.4], 1, &targets).unwrap();
        assert_eq!((scores.accuracy(), scores.balanced_accuracy()), (0.6, 0.375));
    }

    #[test]
    fn intersection_over_union_counts_each_class() {
        // Six pixels of classes 0 to 3, predicted as 0, 1, 1, 0, none and 2. Class 3 does not occur.
        let targets = Targets::Labels { labels: vec![0, 0, 1, 0, 1, 1], classes: 4 };
        let mut outputs = vec![0.0; 24];
        [0, 5, 9, 12, 16, 22].into_iter().for_each(|i| outputs[i] = 1.0);
        outputs[16] = f32::NAN;
        let scores = Scores::new(outputs, 4, &targets).unwrap();
        assert_eq!(scores.iou(), [Some(2.0 / 3.0), Some(0.25), Some(0.0), None]);
        assert_eq!(scores.mean_iou(), (2.0 / 3.0 + 0.25) / 3.0);
    }
}

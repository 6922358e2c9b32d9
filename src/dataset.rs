//! A data set: rows of features with a label each, as they are uploaded.

mod weights;

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::random::{self, Stream};
pub(crate) use weights::check_weights;

/// Rows of features and their targets, checked when made. Bytes stay bytes, on the GPU too, and are scaled as a batch is
/// gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    values: Values,
    features: usize,
    targets: Targets,
    /// Sample weights times class weights.
    weights: Option<Vec<f32>>,
    class_weights: Option<Vec<f32>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

/// What a network is to put out for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The number of the right class: see [`Loss`](crate::Loss) for what it means to each loss.
    Labels {
        /// One a row, below `classes`.
        labels: Vec<u32>,
        /// How many classes there are.
        classes: u32,
    },
    /// The right outputs.
    Values {
        /// Row-major \[rows, outputs\].
        values: Vec<f32>,
        /// Numbers of a row.
        outputs: u32,
    },
}

impl Targets {
    /// Numbers of a row.
    pub(crate) fn width(&self) -> usize {
        match self {
            Targets::Labels { .. } => 1,
            Targets::Values { outputs, .. } => *outputs as usize,
        }
    }

    /// Refuses labels that no class has, and numbers that are not finite.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Targets::Labels { labels, classes } => match labels.iter().position(|label| label >= classes) {
                Some(row) => Err(Error::LabelOutOfRange { row, label: labels[row], classes: *classes }),
                None => Ok(()),
            },
            Targets::Values { values, .. } => check_finite("target", values, self.width()),
        }
    }

    /// Refuses values that a loss cannot take.
    pub(crate) fn check_range(&self, loss: Loss) -> Result<()> {
        let (Targets::Values { values, outputs }, Some(loss)) = (self, loss.of_probabilities()) else { return Ok(()) };
        match values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            Some(i) => {
                let (row, column) = (i / *outputs as usize, i % *outputs as usize);
                Err(Error::TargetOutOfRange { row, column, value: values[i], loss })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Targets::Labels { labels, .. } => labels.len(),
            Targets::Values { values, outputs } => values.len() / (*outputs).max(1) as usize,
        }
    }
}

/// What a byte is multiplied by: 255 becomes 1.
pub(crate) const U8_SCALE: f32 = 1.0 / 255.0;

impl Dataset {
    /// A data set of bytes, such as 8-bit images: row-major `[rows, features]`, each byte read as byte / 255.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let two_rows = Dataset::from_u8(vec![0, 51, 102, 153, 204, 255], 3, vec![0, 1], 2)?;
    /// assert_eq!(two_rows.rows(), 2);
    /// let error = Dataset::from_u8(vec![0, 0, 0], 3, vec![7], 2).unwrap_err();
    /// assert_eq!(error.to_string(), "label of row 0 is 7, but there are 2 classes (0 to 1)");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the numbers of values and labels do not fit together or there is no row;
    /// [`Error::LabelOutOfRange`] for the first label not below `classes`.
    pub fn from_u8(values: Vec<u8>, features: usize, labels: Vec<u32>, classes: u32) -> Result<Self> {
        Self::new(Values::U8(values), features, Targets::Labels { labels, classes })
    }

    /// A data set of numbers: row-major `[rows, features]`, used as they are.
    ///
    /// # Errors
    /// As [`from_u8`](Self::from_u8), and [`Error::NonFiniteFeature`] for the first NaN or infinity.
    pub fn from_f32(values: Vec<f32>, features: usize, labels: Vec<u32>, classes: u32) -> Result<Self> {
        Self::new(Values::F32(values), features, Targets::Labels { labels, classes })
    }

    /// A data set of bytes whose targets are numbers: `targets` is row-major `[rows, outputs]`.
    ///
    /// # Errors
    /// As [`from_f32_targets`](Self::from_f32_targets).
    pub fn from_u8_targets(values: Vec<u8>, features: usize, targets: Vec<f32>, outputs: u32) -> Result<Self> {
        Self::new(Values::U8(values), features, Targets::Values { values: targets, outputs })
    }

    /// A data set of numbers whose targets are numbers: `targets` is row-major `[rows, outputs]`.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let xor = Dataset::from_f32_targets(vec![0., 0., 0., 1., 1., 0., 1., 1.], 2, vec![0., 1., 1., 0.], 1)?;
    /// assert_eq!((xor.rows(), xor.features()), (4, 2));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the numbers of values and targets do not fit together or there is no row;
    /// [`Error::NonFiniteFeature`], [`Error::NonFiniteTarget`] for the first NaN or infinity.
    pub fn from_f32_targets(values: Vec<f32>, features: usize, targets: Vec<f32>, outputs: u32) -> Result<Self> {
        Self::new(Values::F32(values), features, Targets::Values { values: targets, outputs })
    }

    fn new(values: Values, features: usize, targets: Targets) -> Result<Self> {
        let count = match &values {
            Values::U8(v) => v.len(),
            Values::F32(v) => v.len(),
        };
        check(count, features, &targets)?;
        if let Values::F32(v) = &values
            && let Some(i) = v.iter().position(|v| !v.is_finite())
        {
            let (row, column, value) = (i / features, i % features, v[i]);
            return Err(Error::NonFiniteFeature { row, column, value, of_input: String::new() });
        }
        Ok(Self { values, features, targets, weights: None, class_weights: None })
    }

    /// How many rows there are; at least 1.
    pub fn rows(&self) -> usize {
        self.targets.rows()
    }

    /// Features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The target of every row.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The label of every row; none where targets are numbers.
    pub fn labels(&self) -> &[u32] {
        match &self.targets {
            Targets::Labels { labels, .. } => labels,
            Targets::Values { .. } => &[],
        }
    }

    /// The features of some rows as the network sees them.
    ///
    /// # Panics
    /// Where the range reaches beyond the last row, as a slice would.
    pub fn features_of(&self, rows: Range<usize>) -> Vec<f32> {
        let values = rows.start * self.features..rows.end * self.features;
        match &self.values {
            Values::U8(bytes) => bytes[values].iter().map(|&b| f32::from(b) * U8_SCALE).collect(),
            Values::F32(numbers) => numbers[values].to_vec(),
        }
    }

    /// Splits off the rows from `at` on, to hold some back for validation.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both parts have a row.
    pub fn split(mut self, at: usize) -> Result<(Self, Self)> {
        if at == 0 || at >= self.rows() {
            let expected = format!("above 0 and below {}, its rows", self.rows());
            return Err(Error::shape("row to split the data set at", expected, at));
        }
        let values = match &mut self.values {
            Values::U8(v) => Values::U8(v.split_off(at * self.features)),
            Values::F32(v) => Values::F32(v.split_off(at * self.features)),
        };
        let targets = match &mut self.targets {
            Targets::Labels { labels, classes } => Targets::Labels { labels: labels.split_off(at), classes: *classes },
            Targets::Values { values, outputs } => {
                Targets::Values { values: values.split_off(at * *outputs as usize), outputs: *outputs }
            }
        };
        let weights = self.weights.as_mut().map(|w| w.split_off(at));
        let class_weights = self.class_weights.clone();
        let tail = Self { values, features: self.features, targets, weights, class_weights };
        Ok((self, tail))
    }

    /// Holds back the last rows, this share of all, for validation: the training part and the held part. Where the order
    /// of rows means something, [shuffle](Self::shuffled) them first.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both parts have a row.
    pub fn hold_out(self, share: f64) -> Result<(Self, Self)> {
        let held = (self.rows() as f64 * share).round().clamp(0.0, self.rows() as f64) as usize;
        if held == 0 || held == self.rows() {
            let expected = format!("at least 1 of {}, and not all", self.rows());
            return Err(Error::shape("rows held back", expected, format!("{held}, a share of {share}")));
        }
        let at = self.rows() - held;
        self.split(at)
    }

    /// The rows in a random order that the seed determines.
    pub fn shuffled(&self, seed: u64) -> Self {
        // Fisher and Yates.
        let mut order: Vec<usize> = (0..self.rows()).collect();
        for i in (1..order.len()).rev() {
            let draw = random::uniform(seed, Stream::Split, 0, i as u32);
            order.swap(i, (draw * (i + 1) as f64) as usize);
        }
        fn rows<T: Copy>(order: &[usize], values: &[T], width: usize) -> Vec<T> {
            order.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect()
        }
        let values = match &self.values {
            Values::U8(v) => Values::U8(rows(&order, v, self.features)),
            Values::F32(v) => Values::F32(rows(&order, v, self.features)),
        };
        let targets = match &self.targets {
            Targets::Labels { labels, classes } => {
                Targets::Labels { labels: rows(&order, labels, 1), classes: *classes }
            }
            Targets::Values { values, outputs } => {
                Targets::Values { values: rows(&order, values, *outputs as usize), outputs: *outputs }
            }
        };
        let weights = self.weights.as_ref().map(|w| rows(&order, w, 1));
        let class_weights = self.class_weights.clone();
        Self { values, features: self.features, targets, weights, class_weights }
    }

    /// Words from one row's targets as uploaded to the next one's.
    pub(crate) fn target_stride(&self) -> usize {
        self.targets.width() + usize::from(self.weights.is_some())
    }

    /// Bytes of the targets as uploaded.
    pub(crate) fn target_bytes(&self) -> u64 {
        (self.target_stride() * 4) as u64 * self.rows() as u64
    }

    /// The targets as uploaded: a row's label or numbers, then its weight if rows have one.
    pub(crate) fn target_words(&self) -> Vec<u32> {
        let words: &[u32] = match &self.targets {
            Targets::Labels { labels, .. } => labels,
            Targets::Values { values, .. } => bytemuck::cast_slice(values),
        };
        match &self.weights {
            None => words.to_vec(),
            Some(weights) => {
                let rows = words.chunks_exact(self.targets.width()).zip(weights);
                rows.flat_map(|(words, weight)| words.iter().copied().chain([weight.to_bits()])).collect()
            }
        }
    }

    /// Whether the features are bytes.
    pub(crate) fn is_u8(&self) -> bool {
        matches!(self.values, Values::U8(_))
    }

    /// Words from one row's features as uploaded to the next one's.
    pub(crate) fn feature_stride(&self) -> usize {
        if self.is_u8() { self.features.div_ceil(4) } else { self.features }
    }

    /// Bytes of the features as uploaded.
    pub(crate) fn feature_bytes(&self) -> u64 {
        (self.feature_stride() * 4) as u64 * self.rows() as u64
    }

    /// The features as uploaded: each row of bytes starts at a whole word.
    pub(crate) fn feature_words(&self) -> Cow<'_, [u8]> {
        match &self.values {
            Values::F32(v) => bytemuck::cast_slice(v).into(),
            Values::U8(v) if self.features.is_multiple_of(4) => v.into(),
            Values::U8(v) => {
                let mut words = Vec::with_capacity(self.feature_bytes() as usize);
                for row in v.chunks_exact(self.features) {
                    words.extend_from_slice(row);
                    words.resize(words.len().next_multiple_of(4), 0);
                }
                words.into()
            }
        }
    }
}

/// A data set that is lent: what trains on it uploads a copy.
impl<'a> From<&'a Dataset> for Cow<'a, Dataset> {
    fn from(data: &'a Dataset) -> Self {
        Cow::Borrowed(data)
    }
}

/// A data set that is given away: what trains on it frees it once it is uploaded.
impl From<Dataset> for Cow<'_, Dataset> {
    fn from(data: Dataset) -> Self {
        Cow::Owned(data)
    }
}

fn check(values: usize, features: usize, targets: &Targets) -> Result<()> {
    let at_least_1 = |what: &str, count: usize| match count {
        0 => Err(Error::shape(what, "at least 1", 0)),
        _ => Ok(()),
    };
    at_least_1("features of a row", features)?;
    if let Targets::Values { values, outputs } = targets {
        at_least_1("outputs of a row of targets", *outputs as usize)?;
        if !values.len().is_multiple_of(*outputs as usize) {
            return Err(Error::shape("target values", format!("whole rows of {outputs}"), values.len()));
        }
    }
    let rows = targets.rows();
    at_least_1("rows of the data set", rows)?;
    if rows > u32::MAX as usize {
        return Err(Error::shape("rows of the data set", "at most 4,294,967,295", rows));
    }
    if Some(values) != rows.checked_mul(features) {
        let expected = format!("{} ({rows} targets of {features} features)", rows as u128 * features as u128);
        return Err(Error::shape("feature values", expected, values));
    }
    targets.check()
}

/// Refuses numbers that are not finite, by the row of the first.
fn check_finite(what: &'static str, values: &[f32], width: usize) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(Error::NonFiniteTarget { what, row: i / width, value: values[i] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_refused_with_the_row_and_the_value() {
        let cases: [(Result<Dataset>, &str); 9] = [
            (Dataset::from_u8(vec![], 0, vec![], 1), "features of a row: expected at least 1, got 0"),
            (Dataset::from_u8(vec![], 3, vec![], 1), "rows of the data set: expected at least 1, got 0"),
            (
                Dataset::from_u8(vec![1; 5], 3, vec![0, 0], 1),
                "feature values: expected 6 (2 targets of 3 features), got 5",
            ),
            (
                Dataset::from_u8(vec![1; 6], 3, vec![0, 10], 10),
                "label of row 1 is 10, but there are 10 classes (0 to 9)",
            ),
            (
                Dataset::from_f32(vec![0.0, 1.0, f32::NAN, 3.0], 2, vec![0, 0], 1),
                "feature 0 of row 1 is NaN: features must be finite",
            ),
            (
                Dataset::from_u8(vec![1; 6], 3, vec![0, 0], 1).and_then(|d| d.split(2)).map(|(d, _)| d),
                "row to split the data set at: expected above 0 and below 2, its rows, got 2",
            ),
            (
                Dataset::from_f32_targets(vec![0.0; 2], 1, vec![0.0; 3], 2),
                "target values: expected whole rows of 2, got 3",
            ),
            (
                Dataset::from_f32_targets(vec![0.0; 2], 1, vec![0.0, f32::INFINITY], 1),
                "target of row 1 is inf: it must be finite",
            ),
            (
                Dataset::from_u8(vec![1; 6], 3, vec![0, 0], 1).and_then(|d| d.with_weights(vec![1.0])),
                "weights of rows: expected 2, one a row, got 1",
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        let one = Dataset::from_u8(vec![1; 3], 3, vec![0], 1).unwrap();
        let reason = one.hold_out(0.5).unwrap_err().to_string();
        assert_eq!(reason, "rows held back: expected at least 1 of 1, and not all, got 1, a share of 0.5");
    }

    #[test]
    fn rows_of_bytes_are_padded_to_words_and_read_back_scaled() {
        let data = Dataset::from_u8(vec![0, 51, 255, 102, 1, 2], 3, vec![0, 1], 2).unwrap();
        assert_eq!(data.feature_words().as_ref(), [0, 51, 255, 0, 102, 1, 2, 0]);
        assert_eq!(data.feature_bytes(), 8);
        assert_eq!(data.features_of(0..1), [0.0, 51.0 * U8_SCALE, 1.0]);
        let (head, tail) = data.split(1).unwrap();
        assert_eq!((head.labels(), tail.labels()), (&[0][..], &[1][..]));
        assert_eq!(tail.features_of(0..1), [102.0 * U8_SCALE, U8_SCALE, 2.0 * U8_SCALE]);
    }
    #[test]
    fn shuffling_keeps_rows_together_and_depends_on_the_seed_only() {
        let rows = 50usize;
        let values = (0..rows).flat_map(|i| [i as f32, -(i as f32)]).collect();
        let targets = (0..rows).map(|i| i as f32 * 10.0).collect();
        let data = Dataset::from_f32_targets(values, 2, targets, 1).unwrap();
        let data = data.with_weights((0..rows).map(|i| i as f32 + 0.5).collect()).unwrap();
        let shuffled = data.shuffled(3);
        assert_eq!(shuffled, data.shuffled(3));
        assert_ne!(shuffled, data.shuffled(4));
        let mut seen: Vec<u32> = Vec::new();
        for (row, words) in shuffled.target_words().chunks_exact(2).enumerate() {
            let i = shuffled.features_of(row..row + 1)[0];
            assert_eq!(shuffled.features_of(row..row + 1)[1], -i);
            assert_eq!((f32::from_bits(words[0]), f32::from_bits(words[1])), (i * 10.0, i + 0.5));
            seen.push(i as u32);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..rows as u32));
        let (train, held) = shuffled.hold_out(0.2).unwrap();
        assert_eq!((train.rows(), held.rows()), (40, 10));
        assert_eq!(held.weights().unwrap().len(), 10);
        assert!(data.hold_out(0.001).is_err());
    }
}

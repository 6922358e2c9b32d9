//! A data set: rows of features with a label each, as they are uploaded.

use std::ops::Range;

use crate::error::{Error, Result};

/// Rows of features and their labels, checked when made. Bytes stay bytes, on the GPU too, and are scaled as a batch
/// is gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    values: Values,
    features: usize,
    labels: Vec<u32>,
    classes: u32,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    U8(Vec<u8>),
    F32(Vec<f32>),
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
        check(values.len(), features, &labels, classes)?;
        Ok(Self { values: Values::U8(values), features, labels, classes })
    }

    /// A data set of numbers: row-major `[rows, features]`, used as they are.
    ///
    /// # Errors
    /// As [`from_u8`](Self::from_u8), and [`Error::NonFiniteFeature`] for the first NaN or infinity.
    pub fn from_f32(values: Vec<f32>, features: usize, labels: Vec<u32>, classes: u32) -> Result<Self> {
        check(values.len(), features, &labels, classes)?;
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFiniteFeature { row: i / features, column: i % features, value: values[i] });
        }
        Ok(Self { values: Values::F32(values), features, labels, classes })
    }

    /// How many rows there are; at least 1.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many classes the labels may name.
    pub fn classes(&self) -> u32 {
        self.classes
    }

    /// The label of every row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
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
            return Err(Error::Shape {
                what: "row to split the data set at".into(),
                expected: format!("1 to {}", self.rows() - 1),
                actual: at.to_string(),
            });
        }
        let values = match &mut self.values {
            Values::U8(v) => Values::U8(v.split_off(at * self.features)),
            Values::F32(v) => Values::F32(v.split_off(at * self.features)),
        };
        let labels = self.labels.split_off(at);
        let tail = Self { values, features: self.features, labels, classes: self.classes };
        Ok((self, tail))
    }

    /// Whether the features are bytes.
    pub(crate) fn is_u8(&self) -> bool {
        matches!(self.values, Values::U8(_))
    }

    /// Bytes of the features as uploaded.
    pub(crate) fn feature_bytes(&self) -> u64 {
        let row = if self.is_u8() { self.features.next_multiple_of(4) } else { self.features * 4 };
        row as u64 * self.rows() as u64
    }

    /// The features as uploaded: each row of bytes starts at a whole word.
    pub(crate) fn feature_words(&self) -> std::borrow::Cow<'_, [u8]> {
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

fn check(values: usize, features: usize, labels: &[u32], classes: u32) -> Result<()> {
    let fault = |what: &str, expected: String, actual: usize| {
        Err(Error::Shape { what: what.into(), expected, actual: actual.to_string() })
    };
    if features == 0 {
        return fault("features of a row", "at least 1".into(), 0);
    }
    if labels.is_empty() {
        return fault("rows of the data set", "at least 1".into(), 0);
    }
    if labels.len() > u32::MAX as usize {
        return fault("rows of the data set", "at most 4,294,967,295".into(), labels.len());
    }
    if Some(values) != labels.len().checked_mul(features) {
        let expected = labels.len() as u128 * features as u128;
        let expected = format!("{expected} ({} labels of {features} features)", labels.len());
        return fault("feature values", expected, values);
    }
    match labels.iter().position(|&label| label >= classes) {
        Some(row) => Err(Error::LabelOutOfRange { row, label: labels[row], classes }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_refused_with_the_row_and_the_value() {
        let cases: [(Result<Dataset>, &str); 6] = [
            (Dataset::from_u8(vec![], 0, vec![], 1), "features of a row: expected at least 1, got 0"),
            (Dataset::from_u8(vec![], 3, vec![], 1), "rows of the data set: expected at least 1, got 0"),
            (
                Dataset::from_u8(vec![1; 5], 3, vec![0, 0], 1),
                "feature values: expected 6 (2 labels of 3 features), got 5",
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
                "row to split the data set at: expected 1 to 1, got 2",
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
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
}

//! Constructors of data sets with one input and one target, and the checks of their values.

use super::features::Values;
use super::{Dataset, Features, Input, Target, Targets};
use crate::error::{Error, Result};
use crate::shape::{LONGEST_TENSOR, Shape};

/// Data sets of one input and one target. The names do not matter when training.
impl Dataset {
    /// A data set of bytes with labels, such as 8-bit images: row-major `[rows, features]`. Each byte is read as byte
    /// / 255. The input is named "input", the target "output".
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let two_rows = Dataset::from_u8(vec![0, 51, 102, 153, 204, 255], 3, vec![0, 1], 2)?;
    /// assert_eq!(two_rows.rows(), 2);
    /// let error = Dataset::from_u8(vec![0, 0, 0], 3, vec![7], 2).unwrap_err();
    /// assert_eq!(error.to_string(), "label of row 0: expected a class below 2, got 7");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Shape`] if the number of values does not match the number of labels, or there is no row.
    /// - [`Error::LabelOutOfRange`] for the first label not below `classes`.
    pub fn from_u8(values: Vec<u8>, features: usize, labels: Vec<u32>, classes: u32) -> Result<Self> {
        Self::simple(values.into(), features, Targets::Labels { labels, classes })
    }

    /// A data set of f32 values with labels: row-major `[rows, features]`, used unchanged.
    ///
    /// # Errors
    /// As [`from_u8`](Self::from_u8), and [`Error::NonFiniteFeature`] for the first NaN or infinity.
    pub fn from_f32(values: Vec<f32>, features: usize, labels: Vec<u32>, classes: u32) -> Result<Self> {
        Self::simple(values.into(), features, Targets::Labels { labels, classes })
    }

    /// A data set of bytes with numbers as targets: `targets` is row-major `[rows, outputs]`.
    ///
    /// # Errors
    /// As [`from_f32_targets`](Self::from_f32_targets).
    pub fn from_u8_targets(values: Vec<u8>, features: usize, targets: Vec<f32>, outputs: u32) -> Result<Self> {
        Self::simple(values.into(), features, Targets::Values { values: targets, outputs })
    }

    /// A data set of f32 values with numbers as targets: `targets` is row-major `[rows, outputs]`.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let xor = Dataset::from_f32_targets(vec![0., 0., 0., 1., 1., 0., 1., 1.], 2, vec![0., 1., 1., 0.], 1)?;
    /// assert_eq!((xor.rows(), xor.features()), (4, 2));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Shape`] if the number of values does not match the number of targets, or there is no row.
    /// - [`Error::NonFiniteFeature`] and [`Error::NonFiniteTarget`] for the first NaN or infinity.
    pub fn from_f32_targets(values: Vec<f32>, features: usize, targets: Vec<f32>, outputs: u32) -> Result<Self> {
        Self::simple(values.into(), features, Targets::Values { values: targets, outputs })
    }

    /// The same data with another shape of the first input, of the same number of features.
    #[cfg(feature = "mnist")]
    pub(crate) fn with_input_shape(mut self, shape: Shape) -> Self {
        self.inputs[0].shape = shape;
        self
    }

    fn simple(features: Features, width: usize, targets: Targets) -> Result<Self> {
        check(features.len(), width, &targets)?;
        let Ok(columns) = u32::try_from(width) else {
            return Err(Error::shape("features of a row", format!("at most {LONGEST_TENSOR}"), width));
        };
        let input = Input {
            name: "input".into(),
            shape: columns.into(),
            values: Values { features, table: Vec::new() },
            augmentation: None,
            crop: None,
        };
        input.check_finite("")?;
        let shape = match &targets {
            Targets::Labels { .. } => Shape::of(&[]),
            Targets::Values { outputs, .. } => (*outputs).into(),
        };
        let rows = targets.rows();
        let target = Target { shape, ..Target::new("output".into(), targets) };
        Ok(Self { rows, inputs: vec![input], targets: vec![target], sample_weights: None })
    }
}

impl Target {
    /// A target without ignored label and without shape.
    pub fn new(name: String, targets: Targets) -> Self {
        Self { name, shape: Shape::of(&[]), targets, ignored: None, class_weights: None, weights: None, crop: None }
    }
}

pub(super) fn at_least_1(what: &str, count: usize) -> Result<()> {
    match count {
        0 => Err(Error::shape(what, "at least 1", 0)),
        _ => Ok(()),
    }
}

pub(super) fn at_most_u32(rows: usize) -> Result<()> {
    match rows > u32::MAX as usize {
        true => Err(Error::shape("rows of the data set", "at most 4,294,967,295", rows)),
        false => Ok(()),
    }
}

/// Checks the numbers of values for one input and one target.
fn check(values: usize, features: usize, targets: &Targets) -> Result<()> {
    at_least_1("features of a row", features)?;
    if let Targets::Values { values, outputs } = targets {
        at_least_1("outputs of a row of targets", *outputs as usize)?;
        if !values.len().is_multiple_of(*outputs as usize) {
            return Err(Error::shape("target values", format!("whole rows of {outputs} numbers"), values.len()));
        }
    }
    let rows = targets.rows();
    at_least_1("rows of the data set", rows)?;
    at_most_u32(rows)?;
    if Some(values) != rows.checked_mul(features) {
        let expected = format!("{} ({rows} rows of {features})", rows as u128 * features as u128);
        return Err(Error::shape("feature values", expected, values));
    }
    targets.check()
}

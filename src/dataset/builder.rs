//! Builder of data sets with several named inputs and targets.

use super::constructors::{at_least_1, at_most_u32};
use super::features::Values;
use super::{Dataset, Features, Input, Target, Targets};
use crate::error::{Error, Result};
use crate::shape::{LONGEST_TENSOR, Shape};

/// Builder of a data set with several inputs and targets: see [`Dataset::of_rows`]. It keeps its first error until
/// [`build`](Self::build).
#[derive(Debug)]
pub struct DatasetBuilder {
    data: Result<Dataset>,
}

impl Dataset {
    /// Starts a data set of `rows` rows, to which inputs and targets are added by name.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// # let (pixels, years, kinds, sizes) = (vec![0u8; 2 * 784], vec![30.0, 41.0], vec![3, 7], vec![1.5, 2.5]);
    /// let data = Dataset::of_rows(2)
    ///     .input("image", pixels, [28, 28, 1]) // bytes or f32: [rows, 28, 28, 1]
    ///     .input("age", years, 1)
    ///     .labels("kind", kinds, 10) // u32: one a row
    ///     .targets("size", sizes, 1) // f32: [rows, 1]
    ///     .build()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn of_rows(rows: usize) -> DatasetBuilder {
        DatasetBuilder { data: Ok(Self { rows, inputs: Vec::new(), targets: Vec::new(), sample_weights: None }) }
    }
}

impl DatasetBuilder {
    /// Adds an input for the network's input of the same name: row-major \[rows, ...shape\], a `Vec` of bytes or of
    /// f32. Bytes are read as byte / 255. `shape` is the shape of one row, channels last; a number means that many
    /// features.
    pub fn input(self, name: impl Into<String>, values: impl Into<Features>, shape: impl Into<Shape>) -> Self {
        let (name, features, shape) = (name.into(), values.into(), shape.into());
        self.then(|data| {
            let what = format!("features of input {name:?}");
            data.check_new(&what, data.inputs.iter().any(|input| input.name == name))?;
            data.check_count(&what, &shape, features.len())?;
            let input =
                Input { name, shape, values: Values { features, table: Vec::new() }, augmentation: None, crop: None };
            input.check_finite(&format!(" of input {:?}", input.name))?;
            data.inputs.push(input);
            Ok(())
        })
    }

    /// Normalises the channels of an input when batches are gathered: each value becomes (value − mean) / deviation.
    /// Bytes are divided by 255 first. Channels are the last dimension of the input's shape. `means` and `deviations`
    /// have one number for each channel, or one number for all channels.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let data = Dataset::of_rows(1)
    ///     .input("image", vec![0u8, 255, 51, 102], [2, 2])
    ///     .normalised("image", &[0.5, 0.25], &[0.25, 0.5])
    ///     .labels("kind", vec![1], 2)
    ///     .build()?;
    /// assert_eq!(data.features_of(0..1)[..2], [-2.0, 1.5]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn normalised(self, name: &str, means: &[f32], deviations: &[f32]) -> Self {
        self.then(|data| {
            let i = data.input_index(name)?;
            data.inputs[i].normalise(means, deviations)
        })
    }

    /// Adds labels as targets for the network's output of the same name: one label a row. If the output has several
    /// positions: one label for each position, row-major \[rows, positions\]. Each label must be below `classes`,
    /// unless it is [ignored](Self::ignoring).
    pub fn labels(self, name: impl Into<String>, labels: Vec<u32>, classes: u32) -> Self {
        let name = name.into();
        self.then(|data| {
            let what = data.check_new_target(&name)?;
            if labels.is_empty() || !labels.len().is_multiple_of(data.rows) {
                let expected = format!("{} labels (one per row), or a multiple of it (one per position)", data.rows);
                return Err(Error::shape(what, expected, labels.len()));
            }
            let shape = match labels.len() / data.rows {
                1 => Shape::of(&[]),
                positions => u32::try_from(positions).unwrap_or(u32::MAX).into(),
            };
            data.check_count(&what, &shape, labels.len())?;
            data.targets.push(Target { shape, ..Target::new(name, Targets::Labels { labels, classes }) });
            Ok(())
        })
    }

    /// Adds targets with a label for each position of a row: row-major \[rows, ...shape\]. The shape of the network's
    /// output is `shape` followed by the number of classes.
    ///
    /// ```
    /// use wgrad::Dataset;
    /// // One of 3 classes for each of 2 · 2 pixels; 255 is ignored.
    /// let data = Dataset::of_rows(1)
    ///     .input("image", vec![0u8; 4], [2, 2, 1])
    ///     .positions("mask", vec![0, 2, 255, 1], [2, 2], 3)
    ///     .ignoring("mask", 255)
    ///     .build()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn positions(self, name: impl Into<String>, labels: Vec<u32>, shape: impl Into<Shape>, classes: u32) -> Self {
        let (name, shape) = (name.into(), shape.into());
        self.then(|data| {
            let what = data.check_new_target(&name)?;
            data.check_count(&what, &shape, labels.len())?;
            data.targets.push(Target { shape, ..Target::new(name, Targets::Labels { labels, classes }) });
            Ok(())
        })
    }

    /// Adds numbers as targets: row-major \[rows, ...shape\], for the network's output of the same name and shape.
    pub fn targets(self, name: impl Into<String>, values: Vec<f32>, shape: impl Into<Shape>) -> Self {
        let (name, shape) = (name.into(), shape.into());
        self.then(|data| {
            let what = data.check_new_target(&name)?;
            data.check_count(&what, &shape, values.len())?;
            let targets = Targets::Values { values, outputs: shape.elements() as u32 };
            data.targets.push(Target { shape, ..Target::new(name, targets) });
            Ok(())
        })
    }

    /// Ignores a label of a target in training and evaluation. A row or position with this label has no loss and no
    /// gradient. Metrics do not count it; for its part in the mean see [`Loss`](crate::Loss). The label may be
    /// outside the classes (255 in many masks) or inside (0 if it stands for padding).
    pub fn ignoring(self, name: &str, label: u32) -> Self {
        self.then(|data| {
            let i = data.target_index(name)?;
            match &data.targets[i].targets {
                // The GPU gets another number in place of this label: see `Target::uploaded_label`.
                Targets::Labels { classes: u32::MAX, .. } if label == u32::MAX => {
                    let what = format!("label to ignore of target {name:?} with 4294967295 classes");
                    Err(Error::shape(what, "below 4294967295", label))
                }
                Targets::Labels { .. } => {
                    data.targets[i].ignored = Some(label);
                    Ok(())
                }
                Targets::Values { .. } => {
                    Err(Error::shape(format!("label to ignore of target {name:?}"), "a target of labels", "numbers"))
                }
            }
        })
    }

    /// Checks the values and returns the data set.
    ///
    /// # Errors
    /// The first error of the added values; it names the input or the target:
    /// - [`Error::Shape`] if the number of values differs from rows times shape; if there is no row, no input or no
    ///   target; if a name is given twice or unknown; if means and deviations are not one finite number for each
    ///   channel, or a deviation is not above 0.
    /// - [`Error::NonFiniteFeature`] and [`Error::NonFiniteTarget`] for the first NaN or infinity.
    /// - [`Error::LabelOutOfRange`] for the first label that is not a class.
    pub fn build(self) -> Result<Dataset> {
        let data = self.data?;
        for target in &data.targets {
            let of_target = format!(" of target {:?}", target.name);
            target.targets.check_of(target.width(), target.ignored, &of_target)?;
        }
        at_least_1("inputs of the data set", data.inputs.len())?;
        at_least_1("targets of the data set", data.targets.len())?;
        Ok(data)
    }

    pub(super) fn then(mut self, add: impl FnOnce(&mut Dataset) -> Result<()>) -> Self {
        if let Ok(data) = &mut self.data
            && let Err(fault) = add(data)
        {
            self.data = Err(fault);
        }
        self
    }
}

impl Dataset {
    /// Checks that no other target has this name. Returns the noun that error texts use for its labels or numbers.
    fn check_new_target(&self, name: &str) -> Result<String> {
        let what = format!("target {name:?}");
        self.check_new(&what, self.targets.iter().any(|target| target.name == name))?;
        Ok(what)
    }

    fn check_new(&self, what: &str, is_there: bool) -> Result<()> {
        at_least_1("rows of the data set", self.rows)?;
        at_most_u32(self.rows)?;
        match is_there {
            true => Err(Error::shape(what, "one of this name", "two")),
            false => Ok(()),
        }
    }

    /// Checks that there are `shape` values for each row.
    fn check_count(&self, what: &str, shape: &Shape, count: usize) -> Result<()> {
        let of_row = shape.elements();
        if of_row == 0 || of_row > LONGEST_TENSOR {
            return Err(Error::shape(format!("shape of {what}"), "1 to 2³⁰ numbers", format!("{shape:?}")));
        }
        let all = self.rows as u128 * u128::from(of_row);
        if count as u128 == all {
            return Ok(());
        }
        let of_shape = if shape.len() > 1 { format!("{shape:?}") } else { of_row.to_string() };
        Err(Error::shape(what, format!("{all} numbers ({} rows of {of_shape})", self.rows), count))
    }
}

//! Data sets: rows of features with their targets.

mod augmentation;
mod builder;
mod constructors;
mod crops;
mod features;
mod matching;
mod scoring;
mod targets;
#[cfg(test)]
mod tests;
mod weights;

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::random::{self, Stream};
use crate::shape::Shape;
pub use augmentation::Augmentation;
pub use builder::DatasetBuilder;
use crops::Crop;
pub use features::Features;
use features::Values;
pub(crate) use matching::Matched;
pub use targets::Targets;
pub(crate) use weights::check_weights;

/// A data set: rows of features with their targets, checked when it is made. Bytes stay bytes, on the GPU too, and
/// are scaled when a batch is gathered.
///
/// A data set of one input and one target needs no names: see [`from_u8`](Self::from_u8) and the other `from_*`
/// functions. Several inputs and targets are added by name: see [`of_rows`](Self::of_rows). They are matched with the
/// network's inputs and outputs of the same names.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    rows: usize,
    inputs: Vec<Input>,
    targets: Vec<Target>,
    /// The weight of each row in the loss of every output.
    sample_weights: Option<Vec<f32>>,
}

/// The features of an input.
#[derive(Debug, Clone, PartialEq)]
struct Input {
    name: String,
    /// Shape of a row.
    shape: Shape,
    values: Values,
    augmentation: Option<Augmentation>,
    crop: Option<Crop>,
}

/// The targets of an output.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    name: String,
    /// Shape of a row's labels (none for a single label) or numbers.
    shape: Shape,
    targets: Targets,
    /// The label without a loss.
    ignored: Option<u32>,
    class_weights: Option<Vec<f32>>,
    /// Sample weights times class weights, if there are class weights.
    weights: Option<Vec<f32>>,
    crop: Option<Crop>,
}

impl Dataset {
    /// Number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features of a row, for the first input.
    pub fn features(&self) -> usize {
        self.inputs[0].width()
    }

    /// Name and row shape of each input.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        self.inputs.iter().map(|input| (&*input.name, input.shape))
    }

    /// The first target, for all rows.
    pub fn targets(&self) -> &Targets {
        // A data set has at least one target; its constructors check this.
        &self.targets[0].targets
    }

    /// Name and values of each target, for all rows.
    pub fn all_targets(&self) -> impl ExactSizeIterator<Item = (&str, &Targets)> {
        self.targets.iter().map(|target| (&*target.name, &target.targets))
    }

    /// The labels of the first target, one for each row or position. Empty if its targets are numbers.
    pub fn labels(&self) -> &[u32] {
        match self.targets() {
            Targets::Labels { labels, .. } => labels,
            Targets::Values { .. } => &[],
        }
    }

    /// Features of the first input for these rows, scaled and normalised as the network reads them.
    ///
    /// # Panics
    /// If the range ends after the last row, like a slice.
    pub fn features_of(&self, rows: Range<usize>) -> Vec<f32> {
        self.inputs[0].features_of(rows)
    }

    /// [`features_of`](Self::features_of) for the input named `name`.
    ///
    /// # Errors
    /// [`Error::Shape`] if no input has this name, or the range ends after the last row.
    pub fn input_features(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let input = &self.inputs[self.input_index(name)?];
        if rows.start > rows.end || rows.end > self.rows {
            let what = format!("rows of input {name:?}");
            return Err(Error::shape(what, format!("a range within 0..{}", self.rows), format!("{rows:?}")));
        }
        Ok(input.features_of(rows))
    }

    /// The index of the input of this name.
    fn input_index(&self, name: &str) -> Result<usize> {
        let found = self.inputs.iter().position(|input| input.name == name);
        found.ok_or_else(|| {
            let names = listed(self.inputs.iter().map(|input| &*input.name));
            Error::shape("input of the data set", format!("one of {names}"), format!("{name:?}"))
        })
    }

    /// The index of the target of this name.
    fn target_index(&self, name: &str) -> Result<usize> {
        let found = self.targets.iter().position(|target| target.name == name);
        found.ok_or_else(|| {
            let names = listed(self.targets.iter().map(|target| &*target.name));
            Error::shape("target of the data set", format!("one of {names}"), format!("{name:?}"))
        })
    }

    /// Splits the rows in two: those before `at`, and those from `at` on, for example for validation.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both parts have a row.
    pub fn split(mut self, at: usize) -> Result<(Self, Self)> {
        if at == 0 || at >= self.rows {
            let expected = format!("above 0 and below {} (the number of rows)", self.rows);
            return Err(Error::shape("row to split the data set at", expected, at));
        }
        let tail = Self {
            rows: self.rows - at,
            inputs: self.inputs.iter_mut().map(|input| input.split_off(at)).collect(),
            targets: self.targets.iter_mut().map(|target| target.split_off(at)).collect(),
            sample_weights: self.sample_weights.as_mut().map(|weights| weights.split_off(at)),
        };
        self.rows = at;
        Ok((self, tail))
    }

    /// Splits off the last rows for validation: `share` is their fraction, 0 to 1. Returns the training part and the
    /// validation part. If the order of the rows has a meaning, [shuffle](Self::shuffled) them first.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both parts have a row.
    pub fn hold_out(self, share: f64) -> Result<(Self, Self)> {
        let held = (self.rows as f64 * share).round().clamp(0.0, self.rows as f64) as usize;
        if held == 0 || held == self.rows {
            let expected = format!("at least 1 and fewer than all {}", self.rows);
            return Err(Error::shape("rows held out", expected, format!("{held} (a share of {share})")));
        }
        let at = self.rows - held;
        self.split(at)
    }

    /// The rows in a random order, determined by the seed.
    pub fn shuffled(&self, seed: u64) -> Self {
        // Fisher-Yates shuffle.
        let mut order: Vec<usize> = (0..self.rows).collect();
        for i in (1..order.len()).rev() {
            let draw = random::uniform(seed, Stream::Split, 0, i as u32);
            order.swap(i, (draw * (i + 1) as f64) as usize);
        }
        Self {
            rows: self.rows,
            inputs: self.inputs.iter().map(|input| input.ordered(&order)).collect(),
            targets: self.targets.iter().map(|target| target.ordered(&order)).collect(),
            sample_weights: self.sample_weights.as_ref().map(|weights| ordered(&order, weights, 1)),
        }
    }
}

/// Rows of `width` values in another order.
fn ordered<T: Copy>(order: &[usize], values: &[T], width: usize) -> Vec<T> {
    order.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect()
}

/// The list of names, for error texts.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// A borrowed data set: training uploads a copy.
impl<'a> From<&'a Dataset> for Cow<'a, Dataset> {
    fn from(data: &'a Dataset) -> Self {
        Cow::Borrowed(data)
    }
}

/// An owned data set: training frees it after the upload.
impl From<Dataset> for Cow<'_, Dataset> {
    fn from(data: Dataset) -> Self {
        Cow::Owned(data)
    }
}

//! A data set: rows of features and of what a network is to put out for them, as they are uploaded.

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

/// Rows of features and their targets, checked when made. Bytes stay bytes, on the GPU too, and are scaled as a batch
/// is gathered.
///
/// One input and one target need no names: [`from_u8`](Self::from_u8) and its like make both at once. Several inputs
/// and targets are given by name, to [`of_rows`](Self::of_rows), and go to the network's inputs and outputs of those
/// names.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    rows: usize,
    inputs: Vec<Input>,
    targets: Vec<Target>,
    /// Of each row, in the loss of every output.
    sample_weights: Option<Vec<f32>>,
}

/// The features of an input.
#[derive(Debug, Clone, PartialEq)]
struct Input {
    name: String,
    /// Of a row.
    shape: Shape,
    values: Values,
    augmentation: Option<Augmentation>,
    crop: Option<Crop>,
}

/// What an output is to be.
#[derive(Debug, Clone, PartialEq)]
struct Target {
    name: String,
    /// Of a row: of its labels, none of a single one, or of its numbers.
    shape: Shape,
    targets: Targets,
    /// The label that has no loss.
    ignored: Option<u32>,
    class_weights: Option<Vec<f32>>,
    /// Sample weights times class weights, where there are class weights.
    weights: Option<Vec<f32>>,
    crop: Option<Crop>,
}

impl Dataset {
    /// How many rows there are; at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features of a row; of several inputs, of the first one.
    pub fn features(&self) -> usize {
        self.inputs[0].width()
    }

    /// Each input: its name, and the shape of a row.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Shape)> {
        self.inputs.iter().map(|input| (&*input.name, input.shape))
    }

    /// The target of every row; of several targets, the first one.
    pub fn targets(&self) -> &Targets {
        // Whatever makes a data set sees to it that there is one.
        &self.targets[0].targets
    }

    /// Each target: its name, and what it is of every row.
    pub fn all_targets(&self) -> impl ExactSizeIterator<Item = (&str, &Targets)> {
        self.targets.iter().map(|target| (&*target.name, &target.targets))
    }

    /// The label of every row, or of each of its positions; none where targets are numbers. Of several targets, the
    /// first one.
    pub fn labels(&self) -> &[u32] {
        match self.targets() {
            Targets::Labels { labels, .. } => labels,
            Targets::Values { .. } => &[],
        }
    }

    /// The features of some rows as the network sees them: scaled and normalised. Of several inputs, of the first one.
    ///
    /// # Panics
    /// Where the range reaches beyond the last row, as a slice would.
    pub fn features_of(&self, rows: Range<usize>) -> Vec<f32> {
        self.inputs[0].features_of(rows)
    }

    /// [`features_of`](Self::features_of) the input of that name.
    ///
    /// # Errors
    /// [`Error::Shape`] for a name that no input has, and where the range reaches beyond the last row.
    pub fn input_features(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let input = &self.inputs[self.input_index(name)?];
        if rows.start > rows.end || rows.end > self.rows {
            let what = format!("rows of input {name:?}");
            return Err(Error::shape(what, format!("a range within 0..{}", self.rows), format!("{rows:?}")));
        }
        Ok(input.features_of(rows))
    }

    /// The number of the input of that name.
    fn input_index(&self, name: &str) -> Result<usize> {
        let found = self.inputs.iter().position(|input| input.name == name);
        found.ok_or_else(|| {
            let names = listed(self.inputs.iter().map(|input| &*input.name));
            Error::shape("input of the data set", format!("one of {names}"), format!("{name:?}"))
        })
    }

    /// The number of the target of that name.
    fn target_index(&self, name: &str) -> Result<usize> {
        let found = self.targets.iter().position(|target| target.name == name);
        found.ok_or_else(|| {
            let names = listed(self.targets.iter().map(|target| &*target.name));
            Error::shape("target of the data set", format!("one of {names}"), format!("{name:?}"))
        })
    }

    /// Splits off the rows from `at` on, to hold some back for validation.
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

    /// Holds back the last rows, this share of all, for validation: the training part and the held part. Where the
    /// order of rows means something, [shuffle](Self::shuffled) them first.
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

    /// The rows in a random order that the seed determines.
    pub fn shuffled(&self, seed: u64) -> Self {
        // Fisher and Yates.
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

/// Rows of so many numbers in another order.
fn ordered<T: Copy>(order: &[usize], values: &[T], width: usize) -> Vec<T> {
    order.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect()
}

/// What was named, in messages.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
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

//! Targets: labels or numbers.

use std::ops::Range;

use super::{Target, ordered};
use crate::error::{Error, Result};
use crate::loss::Loss;

/// Targets of a network's output, for all rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Class labels; [`Loss`](crate::Loss) says what a label means to each loss.
    Labels {
        /// One label a row, or one for each position of each row. Each is below `classes`.
        labels: Vec<u32>,
        /// Number of classes.
        classes: u32,
    },
    /// Numbers, such as regression targets.
    Values {
        /// Row-major \[rows, outputs\].
        values: Vec<f32>,
        /// Number of values of a row.
        outputs: u32,
    },
}

impl Targets {
    /// Returns an error for labels outside the classes and for numbers that are not finite.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_of(1, None, "")
    }

    /// As `check`, for rows of `labels_of_row` labels, except the ignored label. `of_target` is part of the error
    /// text.
    pub(super) fn check_of(&self, labels_of_row: usize, ignored: Option<u32>, of_target: &str) -> Result<()> {
        match self {
            Targets::Labels { labels, classes } => {
                let is_none = |label: &u32| label >= classes && Some(*label) != ignored;
                match labels.iter().position(is_none) {
                    Some(i) => Err(Error::LabelOutOfRange {
                        row: i / labels_of_row,
                        label: labels[i],
                        classes: *classes,
                        of_target: of_target.into(),
                    }),
                    None => Ok(()),
                }
            }
            Targets::Values { values, outputs } => check_finite("target", values, *outputs as usize, of_target),
        }
    }

    /// Returns an error for values outside the loss's range. `of_target` is part of the error text.
    pub(super) fn check_range_of(&self, loss: Loss, of_target: &str) -> Result<()> {
        let (Targets::Values { values, outputs }, Some(loss)) = (self, loss.of_probabilities()) else { return Ok(()) };
        match values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            Some(i) => {
                let (row, column) = (i / *outputs as usize, i % *outputs as usize);
                Err(Error::TargetOutOfRange { row, column, value: values[i], loss, of_target: of_target.into() })
            }
            None => Ok(()),
        }
    }

    /// Number of rows, for targets of one label or `outputs` numbers a row.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Targets::Labels { labels, .. } => labels.len(),
            Targets::Values { values, outputs } => values.len() / (*outputs).max(1) as usize,
        }
    }
}

impl Target {
    /// Number of labels or numbers of a row.
    pub fn width(&self) -> usize {
        self.shape.elements() as usize
    }

    pub fn is_labels(&self) -> bool {
        matches!(self.targets, Targets::Labels { .. })
    }

    /// Number of ignored labels.
    pub fn ignored_labels(&self) -> u64 {
        match (&self.targets, self.ignored) {
            (Targets::Labels { labels, .. }, Some(ignored)) => {
                labels.iter().filter(|&&label| label == ignored).count() as u64
            }
            _ => 0,
        }
    }

    pub fn split_off(&mut self, at: usize) -> Self {
        let width = self.width();
        let targets = match &mut self.targets {
            Targets::Labels { labels, classes } => {
                Targets::Labels { labels: labels.split_off(at * width), classes: *classes }
            }
            Targets::Values { values, outputs } => {
                Targets::Values { values: values.split_off(at * width), outputs: *outputs }
            }
        };
        let weights = self.weights.as_mut().map(|weights| weights.split_off(at));
        self.with(targets, weights)
    }

    pub fn ordered(&self, order: &[usize]) -> Self {
        let width = self.width();
        let targets = match &self.targets {
            Targets::Labels { labels, classes } => {
                Targets::Labels { labels: ordered(order, labels, width), classes: *classes }
            }
            Targets::Values { values, outputs } => {
                Targets::Values { values: ordered(order, values, width), outputs: *outputs }
            }
        };
        self.with(targets, self.weights.as_ref().map(|weights| ordered(order, weights, 1)))
    }

    /// The same target with the values of other rows.
    fn with(&self, targets: Targets, weights: Option<Vec<f32>>) -> Self {
        let (ignored, class_weights) = (self.ignored, self.class_weights.clone());
        Self { name: self.name.clone(), shape: self.shape, targets, ignored, class_weights, weights, crop: self.crop }
    }

    /// Words from the start of one row's targets to the next, in GPU memory.
    pub fn stride(&self, weighted: bool) -> usize {
        self.width() + usize::from(weighted)
    }

    /// Ranges of rows in the layout of GPU memory: a row's labels or numbers, then its weight if rows have weights.
    pub fn words(&self, ranges: &[Range<usize>], weights: Option<&[f32]>) -> Vec<u32> {
        ranges.iter().flat_map(|rows| self.words_of(rows.clone(), weights)).collect()
    }

    fn words_of(&self, rows: Range<usize>, weights: Option<&[f32]>) -> Vec<u32> {
        let width = self.width();
        let part = rows.start * width..rows.end * width;
        let words: &[u32] = match &self.targets {
            Targets::Labels { labels, .. } => &labels[part],
            Targets::Values { values, .. } => bytemuck::cast_slice(&values[part]),
        };
        let word =
            |&word: &u32| if self.is_labels() && self.ignored == Some(word) { self.uploaded_label(word) } else { word };
        match weights {
            None => words.iter().map(word).collect(),
            Some(weights) => {
                let rows = words.chunks_exact(width).zip(&weights[rows]);
                rows.flat_map(|(words, weight)| words.iter().map(word).chain([weight.to_bits()])).collect()
            }
        }
    }

    /// The kernels' parameter for the ignored label: the uploaded number plus one; 0 if no label is ignored.
    pub fn ignored_for_kernels(&self) -> u32 {
        self.ignored.map_or(0, |ignored| self.uploaded_label(ignored) + 1)
    }

    /// The number that is uploaded for the ignored label. The kernels' parameter is this number plus one, which would
    /// overflow for the largest u32, so the next lower one is used. It is not a class: see
    /// [`ignoring`](super::DatasetBuilder::ignoring).
    fn uploaded_label(&self, ignored: u32) -> u32 {
        ignored.min(u32::MAX - 1)
    }
}

/// Returns an error that names the row of the first number that is not finite.
pub(super) fn check_finite(what: &'static str, values: &[f32], width: usize, of_target: &str) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => {
            Err(Error::NonFiniteTarget { what, row: i / width.max(1), value: values[i], of_target: of_target.into() })
        }
        None => Ok(()),
    }
}

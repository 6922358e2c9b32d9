//! What a network is to put out.

use std::ops::Range;

use super::{Target, ordered};
use crate::error::{Error, Result};
use crate::loss::Loss;

/// What a network is to put out for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The number of the right class: see [`Loss`](crate::Loss) for what it means to each loss.
    Labels {
        /// One a row, or one for each position of each row; below `classes`.
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
    /// Refuses labels that no class has, and numbers that are not finite.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_of(1, None, "")
    }

    /// The same of rows of so many labels, but for an ignored one. `of_target` is in the message.
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

    /// Refuses values that a loss cannot take. `of_target` is in the message.
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

    /// Rows of one label each, or of numbers.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Targets::Labels { labels, .. } => labels.len(),
            Targets::Values { values, outputs } => values.len() / (*outputs).max(1) as usize,
        }
    }
}

impl Target {
    /// Labels or numbers of a row.
    pub fn width(&self) -> usize {
        self.shape.elements() as usize
    }

    pub fn is_labels(&self) -> bool {
        matches!(self.targets, Targets::Labels { .. })
    }

    /// How many labels are ignored.
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

    /// The same target of other rows.
    fn with(&self, targets: Targets, weights: Option<Vec<f32>>) -> Self {
        let (ignored, class_weights) = (self.ignored, self.class_weights.clone());
        Self { name: self.name.clone(), shape: self.shape, targets, ignored, class_weights, weights, crop: self.crop }
    }

    /// Words from one row's targets as uploaded to the next one's.
    pub fn stride(&self, weighted: bool) -> usize {
        self.width() + usize::from(weighted)
    }

    /// Some ranges of rows as uploaded: a row's labels or numbers, then its weight if rows have one.
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
        let word = |&word: &u32| if self.is_labels() && self.ignored == Some(word) { self.sent(word) } else { word };
        match weights {
            None => words.iter().map(word).collect(),
            Some(weights) => {
                let rows = words.chunks_exact(width).zip(&weights[rows]);
                rows.flat_map(|(words, weight)| words.iter().map(word).chain([weight.to_bits()])).collect()
            }
        }
    }

    /// What kernels are told of the ignored label: one more than what is uploaded in its place; 0 for none.
    pub fn ignored_for_kernels(&self) -> u32 {
        self.ignored.map_or(0, |ignored| self.sent(ignored) + 1)
    }

    /// What is uploaded for the ignored label: the largest u32, plus one, would be 0. The one below is no class: see
    /// [`ignoring`](super::Dataset::ignoring).
    fn sent(&self, ignored: u32) -> u32 {
        ignored.min(u32::MAX - 1)
    }
}

/// Refuses numbers that are not finite, by the row of the first.
pub(super) fn check_finite(what: &'static str, values: &[f32], width: usize, of_target: &str) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => {
            Err(Error::NonFiniteTarget { what, row: i / width.max(1), value: values[i], of_target: of_target.into() })
        }
        None => Ok(()),
    }
}

//! What a training run is asked for, and what it tells.

use crate::dataset::Dataset;
use crate::plan::RowMetrics;

/// What [`Trainer::fit`](crate::Trainer::fit) is to do.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// How many times over the data set. Default 1.
    pub epochs: u32,
    /// Evaluated after each epoch. Default none.
    pub validation: Option<&'a Dataset>,
    /// Reads the running loss and accuracy back with every submission (16 bytes, about 24 times an epoch), for a
    /// progress bar, instead of once an epoch. Default false.
    pub live: bool,
}

impl Default for Fit<'_> {
    fn default() -> Self {
        Self { epochs: 1, validation: None, live: false }
    }
}

/// Mean loss and accuracy over some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Share of rows whose largest output is the label's, 0 to 1.
    pub accuracy: f64,
    /// How many rows.
    pub rows: u32,
}

impl Evaluation {
    pub(crate) fn new(metrics: RowMetrics) -> Self {
        let rows = f64::from(metrics.rows.max(1));
        Self { loss: f64::from(metrics.loss) / rows, accuracy: f64::from(metrics.correct) / rows, rows: metrics.rows }
    }
}

/// One epoch of a [`History`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Over the batches as they were trained on: the weights changed between them.
    pub train: Evaluation,
    /// Over the validation set, after the epoch.
    pub validation: Option<Evaluation>,
    /// Steps taken.
    pub steps: u32,
    /// Seconds of training, without the validation and without compiling kernels. `None` in a browser, where wgrad reads no clock.
    pub seconds: Option<f64>,
}

/// What [`Trainer::fit`](crate::Trainer::fit) did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Each epoch, in order.
    pub epochs: Vec<Epoch>,
}

/// What [`Trainer::fit`](crate::Trainer::fit) tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The GPU has finished some more steps. The first one comes after a single step.
    Steps {
        /// From 1.
        epoch: u32,
        /// Steps of this epoch that are done.
        done: u32,
        /// Steps of the epoch.
        steps: u32,
        /// Over the epoch so far, where [`Fit::live`] asks for it and at the end of the epoch.
        train: Option<Evaluation>,
    },
    /// An epoch and its validation are over.
    Epoch(Epoch),
}

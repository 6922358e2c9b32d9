//! State of the training that the host keeps.

#[cfg(feature = "files")]
use super::data_windows::Windows;
use crate::fit::Watch;
use crate::history::{Best, History};

/// State of the training that the host keeps.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Progress {
    /// Files store it as tensors; files of earlier versions store it here.
    #[cfg_attr(feature = "files", serde(default, skip_serializing))]
    pub history: History,
    /// Updates that `fit` has made in complete epochs.
    pub updates: u32,
    /// An epoch that was cut short.
    pub cut: Option<Cut>,
    /// Factor of the host for the scheduled learning rate.
    pub rate_scale: Option<f32>,
    pub plateau: Watch,
    pub stopping: Watch,
    /// The evaluation of the best weights.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    pub best: Option<Best>,
}

/// An epoch that was cut short, by a callback or by the end of the process that saved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Cut {
    /// Number of rows of its data set.
    pub rows: u32,
    /// Number of steps done.
    pub steps: u32,
    /// Number of steps and rows that were done before it was resumed with another batch size or another number of
    /// batches an update.
    #[cfg_attr(feature = "files", serde(default))]
    pub before: (u32, u32),
    /// Whether some labels are ignored, so that fewer positions are counted than exist.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub ignores: bool,
    /// Number of rows of a window; 0 if the data were on the device as a whole.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "is_none"))]
    pub window: u32,
}

#[cfg(feature = "files")]
fn is_none(window: &u32) -> bool {
    *window == 0
}

impl Cut {
    /// Number of steps of the whole epoch, if the remaining batches have size `batch`.
    pub(super) fn all_steps(&self, batch: u32) -> u32 {
        self.before.0 + (self.rows - self.before.1).div_ceil(batch)
    }

    /// Number of updates since it was resumed with other options, of `accumulate` batches each.
    pub(crate) fn updates(&self, accumulate: u32) -> u32 {
        (self.steps - self.before.0) / accumulate
    }

    /// Whether a cursor at `position` within `data_rows` rows is at the place where `done` rows of the epoch are
    /// done.
    #[cfg(feature = "files")]
    pub(crate) fn is_at(&self, done: u64, position: u32, data_rows: u32) -> bool {
        match self.window {
            0 => (done, self.rows) == (position.into(), data_rows),
            window => {
                let windows = Windows { rows: self.rows, window };
                let Some(done) = u32::try_from(done).ok().filter(|done| *done < self.rows) else { return false };
                match windows.place(done) {
                    // At the end of the previous window.
                    (_, 0) => position == 0,
                    (window, within) => (within, windows.rows_of(window)) == (position, data_rows),
                }
            }
        }
    }

    /// Number of rows done, computed from the steps.
    #[cfg(feature = "files")]
    pub(crate) fn rows_done(&self, batch: u32) -> u64 {
        u64::from(self.before.1) + u64::from(self.steps.saturating_sub(self.before.0)) * u64::from(batch)
    }
}

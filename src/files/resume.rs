//! What changes where a training run is resumed in another way than it was begun.

use crate::config::{Clip, Group, TrainerConfig};
use crate::optimizer::Optimizer;
use crate::plan::{RowMetrics, StepState};
use crate::schedule::Schedule;
#[cfg(doc)]
use crate::trainer::Trainer;
use crate::trainer::{Cut, Progress};

/// What [`Trainer::resume_with`] changes of a training run. `None` leaves a thing as it was saved, and so does the value that
/// it had. The network, the loss, the seed and the shuffle cannot change: for those, begin a new run from the weights,
/// [`Trainer::from_parameters`].
///
/// Weights, history and the place in the data stay. An epoch that was cut short goes on at the same row with another batch
/// size, and counts the steps of both.
///
/// ```no_run
/// use wgrad::{Gpu, Resume, Sgd, Trainer};
/// let gpu = Gpu::request()?;
/// // A larger batch, at another rate, with the moments as they were.
/// let resume = Resume { batch: Some(256), learning_rate: Some(3e-4), ..Resume::default() };
/// let trainer = Trainer::resume_with(&gpu, "run.safetensors", &resume)?;
/// // Another kind of optimizer, whose moments start from zero.
/// let resume = Resume { optimizer: Some(Sgd { momentum: 0.9, ..Sgd::default() }.into()), ..Resume::default() };
/// let trainer = Trainer::resume_with(&gpu, "run.safetensors", &resume)?;
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resume {
    /// [`TrainerConfig::batch`]. A schedule counts updates, so it goes on at another pace in epochs: give one to match. An
    /// update of several batches that is half done is discarded, and its number used again.
    pub batch: Option<u32>,
    /// [`TrainerConfig::accumulate`]. An update that is half done is discarded, and its number used again.
    pub accumulate: Option<u32>,
    /// The optimizer. Of the same kind, it keeps the moments; of another, moments start from zero, and updates, by which
    /// schedules and corrections of moments go, are counted from 1 again.
    pub optimizer: Option<Optimizer>,
    /// The optimizer's learning rate, before the schedule. What a plateau or a callback had multiplied the old one by is 1
    /// again, as with any change of the rate, by an optimizer or a schedule.
    pub learning_rate: Option<f32>,
    /// [`TrainerConfig::schedule`], at the number of updates that the run has made.
    pub schedule: Option<Schedule>,
    /// [`TrainerConfig::clip`]; `Some(None)` lifts the limit.
    pub clip: Option<Option<Clip>>,
    /// [`TrainerConfig::groups`].
    pub groups: Option<Vec<Group>>,
    /// Takes weights and moments that are NaN or infinite. Default false: they are an error.
    pub allow_non_finite: bool,
}

/// What a run was saved with, and what it goes on with.
pub(super) struct Change {
    pub before: (Optimizer, TrainerConfig),
    pub after: (Optimizer, TrainerConfig),
}

impl Resume {
    pub(super) fn change(&self, optimizer: Optimizer, config: TrainerConfig) -> Change {
        let before = (optimizer, config.clone());
        let mut optimizer = self.optimizer.unwrap_or(optimizer);
        if let Some(rate) = self.learning_rate {
            optimizer.set_learning_rate(rate);
        }
        let config = TrainerConfig {
            batch: self.batch.unwrap_or(config.batch),
            accumulate: self.accumulate.unwrap_or(config.accumulate),
            schedule: self.schedule.unwrap_or(config.schedule),
            clip: self.clip.unwrap_or(config.clip),
            groups: self.groups.clone().unwrap_or(config.groups),
            ..config
        };
        Change { before, after: (optimizer, config) }
    }
}

impl Change {
    pub fn is_none(&self) -> bool {
        self.before == self.after
    }

    /// Whether moments start anew.
    pub fn is_of_kind(&self) -> bool {
        std::mem::discriminant(&self.before.0) != std::mem::discriminant(&self.after.0)
    }

    /// Whether an update that is half done is none.
    pub fn breaks_update(&self) -> bool {
        let ((_, before), (_, after)) = (&self.before, &self.after);
        before.batch != after.batch || before.accumulate != after.accumulate || self.is_of_kind()
    }

    /// Moves the cursor and what the host knows to where the new options go on.
    pub fn apply(&self, step: &mut StepState, progress: &mut Progress) {
        if self.breaks_update() {
            if let Some(cut) = progress.cut.as_mut() {
                let rows = cut.rows_done(self.before.1.batch);
                progress.updates = progress.updates.saturating_add(cut.updates(self.before.1.accumulate));
                *cut = Cut { before: (cut.steps, rows as u32), ..*cut };
            }
            if step.batches > 0 && step.due == 0 {
                // The next batch begins the update of this number.
                step.update = step.update.saturating_sub(1);
                (step.batches, step.update_rows, step.due) = (0, 0, 1);
            }
        }
        if self.is_of_kind() {
            (step.update, step.batches, step.update_rows, step.due) = (0, 0, 0, 1);
            progress.updates = 0;
        }
        let rate = |(optimizer, config): &(Optimizer, TrainerConfig)| (optimizer.learning_rate(), config.schedule);
        if self.is_of_kind() || rate(&self.before) != rate(&self.after) {
            step.rate_scale = 1.0;
            progress.rate_scale = None;
            progress.plateau = Default::default();
        }
    }

    /// The running metrics of an epoch, in another number of slots.
    pub fn fold(metrics: &[RowMetrics], slots: usize) -> Vec<RowMetrics> {
        let mut folded = vec![RowMetrics::default(); slots];
        for (i, row) in metrics.iter().enumerate() {
            let slot = &mut folded[i % slots];
            slot.loss += row.loss;
            slot.correct = slot.correct.saturating_add(row.correct);
            slot.rows = slot.rows.saturating_add(row.rows);
            // The first of them, and 0 is none.
            slot.non_finite_step = match (slot.non_finite_step, row.non_finite_step) {
                (0, step) | (step, 0) => step,
                (a, b) => a.min(b),
            };
        }
        folded
    }
}

//! Resuming a training run with changed options.

use crate::averaging::{Ema, Lookahead};
use crate::config::{Clip, Group, TrainerConfig};
use crate::optimizer::Optimizer;
use crate::plan::{RowMetrics, StepState};
use crate::schedule::Schedule;
#[cfg(doc)]
use crate::trainer::Trainer;
use crate::trainer::{Cut, Progress};

/// Options that [`Trainer::resume_with`] changes. `None` keeps an option as it was saved; so does the same value.
///
/// The network, the loss, the seed and the shuffle cannot change. To change these, start a new run from the weights:
/// [`Trainer::from_parameters`].
///
/// Weights, history and the place in the data are kept. A cut epoch continues at the same row with another batch
/// size. It counts the steps of both parts.
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
    /// See [`TrainerConfig::batch`]. A schedule counts updates, so another batch size changes its length in epochs:
    /// set a matching schedule. A partial update of several batches is discarded, and its number is reused.
    pub batch: Option<u32>,
    /// See [`TrainerConfig::accumulate`]. A partial update is discarded, and its number is reused.
    pub accumulate: Option<u32>,
    /// The optimizer. One of the same kind keeps its moments. With another kind, moments start from zero. Updates are
    /// then counted from 1 again; schedules and bias corrections of moments use this count. Averages restart at the
    /// saved weights.
    pub optimizer: Option<Optimizer>,
    /// Learning rate of the optimizer, before the schedule. A factor of the old rate from a plateau or a callback
    /// becomes 1. This also happens if the optimizer or the schedule changes the rate.
    pub learning_rate: Option<f32>,
    /// See [`TrainerConfig::schedule`]. The schedule starts at the number of updates that the run has made.
    pub schedule: Option<Schedule>,
    /// See [`TrainerConfig::clip`]. `Some(None)` removes the limit.
    pub clip: Option<Option<Clip>>,
    /// See [`TrainerConfig::groups`].
    pub groups: Option<Vec<Group>>,
    /// See [`TrainerConfig::ema`]. `Some(None)` ends the average. An average that the run did not have starts at the
    /// saved weights.
    pub ema: Option<Option<Ema>>,
    /// See [`TrainerConfig::lookahead`]. `Some(None)` ends it. Slow weights that the run did not have start at the
    /// saved weights.
    pub lookahead: Option<Option<Lookahead>>,
    /// Accepts weights and moments that are NaN or infinite. Default false: they are an error.
    pub allow_non_finite: bool,
}

/// The saved options of a run, and the options to continue with.
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
            ema: self.ema.unwrap_or(config.ema),
            lookahead: self.lookahead.unwrap_or(config.lookahead),
            ..config
        };
        Change { before, after: (optimizer, config) }
    }
}

impl Change {
    pub fn is_none(&self) -> bool {
        self.before == self.after
    }

    /// Whether the optimizer is of another kind, so that moments start from zero.
    pub fn is_of_another_kind(&self) -> bool {
        std::mem::discriminant(&self.before.0) != std::mem::discriminant(&self.after.0)
    }

    /// Whether a partial update is discarded.
    pub fn breaks_update(&self) -> bool {
        let ((_, before), (_, after)) = (&self.before, &self.after);
        before.batch != after.batch || before.accumulate != after.accumulate || self.is_of_another_kind()
    }

    /// Adapts the cursor and the host's state to the new options.
    pub fn apply(&self, step: &mut StepState, progress: &mut Progress) {
        if self.breaks_update() {
            if let Some(cut) = progress.cut.as_mut() {
                let rows = cut.rows_done(self.before.1.batch);
                progress.updates = progress.updates.saturating_add(cut.updates(self.before.1.accumulate));
                *cut = Cut { before: (cut.steps, rows as u32), ..*cut };
            }
            if step.batches > 0 && step.due == 0 {
                // The next batch begins the update with this number.
                step.update = step.update.saturating_sub(1);
                (step.batches, step.update_rows, step.due) = (0, 0, 1);
            }
        }
        if self.is_of_another_kind() {
            (step.update, step.batches, step.update_rows, step.due) = (0, 0, 0, 1);
            progress.updates = 0;
        }
        let rate = |(optimizer, config): &(Optimizer, TrainerConfig)| (optimizer.learning_rate(), config.schedule);
        if self.is_of_another_kind() || rate(&self.before) != rate(&self.after) {
            step.rate_scale = 1.0;
            progress.rate_scale = None;
            progress.plateau = Default::default();
        }
    }

    /// Moves the running metrics of an epoch into another number of slots.
    pub fn fold(metrics: &[RowMetrics], slots: usize) -> Vec<RowMetrics> {
        let mut folded = vec![RowMetrics::default(); slots];
        for (i, row) in metrics.iter().enumerate() {
            let slot = &mut folded[i % slots];
            slot.loss += row.loss;
            slot.correct = slot.correct.saturating_add(row.correct);
            slot.rows = slot.rows.saturating_add(row.rows);
            // The smaller of both; 0 means none.
            slot.non_finite_step = match (slot.non_finite_step, row.non_finite_step) {
                (0, step) | (step, 0) => step,
                (a, b) => a.min(b),
            };
        }
        folded
    }
}

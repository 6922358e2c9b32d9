//! Early stopping and the best weights.

use super::Trainer;
use super::data_windows::Data;
use crate::error::Result;
use crate::fit::Fit;
use crate::history::{Best, Epoch, Evaluation};

impl Trainer {
    /// Applies the schedule's plateau rule and early stopping after an epoch. Returns whether to stop.
    pub(super) fn watch(&mut self, epoch: &Epoch, fit: &Fit<'_>) -> Result<bool> {
        if let Some(plateau) = self.config.schedule.plateau().copied() {
            let watch = &mut self.progress.plateau;
            if !watch.improves(plateau.monitor, epoch, plateau.min_delta) && watch.waited > plateau.patience {
                watch.waited = 0;
                let scale = self.rate_scale();
                self.set_rate_scale((scale * plateau.factor).max(plateau.floor).min(scale))?;
            }
        }
        let Some(stopping) = fit.early_stopping else { return Ok(false) };
        let watch = &mut self.progress.stopping;
        let improves = watch.improves(stopping.monitor, epoch, stopping.min_delta);
        let over = watch.is_over(stopping.patience);
        let evaluation = match epoch.measured {
            Some(measured) => self.is_better(measured, fit).then_some(measured),
            None => epoch.validation.filter(|_| improves),
        };
        if let Some(evaluation) = evaluation.filter(|_| stopping.restore_best) {
            let validation = fit.validation.is_some();
            self.keep_best(Best { epoch: epoch.epoch, evaluation, validation })?;
        }
        Ok(over)
    }

    /// Whether the current weights were measured to be better than the best ones.
    fn is_better(&self, measured: Evaluation, fit: &Fit<'_>) -> bool {
        let Some(stopping) = fit.early_stopping else { return false };
        let badness = |evaluation: &Evaluation| stopping.monitor.badness(evaluation);
        self.progress.best.is_none_or(|best| badness(&measured) < badness(&best.evaluation))
    }

    /// Keeps the current weights as the best ones. They are known to be finite.
    fn keep_best(&mut self, best: Best) -> Result<()> {
        let kept = match self.best.take() {
            Some(kept) => kept,
            None => self.device.upload("the best weights", &vec![0; self.network.parameter_words() as usize * 4])?,
        };
        self.device.copy(&self.evaluated_weights(), &kept)?;
        self.best = Some(kept);
        self.progress.best = Some(best);
        Ok(())
    }

    /// Evaluates the initial weights if they can be the best ones. A resumed run already has this value.
    pub(super) async fn measure_start(&mut self, data: &Data<'_>, fit: &Fit<'_>) -> Result<()> {
        let of_the_same = |best: Best| best.validation == fit.validation.is_some();
        if fit.restores() && self.best.is_some() && self.progress.best.is_some_and(of_the_same) {
            return Ok(());
        }
        self.progress.best = None;
        if fit.measures() {
            // The stored best weights are from another run, or from a file without their evaluation.
            self.best = None;
            let evaluation = self.run_evaluation(data.rows, data.evaluated.as_ref(), fit).await?.all;
            if evaluation.loss.is_finite() {
                self.keep_best(Best { epoch: self.epochs(), evaluation, validation: false })?;
            }
        }
        Ok(())
    }

    /// After a stop within an epoch: if the current weights are the best, older ones do not replace them.
    pub(super) async fn measure_stop(&mut self, data: &Data<'_>, fit: &Fit<'_>) -> Result<()> {
        if fit.measures() {
            let evaluation = self.run_evaluation(data.rows, data.evaluated.as_ref(), fit).await?.all;
            if evaluation.loss.is_finite() && self.is_better(evaluation, fit) {
                self.best = None;
                self.progress.best = Some(Best { epoch: self.epochs(), evaluation, validation: false });
            }
        }
        Ok(())
    }
}

//! Evaluation: loss and accuracy over a data set.

use super::data_windows::{Windowed, Windows};
use super::{Trainer, all_rows, upload};
use crate::clock::Clock;
use crate::dataset::{Dataset, Matched};
use crate::error::{Error, Result};
use crate::executor::{Executor, Run};
use crate::fit::Fit;
use crate::history::{Evaluation, OutputEvaluation};
use crate::model::EVALUATION_BATCH;
#[cfg(doc)]
use crate::model::Model;
use crate::plan::{DataInfo, Plan, Role, StepState};
use crate::submission_limits::Sizing;

/// Result of an evaluation.
pub(super) struct Measured {
    /// Over all outputs together.
    pub all: Evaluation,
    /// One for each output.
    pub outputs: Vec<Evaluation>,
}

impl Trainer {
    /// Warm-up of [`evaluate`](Self::evaluate) and of the validation in [`fit`](Self::fit), for a data set of `rows`
    /// rows.
    ///
    /// Makes their buffers, and makes the driver compile their kernels in the background. Submits once; does not
    /// wait.
    ///
    /// # Errors
    /// - [`Error::Shape`] if `rows` is 0 or more than 4,294,967,295.
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn warm_up_evaluation(&mut self, rows: usize) -> Result<()> {
        let Some(rows) = u32::try_from(rows).ok().filter(|rows| *rows > 0) else {
            return Err(Error::shape("rows to evaluate", "1 to 4,294,967,295", rows));
        };
        let executor = self.evaluation_executor(rows)?;
        executor.warm_up()?;
        self.evaluation = Some(executor);
        Ok(())
    }

    /// Loss and accuracy over a data set. Blocks, submits and polls; not for browsers.
    ///
    /// For a network with several outputs, the loss is the weighted sum of the outputs' losses. The accuracy is that
    /// of the first output whose targets are labels. [`evaluate_outputs`](Self::evaluate_outputs) returns the values
    /// of each output, and [`Model::score`] more metrics. A loss that is NaN or infinite is returned, not an error.
    ///
    /// With averages of the weights, it uses these: see
    /// [`TrainerConfig::evaluate_averaged`](crate::TrainerConfig::evaluate_averaged).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Evaluation> {
        self.device.clone().block_on(self.evaluate_async(data))
    }

    /// [`evaluate`](Self::evaluate) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_async(&mut self, data: &Dataset) -> Result<Evaluation> {
        Ok(self.measured(data).await?.all)
    }

    /// Loss and accuracy of each output over a data set, in the order of the network's outputs. Blocks, submits and
    /// polls; not for browsers. [`evaluate`](Self::evaluate) returns the weighted sum of these losses.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    #[cfg(not(target_family = "wasm"))]
    pub fn evaluate_outputs(&mut self, data: &Dataset) -> Result<Vec<OutputEvaluation>> {
        self.device.clone().block_on(self.evaluate_outputs_async(data))
    }

    /// [`evaluate_outputs`](Self::evaluate_outputs) for async code and browsers: submits, but leaves polling to the
    /// app.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn evaluate_outputs_async(&mut self, data: &Dataset) -> Result<Vec<OutputEvaluation>> {
        let measured = self.measured(data).await?;
        let names = self.network.output_specs().iter().map(|end| end.name.clone());
        Ok(names.zip(measured.outputs).map(|(name, evaluation)| OutputEvaluation { name, evaluation }).collect())
    }

    async fn measured(&mut self, data: &Dataset) -> Result<Measured> {
        let matched = self.matched(data)?;
        self.set_share(self.config.share()).await?;
        let windowed = self.bind_evaluation(data, &matched)?;
        self.run_evaluation(data.rows() as u32, windowed.as_ref(), &Fit::default()).await
    }

    /// Uploads evaluation data. If they do not fit as a whole, returns them for upload window by window.
    pub(super) fn bind_evaluation<'a>(
        &mut self,
        data: &'a Dataset,
        matched: &'a Matched,
    ) -> Result<Option<Windowed<'a>>> {
        let mut executor = self.evaluation_executor(data.rows() as u32)?;
        let windows = self.windows(data, matched, executor.plan().batch_rows())?;
        let infos = data.infos(matched, false);
        self.evaluated = self.totals_of(&infos, &data.ignored_labels(matched));
        if windows.is_none() {
            upload(&self.device, &mut executor, data, matched, &all_rows(data))?;
        }
        self.evaluate_with(executor, &infos)?;
        Ok(windows.map(|windows| Windowed { data, matched, windows }))
    }

    /// Uploads a window of evaluation data.
    fn bind_evaluation_window(&mut self, windowed: &Windowed<'_>, window: u32) -> Result<()> {
        let Some(executor) = &mut self.evaluation else { return Ok(()) };
        let rows = [windowed.windows.in_order(window)];
        upload(&self.device, executor, windowed.data, windowed.matched, &rows)?;
        for (i, data) in (0..).zip(windowed.infos(window, false)) {
            self.device.write(&executor.storage(Role::Data(i)), 0, bytemuck::bytes_of(&data))?;
        }
        Ok(())
    }

    /// Evaluates the data that [`bind_training`](Self::bind_training) has uploaded.
    pub(super) fn bind_evaluation_to_training(&mut self, data: &[DataInfo]) -> Result<()> {
        let mut executor = self.evaluation_executor(data[0].rows)?;
        let inputs = (0..self.network.input_specs().len() as u32).map(Role::Features);
        for role in inputs.chain((0..self.network.output_specs().len() as u32).map(Role::Targets)) {
            executor.bind(role, &self.training.storage(role))?;
        }
        self.evaluated = self.totals.clone();
        self.evaluate_with(executor, data)
    }

    /// The evaluation executor for a data set of `rows` rows; the data are not yet bound.
    fn evaluation_executor(&mut self, rows: u32) -> Result<Executor> {
        let batch = rows.min(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        let batch = batch.next_multiple_of(self.share.unwrap_or_default().all);
        match self.evaluation.take() {
            Some(executor) if executor.plan().batch_rows() == batch => Ok(executor),
            _ => {
                let plan = Plan::evaluation_of(&self.network, self.losses.clone(), batch, self.share)?;
                self.device.executor(plan, &[(Role::Parameters, self.evaluated_weights())])
            }
        }
    }

    fn evaluate_with(&mut self, executor: Executor, data: &[DataInfo]) -> Result<()> {
        for (i, data) in (0..).zip(data) {
            self.device.write(&executor.storage(Role::Data(i)), 0, bytemuck::bytes_of(data))?;
        }
        self.device.write(&executor.storage(Role::Step), 0, bytemuck::bytes_of(&StepState::default()))?;
        self.evaluation = Some(executor);
        Ok(())
    }

    pub(super) async fn run_evaluation(
        &mut self,
        rows: u32,
        windowed: Option<&Windowed<'_>>,
        fit: &Fit<'_>,
    ) -> Result<Measured> {
        self.evaluated_model().await?;
        let windows = windowed.map_or(Windows { rows, window: rows }, |windowed| windowed.windows);
        let mut metrics = None;
        for window in 0..windows.count() {
            if let Some(windowed) = windowed {
                self.bind_evaluation_window(windowed, window)?;
            }
            let executor = self.evaluation.as_ref().expect("bind_evaluation() comes first");
            let steps = windows.rows_of(window).div_ceil(executor.plan().batch_rows());
            // An evaluation reports no progress, so it uses the fewest submissions.
            let mut sizing = Sizing::up_to(executor.most_steps().min(steps));
            let mut done = 0;
            while done < steps {
                let now = sizing.steps().min(steps - done);
                let (first, last) = (window == 0 && done == 0, window + 1 == windows.count() && done + now == steps);
                let clock = Clock::start();
                let run = Run { steps: now, clear: first, report: last && fit.ranks.is_none() };
                metrics = executor.submit(run, None).await?.finish().await?;
                if let Some(ranks) = fit.ranks.filter(|_| last) {
                    self.gather_metrics(executor, ranks).await?;
                    let report = Run { report: true, ..Run::default() };
                    metrics = executor.submit(report, None).await?.finish().await?;
                }
                sizing.measure(clock.seconds(), now);
                done += now;
            }
        }
        let metrics = metrics.expect("the last submission reports");
        let totals = &self.evaluated;
        totals.check_rows(&metrics, "an evaluation", rows, rows)?;
        Ok(Measured { all: totals.evaluation(&metrics, rows), outputs: totals.of_outputs(&metrics, rows) })
    }
}

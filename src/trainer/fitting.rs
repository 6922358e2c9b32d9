//! The training loop: epochs, validation, and the host's decisions between epochs.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::data_windows::{Data, Windowed};
use super::evaluating::Measured;
use super::loss_totals::non_finite_step;
use super::{Cut, Trainer};
use crate::clock::Clock;
#[cfg(doc)]
use crate::config::TrainerConfig;
use crate::dataset::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::executor::{Run, Storage, Submission};
use crate::fit::{Control, Event, Fit};
use crate::history::{Epoch, History, OutputEpoch, OutputHistory};
use crate::network::TensorSpec;
use crate::plan::{Plan, Role, RowMetrics};
use crate::ranks::SumOverRanks;
use crate::submission_limits::Sizing;

/// Number of submissions of an epoch.
const SUBMISSIONS: u32 = 24;

impl Trainer {
    /// Trains for [`Fit::epochs`] epochs and returns their history. Blocks, submits and polls; not for browsers.
    ///
    /// The GPU shuffles and gathers the batches; at most three submissions run ahead of the host. `progress` receives
    /// every [`Event`] and may answer with a [`Control`]. [`history`](Self::history) has all epochs.
    ///
    /// If the previous `fit` was stopped within an epoch, a `fit` over the same number of rows first finishes that
    /// epoch, as one of its own. If early stopping had already ended a resumed training, this call returns at once.
    ///
    /// Pass `train` instead of `&train` to free the data set's host memory after the upload. A data set that does not
    /// fit on the device stays in main memory and is trained on [window by window](TrainerConfig::window).
    ///
    /// # Errors
    /// - [`Error::Shape`] if the data do not match the network; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    /// - [`Error::LimitExceeded`] if the rows of one update do not fit on the device.
    /// - [`Error::NonFiniteLoss`] at the end of the epoch in which a loss, weight or moment became NaN or infinite.
    /// - [`Error::TargetOutOfRange`] if the loss needs targets from 0 to 1 and a target is outside.
    /// - [`Error::InvalidOption`] for an invalid option; [`Error::File`] if a checkpoint cannot be written.
    /// - [`Error::Rank`] if a [rank](Fit::ranks) differs, has ended, or does not answer. Then resume all of them from
    ///   the last checkpoint.
    #[cfg(not(target_family = "wasm"))]
    pub fn fit<'a, C: Into<Control>>(
        &mut self,
        train: impl Into<Cow<'a, Dataset>>,
        fit: Fit<'_>,
        mut progress: impl FnMut(Event) -> C,
    ) -> Result<History> {
        self.fit_blocking(train.into(), fit, &mut |event| progress(event).into())
    }

    /// Not generic over the callback, so that the loop is compiled once and not in every app.
    #[cfg(not(target_family = "wasm"))]
    fn fit_blocking(
        &mut self,
        train: Cow<'_, Dataset>,
        fit: Fit<'_>,
        progress: &mut dyn FnMut(Event) -> Control,
    ) -> Result<History> {
        self.device.clone().block_on(self.fit_async(train, fit, progress))
    }

    /// [`fit`](Self::fit) for async code and browsers: submits, but leaves polling the device to the app.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub async fn fit_async<'a, C: Into<Control>>(
        &mut self,
        train: impl Into<Cow<'a, Dataset>>,
        fit: Fit<'_>,
        mut progress: impl FnMut(Event) -> C,
    ) -> Result<History> {
        let train = train.into();
        let mut progress = |event| progress(event).into();
        let Some(ranks) = fit.ranks else {
            fit.check()?;
            self.set_share(self.config.share()).await?;
            return self.fit_share(train, fit, &mut progress).await;
        };
        self.join(ranks, &train, &fit).await?;
        let fitted = self.fit_share(train, fit, &mut progress).await;
        if let Err(Error::Rank { .. }) = fitted {
            // It is not known which updates of the submission have been made.
            self.give_up_epoch();
        }
        // Whatever follows outside of this call treats whole batches.
        let left = self.set_share(self.config.share()).await;
        let history = fitted?;
        left?;
        Ok(history)
    }

    /// [`fit`](Self::fit) on this rank's share of every batch.
    async fn fit_share(
        &mut self,
        train: Cow<'_, Dataset>,
        fit: Fit<'_>,
        progress: &mut impl FnMut(Event) -> Control,
    ) -> Result<History> {
        let matched = self.matched(&train)?;
        let validation = fit.validation.map(|data| Ok((data, self.matched(data)?))).transpose()?;
        let rows = train.rows() as u32;
        let windows = self.windows(&train, &matched, self.config.batch.saturating_mul(self.config.accumulate))?;
        // A cut epoch is discarded if the number of rows or the window differs, or if no steps remain. With windows, it
        // is also discarded if it was already resumed with another batch size or accumulation.
        let window = windows.map_or(0, |windows| windows.window);
        let unfinished = |cut: &Cut| {
            let same = cut.rows == rows && cut.window == window && (window == 0 || cut.before == (0, 0));
            same && cut.steps < cut.all_steps(self.config.batch)
        };
        let done = self.progress.cut.filter(unfinished).map_or(0, |cut| cut.steps);
        // An epoch begins at the start of the data, even if a snapshot had the cursor elsewhere.
        self.keep_cursor = false;
        let infos = train.infos(&matched, false);
        // Data that fit on the device are freed on the host after the upload.
        let held = match windows {
            Some(_) => Some(train),
            None => {
                self.bind_training(train, &matched, done)?;
                None
            }
        };
        let windowed = held.as_deref().zip(windows);
        let windowed = windowed.map(|(data, windows)| Windowed { data, matched: &matched, windows });
        if let Some(windowed) = &windowed {
            self.totals = self.totals_of(&infos, &windowed.data.ignored_labels(&matched));
            self.rewind(done)?;
            self.bind_window(windowed, windowed.windows.place(done * self.config.batch).0)?;
        }
        let evaluated = match (&validation, &windowed) {
            (Some((data, matched)), _) => self.bind_evaluation(data, matched)?,
            (None, Some(windowed)) if fit.measures() => self.bind_evaluation(windowed.data, &matched)?,
            (None, None) if fit.measures() => {
                self.bind_evaluation_to_training(&infos)?;
                None
            }
            _ => None,
        };
        let data = Data { rows, train: windowed, evaluated };
        self.prepare_check()?;
        if !self.warm {
            // Drivers that compile at a kernel's first use compile here, outside an epoch's measured time.
            self.device.confirm_queue().await?;
            self.warm_up()?;
            self.training.finish().await?;
        }
        let first = self.progress.history.epochs.len();
        let mut next = done;
        // A trainer that was saved at its early stop does not continue.
        let over = fit.early_stopping.is_some_and(|stopping| self.progress.stopping.is_over(stopping.patience));
        let mut ended = Ok(());
        let epochs = if over { 0 } else { fit.epochs };
        if epochs > 0 {
            self.measure_start(&data, &fit).await?;
        }
        for i in 0..epochs {
            if let Some(windowed) = data.train.as_ref().filter(|_| i > 0) {
                self.bind_window(windowed, 0)?;
            }
            match self.run_epoch(&data, next, &fit, progress).await {
                Ok(true) => break,
                Ok(false) => next = 0,
                Err(error @ (Error::NonFiniteLoss { .. } | Error::NonFiniteParameter { .. })) => {
                    self.give_up_epoch();
                    ended = Err(error);
                    break;
                }
                // An error of the device or the disk ends this call; training can continue with another call.
                Err(error) => return Err(error),
            }
        }
        let best = self.best.take().filter(|_| fit.restores());
        self.progress.stopping = Default::default();
        if fit.measures() {
            // Frees the evaluation's binding, which would keep the training data on the device.
            self.evaluation = None;
        }
        if let Some(best) = best {
            self.give_up_epoch();
            if ended.is_err() {
                // Further updates from moments that are not finite would give only NaN.
                self.clear_roles([Role::Moments, Role::AccumulatedGradients])?;
            }
            self.device.copy(&best, &self.parameters)?;
            self.restart_averages().await?;
        }
        ended?;
        Ok(self.progress.history.since(first))
    }

    /// Runs an epoch from step `done` on, its validation, and the decisions after it. Returns whether to stop.
    async fn run_epoch(
        &mut self,
        data: &Data<'_>,
        done: u32,
        fit: &Fit<'_>,
        progress: &mut impl FnMut(Event) -> Control,
    ) -> Result<bool> {
        let epoch = self.epochs() + 1;
        // Steps of this epoch that were done with another batch size.
        let before = self.progress.cut.filter(|_| done > 0).map_or((0, 0), |cut| cut.before);
        let steps = data.cut(done, before).all_steps(self.config.batch);
        let clock = Clock::start();
        let (trained, mut stop) = self.train_epoch(epoch, done..steps, (data, before), fit, progress).await?;
        let Some((trained, rate_scale)) = trained else {
            self.measure_stop(data, fit).await?;
            return Ok(true);
        };
        let seconds = Some(clock.seconds());
        let (validation, measured) = match fit.validation {
            Some(validation) => {
                let rows = validation.rows() as u32;
                (Some(self.run_evaluation(rows, data.evaluated.as_ref(), fit).await?), None)
            }
            None if fit.measures() => (None, Some(self.run_evaluation(data.rows, data.evaluated.as_ref(), fit).await?)),
            None => (None, None),
        };
        self.progress.updates += (steps - before.0).div_ceil(self.config.accumulate);
        let each = [Some(&trained), validation.as_ref(), measured.as_ref()];
        let is_finite =
            |measured: &Measured| measured.outputs.iter().chain([&measured.all]).all(|e| e.loss.is_finite());
        if !each.into_iter().flatten().all(is_finite) {
            let before: u32 = self.progress.history.epochs.iter().map(|e| e.steps).sum();
            return Err(Error::NonFiniteLoss { epoch, step: before + steps });
        }
        self.keep_outputs(each);
        let [validation, measured] = [validation, measured].map(|measured| measured.map(|measured| measured.all));
        let factor = self.config.schedule.factor(self.progress.updates - 1);
        let learning_rate = self.optimizer.learning_rate() * factor * rate_scale;
        let report = Epoch { epoch, train: trained.all, validation, measured, steps, learning_rate, seconds };
        self.progress.history.epochs.push(report);
        stop |= self.watch(&report, fit)?;
        stop |= self.apply_control(progress(Event::Epoch(report)), fit)?;
        self.checkpoint(fit).await?;
        Ok(stop)
    }

    /// Adds an epoch's evaluations to the history of each output, if there are several outputs.
    fn keep_outputs(&mut self, [train, validation, measured]: [Option<&Measured>; 3]) {
        let (Some(train), [_, _, ..]) = (train, self.network.output_specs()) else { return };
        let history = &mut self.progress.history;
        if history.outputs.is_empty() {
            let of = |spec: &TensorSpec| OutputHistory { name: spec.name.clone(), epochs: Vec::new() };
            history.outputs = self.network.output_specs().iter().map(of).collect();
        }
        for (i, output) in history.outputs.iter_mut().enumerate() {
            let of = |measured: Option<&Measured>| measured.map(|measured| measured.outputs[i]);
            let (validation, measured) = (of(validation), of(measured));
            output.epochs.push(OutputEpoch { train: train.outputs[i], validation, measured });
        }
    }

    /// Applies a callback's answer, as all ranks agree on it. Returns whether to stop.
    fn apply_control(&mut self, control: Control, fit: &Fit<'_>) -> Result<bool> {
        let control = self.agreed(fit, control)?;
        if let Control::RateScale(scale) = control {
            self.set_rate_scale(scale)?;
        }
        Ok(control == Control::Stop)
    }

    /// Returns an error if weights or moments are not finite, even if all losses are finite.
    async fn check_weights(&self, epoch: u32) -> Result<()> {
        let Some(finite) = &self.finite else { return Ok(()) };
        let totals = finite.storage(Role::Totals);
        self.device.write(&totals, 0, bytemuck::bytes_of(&RowMetrics::default()))?;
        finite.submit(Run { steps: 1, ..Run::default() }, None).await?;
        let words = self.device.read(&totals, size_of::<RowMetrics>() / 4).await?;
        self.check_totals(epoch, Some(&RowMetrics::of_totals(&words)))
    }

    /// Makes the executor that finds weights and moments that are not finite.
    fn prepare_check(&mut self) -> Result<()> {
        if self.finite.is_none() {
            let plan = Plan::finite(self.training.plan());
            let given = plan.buffers.iter().map(|buffer| (buffer.role, self.training.storage(buffer.role)));
            let given: Vec<(Role, Storage)> = given.collect();
            self.finite = Some(self.device.executor(plan, &given)?);
        }
        Ok(())
    }

    /// Trains steps of an epoch. Returns its evaluation and rate scale (`None` if cut short), and whether to stop.
    async fn train_epoch(
        &mut self,
        epoch: u32,
        range: Range<u32>,
        (data, before): (&Data<'_>, (u32, u32)),
        fit: &Fit<'_>,
        progress: &mut impl FnMut(Event) -> Control,
    ) -> Result<(Option<(Measured, f32)>, bool)> {
        let (steps, rows) = (range.end, data.rows);
        // The bound window, and the step at which the next window begins.
        let mut window =
            data.train.as_ref().map_or(0, |windowed| windowed.windows.place(range.start * self.config.batch).0);
        let end_of = |window: u32, batch: u32| {
            data.train.as_ref().map_or(u32::MAX, |windowed| (window + 1) * (windowed.windows.window / batch))
        };
        let each = match self.device {
            Device::Gpu(_) => self.training.most_steps().min(steps.div_ceil(SUBMISSIONS)),
            // On the CPU a submission returns when it is done. Fewer steps at a time keep the progress bar moving.
            Device::Cpu => steps.div_ceil(SUBMISSIONS * 8),
        };
        let (report_every, save) = (fit.every.unwrap_or(u32::MAX).max(1), fit.save_every().max(1));
        let each = match fit.every {
            Some(_) => each.max(report_every).min(self.training.most_steps()),
            None => each,
        };
        // With slices, no submission ends within an update.
        let unit = self.unit();
        let whole = |n: u32| n.checked_next_multiple_of(unit).unwrap_or(u32::MAX);
        let (each, report_every, save) = (whole(each), whole(report_every), whole(save));
        let first = if unit > 1 { before.0 } else { 0 };
        // Steps from `from` to the next multiple of `n`.
        let until = |n: u32, from: u32| n - (from - first) % n;
        let ends = |n: u32, step: u32| (step - first).is_multiple_of(n);
        let mut sum = SumOverRanks::default();
        let mut sizing = Sizing::up_to(each);
        let mut since_last = Clock::start();
        let mut pending = VecDeque::<(u32, u32, Clock, Submission)>::new();
        let mut submitted = range.start;
        let mut last = None;
        let mut rate_scale = self.rate_scale();
        let mut stop = false;
        while (submitted < steps && !stop) || !pending.is_empty() {
            // The first step is submitted alone, so that its end can be reported. No steps run ahead of a checkpoint.
            // On the CPU in a browser, submissions do not overlap, so that a stop takes effect.
            let alone = !self.warm || cfg!(target_family = "wasm") && matches!(self.device, Device::Cpu);
            let behind = if alone || fit.ranks.is_some() { 0 } else { sizing.pending() };
            let next_window = submitted < steps && submitted == end_of(window, self.config.batch);
            let pause = (ends(save, submitted) || next_window) && !pending.is_empty();
            if submitted == steps || stop || pause || pending.len() > behind {
                let (done, now, clock, submission) = pending.pop_front().expect("not empty");
                let metrics = submission.finish().await?;
                let first_of_all = !std::mem::replace(&mut self.warm, true);
                // From its submission or the end of the previous one, whichever is later. The first may compile.
                if !first_of_all {
                    sizing.measure(clock.seconds().min(since_last.seconds()), now);
                }
                since_last = Clock::start();
                self.check_totals(epoch, metrics.as_deref())?;
                last = None;
                if let Some(metrics) = metrics {
                    let since = (done - before.0).saturating_mul(self.config.batch);
                    let seen = before.1.saturating_add(since).min(rows);
                    let totals = &self.totals;
                    totals.check_rows(&metrics, "an epoch", seen, rows)?;
                    let (all, outputs) = (totals.evaluation(&metrics, seen), totals.of_outputs(&metrics, seen));
                    last = Some(Measured { all, outputs });
                }
                // A submission that was shortened for a checkpoint or a window is not reported.
                if fit.every.is_none() || first_of_all || ends(report_every, done) || done == steps {
                    let train = last.as_ref().map(|last| last.all);
                    stop |= self.apply_control(progress(Event::Steps { epoch, done, steps, train }), fit)?;
                }
                if ends(save, done) && done < steps {
                    self.checkpoint(fit).await?;
                }
            } else if let Some(windowed) = data.train.as_ref().filter(|_| next_window) {
                window += 1;
                self.bind_window(windowed, window)?;
            } else {
                let left = (steps - submitted).min(until(report_every, submitted)).min(until(save, submitted));
                let left = left.min(end_of(window, self.config.batch) - submitted);
                // Ranks must agree on where submissions end, whatever time their steps take.
                let now = match (self.warm, fit.ranks) {
                    (false, _) => unit.min(left),
                    (true, None) => sizing.steps().next_multiple_of(unit).min(left),
                    (true, Some(_)) => each.min(left),
                };
                let clear = submitted == 0;
                submitted += now;
                // A checkpoint also reads whether the loss is finite.
                let asks = ends(report_every, submitted) || ends(save, submitted);
                let report = fit.live || submitted == steps || asks;
                rate_scale = self.rate_scale();
                // The last step's weights are saved. A finite loss does not show that they are finite.
                let check = self.finite.as_ref().filter(|_| submitted == steps || ends(save, submitted));
                let clock = Clock::start();
                let submission = self.submit(Run { steps: now, clear, report }, check, fit, &mut sum).await?;
                pending.push_back((submitted, now, clock, submission));
                // If this call ends here for any reason, the epoch is cut short.
                self.progress.cut = Some(Cut { ignores: self.totals.ignores(), ..data.cut(submitted, before) });
            }
        }
        if submitted < steps {
            if let Some(ranks) = fit.ranks {
                self.gather_metrics(&self.training, ranks).await?;
            }
            self.check_weights(epoch).await?;
            return Ok((None, true));
        }
        self.progress.cut = None;
        Ok((last.map(|last| (last, rate_scale)), stop))
    }

    /// Returns an error if a loss, a weight or a moment is not finite.
    fn check_totals(&self, epoch: u32, totals: Option<&[RowMetrics]>) -> Result<()> {
        match totals.map_or(0, non_finite_step) {
            0 => Ok(()),
            // The cursor counts slices.
            step => Err(Error::NonFiniteLoss { epoch, step: step.div_ceil(self.config.slices.unwrap_or(1)) }),
        }
    }

    async fn checkpoint(&self, fit: &Fit<'_>) -> Result<()> {
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        if let Some(checkpoint) = fit.checkpoint {
            let Some(ranks) = fit.ranks else { return self.save_async(checkpoint.path).await };
            let saved = if ranks.rank() == 0 { self.save_async(checkpoint.path).await } else { Ok(()) };
            return crate::ranks::agree(ranks, saved);
        }
        let _ = fit;
        Ok(())
    }
}

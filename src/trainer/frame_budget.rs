//! Training steps within a frame's time budget. Step times and losses are measured without waiting.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::loss_totals::Totals;
use crate::callback_future::lock;
use crate::clock::Clock;
use crate::error::Result;
use crate::gpu::pending_reads::PendingReads;
use crate::gpu::timing::{PassTimes, updated_estimate};
use crate::gpu::{Gpu, GpuExecutor};
use crate::history::Evaluation;
use crate::plan::{Role, RowMetrics};

/// Results of the steps of one [`record_within`](crate::Training::record_within) call.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Frame {
    /// Number of the call, from 1. It counts all calls of [`record_within`](crate::Training::record_within) on this
    /// training, including calls that recorded no step. A call whose submission `wgpu` rejected has no `Frame`.
    pub call: u64,
    /// Number of steps.
    pub steps: u32,
    /// Loss and accuracy over the rows of these steps.
    pub train: Evaluation,
    /// GPU time of one step, if there is a clock.
    pub step_time: Option<Duration>,
}

/// Calls whose results have not arrived, and the measurements.
pub(super) struct Frames {
    reads: Arc<PendingReads>,
    timing: Option<PassTimes>,
    /// How the totals become a loss and an accuracy.
    totals: Totals,
    state: Mutex<State>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("timing", &self.timing).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Number of calls so far.
    calls: u64,
    /// The newest result that has arrived.
    pub last: Option<Frame>,
    estimate: StepEstimate,
    pub paused: bool,
    pub callback: Option<Box<dyn FnMut(Frame) + Send>>,
}

/// The largest total of saved budgets, in seconds. When it is reached, a step runs, however long it is expected to
/// take.
const MOST_SAVED: f64 = 1.0;

/// Estimates how many steps fit a budget.
#[derive(Debug, Default)]
struct StepEstimate {
    /// Whether the results of a call have arrived. Calls that began before may include the driver's compilation.
    warm: bool,
    /// Measured seconds of a step.
    step: Option<f64>,
    /// Number of steps of the last measured call.
    last: u32,
    /// Seconds of unused budgets, saved until a step fits.
    saved: f64,
}

impl StepEstimate {
    fn steps(&mut self, budget: f64) -> u32 {
        if budget <= 0.0 {
            return 0;
        }
        let Some(step) = self.step else { return 1 };
        let afforded = (budget + self.saved) / step;
        if afforded < 1.0 {
            self.saved += budget;
            if self.saved < MOST_SAVED {
                return 0;
            }
            self.saved = 0.0;
            return 1;
        }
        self.saved = 0.0;
        // If the clock is too coarse to measure a step, `afforded` is infinite. The cast saturates.
        (afforded as u32).min(self.last.max(1).saturating_mul(2))
    }

    /// Updates the estimate from a call; `warm` says whether it began after an earlier call's results had arrived.
    fn measure(&mut self, seconds: f64, steps: u32, warm: bool) {
        self.warm = true;
        if !warm {
            return;
        }
        self.step = Some(updated_estimate(self.step, seconds / f64::from(steps)));
        self.last = steps;
    }
}

impl Frames {
    pub(super) fn new(gpu: &Gpu, totals: Totals) -> Result<Self> {
        let reads = Arc::new(PendingReads::new(gpu, totals.bytes() + PassTimes::BYTES)?);
        let timing = PassTimes::new(gpu, 1)?;
        Ok(Self { reads, timing, totals, state: Mutex::default() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn record(
        self: &Arc<Self>,
        encoder: &mut wgpu::CommandEncoder,
        budget: Duration,
        executor: &GpuExecutor,
    ) -> u32 {
        let mut state = self.state();
        state.calls += 1;
        let call = state.calls;
        let Some(read) = self.reads.begin().filter(|_| !state.paused) else { return 0 };
        let steps = state.estimate.steps(budget.as_secs_f64());
        if steps == 0 {
            return 0;
        }
        let warm = state.estimate.warm;
        drop(state);
        encoder.clear_buffer(executor.of(Role::RowMetrics), 0, None);
        {
            let timestamp_writes = self.timing.as_ref().map(|times| times.writes(read.slot, 0));
            let label = Some("training within a budget");
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes });
            executor.record_steps(&mut pass, steps);
            executor.record_report(&mut pass);
        }
        let metrics = self.totals.bytes();
        encoder.copy_buffer_to_buffer(executor.of(Role::Totals), 0, read.staging(), 0, metrics);
        if let Some(times) = &self.timing {
            times.record(encoder, read.slot, 1, (read.staging(), metrics));
        }
        let pending = PendingCall { frames: self.clone(), call, steps, warm, clock: Clock::start() };
        read.record(executor.gpu(), encoder, move |words| pending.arrive(&words));
        steps
    }
}

/// A call whose results have not arrived.
struct PendingCall {
    frames: Arc<Frames>,
    call: u64,
    steps: u32,
    /// Whether the results of a call had arrived when this call began.
    warm: bool,
    clock: Clock,
}

impl PendingCall {
    /// Reports the results.
    fn arrive(self, words: &[u32]) {
        let totals = &self.frames.totals;
        let (metrics, timestamps) = words.split_at(totals.bytes() as usize / 4);
        let metrics = RowMetrics::of_totals(metrics);
        let seconds = match &self.frames.timing {
            Some(times) => times.seconds(timestamps).sum(),
            None => self.clock.seconds(),
        };
        let step_time = Duration::from_secs_f64(seconds / f64::from(self.steps));
        let train = totals.evaluation(&metrics, totals.rows(&metrics));
        let frame = Frame { call: self.call, steps: self.steps, train, step_time: Some(step_time) };
        let mut state = self.frames.state();
        state.estimate.measure(seconds, self.steps, self.warm);
        if state.last.is_none_or(|last| last.call < frame.call) {
            state.last = Some(frame);
        }
        let callback = state.callback.take();
        // The app's callback runs without a lock, because it may record steps.
        drop(state);
        if let Some(mut callback) = callback {
            callback(frame);
            self.frames.state().callback.get_or_insert(callback);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StepEstimate;

    #[test]
    fn a_budget_is_filled_by_what_steps_have_taken() {
        let mut estimate = StepEstimate::default();
        assert_eq!(estimate.steps(0.0), 0, "no budget, no step");
        assert_eq!(estimate.steps(1.0), 1, "nothing is known yet");
        // Three calls that began before the first results arrived: each may include compilation.
        for _ in 0..3 {
            estimate.measure(5.0, 1, false);
            assert_eq!(estimate.steps(1.0), 1, "nothing is known yet");
        }
        assert!(estimate.warm);
        estimate.measure(0.125, 1, true);
        assert_eq!(estimate.steps(1.0), 2, "at most twice the last");
        estimate.measure(0.25, 2, true);
        estimate.measure(0.5, 4, true);
        assert_eq!(estimate.steps(1.0), 8);
        assert_eq!(estimate.steps(0.5), 4);
        estimate.measure(2.0, 8, true);
        assert_eq!(estimate.steps(1.0), 4, "a slower step is believed at once");
        estimate.measure(0.5, 4, true);
        assert_eq!(estimate.step, Some((0.25f64 * 0.125).sqrt()), "a faster one half way");
    }

    /// For example, a laptop that was suspended for an hour.
    #[test]
    fn one_long_gap_is_soon_forgotten() {
        let mut estimate = StepEstimate { warm: true, step: Some(0.0009765625), last: 4, saved: 0.0 };
        estimate.measure(3600.0, 4, true);
        assert_eq!(estimate.step, Some(0.00390625), "four times what it was");
        // A step that is estimated to be very slow is still tried, and found to be fast. Each second of budgets
        // divides the estimate by 16 until a step fits sooner.
        estimate.step = Some(900.0);
        let mut frames = 0;
        loop {
            let steps = estimate.steps(0.00390625);
            if steps >= 2 || frames == 10_000 {
                break;
            }
            if steps > 0 {
                estimate.measure(0.0009765625, steps, true);
            }
            frames += 1;
        }
        // 900 s, then 56, then 3.5, each after 256 frames of 1/256 s; then 0.22 after 57 frames, and 0.0146 after 4.
        assert!((256 * 3 + 57..256 * 3 + 80).contains(&frames), "{frames} frames");
    }

    #[test]
    fn a_step_is_tried_once_a_second_of_budgets_is_saved() {
        let mut estimate = StepEstimate { warm: true, step: Some(900.0), last: 1, saved: 0.0 };
        let steps: Vec<u32> = (0..8).map(|_| estimate.steps(0.25)).collect();
        assert_eq!(steps, [0, 0, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn a_step_longer_than_the_budget_is_saved_up_for() {
        let mut estimate = StepEstimate::default();
        estimate.measure(1.0, 1, true);
        let steps: Vec<u32> = (0..9).map(|_| estimate.steps(0.375)).collect();
        assert_eq!(steps, [0, 0, 1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(estimate.steps(0.0), 0);
    }

    #[test]
    fn a_clock_that_sees_nothing_does_not_run_away() {
        let mut estimate = StepEstimate::default();
        estimate.measure(0.0, 3, true);
        assert_eq!(estimate.steps(1.0), 6);
        // 0 / 0: no budget, no step.
        assert_eq!(estimate.steps(0.0), 0);
        estimate.measure(0.5, 1, true);
        assert_eq!(estimate.step, Some(0.5), "what is seen at last is believed");
    }
}

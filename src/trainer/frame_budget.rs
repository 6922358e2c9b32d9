//! Training steps within a frame's time budget. Step times and losses are measured without waiting.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::loss_totals::Totals;
use super::readback_tokens::Tokens;
use crate::callback_future::lock;
use crate::clock::Clock;
use crate::error::Result;
use crate::gpu::{Gpu, GpuExecutor};
use crate::history::Evaluation;
use crate::plan::{Role, RowMetrics};

/// The largest number of calls whose results have not arrived.
const MOST_PENDING: usize = 3;

/// Size of the timestamps in a call's staging buffer, in bytes. They follow the totals and precede the call's token.
const TIMESTAMPS: u64 = 16;

/// Alignment of resolved timestamps, in bytes.
const RESOLVE_ALIGNMENT: u64 = wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;

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
    slots: [wgpu::Buffer; MOST_PENDING],
    timing: Option<Timing>,
    tokens: Tokens,
    /// How the totals become a loss and an accuracy.
    totals: Totals,
    state: Mutex<State>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// Timestamps of passes.
#[derive(Debug)]
struct Timing {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds of a timestamp tick.
    period: f64,
}

#[derive(Default)]
pub(super) struct State {
    busy: [bool; MOST_PENDING],
    /// The token in each slot.
    held: [u32; MOST_PENDING],
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

/// The largest factor by which one measurement raises the estimated step time. It limits the effect of a single
/// delay.
const MOST_SLOWER: f64 = 4.0;
/// The largest factor by which one measurement lowers the estimated step time.
const MOST_FASTER: f64 = 16.0;

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
        let new = seconds / f64::from(steps);
        self.step = Some(match self.step {
            // The geometric mean: it moves little with noise, and far after a measurement that was delayed.
            Some(old) if new <= old => (old * new).sqrt().max(old / MOST_FASTER),
            // A coarse clock can measure 0, which cannot be scaled.
            Some(old) if old > 0.0 => new.min(MOST_SLOWER * old),
            _ => new,
        });
        self.last = steps;
    }
}

impl Frames {
    pub(super) fn new(gpu: &Gpu, totals: Totals) -> Result<Self> {
        gpu.check_alive()?;
        let slot = || gpu.staging(totals.bytes() + TIMESTAMPS + Tokens::BYTES);
        let timing = match gpu.has_timestamps() {
            false => None,
            true => Some(Timing {
                queries: gpu.query_set(2 * MOST_PENDING as u32)?,
                resolved: gpu.query_buffer(MOST_PENDING as u64 * RESOLVE_ALIGNMENT)?,
                period: gpu.tick(),
            }),
        };
        let tokens = Tokens::new(gpu)?;
        Ok(Self { slots: [slot()?, slot()?, slot()?], timing, tokens, totals, state: Mutex::default() })
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
        let Some(pending) = self.begin(budget) else { return 0 };
        let PendingCall { slot, steps, token, .. } = pending;
        let [begin, end] = [0, 1].map(|i| (2 * slot + i) as u32);
        encoder.clear_buffer(executor.of(Role::RowMetrics), 0, None);
        {
            let timestamp_writes = self.timing.as_ref().map(|timing| wgpu::ComputePassTimestampWrites {
                query_set: &timing.queries,
                beginning_of_pass_write_index: Some(begin),
                end_of_pass_write_index: Some(end),
            });
            let label = Some("training within a budget");
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes });
            executor.record_steps(&mut pass, steps);
            executor.record_report(&mut pass);
        }
        let (staging, metrics) = (&self.slots[slot], self.totals.bytes());
        encoder.copy_buffer_to_buffer(executor.of(Role::Totals), 0, staging, 0, metrics);
        if let Some(timing) = &self.timing {
            let offset = slot as u64 * RESOLVE_ALIGNMENT;
            encoder.resolve_query_set(&timing.queries, begin..end + 1, &timing.resolved, offset);
            encoder.copy_buffer_to_buffer(&timing.resolved, offset, staging, metrics, TIMESTAMPS);
        }
        self.tokens.record(encoder, token, staging, metrics + TIMESTAMPS);
        let gpu = executor.gpu().clone();
        executor.gpu().record_map(encoder, staging, move |mapped| {
            if mapped.is_ok() {
                pending.arrive(&gpu);
            }
        });
        steps
    }

    /// Takes a slot, if one is free and there is a step to record.
    fn begin(self: &Arc<Self>, budget: Duration) -> Option<PendingCall> {
        let mut state = self.state();
        state.calls += 1;
        let slot = state.busy.iter().position(|busy| !busy).filter(|_| !state.paused)?;
        let steps = state.estimate.steps(budget.as_secs_f64());
        if steps == 0 {
            return None;
        }
        state.busy[slot] = true;
        let (warm, call) = (state.estimate.warm, state.calls);
        let token = Tokens::of(call, state.held[slot]);
        Some(PendingCall { frames: self.clone(), slot, call, token, steps, warm, clock: Clock::start() })
    }
}

/// A used slot. It is freed when this is dropped: after the results have arrived, or with an encoder that was never
/// submitted.
struct PendingCall {
    frames: Arc<Frames>,
    slot: usize,
    call: u64,
    /// The token that the slot holds when this call's results have arrived.
    token: u32,
    steps: u32,
    /// Whether the results of a call had arrived when this call began.
    warm: bool,
    clock: Clock,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.frames.state().busy[self.slot] = false;
    }
}

impl PendingCall {
    /// Takes the results from the mapped slot and reports them. If they belong to another call, `wgpu` has rejected
    /// the submission: nothing is reported or measured.
    fn arrive(self, gpu: &Gpu) {
        let Some(words) = gpu.take_mapped(&self.frames.slots[self.slot]) else { return };
        let totals = &self.frames.totals;
        let (metrics, rest) = words.split_at(totals.bytes() as usize / 4);
        let (timestamps, token) = rest.split_at(TIMESTAMPS as usize / 4);
        if token.first() != Some(&self.token) {
            return;
        }
        let metrics = RowMetrics::of_totals(metrics);
        let seconds = match &self.frames.timing {
            Some(timing) => {
                let [begin, end]: [u64; 2] = bytemuck::pod_read_unaligned(bytemuck::cast_slice(timestamps));
                Some(end.saturating_sub(begin) as f64 * timing.period)
            }
            None => Some(self.clock.seconds()),
        };
        let step_time = seconds.map(|s| Duration::from_secs_f64(s / f64::from(self.steps)));
        let train = totals.evaluation(&metrics, totals.rows(&metrics));
        let frame = Frame { call: self.call, steps: self.steps, train, step_time };
        let mut state = self.frames.state();
        state.held[self.slot] = self.token;
        if let Some(seconds) = seconds {
            state.estimate.measure(seconds, self.steps, self.warm);
        }
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

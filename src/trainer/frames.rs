//! Steps within a frame's budget: how long they take, and what they came to, learnt without waiting.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Result;
use crate::gpu::{Gpu, GpuExecutor, lock};
use crate::history::Evaluation;
use crate::plan::{Role, RowMetrics};

/// Calls whose results have not arrived, at most.
const UNDER_WAY: usize = 3;

/// Where the results of a call lie in its staging buffer: a `RowMetrics`, then two timestamps.
const METRICS: u64 = size_of::<RowMetrics>() as u64;
const TIMESTAMPS: u64 = 16;

/// Timestamps are resolved to multiples of this.
const RESOLVE_ALIGNMENT: u64 = wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;

/// What the steps of one [`record_within`](crate::Training::record_within) came to.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Frame {
    /// How many there were.
    pub steps: u32,
    /// Loss and accuracy over their rows.
    pub train: Evaluation,
    /// How long one of them took, where there is a clock.
    pub step_time: Option<Duration>,
}

/// What is under way.
pub(super) struct Frames {
    slots: [wgpu::Buffer; UNDER_WAY],
    timing: Option<Timing>,
    /// Whether the loss is a mean over rows.
    mean: bool,
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
    /// Seconds of a tick.
    period: f64,
}

#[derive(Default)]
struct State {
    busy: [bool; UNDER_WAY],
    pace: Pace,
    paused: bool,
    told: Option<Box<dyn FnMut(Frame) + Send>>,
}

/// How many steps fit a budget.
#[derive(Debug, Default)]
struct Pace {
    /// Measurements so far.
    measured: u32,
    /// Seconds of a step.
    step: f64,
    /// Steps of the last call that was measured.
    last: u32,
    /// Seconds of budgets that no step fitted into.
    saved: f64,
}

impl Pace {
    fn steps(&mut self, budget: f64) -> u32 {
        if self.measured < 2 {
            return 1;
        }
        let afforded = (budget + self.saved) / self.step;
        if afforded < 1.0 {
            self.saved += budget;
            return 0;
        }
        self.saved = 0.0;
        // Where the clock is too coarse to see a step at all, `afforded` is infinite: the cast saturates.
        (afforded as u32).min(self.last.max(1).saturating_mul(2))
    }

    fn measure(&mut self, seconds: f64, steps: u32) {
        let step = seconds / f64::from(steps);
        // The first measurement may be of the driver's compiler.
        let slower = self.measured < 2 || step > self.step;
        self.step = if slower { step } else { 0.75 * self.step + 0.25 * step };
        self.measured = self.measured.saturating_add(1);
        self.last = steps;
    }
}

impl Frames {
    pub(super) fn new(gpu: &Gpu, mean: bool) -> Result<Self> {
        gpu.check_alive()?;
        let device = gpu.device();
        let buffer = |label, size, usage| {
            gpu.guard(label, size, || {
                let label = Some(label);
                device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
            })
        };
        let slot = || {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            buffer("results of a frame", METRICS + TIMESTAMPS, usage)
        };
        let timing = match device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            false => None,
            true => {
                let descriptor = wgpu::QuerySetDescriptor {
                    label: Some("timestamps of frames"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * UNDER_WAY as u32,
                };
                let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
                Some(Timing {
                    queries: gpu.guard("timestamps of frames", 0, || device.create_query_set(&descriptor))?,
                    resolved: buffer("timestamps of frames", UNDER_WAY as u64 * RESOLVE_ALIGNMENT, usage)?,
                    period: f64::from(gpu.queue().get_timestamp_period()) * 1e-9,
                })
            }
        };
        Ok(Self { slots: [slot()?, slot()?, slot()?], timing, mean, state: Mutex::default() })
    }

    pub(super) fn set_paused(&self, paused: bool) {
        lock(&self.state).paused = paused;
    }

    pub(super) fn set_told(&self, told: Box<dyn FnMut(Frame) + Send>) {
        lock(&self.state).told = Some(told);
    }

    pub(super) fn record(
        self: &Arc<Self>,
        encoder: &mut wgpu::CommandEncoder,
        budget: Duration,
        executor: &GpuExecutor,
    ) -> u32 {
        let Some(ticket) = self.begin(budget) else { return 0 };
        let Ticket { slot, steps, .. } = ticket;
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
        let staging = &self.slots[slot];
        encoder.copy_buffer_to_buffer(executor.of(Role::Totals), 0, staging, 0, METRICS);
        if let Some(timing) = &self.timing {
            let offset = slot as u64 * RESOLVE_ALIGNMENT;
            encoder.resolve_query_set(&timing.queries, begin..end + 1, &timing.resolved, offset);
            encoder.copy_buffer_to_buffer(&timing.resolved, offset, staging, METRICS, TIMESTAMPS);
        }
        encoder.map_buffer_on_submit(staging, wgpu::MapMode::Read, .., move |mapped| {
            if mapped.is_ok() {
                ticket.arrive();
            }
        });
        steps
    }

    /// Takes a slot, if there is one and a step to record.
    fn begin(self: &Arc<Self>, budget: Duration) -> Option<Ticket> {
        let mut state = lock(&self.state);
        let slot = state.busy.iter().position(|busy| !busy).filter(|_| !state.paused)?;
        let steps = state.pace.steps(budget.as_secs_f64());
        if steps == 0 {
            return None;
        }
        state.busy[slot] = true;
        Some(Ticket { frames: self.clone(), slot, steps, clock: Clock::start() })
    }
}

/// A slot that is taken, until this is dropped: after the results have arrived, or with an encoder never submitted.
struct Ticket {
    frames: Arc<Frames>,
    slot: usize,
    steps: u32,
    clock: Clock,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.frames.state).busy[self.slot] = false;
    }
}

impl Ticket {
    /// Takes the results out of the mapped slot and tells of them.
    fn arrive(self) {
        let staging = &self.frames.slots[self.slot];
        let words: Vec<u32> = match staging.get_mapped_range(..) {
            Ok(view) => bytemuck::pod_collect_to_vec(&view),
            Err(_) => return,
        };
        staging.unmap();
        let (metrics, timestamps) = words.split_at(METRICS as usize / 4);
        let metrics: RowMetrics = bytemuck::pod_read_unaligned(bytemuck::cast_slice(metrics));
        let seconds = match &self.frames.timing {
            Some(timing) => {
                let [begin, end]: [u64; 2] = bytemuck::pod_read_unaligned(bytemuck::cast_slice(timestamps));
                Some(end.saturating_sub(begin) as f64 * timing.period)
            }
            None => self.clock.seconds(),
        };
        let mut state = lock(&self.frames.state);
        if let Some(seconds) = seconds {
            state.pace.measure(seconds, self.steps);
        }
        let told = state.told.take();
        // The app's function is called with nothing locked, as it may record.
        drop(state);
        if let Some(mut told) = told {
            let step_time = seconds.map(|s| Duration::from_secs_f64(s / f64::from(self.steps)));
            told(Frame { steps: self.steps, train: Evaluation::new(metrics, self.frames.mean), step_time });
            lock(&self.frames.state).told.get_or_insert(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_budget_is_filled_by_what_steps_have_taken() {
        let mut pace = Pace::default();
        assert_eq!(pace.steps(1.0), 1, "nothing is known yet");
        pace.measure(5.0, 1);
        assert_eq!(pace.steps(1.0), 1, "the first measurement may be of the compiler");
        pace.measure(0.125, 1);
        assert_eq!(pace.steps(1.0), 2, "at most twice the last");
        pace.measure(0.25, 2);
        pace.measure(0.5, 4);
        assert_eq!(pace.steps(1.0), 8);
        assert_eq!(pace.steps(0.5), 4);
        pace.measure(2.0, 8);
        assert_eq!(pace.steps(1.0), 4, "a slower step is believed at once");
        pace.measure(0.5, 4);
        assert_eq!(pace.step, 0.75 * 0.25 + 0.25 * 0.125, "a faster one by a quarter");
    }

    #[test]
    fn a_step_longer_than_the_budget_is_saved_up_for() {
        let mut pace = Pace::default();
        pace.measure(1.0, 1);
        pace.measure(1.0, 1);
        let steps: Vec<u32> = (0..9).map(|_| pace.steps(0.375)).collect();
        assert_eq!(steps, [0, 0, 1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(pace.steps(0.0), 0);
    }

    #[test]
    fn a_clock_that_sees_nothing_does_not_run_away() {
        let mut pace = Pace::default();
        pace.measure(0.0, 1);
        pace.measure(0.0, 3);
        assert_eq!(pace.steps(1.0), 6);
        // 0 / 0: no budget, no step.
        assert_eq!(pace.steps(0.0), 0);
    }
}

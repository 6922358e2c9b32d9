//! A forward pass in slices: a part of its ops in each frame, within a time budget.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::callback_future::lock;
use crate::clock::Clock;
use crate::error::Result;
use crate::gpu::pending_reads::PendingReads;
use crate::gpu::timing::{PassTimes, updated_estimate};
use crate::gpu::{Gpu, GpuExecutor};

/// The progress of a pass, and the measured times of its ops.
pub(super) struct Slices {
    reads: Arc<PendingReads>,
    times: Option<PassTimes>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Slices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slices").field("times", &self.times).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    /// Index of the next op.
    next: usize,
    /// Estimated time of each op, if it has been measured.
    seconds: Vec<Option<f64>>,
}

impl State {
    /// The ops of the next slice: as many as fit, and at least one. An op that has not been measured ends its slice.
    /// So a slice exceeds the budget by at most one op.
    fn slice(&self, budget: f64) -> Range<usize> {
        let mut left = budget;
        let mut end = self.next;
        for &seconds in self.seconds[self.next..].iter().take(PassTimes::MOST_PASSES as usize) {
            left -= seconds.unwrap_or(0.0);
            if end > self.next && left < 0.0 {
                break;
            }
            end += 1;
            if seconds.is_none() {
                break;
            }
        }
        self.next..end
    }

    fn measure(&mut self, ops: Range<usize>, measured: impl Iterator<Item = f64>) {
        for (seconds, measured) in self.seconds[ops].iter_mut().zip(measured) {
            *seconds = Some(updated_estimate(*seconds, measured));
        }
    }
}

impl Slices {
    /// For a pass of `ops` ops.
    pub(super) fn new(gpu: &Gpu, ops: usize) -> Result<Self> {
        let most = PassTimes::MOST_PASSES.min(ops as u32).max(1);
        let reads = Arc::new(PendingReads::new(gpu, u64::from(most) * PassTimes::BYTES)?);
        let state = State { seconds: vec![None; ops], ..State::default() };
        Ok(Self { reads, times: PassTimes::new(gpu, most)?, state: Mutex::new(state) })
    }

    /// Starts over with the first op.
    pub(super) fn restart(&self) {
        lock(&self.state).next = 0;
    }

    /// Records a slice. Returns whether it ends the pass.
    pub(super) fn record(
        self: &Arc<Self>,
        encoder: &mut wgpu::CommandEncoder,
        budget: Duration,
        executor: &GpuExecutor,
    ) -> bool {
        if budget.is_zero() {
            return false;
        }
        let Some(read) = self.reads.begin() else { return false };
        let mut state = lock(&self.state);
        let ops = state.slice(budget.as_secs_f64());
        let is_whole = ops.end == state.seconds.len();
        state.next = if is_whole { 0 } else { ops.end };
        drop(state);
        match &self.times {
            Some(times) => {
                for (pass, op) in (0..).zip(ops.clone()) {
                    executor.record_timed(encoder, op..op + 1, times.writes(read.slot, pass));
                }
                times.record(encoder, read.slot, ops.len() as u32, (read.staging(), 0));
            }
            None => executor.record_part(encoder, "slice", ops.clone()),
        }
        let pending = PendingSlice { slices: self.clone(), ops, has_arrived: false, clock: Clock::start() };
        read.record(executor.gpu(), encoder, move |words| pending.arrive(&words));
        is_whole
    }
}

/// A slice whose times have not arrived.
struct PendingSlice {
    slices: Arc<Slices>,
    ops: Range<usize>,
    has_arrived: bool,
    clock: Clock,
}

impl PendingSlice {
    fn arrive(mut self, words: &[u32]) {
        self.has_arrived = true;
        let ops = self.ops.clone();
        let mut state = lock(&self.slices.state);
        match &self.slices.times {
            Some(times) => state.measure(ops, times.seconds(words)),
            // Without timestamps, all ops of a slice are taken for equally long.
            None => {
                let each = self.clock.seconds() / ops.len() as f64;
                state.measure(ops, std::iter::repeat(each));
            }
        }
    }
}

impl Drop for PendingSlice {
    /// If the slice has not run, the pass starts over.
    fn drop(&mut self) {
        if !self.has_arrived {
            self.slices.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_slice_exceeds_its_budget_by_at_most_one_op() {
        let mut state = State { seconds: vec![None; 4], ..State::default() };
        assert_eq!(state.slice(1.0), 0..1, "an op that has not been measured is alone");
        state.measure(0..2, [0.25, 0.5].into_iter());
        assert_eq!(state.slice(0.125), 0..1, "at least one op");
        assert_eq!(state.slice(0.75), 0..3, "two that fit, and one that has not been measured");
        assert_eq!(state.slice(0.5), 0..1);
        state.measure(2..4, [2.0, 0.125].into_iter());
        assert_eq!(state.slice(1.0), 0..2);
        state.next = 2;
        assert_eq!(state.slice(1.0), 2..3, "longer than the budget");
        state.next = 3;
        assert_eq!(state.slice(1.0), 3..4);
    }

    #[test]
    fn a_slice_has_at_most_as_many_ops_as_a_call_has_timestamps() {
        let state = State { seconds: vec![Some(0.0); 1000], ..State::default() };
        assert_eq!(state.slice(1.0), 0..682);
    }
}

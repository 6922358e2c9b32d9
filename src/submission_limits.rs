//! Limits of the work in one submission.

use std::ops::Range;

use crate::plan::{Op, Plan, Work};

/// Limits of a submission. They keep it far below the seconds after which an operating system resets a GPU, even on a
/// slow GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubmissionLimits {
    pub flops: u64,
    pub bytes: u64,
    /// Each op is one or two dispatches, which take microseconds even if they do little.
    pub ops: u64,
}

pub(crate) const SUBMISSION_LIMITS: SubmissionLimits =
    SubmissionLimits { flops: 50_000_000_000, bytes: 10_000_000_000, ops: 16_384 };

impl SubmissionLimits {
    /// How many times `ops` ops with this total work fit into one submission; 0 if they do not fit once.
    pub fn times(self, work: Work, ops: usize) -> u64 {
        let SubmissionLimits { flops, bytes, ops: dispatches } = self;
        (flops / work.flops.max(1)).min(bytes / work.bytes.max(1)).min(dispatches / ops.max(1) as u64)
    }

    /// Divides a step of a plan into parts of one submission each, if it is too long for one.
    pub fn parts_of_step(self, plan: &Plan) -> Vec<Range<usize>> {
        let (work, ops) = plan.work_of_step();
        if self.times(work, ops) > 0 {
            return std::iter::once(0..plan.step.len()).collect();
        }
        let (share, end) = (plan.share(), plan.end_of_slice());
        let of_slice = self.parts(&plan.step[..end]);
        let of_batch = self.parts(&plan.step[end..]).into_iter().map(|part| part.start + end..part.end + end);
        let parts = (0..share.own).flat_map(|_| of_slice.clone()).chain(of_batch);
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// The parts of a slice's ops, and whether all slices of some batches fit into one submission.
    pub fn parts_of_slices(self, plan: &Plan, batches: u32) -> (Vec<Range<usize>>, bool) {
        let end = plan.end_of_slice();
        let work = plan.step[..end].iter().map(Op::work).sum();
        let slices = u64::from(batches) * u64::from(plan.share().own);
        match self.times(work, end) >= slices {
            true => (std::iter::once(0..end).collect(), true),
            false => (self.parts(&plan.step[..end]), false),
        }
    }

    /// Divides a step into parts of one submission each, if it is too long for one. A part has at least one op.
    pub fn parts(self, step: &[Op]) -> Vec<Range<usize>> {
        let mut parts = vec![];
        let (mut start, mut work) = (0, Work::default());
        for (i, op) in step.iter().enumerate() {
            let with_op = work + op.work();
            if i > start && self.times(with_op, i + 1 - start) == 0 {
                parts.push(start..i);
                (start, work) = (i, op.work());
            } else {
                work = with_op;
            }
        }
        parts.push(start..step.len());
        parts
    }
}

/// Target time of a submission, in seconds. Outside browsers, an operating system resets a GPU that is busy for two
/// seconds. In a browser, the page draws and handles input between submissions, and a stop waits for up to three of
/// them.
const LONGEST: f64 = if cfg!(target_family = "wasm") { 0.05 } else { 1.0 };

/// Number of steps in a submission, from the measured time of earlier ones: the time of a step cannot be predicted
/// for an unknown adapter.
#[derive(Debug)]
pub(crate) struct Sizing {
    steps: u32,
    most: u32,
    /// Seconds of the last submission.
    last: f64,
}

/// Number of pending submissions when the next one is made, so that the device stays busy.
const MOST_PENDING: usize = 2;

impl Sizing {
    /// With at most `most` steps.
    pub fn up_to(most: u32) -> Self {
        // In a browser, begin with one step, because its time is unknown and the page would wait.
        Self { steps: if cfg!(target_family = "wasm") { 1 } else { most }, most, last: 0.0 }
    }

    /// Number of pending submissions when the next one is made. In a browser it is 0 if submissions are long: a stop
    /// would wait for them, and a gap between them costs little.
    pub fn pending(&self) -> usize {
        if cfg!(target_family = "wasm") && self.last > 1.5 * LONGEST { 0 } else { MOST_PENDING }
    }

    /// Number of steps of the next submission.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Records the time of some steps. At most twice the number of steps may follow.
    pub fn measure(&mut self, seconds: f64, steps: u32) {
        // If the clock is too coarse to measure a step, this is infinite. The cast saturates.
        self.last = seconds;
        let fitting = (LONGEST * f64::from(steps) / seconds) as u32;
        self.steps = fitting.clamp(1, self.steps.saturating_mul(2)).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Run;
    use crate::{Activation, Adam, Dataset, Gpu, Loss, Network, Trainer, TrainerConfig};

    #[test]
    fn a_step_that_is_too_much_is_submitted_in_parts() {
        let network = Network::input(5).dense(8, Activation::Tanh).dropout(0.5).dense(3, Activation::Identity);
        let network = network.build().unwrap();
        let numbers = (0..60).map(|i| (i * 7 % 11) as f32 / 11.0).collect();
        let data = Dataset::from_f32(numbers, 5, (0..12).map(|row| row % 3).collect(), 3).unwrap();
        let gpu = Gpu::request().expect("a GPU, real or software: scripts/setup.sh installs a driver");
        let trained = |most: SubmissionLimits| {
            let config = TrainerConfig { batch: 5, ..TrainerConfig::default() };
            let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
            trainer.prepare(&data).unwrap();
            let before = gpu.traffic().submits;
            let run = Run { steps: 3, clear: true, report: true };
            let submission = trainer.device.block_on(trainer.training.submit_within(most, run, None)).unwrap();
            let submits = gpu.traffic().submits - before;
            let metrics = trainer.device.block_on(submission.finish()).unwrap().unwrap();
            (submits, metrics, trainer.model().parameters().unwrap(), trainer.training.plan().clone())
        };
        let (one, metrics, weights, plan) = trained(SUBMISSION_LIMITS);
        assert_eq!((one, metrics[0].rows), (1, 12));
        for most in [
            SubmissionLimits { ops: 1, ..SUBMISSION_LIMITS },
            SubmissionLimits { ops: 4, ..SUBMISSION_LIMITS },
            SubmissionLimits { flops: 1, ..SUBMISSION_LIMITS },
            SubmissionLimits { bytes: 1, ..SUBMISSION_LIMITS },
        ] {
            let parts = most.parts(&plan.step);
            assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= most.ops as usize));
            assert!(parts.iter().flat_map(Clone::clone).eq(0..plan.step.len()));
            let (submits, by_parts, weights_by_parts, _) = trained(most);
            // The last submission has only the report.
            assert_eq!(submits, 3 * parts.len() as u64 + 1);
            assert_eq!((by_parts, weights_by_parts), (metrics.clone(), weights.clone()));
        }
    }

    #[test]
    fn submissions_are_as_long_as_their_time_allows() {
        let mut sizing = Sizing::up_to(20);
        assert_eq!(sizing.steps(), 20, "nothing is known yet");
        sizing.measure(LONGEST / 2.0, 20);
        assert_eq!(sizing.steps(), 20, "it could be longer, but is not to");
        sizing.measure(LONGEST * 4.0, 20);
        assert_eq!(sizing.steps(), 5);
        sizing.measure(LONGEST * 100.0, 5);
        assert_eq!(sizing.steps(), 1, "a step at least");
        sizing.measure(LONGEST / 16.0, 1);
        assert_eq!(sizing.steps(), 2, "twice as many as the last at most");
        sizing.measure(0.0, 2);
        assert_eq!(sizing.steps(), 4, "a clock that sees nothing");
    }
}

//! How much goes to a device at once.

use std::ops::Range;

use crate::plan::{Op, Work};

/// What a submission may take: well below the seconds after which an operating system resets a GPU, slow ones too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubmissionLimits {
    pub flops: u64,
    pub bytes: u64,
    /// Each a dispatch or two, which take microseconds however little they do.
    pub ops: u64,
}

pub(crate) const SUBMISSION_LIMITS: SubmissionLimits =
    SubmissionLimits { flops: 50_000_000_000, bytes: 10_000_000_000, ops: 16_384 };

impl SubmissionLimits {
    /// How often so many ops, of so much work in all, may be submitted at once. 0 where not even once.
    pub fn times(self, work: Work, ops: usize) -> u64 {
        let SubmissionLimits { flops, bytes, ops: dispatches } = self;
        (flops / work.flops.max(1)).min(bytes / work.bytes.max(1)).min(dispatches / ops.max(1) as u64)
    }

    /// A step cut into parts for a submission each, where it is too much for one. An op is a part at least.
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

/// Seconds that a submission should take. A browser's page hears and draws between them, up to three are under way, and a stop
/// waits for those. Elsewhere an operating system resets a GPU that is busy for two seconds.
const LONGEST: f64 = if cfg!(target_family = "wasm") { 0.05 } else { 1.0 };

/// How many steps make a submission: by the time that those before took, as no count says how slow an adapter is.
#[derive(Debug)]
pub(crate) struct Sizing {
    steps: u32,
    most: u32,
    /// Seconds of the last submission.
    last: f64,
}

/// Submissions that may be under way when the next is made: the device has something to do while the host makes one.
const UNDER_WAY: usize = 2;

impl Sizing {
    /// Of at most so many steps.
    pub fn up_to(most: u32) -> Self {
        // A page should not wait for what nobody has measured.
        Self { steps: if cfg!(target_family = "wasm") { 1 } else { most }, most, last: 0.0 }
    }

    /// Submissions that may be under way when the next is made. In a browser, where a stop waits for them, none where they are
    /// so long that a gap between them is nothing.
    pub fn under_way(&self) -> usize {
        if cfg!(target_family = "wasm") && self.last > 1.5 * LONGEST { 0 } else { UNDER_WAY }
    }

    /// Steps of the next submission.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Takes in how long some steps took, at most twice as many may follow.
    pub fn measure(&mut self, seconds: f64, steps: u32) {
        // Where the clock is too coarse to see a step, this is infinite: the cast saturates.
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
            // What is left for the last one is the report.
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

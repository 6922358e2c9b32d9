//! Learning-rate schedules. Kernels compute the rate, so any number of steps can be recorded ahead. The host only
//! decides [`Schedule::reduce_on_plateau`], between epochs.

use crate::error::Result;
use crate::history::Monitor;
use crate::optimizer::{at_least_zero, option};

/// A learning-rate schedule: the factor of the optimizer's learning rate at update n, counted from 0.
///
/// ```
/// use wgrad::{Schedule, TrainerConfig};
/// let config = TrainerConfig { batch: 128, ..TrainerConfig::default() };
/// let updates = config.updates(60_000, 10);
/// assert_eq!(updates, 4690);
/// let schedule = Schedule::cosine(updates - 500, 0.01).warm_up(500);
/// assert_eq!(schedule.factor(499), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Schedule {
    pub(crate) warm_up: u32,
    pub(crate) shape: Shape,
}

/// The schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Shape {
    #[default]
    Constant,
    Step {
        every: u32,
        factor: f32,
    },
    Decay(StepDecay),
    Cosine {
        updates: u32,
        floor: f32,
    },
    OneCycle {
        updates: u32,
        rise: f32,
        start: f32,
        end: f32,
    },
    Plateau(Plateau),
}

/// Options of [`Schedule::step_decay`]. The defaults are those of tiny-cuda-nn's `ExponentialDecay`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct StepDecay {
    /// The factor of the learning rate at each step, above 0 and at most 1. Default 0.1.
    pub factor: f32,
    /// The number of updates between two steps, at least 1. Default 10,000.
    pub interval: u32,
    /// The update of the first step, counted from 0. Default 10,000.
    pub start: u32,
    /// The last update that may have a step, counted from 0. Default 10,000,000.
    pub end: u32,
}

impl Default for StepDecay {
    fn default() -> Self {
        Self { factor: 0.1, interval: 10_000, start: 10_000, end: 10_000_000 }
    }
}

impl StepDecay {
    /// [`Schedule::step`].
    pub(crate) fn every(interval: u32, factor: f32) -> Self {
        Self { factor, interval, start: interval, end: u32::MAX }
    }

    /// The number of steps up to update `n`.
    fn steps(&self, n: u32) -> u32 {
        if n < self.start { 0 } else { (n.min(self.end) - self.start) / self.interval + 1 }
    }

    fn factor(&self, n: u32) -> f64 {
        libm::exp(f64::from(self.steps(n)) * libm::log(f64::from(self.factor)))
    }
}

/// Options of [`Schedule::reduce_on_plateau`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Plateau {
    /// The monitored metric. Default the loss.
    pub monitor: Monitor,
    /// The factor of the learning rate at each reduction. Default 0.1.
    pub factor: f32,
    /// The number of epochs without improvement before a reduction. Default 10.
    pub patience: u32,
    /// The smallest change that counts as an improvement. Default 0.0001.
    pub min_delta: f64,
    /// The lower bound, as a factor of the optimizer's learning rate. Default 0.
    pub floor: f32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { monitor: Monitor::Loss, factor: 0.1, patience: 10, min_delta: 0.0001, floor: 0.0 }
    }
}

impl Schedule {
    /// A constant factor of 1. The default.
    pub fn constant() -> Self {
        Self::default()
    }

    /// Step decay: factor^⌊n / every⌋. This is PyTorch's `StepLR`, counted in updates.
    pub fn step(every: u32, factor: f32) -> Self {
        Self { warm_up: 0, shape: Shape::Step { every, factor } }
    }

    /// Step decay between two updates: factor^k. k is 0 before update `start`; then it is 1 + ⌊(min(n, end) − start) /
    /// interval⌋. This is tiny-cuda-nn's `ExponentialDecay`, counted in updates.
    ///
    /// ```
    /// use wgrad::{Schedule, StepDecay};
    /// let schedule = Schedule::step_decay(StepDecay { factor: 0.5, interval: 100, start: 1000, end: 1100 });
    /// assert_eq!([999, 1000, 1100, 5000].map(|n| schedule.factor(n)), [1.0, 0.5, 0.25, 0.25]);
    /// ```
    pub fn step_decay(decay: StepDecay) -> Self {
        Self { warm_up: 0, shape: Shape::Decay(decay) }
    }

    /// Exponential decay: factor^n. This is PyTorch's `ExponentialLR`, counted in updates.
    pub fn exponential(factor: f32) -> Self {
        Self::step(1, factor)
    }

    /// Cosine annealing (Loshchilov and Hutter, 2017): falls from 1 to `floor` along half a cosine in this number of
    /// updates. Then it stays there. PyTorch's `CosineAnnealingLR` would rise again.
    pub fn cosine(updates: u32, floor: f32) -> Self {
        Self { warm_up: 0, shape: Shape::Cosine { updates, floor } }
    }

    /// Smith's one-cycle schedule for this number of updates, with the defaults of PyTorch's `OneCycleLR`.
    ///
    /// The factor rises from 1/25 to 1 in the first 30% of the updates. Then it falls to 1/250,000. Both follow half a
    /// cosine. The optimizer's learning rate is the maximum. Momentum does not change.
    pub fn one_cycle(updates: u32) -> Self {
        Self { warm_up: 0, shape: Shape::OneCycle { updates, rise: 0.3, start: 0.04, end: 0.000_004 } }
    }

    /// Reduces the learning rate after `patience` epochs without improvement. It never increases the rate.
    ///
    /// This is PyTorch's `ReduceLROnPlateau` with `threshold_mode="abs"`. It monitors the validation set if
    /// [`Fit`](crate::Fit) has one, else the training data.
    pub fn reduce_on_plateau(plateau: Plateau) -> Self {
        Self { warm_up: 0, shape: Shape::Plateau(plateau) }
    }

    /// Adds a linear warm-up over this number of updates: (n + 1) / updates at update n. The schedule itself starts
    /// after it.
    pub fn warm_up(mut self, updates: u32) -> Self {
        self.warm_up = updates;
        self
    }

    /// The factor at update `n`, counted from 0. For reduce on plateau it is 1.
    pub fn factor(&self, n: u32) -> f32 {
        if n < self.warm_up {
            return ((f64::from(n) + 1.0) / f64::from(self.warm_up)) as f32;
        }
        let update = n - self.warm_up;
        let n = f64::from(update);
        // Half a cosine from `a` to `b`, after `done` of `span` updates.
        let anneal = |a: f32, b: f32, done: f64, span: f64| {
            let cosine = (1.0 + libm::cos(std::f64::consts::PI * done / span)) / 2.0;
            f64::from(b) + (f64::from(a) - f64::from(b)) * cosine
        };
        let factor = match self.shape {
            Shape::Constant | Shape::Plateau(_) => 1.0,
            Shape::Step { every, factor } => StepDecay::every(every, factor).factor(update),
            Shape::Decay(decay) => decay.factor(update),
            Shape::Cosine { updates, floor } => anneal(1.0, floor, n.min(updates.into()), updates.into()),
            Shape::OneCycle { updates, rise, start, end } => {
                let (last, top) = (f64::from(updates) - 1.0, f64::from(rise) * f64::from(updates) - 1.0);
                match n.min(last) {
                    n if n <= top => anneal(start, 1.0, n, top),
                    n => anneal(1.0, end, n - top, last - top),
                }
            }
        };
        factor as f32
    }

    /// The options of reduce on plateau, if it is that schedule.
    pub(crate) fn plateau(&self) -> Option<&Plateau> {
        match &self.shape {
            Shape::Plateau(plateau) => Some(plateau),
            _ => None,
        }
    }

    /// Checks the range of each number.
    pub(crate) fn check(&self) -> Result<()> {
        let share = |name, value: f32| option(name, "from 0 to 1", value, (0.0..=1.0).contains(&value));
        let factor =
            |value: f32| option("factor of the schedule", "above 0 and at most 1", value, value > 0.0 && value <= 1.0);
        match self.shape {
            Shape::Constant => Ok(()),
            Shape::Step { every, factor: f } => {
                option("updates between steps of the schedule", "at least 1", every, every >= 1)?;
                factor(f)
            }
            Shape::Decay(StepDecay { factor: f, interval, start, end }) => {
                option("interval of the schedule", "at least 1", interval, interval >= 1)?;
                let expected = "at least the start of the schedule";
                option("end of the schedule", expected, format!("{end}, with start {start}"), end >= start)?;
                factor(f)
            }
            Shape::Cosine { updates, floor } => {
                option("updates of the schedule", "at least 1", updates, updates >= 1)?;
                share("floor of the schedule", floor)
            }
            // With fewer updates, the rise would have none.
            Shape::OneCycle { updates, .. } => {
                option("updates of the one-cycle schedule", "at least 8", updates, updates >= 8)
            }
            Shape::Plateau(Plateau { factor: f, floor, min_delta, .. }) => {
                factor(f)?;
                share("floor of the schedule", floor)?;
                at_least_zero("min_delta of the plateau schedule", min_delta)
            }
        }
    }
}

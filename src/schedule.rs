//! Schedules: how the learning rate changes from update to update. Kernels compute it, so that any number of steps can
//! be recorded ahead; only [`Schedule::reduce_on_plateau`] is decided by the host, between epochs.

use crate::error::Result;
use crate::history::Monitor;
use crate::optimizer::{at_least_zero, option};

/// What the optimizer's learning rate is multiplied by at update n, counted from 0.
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

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Shape {
    #[default]
    Constant,
    Step {
        every: u32,
        factor: f32,
    },
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

/// See [`Schedule::reduce_on_plateau`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Plateau {
    /// What is watched. Default the loss.
    pub monitor: Monitor,
    /// What the rate is multiplied by. Default 0.1.
    pub factor: f32,
    /// Epochs without improvement that are let pass. Default 10.
    pub patience: u32,
    /// What counts as improvement: by more than this. Default 0.0001.
    pub min_delta: f64,
    /// The smallest share of the optimizer's rate. Default 0.
    pub floor: f32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { monitor: Monitor::Loss, factor: 0.1, patience: 10, min_delta: 0.0001, floor: 0.0 }
    }
}

impl Schedule {
    /// Always 1: the default.
    pub fn constant() -> Self {
        Self::default()
    }

    /// factor^⌊n / every⌋: PyTorch's `StepLR`, in updates.
    pub fn step(every: u32, factor: f32) -> Self {
        Self { warm_up: 0, shape: Shape::Step { every, factor } }
    }

    /// factor^n: PyTorch's `ExponentialLR`, in updates.
    pub fn exponential(factor: f32) -> Self {
        Self::step(1, factor)
    }

    /// From 1 down to `floor` along half a cosine, in so many updates; then it stays there.
    /// (Loshchilov and Hutter, 2017; PyTorch's `CosineAnnealingLR`, which would rise again.)
    pub fn cosine(updates: u32, floor: f32) -> Self {
        Self { warm_up: 0, shape: Shape::Cosine { updates, floor } }
    }

    /// Smith's one cycle of so many updates: from 1/25 up to 1 in the first 30%, then down to 1/250,000, both along half
    /// cosines; the defaults of PyTorch's `OneCycleLR`, with the optimizer's rate as the largest. Momentum stays as it is.
    pub fn one_cycle(updates: u32) -> Self {
        Self { warm_up: 0, shape: Shape::OneCycle { updates, rise: 0.3, start: 0.04, end: 0.000_004 } }
    }

    /// Falls by a factor after each epoch that ends `patience` epochs without improvement: PyTorch's `ReduceLROnPlateau` with
    /// `threshold_mode="abs"`, and as there never up.
    /// Watches the validation set where [`Fit`](crate::Fit) has one, else the training data.
    pub fn reduce_on_plateau(plateau: Plateau) -> Self {
        Self { warm_up: 0, shape: Shape::Plateau(plateau) }
    }

    /// Before it, a linear rise over so many updates: (n + 1) / updates at update n. The rest counts from its end.
    pub fn warm_up(mut self, updates: u32) -> Self {
        self.warm_up = updates;
        self
    }

    /// What the rate is multiplied by at update `n`, counted from 0. Of a plateau, 1.
    pub fn factor(&self, n: u32) -> f32 {
        if n < self.warm_up {
            return ((f64::from(n) + 1.0) / f64::from(self.warm_up)) as f32;
        }
        let n = f64::from(n - self.warm_up);
        // Half a cosine from `a` to `b`, where `done` of `span` has passed.
        let anneal = |a: f32, b: f32, done: f64, span: f64| {
            let cosine = (1.0 + libm::cos(std::f64::consts::PI * done / span)) / 2.0;
            f64::from(b) + (f64::from(a) - f64::from(b)) * cosine
        };
        let factor = match self.shape {
            Shape::Constant | Shape::Plateau(_) => 1.0,
            Shape::Step { every, factor } => libm::exp((n / f64::from(every)).floor() * libm::log(f64::from(factor))),
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

    /// The plateau to be watched, if it is one.
    pub(crate) fn plateau(&self) -> Option<&Plateau> {
        match &self.shape {
            Shape::Plateau(plateau) => Some(plateau),
            _ => None,
        }
    }

    /// Checks each number against its range.
    pub(crate) fn check(&self) -> Result<()> {
        let share = |name, value: f32| option(name, "from 0 to 1", value, (0.0..=1.0).contains(&value));
        let factor =
            |value: f32| option("factor of the schedule", "above 0, at most 1", value, value > 0.0 && value <= 1.0);
        match self.shape {
            Shape::Constant => Ok(()),
            Shape::Step { every, factor: f } => {
                option("updates between steps of the schedule", "at least 1", every, every >= 1)?;
                factor(f)
            }
            Shape::Cosine { updates, floor } => {
                option("updates of the schedule", "at least 1", updates, updates >= 1)?;
                share("floor of the schedule", floor)
            }
            // Fewer would leave no update for the rise.
            Shape::OneCycle { updates, .. } => option("updates of the cycle", "at least 8", updates, updates >= 8),
            Shape::Plateau(Plateau { factor: f, floor, min_delta, .. }) => {
                factor(f)?;
                share("floor of the schedule", floor)?;
                at_least_zero("min_delta", min_delta)
            }
        }
    }
}

//! Error bounds: the largest allowed difference between a GPU's result and the CPU twin's. Each op derives its bounds
//! from the accuracy of the arithmetic.

use super::StepState;
pub(crate) use crate::accuracy::*;

/// Error bounds of one output.
#[derive(Debug)]
pub(crate) enum Bounds {
    /// No difference: integers, and numbers that are copied or rounded once.
    Exact,
    /// One bound for each number.
    Each(Vec<f64>),
    /// One bound for each i32.
    Whole(Vec<f64>),
    /// [`RowMetrics`]: one bound for each loss. The counts must be exact.
    Losses(Vec<f64>),
    /// [`StepState`]: a bound for the learning rate. The rest must be exact.
    State(f64),
}

impl Bounds {
    /// Bound of one 32-bit word of the output.
    pub fn of(&self, word: usize) -> f64 {
        match self {
            Bounds::Exact => 0.0,
            Bounds::Each(bounds) => bounds[word] + FLUSHED,
            Bounds::Whole(bounds) => bounds[word],
            Bounds::Losses(bounds) if word.is_multiple_of(4) => bounds[word / 4] + FLUSHED,
            Bounds::Losses(_) => 0.0,
            Bounds::State(rate) if word * 4 == std::mem::offset_of!(StepState, learning_rate) => rate + FLUSHED,
            Bounds::State(_) => 0.0,
        }
    }
}

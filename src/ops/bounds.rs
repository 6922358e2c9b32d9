//! How far a GPU's result may lie from the reference's, derived op by op from the accuracy of the arithmetic.

use super::StepState;
pub(crate) use crate::accuracy::*;

/// The bounds of one output.
#[derive(Debug)]
pub(crate) enum Bounds {
    /// Bit for bit: integers, and numbers that are copied or rounded once.
    Exact,
    /// One for each number.
    Each(Vec<f64>),
    /// Whole numbers, i32: one for each.
    Whole(Vec<f64>),
    /// [`RowMetrics`]: a bound for each loss; the counts are exact.
    Losses(Vec<f64>),
    /// [`StepState`]: a bound for the learning rate; the rest is exact.
    State(f64),
}

impl Bounds {
    /// The bound of a 32-bit word of the output.
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

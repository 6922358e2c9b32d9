//! How far a GPU's result may lie from the reference's, derived op by op from the accuracy of the arithmetic.
//!
//! u = 2⁻²⁴ is the unit roundoff of f32: +, − and × err by at most u relative. A sum of k products in any order errs by
//! at most (k + 1) u Σ|a·b| (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.1), so two of them lie
//! within twice that. WGSL's accuracy table (§15.7.4) gives division 2.5 ulp, exp 3 + 2|x| ulp, log 3 ulp or 2⁻²¹, tanh
//! 10⁻⁵, and sqrt what 1 / inverseSqrt has, 2 ulp and a division; an ulp is at most 2u relative. Denormals may be flushed
//! to zero.

use super::StepState;

pub(crate) const U: f64 = 1.0 / 16_777_216.0;
pub(crate) const ULP: f64 = 2.0 * U;
pub(crate) const DIVISION: f64 = 2.5 * ULP;
pub(crate) const ROOT: f64 = 2.0 * ULP + DIVISION;
/// The largest number that may be flushed to zero.
pub(crate) const FLUSHED: f64 = f32::MIN_POSITIVE as f64;

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

//! What an op costs.

use std::iter::Sum;
use std::ops::Add;

/// Arithmetic, and traffic with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Floating-point operations. Each +, −, ×, ÷, comparison, root, exponential, logarithm, tanh and erf of the op's
    /// formula counts as one, so a multiply-add as two; integers, and what there is one of in a dispatch, count
    /// nothing. How many instructions an exponential takes is the GPU's affair.
    pub flops: u64,
    /// Bytes that must be read and written at least: each number once, or twice where it is read and written again.
    /// What a kernel reads several times, as products do, it had better find in a cache. Of a data set, whose kind a
    /// plan does not know, f32 features are counted, and as targets labels for classes and f32 for other losses.
    pub bytes: u64,
}

impl Work {
    /// Floating-point operations a byte: the x axis of a roofline.
    pub fn intensity(self) -> f64 {
        self.flops as f64 / self.bytes as f64
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}

//! Cost of an op.

use std::iter::Sum;
use std::ops::Add;

/// Floating-point operations and memory traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Floating-point operations. Each +, −, ×, ÷, comparison, root, exponential, logarithm, tanh and erf of the op's
    /// formula counts as one. A multiply-add counts as two. Not counted are integer operations, and operations that a
    /// dispatch does only once.
    pub flops: u64,
    /// Least number of bytes read and written. Each number counts once, or twice if it is read and written. Repeated
    /// reads of a number, as in a matmul, count once: caches should serve them. A plan does not know the type of the
    /// data set, so features count as f32. Targets count as labels for classification losses and as f32 for other
    /// losses.
    pub bytes: u64,
}

impl Work {
    /// Floating-point operations per byte: the x axis of a roofline plot.
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

//! Compares a gradient with central differences.

use std::fmt;

/// Options of [`compare_gradient`]: the steps, and the errors of the loss and of the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// The smallest step, in the unit of the numbers. Default: 2⁻¹⁶, for a loss in f64.
    pub step: f64,
    /// Number of steps, each twice the one before; at least 2. Default: 2.
    pub steps: usize,
    /// The largest rounding error of one loss. Default: 0.
    pub noise: f64,
    /// The largest rounding error of a number of the gradient. Default: 0.
    pub bound: f64,
}

impl Default for Differences {
    fn default() -> Self {
        Self { step: 1.0 / 65_536.0, steps: 2, noise: 0.0, bound: 0.0 }
    }
}

/// The result of [`compare_gradient`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GradientComparison {
    /// Number of compared gradient elements, without the unclear ones.
    pub compared: usize,
    /// Number of elements that could not be compared, because the central differences disagree by more than the
    /// largest element of the gradient. This happens at a jump of the loss, and if the loss is too steep for the
    /// steps.
    pub unclear: usize,
    /// The largest error divided by its bound; at most 1 if all elements agree.
    pub worst: f64,
    /// The largest bound. An error up to this size may go unnoticed.
    pub bound: f64,
    /// The first element that does not agree.
    pub fault: Option<GradientFault>,
}

/// An element of a gradient that does not agree with central differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientFault {
    /// Index of the element.
    pub index: usize,
    /// The gradient there.
    pub gradient: f64,
    /// The central difference.
    pub difference: f64,
    /// The largest allowed difference.
    pub bound: f64,
}

impl fmt::Display for GradientFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, gradient, difference, bound } = self;
        write!(f, "number {index}: expected {difference:e} (central differences) within {bound:.1e}, got {gradient:e}")
    }
}

/// Compares the gradient of a loss at the point `at` with central differences, for the elements `indices`.
///
/// With step h, the central difference is D(h) = (L(x + h) − L(x − h)) / 2h. The difference of the slopes at both
/// sides is S(h) = (L(x + h) + L(x − h) − 2 L(x)) / h. The gradient may differ from D(h) by the sum of:
///
/// - |D(h) − D(2h)|. If L is smooth, the truncation error of D(h) is a third of it.
/// - |S(h) − S(2h) / 2|. If L is smooth, it is nearly 0. At a corner within h of x (as in relu), both terms together
///   are at least the difference between D(h) and the slope at x.
/// - `noise` / h, because each loss can have an error of `noise`.
/// - `bound`.
///
/// The step doubles while the differences agree within that sum. The step with the smallest sum is used.
///
/// ```
/// use wgrad::lockstep::{Differences, compare_gradient};
/// let at = [0.3, -0.7];
/// let loss = |x: &[f64]| x[0].powi(2) * x[1];
/// let gradient = [2.0 * 0.3 * -0.7, 0.3f32.powi(2)];
/// let how = Differences { bound: 1e-6, ..Differences::default() };
/// let comparison = compare_gradient(&at, &gradient, 0..2, how, loss);
/// assert_eq!((comparison.compared, comparison.fault), (2, None));
///
/// let flipped = gradient.map(|g| -g);
/// let fault = compare_gradient(&at, &flipped, 0..2, how, loss).fault.unwrap();
/// assert_eq!(fault.index, 0);
/// println!("{fault}");
/// ```
///
/// # Panics
/// If an index is not below the lengths of `at` and `gradient`.
pub fn compare_gradient(
    at: &[f64],
    gradient: &[f32],
    indices: impl IntoIterator<Item = usize>,
    how: Differences,
    mut loss: impl FnMut(&[f64]) -> f64,
) -> GradientComparison {
    let mut comparison = GradientComparison::default();
    let (negligible, base) = (largest(gradient).max(how.bound), [loss(at)]);
    let mut moved = at.to_vec();
    for index in indices {
        let mut moved_to = |to: f64| {
            moved[index] = to;
            vec![loss(&moved)]
        };
        let sides: Vec<_> = steps(&how).map(|h| [h, -h].map(|by| moved_to(at[index] + by))).collect();
        moved[index] = at[index];
        comparison.add(index, gradient[index], negligible, Slope::of(&how, &base, &sides));
    }
    comparison
}

/// The steps, from the shortest to the longest.
pub(super) fn steps(how: &Differences) -> impl Iterator<Item = f64> + use<> {
    let step = how.step;
    (0..how.steps.clamp(2, 64)).map(move |k| step * (k as f64).exp2())
}

/// The largest absolute value in a gradient.
pub(super) fn largest(gradient: &[f32]) -> f64 {
    gradient.iter().fold(0.0, |largest: f64, &g| largest.max(f64::from(g).abs()))
}

/// The terms of a loss one step above a point, and one step below.
pub(super) type Sides = [Vec<f64>; 2];

/// The slope of a loss, by central differences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slope {
    pub difference: f64,
    /// The difference to other steps.
    pub disagreement: f64,
    /// The largest allowed difference between the gradient and the central difference.
    pub bound: f64,
}

impl Slope {
    /// Computes the slope from the terms of a loss at the point and, for each of the [`steps`], at both sides. The
    /// terms are compared one by one, so that a corner of one term does not hide that of another.
    pub fn of(how: &Differences, base: &[f64], sides: &[Sides]) -> Self {
        let slopes = |h: f64, [above, below]: &Sides, j: usize| {
            let (above, below) = (above[j], below[j]);
            [(above - below) / (2.0 * h), (above + below - 2.0 * base[j]) / h]
        };
        let pair = |((h, near), far): ((f64, &Sides), &Sides)| {
            let (mut difference, mut disagreement) = (0.0, 0.0);
            for j in 0..base.len() {
                let ([d, s], [d2, s2]) = (slopes(h, near, j), slopes(2.0 * h, far, j));
                difference += d;
                disagreement += (d - d2).abs() + (s - s2 / 2.0).abs();
            }
            Self { difference, disagreement, bound: disagreement + how.noise / h }
        };
        let mut pairs = steps(how).zip(sides).zip(sides.iter().skip(1)).map(pair);
        let nothing = Self { difference: f64::NAN, disagreement: f64::NAN, bound: f64::NAN };
        let mut best = pairs.next().unwrap_or(nothing);
        for longer in pairs {
            if longer.disagreement > best.bound {
                break;
            }
            if longer.bound < best.bound {
                best = longer;
            }
        }
        Self { bound: best.bound + how.bound, ..best }
    }
}

impl GradientComparison {
    /// Adds an element of a gradient. A disagreement up to `negligible` is ignored.
    pub(super) fn add(&mut self, index: usize, gradient: f32, negligible: f64, slope: Slope) {
        let Slope { difference, disagreement, bound } = slope;
        let gradient = f64::from(gradient);
        let is_clear = disagreement <= negligible.max(difference.abs()) || gradient.is_nan();
        if !is_clear {
            self.unclear += 1;
            return;
        }
        self.compared += 1;
        let share = match (gradient - difference).abs() {
            error if error <= bound => error / bound.max(f64::MIN_POSITIVE),
            error if error / bound > 1.0 => error / bound,
            _ => f64::INFINITY,
        };
        self.worst = self.worst.max(share);
        self.bound = self.bound.max(bound);
        if share > 1.0 && self.fault.is_none() {
            self.fault = Some(GradientFault { index, gradient, difference, bound });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a loss of one number, at one point.
    fn compare(gradient: f32, at: f64, how: Differences, loss: impl Fn(f64) -> f64) -> GradientComparison {
        compare_gradient(&[at], &[gradient], [0], how, |x| loss(x[0]))
    }

    /// At a corner, the slope of the point's own side agrees at any distance. The other side's slope agrees only
    /// within a step.
    #[test]
    fn a_corner_is_compared_as_far_as_it_can_be() {
        let how = Differences { step: 0.125, ..Differences::default() };
        let relu = |x: f64| x.max(0.0) + 0.5 * x;
        for i in -40i8..=40 {
            let x = f64::from(i) / 64.0;
            let slope = if x > 0.0 { 1.5 } else { 0.5 };
            let right = compare(slope, x, how, relu);
            assert!(right.fault.is_none() && right.worst <= 1.0, "{x}: {right:?}");
            let wrong = compare(2.0 - slope, x, how, relu);
            assert!(wrong.fault.is_some() || x.abs() < 0.25, "{x}: {wrong:?}");
        }
    }

    /// The corners of two terms with opposite slopes cancel in the sum.
    #[test]
    fn a_corner_does_not_hide_another_one() {
        let how = Differences { step: 0.125, ..Differences::default() };
        let terms = |x: f64| vec![x.max(0.0), -(x - 0.01).max(0.0), x];
        let sides: Vec<_> = steps(&how).map(|h| [terms(0.005 + h), terms(0.005 - h)]).collect();
        let mut comparison = GradientComparison::default();
        comparison.add(0, 2.0, 2.0, Slope::of(&how, &terms(0.005), &sides));
        assert_eq!((comparison.compared, comparison.fault), (1, None));
    }

    /// sin(w x) has the same values one period apart, so long steps alone see no slope.
    #[test]
    fn long_steps_that_agree_by_chance_do_not_count() {
        let w = 64.0 * std::f64::consts::PI;
        let how = Differences { step: 1.0 / 4096.0, steps: 10, noise: 1e-7, bound: 0.0 };
        let slope = w * (w * 0.01).cos();
        let right = compare(slope as f32, 0.01, how, |x| (w * x).sin());
        assert_eq!((right.compared, right.fault), (1, None));
        for wrong in [0.0, -slope, 1.02 * slope] {
            let wrong = compare(wrong as f32, 0.01, how, |x| (w * x).sin());
            assert!(wrong.fault.is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn a_jump_is_unclear_and_nan_is_a_fault() {
        let how = Differences::default();
        assert_eq!(compare(1.0, 0.0, how, |x| if x > 0.0 { 1.0 } else { 0.0 }).unclear, 1);
        assert_eq!(compare(1.0, 0.0, how, |_| f64::NAN).unclear, 1);
        assert!(compare(f32::NAN, 0.0, how, |x| x).fault.is_some());
        assert!(compare(f32::NAN, 0.0, how, |_| f64::NAN).worst.is_infinite());
        assert_eq!(compare(0.0, 0.0, how, |_| 2.0), GradientComparison { compared: 1, ..Default::default() });
        let right = compare(1.0, 0.0, Differences { bound: 0.5, ..how }, |x| 1.25 * x);
        assert_eq!((right.fault, right.worst, right.bound), (None, 0.5, 0.5));
    }
}

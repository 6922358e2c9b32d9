//! The accuracy of GPU arithmetic, from which error bounds are derived.
//!
//! u = 2⁻²⁴ is the unit roundoff of f32: +, − and × have a relative error of at most u. A sum of k products in any
//! order has an error of at most (k + 1) u Σ|a·b|, so two such sums differ by at most twice that. Source: Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.1.
//!
//! WGSL's accuracy table (§15.7.4) gives these errors: division 2.5 ulp, exp 3 + 2|x| ulp, log 3 ulp or 2⁻²¹, tanh
//! 10⁻⁵. The error of sqrt is that of 1 / inverseSqrt: 2 ulp and a division. An ulp is at most 2u relative. Denormals
//! may be flushed to zero.

pub(crate) const U: f64 = 1.0 / 16_777_216.0;
pub(crate) const ULP: f64 = 2.0 * U;
pub(crate) const DIVISION: f64 = 2.5 * ULP;
pub(crate) const ROOT: f64 = 2.0 * ULP + DIVISION;
/// The largest number that may be flushed to zero.
pub(crate) const FLUSHED: f64 = f32::MIN_POSITIVE as f64;

/// The relative error of e^x if x has the error `off`.
pub(crate) fn of_exp(x: f64, off: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * ULP + off
}

/// The error of a number that is flushed to zero when it is read.
pub(crate) fn flushed(x: f32) -> f64 {
    if x.is_subnormal() { f64::from(x).abs() } else { 0.0 }
}

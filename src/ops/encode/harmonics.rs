//! Real spherical harmonics: CPU reference and error bounds. The formulas are those of
//! `shaders/encodings/spherical_harmonics.wgsl.in`.

use std::f64::consts::PI;

use crate::ops::{DIVISION, FLUSHED, ROOT, U};

/// A number and the error that a GPU's f32 arithmetic may give it.
type Rounded = (f64, f64);

/// Feature k of a direction with coordinates x, y and z, or its derivative along an axis. Then its error bound.
pub(super) fn harmonic(point: [f32; 3], k: u32, axis: Option<usize>) -> Rounded {
    let [x, y, z] = point.map(f64::from);
    let l = k.isqrt();
    let (is_imaginary, m) = (k < l * l + l, k.abs_diff(l * l + l));
    // Along z the Legendre polynomial is differentiated, along x and y the power of x + iy.
    let (derivatives, exponent, factor) = match axis {
        None => (m, m, 1.0),
        Some(2) => (m + 1, m, 1.0),
        Some(_) => (m, m.saturating_sub(1), f64::from(m)),
    };
    let ([re, im], power_off) = power(x, y, exponent);
    let part = match (is_imaginary, axis) {
        (false, Some(1)) => -im,
        (true, Some(1)) => re,
        (false, _) => re,
        (true, _) => im,
    };
    let (q, q_off) = legendre(l, derivatives, z);
    let (norm, norm_off) = norm(l, m);
    let value = norm * q * factor * part;
    let scale = norm.abs() * factor;
    let off =
        scale * (q_off * part.abs() + q.abs() * power_off + q_off * power_off) + value.abs() * (norm_off + 4.0 * U);
    // A GPU may flush intermediate results to 0. The factors after it are at most 135,135 · 14, and powers of the
    // coordinates.
    let flushed = FLUSHED * 2f64.powi(21) * (1.0 + x.abs() + y.abs() + z.abs()).powi(l as i32);
    (value, 2.0 * off + flushed)
}

/// The m-th derivative of the Legendre polynomial of degree l: (n − m) Qₙ = (2n − 1) z Qₙ₋₁ − (n + m − 1) Qₙ₋₂, from
/// Qₘ = 1 · 3 · 5 · … · (2m − 1). It is the recurrence of the associated Legendre functions, divided by (1 − z²)^(m/2).
fn legendre(l: u32, m: u32, z: f64) -> Rounded {
    if m > l {
        return (0.0, 0.0);
    }
    // Integers up to 135,135 are exact.
    let mut q: Rounded = ((1..m).map(|i| f64::from(2 * i + 1)).product(), 0.0);
    let mut before: Rounded = (0.0, 0.0);
    for n in m + 1..=l {
        let [a, b, c] = [2 * n - 1, n + m - 1, n - m].map(f64::from);
        let (first, second) = (a * z * q.0, b * before.0);
        let next = (first - second) / c;
        let off = a * z.abs() * q.1 + b * before.1 + 3.0 * U * (first.abs() + second.abs());
        (before, q) = (q, (next, off / c + DIVISION * next.abs()));
    }
    q
}

/// Real and imaginary part of (x + iy)^m. Each step has two products and a sum. A part of (x + iy)^n is at most
/// (|x| + |y|)^n.
fn power(x: f64, y: f64, m: u32) -> ([f64; 2], f64) {
    let mut c = [1.0, 0.0];
    for _ in 0..m {
        c = [x * c[0] - y * c[1], x * c[1] + y * c[0]];
    }
    (c, 2.0 * U * f64::from(m) * (x.abs() + y.abs()).powi(m as i32))
}

/// The factor of the harmonics of degree l and order m or −m.
#[cfg(feature = "onnx")]
pub(crate) fn harmonic_norm(l: u32, m: u32) -> f64 {
    norm(l, m).0
}

/// (−1)ᵐ √((2 − δ) (2l + 1) / 4π · (l − m)! / (l + m)!) with δ = 1 for m = 0, otherwise 0. Then its relative error:
/// half of those of the 2m products in the divisor, the product with 4π, the division and the numerator, and the root.
fn norm(l: u32, m: u32) -> Rounded {
    let divisor: f64 = (l - m + 1..=l + m).map(f64::from).product();
    let twice = if m == 0 { 1.0 } else { 2.0 };
    let norm = (twice * f64::from(2 * l + 1) / (4.0 * PI * divisor)).sqrt();
    (if m % 2 == 1 { -norm } else { norm }, 0.5 * (f64::from(2 * m + 3) * U + DIVISION) + ROOT)
}

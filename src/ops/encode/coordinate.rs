//! Features of single coordinates: CPU reference and error bounds.

use std::f64::consts::PI;

use crate::encoding::Encoding;
use crate::ops::{FLUSHED, U};

/// A feature of a coordinate.
pub(super) struct Feature {
    pub value: f32,
    /// Derivative of the value.
    pub slope: f32,
    /// Error bounds of the value and of the derivative on a GPU.
    pub off: [f64; 2],
}

impl Feature {
    /// Feature k of a coordinate. Inlined because most callers use only one field.
    #[inline(always)]
    pub fn of(encoding: Encoding, x: f32, k: u32) -> Self {
        let size = f64::from(x.abs());
        // A coordinate this small may be flushed to zero before it is multiplied.
        let flushed = if size < FLUSHED { size } else { 0.0 };
        let (value, slope, off) = match encoding {
            Encoding::Identity { scale, offset } => {
                let steep = f64::from(scale.abs());
                let off = 2.0 * U * (2.0 * steep * size + f64::from(offset.abs())) + steep * flushed;
                return Self { value: scale * x + offset, slope: scale, off: [off, 0.0] };
            }
            // The argument's reduction is exact. The sine has the roundings of pi, of the product and of the result;
            // its series adds less, and 1e-9 by truncation. The argument of the cosine is rounded once more, near
            // 1/2.
            Encoding::Frequency { .. } => {
                let (sin, cos) = (PI * reduced_argument(x, k / 2)).sin_cos();
                let (value, slope) = if k.is_multiple_of(2) { (sin, cos) } else { (cos, -sin) };
                let (steep, off) = (PI * 2f64.powi(k as i32 / 2), 10.0 * U);
                (value, steep * slope, [off, steep * (off + 4.0 * U)])
            }
            // Exact: differences of close numbers, and powers of two.
            Encoding::TriangleWave { .. } => {
                let (t, steep) = (reduced_argument(x, k), 2f64.powi(k as i32 + 1));
                let falls = t.abs() > 0.5;
                let (value, slope) = if falls { (t.signum() - t, -steep) } else { (t, steep) };
                (2.0 * value, slope, [steep * flushed, 0.0])
            }
            // The edges have the roundings of x * bins, of the difference and of the sum. The kernel is at most 15/16
            // high, with a slope up to 1.44. On each side its polynomials have about six roundings of numbers up to
            // 1.
            Encoding::OneBlob { bins } => {
                let (bins, k) = (f64::from(bins), f64::from(k));
                let left = k - f64::from(x) * bins;
                let off = U * (2.0 * bins * size + k + 2.0);
                let (value, slope) =
                    (blob_below(left + 1.0) - blob_below(left), bins * (blob(left) - blob(left + 1.0)));
                (value, slope, [2.0 * (off + 6.0 * U), bins * 2.0 * (1.44 * off + 6.0 * U)])
            }
            Encoding::SphericalHarmonics { .. } | Encoding::HashGrid(_) => {
                unreachable!("not an encoding of coordinates")
            }
        };
        Self { value: value as f32, slope: slope as f32, off }
    }
}

/// 2ᵏ x, reduced by a multiple of 2 to the range −1 to 1. The reduction is exact.
fn reduced_argument(x: f32, k: u32) -> f64 {
    let t = x * 2f32.powi(k as i32);
    f64::from(t - 2.0 * (t * 0.5).round_ties_even())
}

/// Quartic kernel.
fn blob(t: f64) -> f64 {
    15.0 / 16.0 * (1.0 - t * t).max(0.0).powi(2)
}

/// Integral of the quartic kernel from −1 to t.
fn blob_below(t: f64) -> f64 {
    let t = t.clamp(-1.0, 1.0);
    0.5 + 15.0 / 16.0 * (t - 2.0 / 3.0 * t.powi(3) + t.powi(5) / 5.0)
}

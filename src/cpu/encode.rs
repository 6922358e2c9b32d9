//! Twin of `shaders/encode.wgsl`.

use std::f64::consts::PI;

use crate::network::Encoding;
use crate::plan::Encode;

pub fn encode(op: &Encode, x: &[f32], gradient: Option<&[f32]>, output: &mut [f32]) {
    let features = op.encoding.features() as usize;
    match gradient {
        None => {
            for (y, &x) in output.chunks_exact_mut(features).zip(x) {
                for (k, y) in (0..).zip(y) {
                    *y = feature(op.encoding, x, k);
                }
            }
        }
        Some(gradient) => {
            for ((dx, &x), dy) in output.iter_mut().zip(x).zip(gradient.chunks_exact(features)) {
                *dx = (0..).zip(dy).map(|(k, dy)| dy * slope(op.encoding, x, k)).sum();
            }
        }
    }
}

/// 2ᵏ x with whole turns of 2 taken away: −1 to 1, exactly.
fn turned(x: f32, k: u32) -> f64 {
    let t = x * 2f32.powi(k as i32);
    f64::from(t - 2.0 * (t * 0.5).round_ties_even())
}

/// The triangle wave's place between two of its peaks.
fn folded(t: f64) -> f64 {
    if t.abs() > 0.5 { t.signum() - t } else { t }
}

/// The quartic kernel's integral from −1 to t.
fn blob_below(t: f64) -> f64 {
    let t = t.clamp(-1.0, 1.0);
    0.5 + 15.0 / 16.0 * (t - 2.0 / 3.0 * t.powi(3) + t.powi(5) / 5.0)
}

fn blob(t: f64) -> f64 {
    15.0 / 16.0 * (1.0 - t * t).max(0.0).powi(2)
}

/// Feature k of a coordinate.
pub fn feature(encoding: Encoding, x: f32, k: u32) -> f32 {
    let y = match encoding {
        Encoding::Identity { scale, offset } => return scale * x + offset,
        Encoding::Frequency { .. } => {
            let angle = PI * turned(x, k / 2);
            if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        }
        Encoding::TriangleWave { .. } => 2.0 * folded(turned(x, k)),
        Encoding::OneBlob { bins } => {
            let left = f64::from(k) - f64::from(x) * f64::from(bins);
            blob_below(left + 1.0) - blob_below(left)
        }
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    };
    y as f32
}

/// Its derivative.
pub fn slope(encoding: Encoding, x: f32, k: u32) -> f32 {
    let y = match encoding {
        Encoding::Identity { scale, .. } => return scale,
        Encoding::Frequency { .. } => {
            let angle = PI * turned(x, k / 2);
            let wave = if k.is_multiple_of(2) { angle.cos() } else { -angle.sin() };
            PI * 2f64.powi(k as i32 / 2) * wave
        }
        Encoding::TriangleWave { .. } => {
            let falls = turned(x, k).abs() > 0.5;
            2f64.powi(k as i32 + 1) * if falls { -1.0 } else { 1.0 }
        }
        Encoding::OneBlob { bins } => {
            let left = f64::from(k) - f64::from(x) * f64::from(bins);
            f64::from(bins) * (blob(left) - blob(left + 1.0))
        }
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    };
    y as f32
}

//! Block compression, as GPUs read it: blocks of 4×4 texels. The encoder is simple: the main axis of the block's
//! colours, then two rounds of least squares. Encoders of games search longer and gain some tenths of a dB.

use std::array::from_fn;

use super::Coded;
use crate::material::{CHANNELS, Material};

/// How three channels are stored.
#[derive(Clone, Copy, PartialEq)]
pub enum Format {
    /// BC1: 8 bytes for the three channels of a block.
    Bc1,
    /// BC5: 16 bytes for the first two channels. The third is that of a normal of length 1.
    Bc5,
}

/// The formats of colour, normal and surface: 12 bits a texel.
pub const BC1: [Format; 3] = [Format::Bc1; 3];
/// 16 bits a texel.
pub const BC1_AND_BC5: [Format; 3] = [Format::Bc1, Format::Bc5, Format::Bc1];

/// Compresses each mip level, as games do.
pub fn blocks(material: &Material, formats: [Format; 3]) -> Coded {
    let mut bytes = 0;
    let mips = (0..).zip(&material.mips).map(|(level, texels)| {
        let side = (material.size >> level) as usize;
        let mut decoded = texels.clone();
        for (x, y) in (0..side).step_by(4).flat_map(|y| (0..side).step_by(4).map(move |x| (x, y))) {
            // At the small levels, texels repeat.
            let places: [usize; 16] = from_fn(|i| (y + i / 4) % side * side + (x + i % 4) % side);
            for (format, first) in formats.into_iter().zip((0..CHANNELS).step_by(3)) {
                let block = places.map(|at| from_fn(|channel| f32::from(texels[at][first + channel])));
                let (size, block) = match format {
                    Format::Bc1 => (8, colours(&block)),
                    Format::Bc5 => (16, normals(&block)),
                };
                bytes += size;
                for (at, values) in places.into_iter().zip(block) {
                    decoded[at][first..first + 3]
                        .copy_from_slice(&values.map(|value| value.round().clamp(0.0, 255.0) as u8));
                }
            }
        }
        decoded
    });
    let mips = mips.collect();
    Coded { bytes, material: Material { size: material.size, mips } }
}

type Colour = [f32; 3];

fn dot(a: Colour, b: Colour) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// A block after BC1: each texel is one of four colours on a line. The ends have 5, 6 and 5 bits.
fn colours(block: &[Colour; 16]) -> [Colour; 16] {
    let mean: Colour = from_fn(|c| block.iter().map(|colour| colour[c]).sum::<f32>() / 16.0);
    let away = block.map(|colour| from_fn(|c| colour[c] - mean[c]));
    // Power iteration on the covariance.
    let mut axis: Colour = [1.0, 1.1, 0.9];
    for _ in 0..8 {
        let next: Colour = from_fn(|c| away.iter().map(|&a| dot(a, axis) * a[c]).sum());
        let length = dot(next, next).sqrt();
        if length > 1e-6 {
            axis = next.map(|n| n / length);
        }
    }
    let along = away.map(|a| dot(a, axis));
    let [low, high] = [along.iter().copied().fold(f32::MAX, f32::min), along.iter().copied().fold(f32::MIN, f32::max)];
    let mut ends = [low, high].map(|t| from_fn(|c| mean[c] + t * axis[c]));
    let (mut best, mut least) = ([mean; 16], f32::MAX);
    for _ in 0..3 {
        let palette: [Colour; 4] = {
            let [a, b] = ends.map(quantised);
            from_fn(|i| from_fn(|c| a[c] + (b[c] - a[c]) * i as f32 / 3.0))
        };
        let error = |colour: Colour, i: usize| (0..3).map(|c| (colour[c] - palette[i][c]).powi(2)).sum::<f32>();
        let nearest = |colour| (0..4).min_by(|&a, &b| error(colour, a).total_cmp(&error(colour, b))).unwrap_or(0);
        let codes = block.map(nearest);
        let total = block.iter().zip(codes).map(|(&colour, code)| error(colour, code)).sum();
        if total < least {
            (best, least) = (codes.map(|code| palette[code]), total);
        }
        // Least squares: the ends for these codes.
        let weights = codes.map(|code| code as f32 / 3.0);
        let [aa, ab, bb] =
            [|t: f32| (1.0 - t) * (1.0 - t), |t| (1.0 - t) * t, |t| t * t].map(|f| weights.map(f).iter().sum::<f32>());
        let determinant = aa * bb - ab * ab;
        if determinant < 1e-6 {
            break;
        }
        let sums: [[f32; 2]; 3] = from_fn(|c| {
            let of = |f: fn(f32) -> f32| block.iter().zip(weights).map(|(colour, t)| f(t) * colour[c]).sum();
            [of(|t| 1.0 - t), of(|t| t)]
        });
        ends = [
            from_fn(|c| (bb * sums[c][0] - ab * sums[c][1]) / determinant),
            from_fn(|c| (aa * sums[c][1] - ab * sums[c][0]) / determinant),
        ];
    }
    best
}

/// The nearest colour with 5, 6 and 5 bits.
fn quantised(colour: Colour) -> Colour {
    from_fn(|c| {
        let steps = if c == 1 { 63.0 } else { 31.0 };
        (colour[c].clamp(0.0, 255.0) / 255.0 * steps).round() / steps * 255.0
    })
}

/// A block after BC5: each of the first two channels is one of eight values between the least and the greatest.
fn normals(block: &[Colour; 16]) -> [Colour; 16] {
    let ends = [0, 1].map(|c| {
        let values = block.iter().map(|normal| normal[c]);
        [values.clone().fold(f32::MAX, f32::min), values.fold(f32::MIN, f32::max)]
    });
    block.map(|normal| {
        let [x, y] = [0, 1].map(|c| {
            let [low, high] = ends[c];
            low + ((normal[c] - low) / (high - low).max(1.0) * 7.0).round() * (high - low) / 7.0
        });
        let [nx, ny] = [x, y].map(|value| value / 127.5 - 1.0);
        [x, y, 127.5 + 127.5 * (1.0 - nx * nx - ny * ny).max(0.0).sqrt()]
    })
}

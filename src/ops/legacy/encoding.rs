//! Encodings. A hash grid's cells are the same on both sides, as the product that tells them is rounded once and then cut
//! off; the fraction that is left may come from the product before it was rounded (a fused multiply-add).

use super::{f32s, f64s};
use crate::cpu::{Corner, for_each_corner, scale_of, slope, sums};
use crate::network::Encoding;
use crate::ops::*;

/// Of a feature, and of its derivative.
pub(crate) fn of_feature(encoding: Encoding, x: f32, k: u32) -> [f64; 2] {
    let x = f64::from(x.abs());
    // A coordinate this small may be taken for zero before it is multiplied.
    let flushed = if x < FLUSHED { x } else { 0.0 };
    match encoding {
        Encoding::Identity { scale, offset } => {
            let scale = f64::from(scale.abs());
            [2.0 * U * (2.0 * scale * x + f64::from(offset.abs())) + scale * flushed, 0.0]
        }
        // The turn is exact. The sine: pi's own rounding, the product with it and the last one move it by their share; so
        // do the series' steps, by less, and what it leaves out, 1e-9. The cosine's turn is rounded once more, near 1/2.
        Encoding::Frequency { .. } => {
            let of_sine = 10.0 * U;
            [of_sine, std::f64::consts::PI * 2f64.powi(k as i32 / 2) * (of_sine + 4.0 * U)]
        }
        // Exact: differences of neighbours, and powers of two.
        Encoding::TriangleWave { .. } => [2f64.powi(k as i32 + 1) * flushed, 0.0],
        // The edges are off by the roundings of x * bins, of the difference and of the sum; the kernel is at most 15/16
        // high and 1.44 steep, and its polynomials have some six roundings of numbers up to 1, on either side.
        Encoding::OneBlob { bins } => {
            let bins = f64::from(bins);
            let of_edge = U * (2.0 * bins * x + f64::from(k) + 2.0);
            [2.0 * (of_edge + 6.0 * U), bins * 2.0 * (1.44 * of_edge + 6.0 * U)]
        }
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

pub(crate) fn of_encode(op: &Encode, memory: &Operands<'_>) -> Bounds {
    let x = f32s(memory, op.x);
    let features = op.encoding.features();
    let bounds = match op.gradient {
        None => x.iter().flat_map(|&x| (0..features).map(move |k| of_feature(op.encoding, x, k)[0])).collect(),
        Some(gradient) => {
            let gradient = f64s(memory, gradient);
            let of_row = |(&x, dy): (&f32, &[f64])| {
                (0..features)
                    .zip(dy)
                    .map(|(k, dy)| {
                        let roundings = 2.0 * (f64::from(features) + 1.0) * U;
                        let slope = f64::from(slope(op.encoding, x, k).abs());
                        dy.abs() * (of_feature(op.encoding, x, k)[1] + slope * roundings)
                    })
                    .sum()
            };
            x.iter().zip(gradient.chunks_exact(features as usize)).map(of_row).collect()
        }
    };
    Bounds::Each(bounds)
}

/// A corner's share along an axis: the fraction of a position up to the resolution, rounded or not, and its rest to 1.
pub(crate) fn of_share(corner: &Corner) -> f64 {
    U * (f64::from(corner.resolution) + 2.0)
}

/// Its weight: the shares' errors add up, as shares are at most 1, and three products are rounded.
pub(crate) fn of_weight(corner: &Corner, dimensions: u32) -> f64 {
    f64::from(dimensions) * of_share(corner) + 2.0 * 3.0 * U * f64::from(corner.weight().abs())
}

pub(crate) fn of_hash_grid(op: &HashGridForward, memory: &Operands<'_>) -> Bounds {
    let (x, levels, table) = (f32s(memory, op.x), memory.words(op.levels), f64s(memory, op.table));
    let features = op.shape.features as usize;
    let roundings = 2.0 * (f64::from(1 << op.shape.dimensions) + 1.0) * U;
    let mut bounds = vec![0.0; op.y.len() as usize];
    for_each_corner(&op.shape, &x, &levels, |corner| {
        let share = of_weight(&corner, op.shape.dimensions) + f64::from(corner.weight().abs()) * roundings;
        for f in 0..features {
            bounds[corner.features + f] += table[corner.entry * features + f].abs() * share;
        }
    });
    Bounds::Each(bounds)
}

/// The power of two is another where the sum's own error takes it past one.
pub(crate) fn of_scale(op: &HashGridScale, memory: &Operands<'_>) -> Bounds {
    let terms = f64::from(op.shape.rows) * f64::from(op.shape.features);
    let of_sum = |sum: f64| {
        let off = 2.0 * (terms + 1.0) * U * sum;
        let [low, high] = [sum - off, sum + off].map(|sum| scale_of(sum as f32));
        // Equal where no power is passed: nothing but the bits will do, or a bound below the least difference.
        [0, 1].map(|i| f64::from((low[i] - high[i]).abs()))
    };
    Bounds::Each(sums(&op.shape, &f32s(memory, op.gradient)).into_iter().flat_map(of_sum).collect())
}

/// Each contribution, a product of two, is rounded to a whole number: to another one only where its error takes it past a
/// half.
pub(crate) fn of_scatter(op: &HashGridScatter, memory: &Operands<'_>) -> Bounds {
    let (x, levels) = (f32s(memory, op.x), memory.words(op.levels));
    let (gradient, scales) = (f64s(memory, op.gradient), f64s(memory, op.scales));
    let features = op.shape.features as usize;
    let mut bounds = vec![0.0; op.sums.len() as usize];
    for_each_corner(&op.shape, &x, &levels, |corner| {
        for f in 0..features {
            let scaled = gradient[corner.features + f] * scales[2 * corner.level];
            let exact = f64::from(corner.weight()) * scaled;
            let off = scaled.abs() * of_weight(&corner, op.shape.dimensions) + 2.0 * U * exact.abs();
            bounds[corner.entry * features + f] += (exact + off).round() - (exact - off).round();
        }
    });
    Bounds::Whole(bounds)
}

/// A whole number as f32, rounded either way; the product with a power of two is exact.
pub(crate) fn of_gradient(op: &HashGridGradient, memory: &Operands<'_>) -> Bounds {
    let (scales, blocks) = (f64s(memory, op.scales), memory.words(op.blocks));
    let of_sum = |(i, &sum): (usize, &u32)| {
        let inverse = scales[2 * blocks[i / 64] as usize + 1];
        2.0 * U * f64::from(sum as i32).abs() * inverse
    };
    Bounds::Each(memory.words(op.sums).iter().enumerate().map(of_sum).collect())
}

pub(crate) fn of_input(op: &HashGridInput, memory: &Operands<'_>) -> Bounds {
    let (x, levels) = (f32s(memory, op.x), memory.words(op.levels));
    let (table, gradient) = (f64s(memory, op.table), f64s(memory, op.gradient));
    let (dimensions, features) = (op.shape.dimensions as usize, op.shape.features as usize);
    // Of the sums over corners, levels and features, and the products in between.
    let terms = f64::from((op.shape.levels + op.shape.features) + (1 << op.shape.dimensions));
    let mut bounds = vec![0.0; op.output.len() as usize];
    for_each_corner(&op.shape, &x, &levels, |corner| {
        let (entry, dy) = (&table[corner.entry * features..], &gradient[corner.features..]);
        let value: f64 = entry.iter().zip(dy).take(features).map(|(t, dy)| (t * dy).abs()).sum();
        let steep = f64::from(corner.resolution) * value;
        for axis in 0..dimensions {
            let others: f64 = (0..4).filter(|&a| a != axis).map(|a| f64::from(corner.shares[a].abs())).product();
            let share = f64::from(op.shape.dimensions - 1) * of_share(&corner) + 2.0 * (terms + 6.0) * U * others;
            bounds[corner.row * dimensions + axis] += steep * share;
        }
    });
    Bounds::Each(bounds)
}

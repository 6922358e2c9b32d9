//! Twin of `shaders/hash_grid_scale.wgsl`.

use crate::plan::{GridShape, HashGridScale};

pub fn hash_grid_scale(op: &HashGridScale, gradient: &[f32], scales: &mut [f32]) {
    for (scale, sum) in scales.as_chunks_mut().0.iter_mut().zip(sums(&op.shape, gradient)) {
        *scale = scale_of(sum as f32);
    }
}

/// For each level, the sum of |dy| over its features.
pub fn sums(shape: &GridShape, gradient: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0; shape.levels as usize];
    for (i, dy) in gradient.chunks_exact(shape.features as usize).enumerate() {
        sums[i % shape.levels as usize] += dy.iter().map(|dy| f64::from(dy.abs())).sum::<f64>();
    }
    sums
}

/// The power of two that brings a sum to 2²⁹ or more, but below 2³⁰, and one over it.
pub fn scale_of(sum: f32) -> [f32; 2] {
    if !sum.is_finite() {
        return [f32::NAN; 2];
    }
    // So that one over the power is no denormal number.
    let exponent = (sum.to_bits() >> 23).max(30) as i32 - 127;
    [2f32.powi(29 - exponent), 2f32.powi(exponent - 29)]
}

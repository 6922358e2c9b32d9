//! Twin of `shaders/sum_squares.wgsl`.

use crate::plan::SumSquares;

/// Beyond this a sum is kept as −Σ(x · 2⁻⁹⁶)².
const LARGEST: f32 = 3e38;
/// 2⁻⁹⁶.
const SCALE: f64 = 1.0 / (1u128 << 96) as f64;

pub fn sum_squares(op: &SumSquares, input: &[f32], output: &mut [f32]) {
    match op.limit {
        // Which workgroup sums what is the shader's business; a part here is every 256th group of 4.
        None => {
            let parts = output.len();
            let mut scaled = vec![0.0; parts];
            output.fill(0.0);
            for (i, values) in input.chunks(4).enumerate() {
                output[i / 64 % parts] += values.iter().map(|x| x * x).sum::<f32>();
                scaled[i / 64 % parts] += values.iter().map(|&x| (f64::from(x) * SCALE).powi(2)).sum::<f64>();
            }
            for (sum, scaled) in output.iter_mut().zip(scaled) {
                if *sum > LARGEST {
                    *sum = -scaled as f32;
                }
            }
        }
        Some(limit) => output[0] = factor(limit, input),
    }
}

/// What a tensor is multiplied by; below f32's range −factor · 2⁹⁶. NaN where the sums are not finite.
fn factor(limit: f32, sums: &[f32]) -> f32 {
    let norm = input_norm(sums);
    if !norm.is_finite() {
        return f32::NAN;
    }
    let factor = f64::from(limit) / norm;
    // The sums of ordinary tensors are added in f32, as the shader does.
    let ordinary = sums.iter().sum::<f32>();
    match sums.iter().all(|sum| *sum >= 0.0) && ordinary <= LARGEST {
        true => (limit / (ordinary.sqrt() + 1e-6)).min(1.0),
        false if factor * SCALE.recip() >= 1.0 / 1_048_576.0 => factor.min(1.0) as f32,
        false => (-factor / SCALE) as f32,
    }
}

/// The norm that partial sums of squares make, scaled ones among them.
fn input_norm(sums: &[f32]) -> f64 {
    let unscaled = |&sum: &f32| if sum < 0.0 { -f64::from(sum) / SCALE / SCALE } else { sum.into() };
    sums.iter().map(unscaled).sum::<f64>().sqrt()
}

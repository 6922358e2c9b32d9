//! Twin of `shaders/sum_squares.wgsl`.

use crate::plan::SumSquares;

pub fn sum_squares(op: &SumSquares, input: &[f32], output: &mut [f32]) {
    match op.limit {
        // Which workgroup sums what is the shader's business; a part here is every 256th group of 4.
        None => {
            let parts = output.len();
            output.fill(0.0);
            for (i, values) in input.chunks(4).enumerate() {
                output[i / 64 % parts] += values.iter().map(|x| x * x).sum::<f32>();
            }
        }
        Some(limit) => {
            let norm = input.iter().sum::<f32>().sqrt();
            output[0] = (limit / (norm + 1e-6)).min(1.0);
        }
    }
}

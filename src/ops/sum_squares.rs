//! Norm of a tensor, for clipping by norm.

use super::*;

/// Sum of squares of a long tensor, in two ops. The first op writes partial sums. The second op, which has a limit,
/// adds them and writes the factor that keeps the tensor's norm within the limit: min(1, limit / (norm + 1e-6)).
#[derive(Debug, Clone, PartialEq)]
pub struct SumSquares {
    /// The tensor, or the partial sums.
    pub input: Tensor,
    /// [`SUM_PARTS`] partial sums, or one factor; written.
    pub output: Tensor,
    /// Limit of the norm, for the second op only.
    pub limit: Option<f32>,
}

/// Number of partial sums of [`SumSquares`]: enough workgroups to fill a GPU.
pub const SUM_PARTS: u32 = 256;

/// A larger sum is stored as −Σ(x · 2⁻⁹⁶)².
const LARGEST: f32 = 3e38;
/// 2⁻⁹⁶.
const SCALE: f64 = 1.0 / (1u128 << 96) as f64;

impl Kernel for SumSquares {
    binds! { "sum_squares": read input, write output }

    fn flops(&self) -> u64 {
        // Second op: sums, root, addition, division, comparison.
        match self.limit {
            None => 2 * u64::from(self.input.len()),
            Some(_) => u64::from(self.input.len()) + 4,
        }
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (quads, limit) = (self.input.len() / 4, self.limit.unwrap_or(0.0));
        let shader = shader("sum_squares", text!("sum_squares.wgsl"), [("LIMIT", self.limit.is_some().into())]);
        vec![Launch::of(self, shader, uniforms![quads, limit], self.output.len())]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, output) = (at.f32s(self.input), at.out::<f32>(self.output));
        if let Some(limit) = self.limit {
            output[0] = factor(limit, input);
            return;
        }
        // The shader may divide the tensor in another way. Here, blocks of 64 vec4s go to the partial sums in turn.
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

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let input = at.f32s(self.input);
        let Some(limit) = self.limit else {
            let parts = self.output.len() as usize;
            let mut sums = vec![0.0; parts];
            for (i, &x) in input.iter().enumerate() {
                sums[i / 256 % parts] += f64::from(x).powi(2);
            }
            let kept = |sum: f64| if sum > LARGEST.into() { sum * SCALE * SCALE } else { sum };
            let share = 2.0 * (input.len() as f64 / parts as f64 + 260.0) * U;
            return vec![Bounds::Each(sums.into_iter().map(|sum| kept(sum) * share).collect())];
        };
        let share = (input.len() as f64 + 2.0) * U + 2.0 * (ROOT + DIVISION + U);
        let factor = (f64::from(limit) / (norm(input) + 1e-6)).min(1.0);
        let kept = if factor < 2f64.powi(-116) { factor / SCALE } else { factor };
        vec![Bounds::Each(vec![kept * share])]
    }
}

/// Factor of a tensor. A factor below f32's range is stored as −factor · 2⁹⁶. NaN if the sums are not finite.
fn factor(limit: f32, sums: &[f32]) -> f32 {
    let norm = norm(sums);
    if !norm.is_finite() {
        return f32::NAN;
    }
    let factor = f64::from(limit) / norm;
    // The sums of ordinary tensors are added in f32, as in the shader.
    let ordinary = sums.iter().sum::<f32>();
    match sums.iter().all(|sum| *sum >= 0.0) && ordinary <= LARGEST {
        true => (limit / (ordinary.sqrt() + 1e-6)).min(1.0),
        false if factor * SCALE.recip() >= 1.0 / 1_048_576.0 => factor.min(1.0) as f32,
        false => (-factor / SCALE) as f32,
    }
}

/// Norm from partial sums of squares, which may include scaled ones.
fn norm(sums: &[f32]) -> f64 {
    let unscaled = |&sum: &f32| if sum < 0.0 { -f64::from(sum) / SCALE / SCALE } else { sum.into() };
    sums.iter().map(unscaled).sum::<f64>().sqrt()
}

//! Layer normalisation.

use super::*;

/// Layer normalisation of each row: y = x̂ · scale + shift, with x̂ = (x − mean) / √(variance + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormForward {
    /// \[rows, columns\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[columns\].
    pub shift: Tensor,
    /// \[rows, columns\], written.
    pub y: Tensor,
    /// \[rows, 2\], written: the mean less the row's first number, and 1 / √(variance + epsilon).
    pub statistics: Tensor,
    /// Keeps the division finite.
    pub epsilon: f32,
}

impl LayerNormForward {
    /// A subnormal epsilon may be flushed to zero, and with it the reason why nothing is divided by zero.
    fn epsilon(&self) -> f32 {
        self.epsilon.max(f32::MIN_POSITIVE)
    }
}

/// 2^125: beyond it the shader's numbers are at their end.
const TOO_FAR: f64 = 4.253_529_586_511_731e37;

impl Kernel for LayerNormForward {
    binds! { "layer_norm": read x, read scale, read shift, write y, write statistics }

    fn flops(&self) -> u64 {
        // Of a row: two means, epsilon, the root and its reciprocal. Of a number: 1 for the mean, 3 for the variance,
        // 4.
        5 * u64::from(self.x.rows()) + 8 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (rows, columns, epsilon) = (self.x.rows(), self.x.columns(), self.epsilon());
        let share = 1.0 / columns.next_power_of_two() as f32;
        let shader = shader("layer_norm", text!("shared/from_first.wgsl.in", "layer_norm.wgsl.in"), []);
        vec![Launch::of(self, shader, uniforms![rows, columns, epsilon, share, zero: 0], rows)]
    }

    /// In f64, whose squares of f32 numbers neither overflow nor vanish.
    fn twin(&self, at: &mut Operands<'_>) {
        let (scale, shift, columns) = (at.f32s(self.scale), at.f32s(self.shift), self.x.columns() as usize);
        let (x, y, statistics) = (at.f32s(self.x), at.out::<f32>(self.y), at.out::<f32>(self.statistics));
        let rows = x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)).zip(statistics.chunks_exact_mut(2));
        for ((x, y), statistics) in rows {
            let difference = |&x_i: &f32| f64::from(x_i) - f64::from(x[0]);
            let mean = x.iter().map(difference).sum::<f64>() / columns as f64;
            let deviation = |x_i: &f32| difference(x_i) - mean;
            let variance = x.iter().map(|x_i| deviation(x_i).powi(2)).sum::<f64>() / columns as f64;
            let too_far = x.iter().any(|x_i| difference(x_i).abs() >= TOO_FAR);
            let inverse = if too_far { f64::NAN } else { 1.0 / (variance + f64::from(self.epsilon())).sqrt() };
            for (i, (y, x_i)) in y.iter_mut().zip(x).enumerate() {
                *y = (deviation(x_i) * inverse * f64::from(scale[i]) + f64::from(shift[i])) as f32;
            }
            statistics.copy_from_slice(&[mean as f32, inverse as f32]);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let columns = self.x.columns() as usize;
        let (n, depth) = (columns as f64, depth(columns));
        let (x, scale, shift) = (at.f64s(self.x), at.f64s(self.scale), at.f64s(self.shift));
        let (mut of_y, mut of_statistics) = (Vec::new(), Vec::new());
        for x in x.chunks_exact(columns) {
            let of_row = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).sum::<f64>() / n;
            let first = x[0];
            let mean = of_row(&|x| x - first);
            let deviation = |x: f64| x - first - mean;
            // The first estimate is off by its sum; the sum of the deviations from it takes that away, but for their
            // own errors.
            let estimate = ((depth + 3.0) * U + DIVISION) * of_row(&|x| (x - first).abs());
            let far = |x: f64| deviation(x).abs() + estimate;
            let of_far = |x: f64| difference_error(x - first, far(x));
            let of_mean = 2.0
                * (of_row(&of_far) + depth * U * of_row(&far) + DIVISION * estimate + U * mean.abs() + 2.0 * FLUSHED);
            // A square is off by twice the share of what is squared; that of the correction is small by itself.
            let squares = of_row(&|x| far(x) * far(x));
            let of_squares =
                of_row(&|x| (2.0 * far(x) + of_far(x)) * of_far(x)) + ((depth + 3.0) * U + DIVISION) * squares;
            let of_variance = 2.0 * (of_squares + 2.0 * estimate * (of_mean + U * estimate));
            let shifted = of_row(&|x| deviation(x).powi(2)) + f64::from(self.epsilon);
            let inverse = 1.0 / shifted.sqrt();
            // The square root and the division behind 1 / √x, on both sides.
            let of_inverse = inverse * (0.5 * of_variance / shifted + 2.0 * (DIVISION + ROOT) + 4.0 * U);
            for (i, &x) in x.iter().enumerate() {
                let far = deviation(x).abs();
                let y = far * inverse * scale[i].abs();
                let of_deviation = of_mean + 2.0 * difference_error(x - first, far);
                let off = scale[i].abs() * (of_deviation * inverse + far * of_inverse + FLUSHED);
                of_y.push(off + 2.0 * U * (3.0 * y + shift[i].abs()));
            }
            of_statistics.extend([of_mean, of_inverse]);
        }
        vec![Bounds::Each(of_y), Bounds::Each(of_statistics)]
    }
}

/// The longest chain of additions in a sum over a row: a lane's numbers, then the lanes.
pub(super) fn depth(columns: usize) -> f64 {
    columns.div_ceil(64) as f64 + 65.0
}

/// The error of a number less the row's first, and less the mean: both differences are rounded.
fn difference_error(from_first: f64, deviation: f64) -> f64 {
    U * (from_first.abs() + deviation.abs()) + 2.0 * FLUSHED
}

/// x̂\[i\] of a row, from the statistics that the forward pass has left.
pub(super) fn normalised(x: &[f32], statistics: &[f32], i: usize) -> f64 {
    (f64::from(x[i]) - f64::from(x[0]) - f64::from(statistics[0])) * f64::from(statistics[1])
}

/// Its magnitude and its bound.
pub(super) fn normalised_bound(x: &[f32], statistics: &[f32], i: usize) -> (f64, f64) {
    let from_first = f64::from(x[i]) - f64::from(x[0]);
    let (deviation, inverse) = (from_first - f64::from(statistics[0]), f64::from(statistics[1]));
    let value = (deviation * inverse).abs();
    (value, 2.0 * (difference_error(from_first, deviation) * inverse + U * value))
}

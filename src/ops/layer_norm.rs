//! Layer, group, instance and RMS normalisation.

use super::*;

/// Normalises each row, or each group of a sample's channels: y = x̂ · scale + shift, with x̂ = (x − mean) /
/// √(variance + epsilon). Without a shift it is RMS normalisation: x̂ = x / √(mean(x²) + epsilon).
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormForward {
    /// \[rows, columns\], or \[samples, positions, channels\].
    pub x: Tensor,
    /// \[columns\].
    pub scale: Tensor,
    /// \[columns\]; `None` for RMS normalisation.
    pub shift: Option<Tensor>,
    /// Same shape as x, written.
    pub y: Tensor,
    /// \[rows · groups, 2\], written: mean minus first number, then 1 / √(variance + epsilon).
    pub statistics: Tensor,
    /// Number of groups of neighbouring channels, of equal width. With 1, a whole row or sample is one group.
    pub groups: u32,
    /// Added to the variance, so that the quotient stays finite.
    pub epsilon: f32,
}

impl LayerNormForward {
    /// Raises a subnormal epsilon to the smallest normal number. A GPU could flush it to zero and then divide by
    /// zero.
    fn epsilon(&self) -> f32 {
        self.epsilon.max(f32::MIN_POSITIVE)
    }
}

/// 2^125. Larger numbers overflow in the shader.
const TOO_FAR: f64 = 4.253_529_586_511_731e37;

impl Kernel for LayerNormForward {
    binds! { "layer_norm": read x, read scale, read shift, write y, write statistics }

    fn flops(&self) -> u64 {
        // Per group: two means, epsilon, the root and its reciprocal. Per number: 1 for the mean, 3 for the variance,
        // 4 for y.
        5 * u64::from(self.statistics.rows()) + 8 * u64::from(self.x.len())
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let of = Members::of(self.x, self.groups);
        let (rows, columns, epsilon) = (of.count(), of.len(), self.epsilon());
        let share = 1.0 / columns.next_power_of_two() as f32;
        let source = text!("shared/from_first.wgsl.in", "shared/members.wgsl.in", "layer_norm.wgsl.in");
        let shader = shader("layer_norm", source, of.constants(self.shift.is_some()));
        let uniforms = uniforms![rows, columns, groups: of.groups, width: of.width, epsilon, share, zero: 0];
        vec![Launch::of(self, shader, uniforms, rows)]
    }

    /// In f64, where squares of f32 numbers neither overflow nor underflow.
    fn twin(&self, at: &mut Operands<'_>) {
        let (scale, shift, of) =
            (at.f32s(self.scale), self.shift.map(|t| at.f32s(t)), Members::of(self.x, self.groups));
        let (x, y, statistics) = (at.f32s(self.x), at.out::<f32>(self.y), at.out::<f32>(self.statistics));
        for (group, statistics) in statistics.chunks_exact_mut(2).enumerate() {
            let first = shift.map_or(0.0, |_| f64::from(x[of.start(group)]));
            let (numbers, n) = (|| of.each(group).map(|(at, _)| f64::from(x[at]) - first), f64::from(of.len()));
            let mean = shift.map_or(0.0, |_| numbers().sum::<f64>() / n);
            let variance = numbers().map(|number| (number - mean).powi(2)).sum::<f64>() / n;
            let too_far = numbers().any(|number| number.abs() >= TOO_FAR);
            let inverse = if too_far { f64::NAN } else { 1.0 / (variance + f64::from(self.epsilon())).sqrt() };
            of.each(group).for_each(|(at, c)| {
                let scaled = (f64::from(x[at]) - first - mean) * inverse * f64::from(scale[c]);
                y[at] = (scaled + shift.map_or(0.0, |shift| f64::from(shift[c]))) as f32;
            });
            statistics.copy_from_slice(&[mean as f32, inverse as f32]);
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let of = Members::of(self.x, self.groups);
        let (n, depth) = (f64::from(of.len()), depth(of.len()));
        let (x, scale, shift) = (at.f64s(self.x), at.f64s(self.scale), self.shift.map(|t| at.f64s(t)));
        let (mut y_bounds, mut statistics_bounds) = (vec![0.0; x.len()], Vec::new());
        for group in 0..of.count() as usize {
            let row_mean = |f: &dyn Fn(f64) -> f64| of.each(group).map(|(at, _)| f(x[at])).sum::<f64>() / n;
            let centred = |value: f64| if shift.is_some() { value } else { 0.0 };
            let first = centred(x[of.start(group)]);
            let mean = centred(row_mean(&|x| x - first));
            let deviation = |x: f64| x - first - mean;
            // The first estimate of the mean has the error of its sum. The sum of the deviations corrects it, except
            // for its own roundings.
            let estimate = centred(((depth + 3.0) * U + DIVISION) * row_mean(&|x| (x - first).abs()));
            let far = |x: f64| deviation(x).abs() + estimate;
            let far_error = |x: f64| difference_error(x - first, far(x));
            let mean_error = 2.0
                * (row_mean(&far_error)
                    + depth * U * row_mean(&far)
                    + DIVISION * estimate
                    + U * mean.abs()
                    + 2.0 * FLUSHED);
            let mean_error = centred(mean_error);
            // A square has twice the relative error of its base. The square of the correction is small.
            let squares = row_mean(&|x| far(x) * far(x));
            let squares_error =
                row_mean(&|x| (2.0 * far(x) + far_error(x)) * far_error(x)) + ((depth + 3.0) * U + DIVISION) * squares;
            let variance_error = 2.0 * (squares_error + 2.0 * estimate * (mean_error + U * estimate));
            let shifted = row_mean(&|x| deviation(x).powi(2)) + f64::from(self.epsilon);
            let inverse = 1.0 / shifted.sqrt();
            // The square root and the division in 1 / √x, on both sides.
            let inverse_error = inverse * (0.5 * variance_error / shifted + 2.0 * (DIVISION + ROOT) + 4.0 * U);
            for (at, c) in of.each(group) {
                let far = deviation(x[at]).abs();
                let y = far * inverse * scale[c].abs();
                let deviation_error = mean_error + 2.0 * difference_error(x[at] - first, far);
                let off = scale[c].abs() * (deviation_error * inverse + far * inverse_error + FLUSHED);
                y_bounds[at] = off + 2.0 * U * (3.0 * y + shift.as_ref().map_or(0.0, |shift| shift[c].abs()));
            }
            statistics_bounds.extend([mean_error, inverse_error]);
        }
        vec![Bounds::Each(y_bounds), Bounds::Each(statistics_bounds)]
    }
}

/// Numbers of \[samples, positions, channels\] that are normalised together: `width` channels at all positions of a
/// sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members {
    samples: u32,
    pub positions: u32,
    pub groups: u32,
    pub width: u32,
}

impl Members {
    pub fn of(x: Tensor, groups: u32) -> Self {
        let channels = x.shape.last().copied().unwrap_or(1);
        Self { samples: x.rows(), positions: x.columns() / channels, groups, width: channels / groups }
    }

    /// Number of groups in all samples.
    pub fn count(self) -> u32 {
        self.samples * self.groups
    }

    /// Numbers per group.
    pub fn len(self) -> u32 {
        self.positions * self.width
    }

    pub fn channels(self) -> u32 {
        self.groups * self.width
    }

    /// Constants of the shaders.
    pub fn constants(self, centred: bool) -> [(&'static str, f64); 2] {
        let strided = self.positions > 1 || self.groups > 1;
        [("STRIDED", strided.into()), ("CENTRED", centred.into())]
    }

    /// Index of a group's first number.
    pub fn start(self, group: usize) -> usize {
        let (groups, width) = (self.groups as usize, self.width as usize);
        group / groups * groups * self.len() as usize + group % groups * width
    }

    /// Index and channel of each number of a group.
    pub fn each(self, group: usize) -> impl Iterator<Item = (usize, usize)> {
        let (width, channels) = (self.width as usize, self.channels() as usize);
        let (start, first) = (self.start(group), group % self.groups as usize * width);
        let row = move |position| (start + position * channels..).zip(first..first + width);
        (0..self.positions as usize).flat_map(row)
    }
}

/// Longest chain of additions in the sum of a row: the numbers of a lane, then the lanes.
pub(super) fn depth(columns: u32) -> f64 {
    f64::from(columns.div_ceil(64)) + 65.0
}

/// Error of a number minus the row's first number, minus the mean. Both differences are rounded.
fn difference_error(from_first: f64, deviation: f64) -> f64 {
    U * (from_first.abs() + deviation.abs()) + 2.0 * FLUSHED
}

/// x̂ of a number, from the first number of its row and the statistics of the forward pass.
pub(super) fn normalised(x: f32, first: f32, statistics: &[f32]) -> f64 {
    (f64::from(x) - f64::from(first) - f64::from(statistics[0])) * f64::from(statistics[1])
}

/// Magnitude of x̂ and its error bound.
pub(super) fn normalised_bound(x: f32, first: f32, statistics: &[f32]) -> (f64, f64) {
    let from_first = f64::from(x) - f64::from(first);
    let (deviation, inverse) = (from_first - f64::from(statistics[0]), f64::from(statistics[1]));
    let value = (deviation * inverse).abs();
    (value, 2.0 * (difference_error(from_first, deviation) * inverse + U * value))
}

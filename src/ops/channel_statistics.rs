//! Mean and variance of each channel of a batch.

use super::template::expand;
use super::*;

/// Mean and variance of each channel over the valid rows of a batch, at all positions of each sample. The variance is
/// the mean squared deviation from the mean, computed in a second pass.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatistics {
    /// \[rows, channels\]. The rows of a sample are its positions.
    pub x: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// Rows per sample.
    pub positions: u32,
    /// \[2, channels rounded up to 64\], written: means, then variances, each padded with zeros.
    pub statistics: Tensor,
}

/// Channels per workgroup, and invocations per channel.
pub(super) const COLUMNS: u32 = 8;
const LANES: u32 = 32;
/// Fewest rows per chunk, and most chunks. There are more chunks only if loops would be too long.
const ROWS_OF_CHUNK: u32 = 2048;
const MOST_CHUNKS: u32 = 64;
/// Channels per workgroup of the kernel that joins the chunks.
pub(super) const JOINED: u32 = 64;

/// Channels that an invocation computes together: four if their number is a multiple of four, otherwise one.
pub(super) fn width(x: &Tensor) -> u32 {
    if x.columns().is_multiple_of(4) { 4 } else { 1 }
}

/// Expands a text for the [`width`] of a tensor. The text begins with shared/numbers.wgsl.in.
pub(super) fn by_width(x: &Tensor, text: &str) -> String {
    let fours = width(x) == 4;
    expand(text, &[], &[("vectors", fours), ("scalars", !fours)])
}

/// Number of chunks of the rows, and rows per chunk.
pub(super) fn chunks_of(rows: u32) -> (u32, u32) {
    let chunks = (rows / ROWS_OF_CHUNK).clamp(1, MOST_CHUNKS).max(rows.div_ceil(LONGEST_LOOP * LANES));
    let chunk_rows = rows.div_ceil(chunks);
    (rows.div_ceil(chunk_rows), chunk_rows)
}

/// Longest chain of additions in the sum of a chunk: the numbers of a lane, then the lanes.
pub(super) fn depth(chunk_rows: u32) -> f64 {
    f64::from(chunk_rows.div_ceil(LANES) + LANES + 1)
}

/// Number of valid rows of a batch.
pub(super) fn valid_rows(at: &Operands<'_>, step: Tensor, positions: u32, rows: u32) -> u32 {
    at.step(step).rows.saturating_mul(positions).min(rows)
}

/// 1 / √(variance + epsilon).
pub(super) fn inverse(variance: f32, epsilon: f32) -> f64 {
    1.0 / (f64::from(variance) + f64::from(epsilon)).sqrt()
}

/// Error bound of [`inverse`] on a GPU.
pub(super) fn inverse_error(variance: f32, epsilon: f32) -> f64 {
    let shifted = f64::from(variance) + f64::from(epsilon);
    inverse(variance, epsilon) * (2.0 * (U + ROOT + DIVISION) + flushed(variance) / shifted)
}

/// Raises a subnormal epsilon to the smallest normal number. A GPU could flush it to zero and then divide by zero.
pub(super) fn normal_epsilon(epsilon: f32) -> f32 {
    epsilon.max(f32::MIN_POSITIVE)
}

/// Magnitude of x̂ and its error bound, from the channel's mean and 1 / √(variance + epsilon).
pub(super) fn normalised_bound(x: f64, mean: f64, inverse: f64, inverse_error: f64) -> (f64, f64) {
    let deviation = (x - mean).abs();
    (deviation * inverse, 2.0 * (2.0 * U * deviation + FLUSHED) * inverse + deviation * inverse_error)
}

impl ChannelStatistics {
    /// Distance from the means to the variances.
    fn stride(&self) -> u32 {
        self.statistics.columns()
    }
}

impl Kernel for ChannelStatistics {
    binds! { "channel_statistics": read x, read step, write statistics }

    fn flops(&self) -> u64 {
        // Per number: 2 for the mean, 4 for the variance. Per channel: two quotients, and the mean from the first
        // row's value.
        6 * u64::from(self.x.len()) + 3 * u64::from(self.x.columns())
    }

    /// If there are many rows, workgroups share them, and a second launch joins the results of the chunks.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let (rows, columns, stride, positions) = (self.x.rows(), self.x.columns(), self.stride(), self.positions);
        let (chunks, chunk_rows) = chunks_of(rows);
        let width = if chunks == 1 { stride } else { columns };
        let text = text!("shared/step_state.wgsl", "shared/numbers.wgsl.in", "channel_statistics.wgsl.in");
        let of_all = shader("channel_statistics", by_width(&self.x, text), []);
        let workgroups = u64::from(width.div_ceil(COLUMNS)) * u64::from(chunks);
        let [width, of_row, to_variances] = [width, columns, stride].map(|length| length / self::width(&self.x));
        let uniforms = uniforms![
            rows, columns: of_row, stride: to_variances, positions, parts: chunks, part_rows: chunk_rows, width, zero: 0
        ];
        let whole = Launch::of(self, of_all, uniforms, workgroups);
        if chunks == 1 {
            return vec![whole];
        }
        let words = 2 * u64::from(chunks) * u64::from(columns);
        let text = text!("shared/step_state.wgsl", "channel_statistics.parts.wgsl.in");
        let join = Launch {
            shader: shader("channel_statistics.parts", text, []),
            uniforms: uniforms![rows, columns, stride, positions, parts: chunks, part_rows: chunk_rows],
            bindings: vec![read_scratch(words), read(self.x), read(self.step), write(self.statistics)],
            workgroups: stride.div_ceil(JOINED).into(),
        };
        vec![Launch { bindings: vec![read(self.x), read(self.step), write_scratch(words)], ..whole }, join]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let valid_rows = valid_rows(at, self.step, self.positions, self.x.rows()) as usize;
        let (columns, stride) = (self.x.columns() as usize, self.stride() as usize);
        let x = at.f32s(self.x);
        let statistics = at.out::<f32>(self.statistics);
        statistics.fill(0.0);
        let n = valid_rows.max(1) as f64;
        // In f64, row by row.
        let from_first = |row: usize, c: usize| f64::from(x[row * columns + c]) - f64::from(x[c]);
        let (mut means, mut squares) = (vec![0.0; columns], vec![0.0; columns]);
        for row in 0..valid_rows {
            means.iter_mut().enumerate().for_each(|(c, mean)| *mean += from_first(row, c) / n);
        }
        for row in 0..valid_rows {
            squares.iter_mut().enumerate().for_each(|(c, sum)| *sum += (from_first(row, c) - means[c]).powi(2));
        }
        for c in 0..columns {
            statistics[c] = (f64::from(x[c]) + means[c]) as f32;
            statistics[stride + c] = (squares[c] / n) as f32;
        }
    }

    /// If a chunk's mean has the error e, each of its squares has the error e²: the deviations from the mean add up
    /// to zero.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let valid_rows = valid_rows(at, self.step, self.positions, self.x.rows());
        let (columns, stride) = (self.x.columns() as usize, self.stride() as usize);
        let (x, n) = (at.f64s(self.x), f64::from(valid_rows.max(1)));
        let (chunks, chunk_rows) = chunks_of(self.x.rows());
        let (depth, chunk_roundings) = (depth(chunk_rows), f64::from(chunks) + 4.0);
        let mut bounds = vec![0.0; 2 * stride];
        for c in 0..columns {
            let first = x[c];
            // For each chunk: its rows, mean and squared deviations, and their error bounds.
            let mut found = Vec::new();
            for start in (0..valid_rows).step_by(chunk_rows as usize) {
                let rows = start..valid_rows.min(start + chunk_rows);
                let count = f64::from(rows.end - rows.start);
                let from_first: Vec<f64> = rows.map(|row| x[row as usize * columns + c] - first).collect();
                let mean = from_first.iter().sum::<f64>() / count;
                let size = from_first.iter().map(|d| d.abs()).sum::<f64>() / count;
                let mean_error = ((depth + 2.0) * U + DIVISION) * size + 2.0 * FLUSHED;
                let (mut squares, mut squares_error) = (0.0, 0.0);
                for d in from_first {
                    let deviation = (d - mean).abs();
                    let off = U * (d.abs() + deviation + mean_error) + FLUSHED;
                    squares += deviation * deviation;
                    let roundings = (depth + 2.0) * U * (deviation + off + mean_error).powi(2);
                    squares_error += 2.0 * deviation * off + (off + mean_error).powi(2) + roundings + FLUSHED;
                }
                found.push((count, mean, mean_error, squares, squares_error));
            }
            let mean = found.iter().map(|(count, mean, ..)| count * mean).sum::<f64>() / n;
            let size = found.iter().map(|(count, mean, ..)| count * mean.abs()).sum::<f64>() / n;
            let means_error = found.iter().map(|(count, _, mean_error, ..)| count * mean_error).sum::<f64>() / n;
            let mean_error = means_error + if chunks == 1 { 0.0 } else { (chunk_roundings * U + DIVISION + U) * size };
            let (mut squares, mut squares_error) = (0.0, 0.0);
            for (count, own_mean, own_error, own, own_squares_error) in found {
                let distance = (own_mean - mean).abs();
                let off = if chunks == 1 { 0.0 } else { own_error + mean_error + U * distance };
                let all = own + own_squares_error + count * (distance + off).powi(2);
                squares += own + count * distance * distance;
                squares_error +=
                    own_squares_error + count * (2.0 * distance * off + off * off) + chunk_roundings * U * all;
            }
            bounds[c] = 2.0 * (mean_error + U * (first + mean).abs() + FLUSHED);
            bounds[stride + c] = 2.0 * (squares_error + (DIVISION + U) * squares) / n + FLUSHED;
        }
        vec![Bounds::Each(bounds)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_loop_is_longer_than_drivers_run() {
        for rows in [1, 2047, 2048, 5000, 1 << 20, 1 << 30, u32::MAX] {
            let (chunks, chunk_rows) = chunks_of(rows);
            assert!(chunk_rows.div_ceil(LANES) <= LONGEST_LOOP && chunks <= LONGEST_LOOP, "{rows}: {chunks}");
            assert!(u64::from(chunks) * u64::from(chunk_rows) >= u64::from(rows));
            assert!(u64::from(chunks - 1) * u64::from(chunk_rows) < u64::from(rows));
        }
    }
}

//! Gradient of max and average pooling.

use super::pool::LANES;
use super::*;

/// Gradient of [`PoolForward`]'s input. With a maximum, each number receives the gradients of the windows that chose
/// it. With a mean, each number receives its share of the gradient of each window that sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolGradient {
    /// Gradient of the output, packed.
    pub gradient: Tensor,
    /// Taps that [`PoolForward`] stored for a maximum; `None` for a mean.
    pub chosen: Option<Tensor>,
    /// \[batch, height, width, channels\], packed, written.
    pub input_gradient: Tensor,
    /// The same window as in the forward pass.
    pub window: Window,
    /// Maximum or mean.
    pub how: Pooling,
}

impl PoolGradient {
    /// Calls `add` for each output and each number that it depends on, with both indices and how many numbers share
    /// the output.
    fn for_each(&self, chosen: Option<&[u32]>, mut add: impl FnMut(usize, usize, f64)) {
        let (channels, each) = (self.window.channels as usize, self.window.lanes() as usize);
        let tap_of = |words: &[u32], output: usize| match each {
            1 => words[output],
            _ => words[output / each] >> (output % each * 8) & 255,
        };
        for position in 0..self.gradient.len() as usize / channels {
            let seen: Vec<_> = self.window.seen(position).collect();
            for (&(tap, place), c) in seen.iter().flat_map(|seen| (0..channels).map(move |c| (seen, c))) {
                let output = position * channels + c;
                match chosen {
                    Some(words) if tap_of(words, output) != tap => {}
                    Some(_) => add(output, place * channels + c, 1.0),
                    None => add(output, place * channels + c, seen.len() as f64),
                }
            }
        }
    }
}

impl Kernel for PoolGradient {
    fn stem(&self) -> &'static str {
        "pool_gradient"
    }

    fn detail(&self) -> String {
        let how = if self.how == Pooling::Max { "max" } else { "average" };
        format!(" {how} {} {:?} to {:?}", self.window.as_text(), self.gradient.shape, self.input_gradient.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        let chosen = self.chosen.map(read);
        [Some(read(self.gradient)), chosen, Some(write(self.input_gradient))].into_iter().flatten().collect()
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        [&mut self.gradient, &mut self.input_gradient].into_iter().chain(&mut self.chosen).collect()
    }

    fn flops(&self) -> u64 {
        let each = if self.how == Pooling::Max { 1 } else { self.window.taps() + 1 };
        u64::from(self.gradient.len()) * u64::from(each)
    }

    /// An invocation computes the numbers between the first taps of two neighbouring windows.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let Window { channels, rows, columns, .. } = self.window;
        let blocks = |axis: Axis| axis.length.saturating_add_signed(-axis.first).div_ceil(axis.down);
        let samples = self.input_gradient.len() / (rows.length * columns.length * channels);
        let count = samples * blocks(rows) * blocks(columns) * (channels / self.window.lanes());
        let text = text!("matmul.window.wgsl", "pool.numbers.wgsl.in", "pool_gradient.wgsl.in");
        let shader = self.window.pooling("pool_gradient", text, self.how, true);
        vec![Launch::of(self, shader, uniforms![count], count.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (gradient, chosen) = (at.f32s(self.gradient), self.chosen.map(|tensor| at.words(tensor)));
        let mut sums = vec![0.0; self.input_gradient.len() as usize];
        self.for_each(chosen, |output, input, count| sums[input] += f64::from(gradient[output]) / count);
        at.out::<f32>(self.input_gradient).iter_mut().zip(sums).for_each(|(dx, sum)| *dx = sum as f32);
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (gradient, chosen) = (at.f32s(self.gradient), self.chosen.map(|tensor| at.words(tensor)));
        let mut terms = vec![(0.0, 0.0, 0.0); self.input_gradient.len() as usize];
        self.for_each(chosen, |output, input, count| {
            let (dy, (number, sum, lost)) = (gradient[output], &mut terms[input]);
            (*number, *sum) = (*number + 1.0, *sum + f64::from(dy).abs() / count);
            *lost += flushed(dy) / count;
        });
        // A single number is copied.
        let quotient = if self.how == Pooling::Max { -U } else { DIVISION };
        let bound = |(number, sum, lost): (f64, f64, f64)| 2.0 * (number * U + quotient).max(0.0) * sum + lost;
        vec![Bounds::Each(terms.into_iter().map(bound).collect())]
    }
}

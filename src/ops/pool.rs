//! Max and average pooling.

use super::reduce::{flip_negative, ordered_bits};
use super::template::expand;
use super::*;

/// Pooling function of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Pooling {
    /// Maximum. NaN if any number is NaN; 0 is larger than −0.
    Max,
    /// Mean of the numbers inside the input. Padding is not counted.
    Average,
}

/// Pooling: each output is the maximum or the mean of a window in one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolForward {
    /// \[batch, height, width, channels\], packed.
    pub input: Tensor,
    /// \[batch, positions, channels\], packed, written.
    pub output: Tensor,
    /// Written, for a maximum whose gradient is needed: the tap of each output's number, the first of equal ones.
    /// Taps are numbered row by row. [`Window::choices`] returns the number of words.
    pub chosen: Option<Tensor>,
    /// Window with `up` = 1. Every position must see at least one number.
    pub window: Window,
    /// Maximum or mean.
    pub how: Pooling,
}

pub(super) const LANES: u32 = 64;
/// Invocations per workgroup of the kernel for software adapters, and rows of outputs of an invocation.
const WIDE_LANES: u32 = 8;
const ROWS_OF_STRIP: u32 = 2;
/// Most loads of an iteration of that kernel. Each is compiled into a loop.
const MOST_LOADS: u32 = 12;

impl Window {
    /// Taps per position.
    pub(crate) fn taps(&self) -> u32 {
        self.rows.taps * self.columns.taps
    }

    /// Numbers that an invocation computes together: four channels if one byte each can store their taps, otherwise
    /// one.
    pub(super) fn lanes(&self) -> u32 {
        if self.channels.is_multiple_of(4) && self.taps() <= 256 { 4 } else { 1 }
    }

    /// Words that store the taps of this many outputs of a maximum. A tap is a byte if the number of channels is a
    /// multiple of four and there are at most 256 taps. Otherwise it is a word.
    pub fn choices(&self, outputs: u32) -> u32 {
        outputs / self.lanes()
    }

    /// Taps that see an element at a position of the batch, with the element's index in rows of channels.
    pub(super) fn seen(&self, position: usize) -> impl Iterator<Item = (u32, usize)> + use<> {
        let &Self { rows, columns, .. } = self;
        let (sample, at) = (position / self.positions() as usize, position as u32 % self.positions());
        let (row, column) = (at / columns.positions, at % columns.positions);
        (0..self.taps()).filter_map(move |tap| {
            let y = sample * rows.length as usize + rows.element(row, tap / columns.taps)?;
            Some((tap, y * columns.length as usize + columns.element(column, tap % columns.taps)?))
        })
    }

    /// Pooling shader in which an invocation computes [`lanes`](Self::lanes) channels.
    pub(super) fn pooling(&self, stem: &'static str, text: &str, how: Pooling, kept: bool) -> Shader {
        let (lanes, is_max) = (self.lanes(), how == Pooling::Max);
        // Most windows that see a number. If there are few, the loop over them is unrolled.
        let [down, across] = [self.rows, self.columns].map(|axis| axis.taps.div_ceil(axis.down));
        let few = down * across <= 4;
        let counts = [("window", if few { down * across } else { 0 }), ("across", across)];
        let conditions = [
            ("vectors", lanes == 4),
            ("scalars", lanes == 1),
            ("maximum", is_max),
            ("mean", !is_max),
            ("kept", kept && is_max),
            ("few", few),
            ("many", !few),
        ];
        let window = Self { channels: self.channels / lanes, ..*self };
        shader(stem, expand(text, &counts, &conditions), window.constants())
    }

    /// Shader for software adapters and its number of invocations, if it supports this pooling.
    fn wide_pooling(&self, how: Pooling, outputs: u32) -> Option<(Shader, u32)> {
        let (rows, columns) = (self.rows, self.columns);
        let new = columns.taps.min(columns.down);
        let kept = columns.taps - new;
        let rows_of_strip = (ROWS_OF_STRIP - 1) * rows.down + rows.taps;
        let early = kept.div_ceil(new);
        let fits = rows_of_strip * new <= MOST_LOADS && columns.positions + early <= LONGEST_LOOP;
        if !self.channels.is_multiple_of(8) || !fits {
            return None;
        }
        let counts = [
            ("out", ROWS_OF_STRIP),
            ("row", rows_of_strip),
            ("tap_rows", rows.taps),
            ("down", rows.down),
            ("down_x", columns.down),
            ("later tap", columns.taps - 1),
            ("new", new),
            ("kept", kept),
            ("early", early),
        ];
        let is_max = how == Pooling::Max;
        let conditions = [("vectors", true), ("scalars", false), ("maximum", is_max), ("mean", !is_max)];
        let text =
            text!("software/words.wgsl", "matmul.window.wgsl", "pool.numbers.wgsl.in", "software/pool.wide.wgsl.in");
        let window = Self { channels: self.channels / 8, ..*self };
        let strips = outputs / self.channels / self.positions() * rows.positions.div_ceil(ROWS_OF_STRIP);
        Some((shader("pool.wide", expand(text, &counts, &conditions), window.constants()), strips * window.channels))
    }

    /// Text in a plan.
    pub(super) fn as_text(&self) -> String {
        let Self { rows, columns, .. } = self;
        format!("{}x{} stride {}x{}", rows.taps, columns.taps, rows.down, columns.down)
    }
}

impl Kernel for PoolForward {
    fn stem(&self) -> &'static str {
        "pool"
    }

    fn detail(&self) -> String {
        let how = if self.how == Pooling::Max { "max" } else { "average" };
        format!(" {how} {} {:?} to {:?}", self.window.as_text(), self.input.shape, self.output.shape)
    }

    fn operands(&self) -> Vec<Operand> {
        [read(self.input), write(self.output)].into_iter().chain(self.chosen.map(write)).collect()
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        [&mut self.input, &mut self.output].into_iter().chain(&mut self.chosen).collect()
    }

    fn flops(&self) -> u64 {
        let quotients = u64::from(self.how == Pooling::Average);
        u64::from(self.output.len()) * (u64::from(self.window.taps()) + quotients)
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let is_wide = adapter.wide_access && self.chosen.is_none();
        if is_wide && let Some((shader, count)) = self.window.wide_pooling(self.how, self.output.len()) {
            return vec![Launch::of(self, shader, uniforms![count], count.div_ceil(WIDE_LANES))];
        }
        let count = self.output.len() / self.window.lanes();
        let text = text!("matmul.window.wgsl", "pool.numbers.wgsl.in", "pool.wgsl.in");
        let shader = self.window.pooling("pool", text, self.how, self.chosen.is_some());
        vec![Launch::of(self, shader, uniforms![count], count.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (input, channels) = (at.words(self.input), self.window.channels as usize);
        let mut chosen = self.chosen.map(|tensor| at.out::<u32>(tensor));
        chosen.iter_mut().for_each(|words| words.fill(0));
        let each = self.window.lanes() as usize;
        for (position, y) in at.out::<u32>(self.output).chunks_exact_mut(channels).enumerate() {
            let seen: Vec<_> = self.window.seen(position).collect();
            for (c, y) in y.iter_mut().enumerate() {
                let number = |place: usize| input[place * channels + c];
                if self.how == Pooling::Average {
                    let sum: f64 = seen.iter().map(|&(_, place)| f64::from(f32::from_bits(number(place)))).sum();
                    *y = ((sum / seen.len() as f64) as f32).to_bits();
                    continue;
                }
                let mut largest = (i32::MIN, 0);
                for &(tap, place) in &seen {
                    let bits = ordered_bits(number(place));
                    largest = if bits > largest.0 { (bits, tap) } else { largest };
                }
                *y = flip_negative(largest.0) as u32;
                let output = position * channels + c;
                chosen.iter_mut().for_each(|words| words[output / each] |= largest.1 << (output % each * 8));
            }
        }
    }

    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        if self.how == Pooling::Max {
            return std::iter::once(Bounds::Exact).chain(self.chosen.map(|_| Bounds::Exact)).collect();
        }
        let (input, channels) = (at.f32s(self.input), self.window.channels as usize);
        let mut bounds = Vec::with_capacity(self.output.len() as usize);
        for position in 0..self.output.len() as usize / channels {
            let seen: Vec<_> = self.window.seen(position).collect();
            let count = seen.len() as f64;
            // A sum of this many numbers, and a quotient.
            let bound = |x: f32| 2.0 * ((count + 2.0) * U + DIVISION) * f64::from(x).abs() + flushed(x);
            let of = |c: usize| seen.iter().map(|&(_, place)| bound(input[place * channels + c])).sum::<f64>() / count;
            bounds.extend((0..channels).map(of));
        }
        vec![Bounds::Each(bounds)]
    }
}

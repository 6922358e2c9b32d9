//! Convolutions as products, whose A is never stored: row p of it holds what the kernel's taps see at position p.

/// How the rows of A are read from a tensor of shape \[batch, height, width, channels\]. Row p is of position p of the
/// output, \[batch, positions\]; its columns are \[taps, channels\]. At position o and tap t along a dimension lies the
/// element (o · down + t · step + first) / up, where that is whole and inside; elsewhere 0.
///
/// A convolution has down = stride, step = dilation, first = −padding and up = 1. The gradient of its input is read
/// from the gradient of its output with down = 1, step = −dilation, first = padding and up = stride: that is a
/// transposed convolution, whose own gradient is read as a convolution. Either has weights \[taps, channels, n\]; in
/// a product [`Nt`](super::Layout::Nt) B are those of the other one, \[taps, n, channels\].
///
/// With groups a column of C sees the channels of its own group, so there is an A for each, whose columns are \[taps,
/// channels / groups\]. Weights are \[taps, channels / groups, n\], and those of the other one \[taps, n / groups,
/// channels\].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Channels of the tensor that is read.
    pub channels: u32,
    /// Groups that channels and columns of C are cut into.
    pub groups: u32,
    /// Along the height.
    pub rows: Axis,
    /// Along the width.
    pub columns: Axis,
}

/// A dimension of a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The length of what is read.
    pub length: u32,
    /// How many positions there are.
    pub positions: u32,
    /// How many taps the kernel has.
    pub taps: u32,
    /// Elements from one position to the next, times `up`.
    pub down: u32,
    /// Elements from one tap to the next, times `up`.
    pub step: i32,
    /// The first tap's element at the first position, times `up`.
    pub first: i32,
    /// What elements are divided by.
    pub up: u32,
}

impl Axis {
    /// The element that a tap sees at a position.
    pub(crate) fn element(&self, position: u32, tap: u32) -> Option<usize> {
        let at =
            i64::from(position) * i64::from(self.down) + i64::from(tap) * i64::from(self.step) + i64::from(self.first);
        let up = i64::from(self.up);
        let inside = at >= 0 && at % up == 0 && at / up < i64::from(self.length);
        inside.then_some((at / up) as usize)
    }

    /// The same pairs of elements and positions, with the two exchanged.
    pub(crate) fn reversed(&self) -> Self {
        let Self { length, positions, taps, down, step, first, up } = *self;
        Self { length: positions, positions: length, taps, down: up, step: -step, first: -first, up: down }
    }
}

impl Window {
    /// What reads the gradient of the output, of `channels`, for that of the input.
    pub(crate) fn reversed(&self, channels: u32) -> Self {
        Self { channels, groups: self.groups, rows: self.rows.reversed(), columns: self.columns.reversed() }
    }

    /// Channels that a column of C sees.
    pub(super) fn group_channels(&self) -> u32 {
        self.channels / self.groups
    }

    /// Columns of A.
    pub(super) fn len(&self) -> u32 {
        self.rows.taps * self.columns.taps * self.group_channels()
    }

    /// Positions of a sample.
    pub(crate) fn positions(&self) -> u32 {
        self.rows.positions * self.columns.positions
    }

    /// How many numbers A has for a batch of this size.
    pub(crate) fn numbers(&self, batch: u32) -> u64 {
        u64::from(batch) * u64::from(self.positions()) * u64::from(self.len())
    }

    /// The rows of A at some positions of the batch: those of each group, one group after the other.
    pub(super) fn read(&self, x: &[f32], positions: std::ops::Range<usize>) -> Vec<f32> {
        let (len, channels) = (self.len() as usize, self.group_channels() as usize);
        let mut a = vec![0.0; self.groups as usize * positions.len() * len];
        let rows = (0..self.groups as usize).flat_map(|group| positions.clone().map(move |at| (group, at)));
        for (row, (group, position)) in a.chunks_exact_mut(len).zip(rows) {
            let (sample, at) = (position / self.positions() as usize, position as u32 % self.positions());
            let (row_at, column_at) = (at / self.columns.positions, at % self.columns.positions);
            for (tap, numbers) in (0..).zip(row.chunks_exact_mut(channels)) {
                let y = self.rows.element(row_at, tap / self.columns.taps);
                let x_of = self.columns.element(column_at, tap % self.columns.taps);
                if let (Some(i), Some(j)) = (y, x_of) {
                    let element = (sample * self.rows.length as usize + i) * self.columns.length as usize + j;
                    let first = element * self.channels as usize + group * channels;
                    numbers.copy_from_slice(&x[first..][..channels]);
                }
            }
        }
        a
    }

    /// B of a product `Nt`, \[n, taps · channels / groups\], from \[taps, n / groups, channels\].
    pub(super) fn transposed(&self, b: &[f32], n: usize) -> Vec<f32> {
        let (channels, group_n) = (self.group_channels() as usize, n / self.groups as usize);
        let taps = self.len() as usize / channels;
        let first = |tap, i| (tap * group_n + i % group_n) * self.channels as usize + i / group_n * channels;
        let numbers = |i: usize| (0..taps).flat_map(move |tap| &b[first(tap, i)..][..channels]);
        (0..n).flat_map(numbers).copied().collect()
    }

    /// Constants of the text.
    pub(crate) fn constants(&self) -> Vec<(&'static str, f64)> {
        let mut constants = vec![("CHANNELS", f64::from(self.channels)), ("GROUPS", f64::from(self.groups))];
        for (names, axis) in [ROWS, COLUMNS].into_iter().zip([self.rows, self.columns]) {
            let Axis { length, positions, taps, down, step, first, up } = axis;
            let unsigned = [length, positions, taps, down, up].map(f64::from);
            let signed = [step, first].map(f64::from);
            constants.extend(names.into_iter().zip(unsigned.into_iter().chain(signed)));
        }
        constants
    }
}

const ROWS: [&str; 7] = ["HEIGHT", "OUT_ROWS", "TAP_ROWS", "DOWN_Y", "UP_Y", "STEP_Y", "FIRST_Y"];
const COLUMNS: [&str; 7] = ["WIDTH", "OUT_COLUMNS", "TAP_COLUMNS", "DOWN_X", "UP_X", "STEP_X", "FIRST_X"];

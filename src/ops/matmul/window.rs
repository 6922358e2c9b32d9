//! Convolutions as matmuls. A is never stored: row p of A is the elements that the kernel's taps read at position p.

/// How the rows of A are read from a tensor of shape \[batch, height, width, channels\]. Row p of A belongs to
/// position p of the output, \[batch, positions\]. Its columns are \[taps, channels\].
///
/// Along a dimension, tap t at position o reads the element (o · down + t · step + first) / up. The value is 0 if
/// this is not a whole number or lies outside.
///
/// - A convolution has down = stride, step = dilation, first = −padding and up = 1.
/// - The gradient of its input is read from the gradient of its output. It has down = 1, step = −dilation, first =
///   padding and up = stride. This is a transposed convolution.
/// - The gradient of a transposed convolution is read as a convolution.
///
/// Weights are \[taps, channels, n\]. In a matmul [`Nt`](super::Layout::Nt), B is the weights of the opposite
/// convolution, \[taps, n, channels\].
///
/// With groups, each column of C reads the channels of its own group. Each group has its own A, with columns \[taps,
/// channels / groups\]. Weights are \[taps, channels / groups, n\]. In a matmul `Nt` they are \[taps, n / groups,
/// channels\].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Channels of the tensor that is read.
    pub channels: u32,
    /// Number of groups of channels, and of columns of C.
    pub groups: u32,
    /// Along the height.
    pub rows: Axis,
    /// Along the width.
    pub columns: Axis,
}

/// One dimension of a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Length of the tensor that is read.
    pub length: u32,
    /// Number of output positions.
    pub positions: u32,
    /// Number of taps of the kernel.
    pub taps: u32,
    /// Elements between two positions, times `up`.
    pub down: u32,
    /// Elements between two taps, times `up`.
    pub step: i32,
    /// Element of the first tap at the first position, times `up`.
    pub first: i32,
    /// Divisor of the elements: 1 for a convolution, the stride for a transposed convolution.
    pub up: u32,
}

impl Axis {
    /// Element that a tap reads at a position; `None` if there is none.
    pub(crate) fn element(&self, position: u32, tap: u32) -> Option<usize> {
        let at =
            i64::from(position) * i64::from(self.down) + i64::from(tap) * i64::from(self.step) + i64::from(self.first);
        let up = i64::from(self.up);
        let inside = at >= 0 && at % up == 0 && at / up < i64::from(self.length);
        inside.then_some((at / up) as usize)
    }

    /// The same pairs of elements and positions, with elements and positions exchanged.
    pub(crate) fn reversed(&self) -> Self {
        let Self { length, positions, taps, down, step, first, up } = *self;
        Self { length: positions, positions: length, taps, down: up, step: -step, first: -first, up: down }
    }
}

impl Window {
    /// Window that reads the output's gradient, which has `channels` channels, to compute the input's gradient.
    pub(crate) fn reversed(&self, channels: u32) -> Self {
        Self { channels, groups: self.groups, rows: self.rows.reversed(), columns: self.columns.reversed() }
    }

    /// Whether a row of A is the channels at its own position.
    pub(crate) fn is_pointwise(&self) -> bool {
        let is_same =
            |axis: &Axis| *axis == Axis { positions: axis.length, taps: 1, down: 1, first: 0, up: 1, ..*axis };
        self.groups == 1 && is_same(&self.rows) && is_same(&self.columns)
    }

    /// Channels that a column of C reads.
    pub(super) fn group_channels(&self) -> u32 {
        self.channels / self.groups
    }

    /// Number of columns of A.
    pub(super) fn len(&self) -> u32 {
        self.rows.taps * self.columns.taps * self.group_channels()
    }

    /// Output positions per sample.
    pub(crate) fn positions(&self) -> u32 {
        self.rows.positions * self.columns.positions
    }

    /// Number of elements of A for a batch of this size.
    pub(crate) fn numbers(&self, batch: u32) -> u64 {
        u64::from(batch) * u64::from(self.positions()) * u64::from(self.len())
    }

    /// Rows of A at some positions of the batch, for one group after the other.
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

    /// B of a matmul `Nt`, \[n, taps · channels / groups\], from weights \[taps, n / groups, channels\].
    pub(super) fn transposed(&self, b: &[f32], n: usize) -> Vec<f32> {
        let (channels, group_n) = (self.group_channels() as usize, n / self.groups as usize);
        let taps = self.len() as usize / channels;
        let first = |tap, i| (tap * group_n + i % group_n) * self.channels as usize + i / group_n * channels;
        let numbers = |i: usize| (0..taps).flat_map(move |tap| &b[first(tap, i)..][..channels]);
        (0..n).flat_map(numbers).copied().collect()
    }

    /// Constants of the shader.
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

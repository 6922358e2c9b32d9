//! Features: bytes or numbers, their normalisation, and their form in GPU memory.

use std::borrow::Cow;
use std::ops::Range;

use super::{Input, ordered};
use crate::error::{Error, Result};
use crate::ops::U8_SCALE;

/// The features of an input, of all rows. A `Vec` of bytes or of f32 converts into it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Features {
    /// Bytes, such as 8-bit images; each is read as byte / 255.
    U8(Vec<u8>),
    /// Numbers, used unchanged.
    F32(Vec<f32>),
}

impl From<Vec<u8>> for Features {
    fn from(bytes: Vec<u8>) -> Self {
        Features::U8(bytes)
    }
}

impl From<Vec<f32>> for Features {
    fn from(numbers: Vec<f32>) -> Self {
        Features::F32(numbers)
    }
}

impl Features {
    pub(super) fn len(&self) -> usize {
        match self {
            Features::U8(bytes) => bytes.len(),
            Features::F32(numbers) => numbers.len(),
        }
    }
}

/// Features with the normalisation of their channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    pub features: Features,
    /// The mean of each channel, then 1 / deviation of each channel. Empty if the channels are not normalised.
    pub table: Vec<f32>,
}

impl Input {
    /// Number of features of a row.
    pub fn width(&self) -> usize {
        self.shape.elements() as usize
    }

    /// Sets the normalisation of the channels (the last dimension).
    pub fn normalise(&mut self, means: &[f32], deviations: &[f32]) -> Result<()> {
        let (name, channels) = (&self.name, self.shape.last().copied().unwrap_or(1) as usize);
        for (what, given) in [("means", means), ("deviations", deviations)] {
            let fits = given.len() == means.len() && (given.len() == channels || given.len() == 1);
            if !fits {
                let expected = format!("{channels} (one per channel of {:?}), or 1", self.shape);
                return Err(Error::shape(format!("{what} of input {name:?}"), expected, given.len()));
            }
        }
        let check = |what: &str, expected: &str, given: &[f32], is_fine: fn(f32) -> bool| match given
            .iter()
            .position(|number| !is_fine(*number))
        {
            Some(channel) => {
                let what = format!("{what} of channel {channel} of input {name:?}");
                Err(Error::shape(what, expected, given[channel]))
            }
            None => Ok(()),
        };
        check("mean", "a finite number", means, f32::is_finite)?;
        // A GPU may flush denormal numbers to zero.
        check("deviation", "a finite number above 0", deviations, |d| d >= f32::MIN_POSITIVE && (1.0 / d).is_normal())?;
        let inverses = deviations.iter().map(|deviation| 1.0 / deviation);
        self.values.table = means.iter().copied().chain(inverses).collect();
        Ok(())
    }

    /// Number of normalised channels.
    pub fn channels(&self) -> usize {
        self.values.table.len() / 2
    }

    /// Returns an error for numbers that are not finite; `of_input` is part of its text.
    pub fn check_finite(&self, of_input: &str) -> Result<()> {
        let (Features::F32(numbers), width) = (&self.values.features, self.width()) else { return Ok(()) };
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(i) => Err(Error::NonFiniteFeature {
                row: i / width,
                column: i % width,
                value: numbers[i],
                of_input: of_input.into(),
            }),
            None => Ok(()),
        }
    }

    /// The features of these rows after conversion and normalisation.
    pub fn features_of(&self, rows: Range<usize>) -> Vec<f32> {
        let width = self.width();
        let part = rows.start * width..rows.end * width;
        let mut values: Vec<f32> = match &self.values.features {
            Features::U8(bytes) => bytes[part].iter().map(|&byte| f32::from(byte) * U8_SCALE).collect(),
            Features::F32(numbers) => numbers[part].to_vec(),
        };
        if self.channels() > 0 {
            let (means, inverses) = self.values.table.split_at(self.channels());
            let channels = means.iter().zip(inverses).cycle();
            // A row is a whole number of channels.
            values.iter_mut().zip(channels).for_each(|(value, (mean, inverse))| *value = (*value - mean) * inverse);
        }
        values
    }

    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at * self.width();
        let features = match &mut self.values.features {
            Features::U8(bytes) => Features::U8(bytes.split_off(at)),
            Features::F32(numbers) => Features::F32(numbers.split_off(at)),
        };
        self.with(features)
    }

    pub fn ordered(&self, order: &[usize]) -> Self {
        let width = self.width();
        self.with(match &self.values.features {
            Features::U8(bytes) => Features::U8(ordered(order, bytes, width)),
            Features::F32(numbers) => Features::F32(ordered(order, numbers, width)),
        })
    }

    /// The same input with the features of other rows.
    fn with(&self, features: Features) -> Self {
        let values = Values { features, table: self.values.table.clone() };
        Self { name: self.name.clone(), shape: self.shape, values, augmentation: self.augmentation, crop: self.crop }
    }

    pub fn is_u8(&self) -> bool {
        matches!(self.values.features, Features::U8(_))
    }

    /// Words from the start of one row to the next, in GPU memory.
    pub fn stride(&self) -> usize {
        if self.is_u8() { self.width().div_ceil(4) } else { self.width() }
    }

    /// Size of `rows` rows in GPU memory, in bytes.
    pub fn bytes(&self, rows: usize) -> u64 {
        (self.stride() as u64 * rows as u64 + self.values.table.len() as u64) * 4
    }

    /// The bytes of these rows in host memory.
    fn kept(&self, rows: &Range<usize>) -> &[u8] {
        let part = rows.start * self.width()..rows.end * self.width();
        match &self.values.features {
            Features::F32(numbers) => bytemuck::cast_slice(&numbers[part]),
            Features::U8(bytes) => &bytes[part],
        }
    }

    /// Ranges of rows in the layout of GPU memory: the table of channels, then the rows. A row of bytes starts at a
    /// whole word.
    pub fn words(&self, ranges: &[Range<usize>]) -> Cow<'_, [u8]> {
        let (width, table) = (self.width(), &self.values.table);
        let whole = !self.is_u8() || width.is_multiple_of(4);
        if let ([rows], true) = (ranges, whole && table.is_empty()) {
            return self.kept(rows).into();
        }
        let rows = ranges.iter().map(ExactSizeIterator::len).sum();
        let mut words = Vec::with_capacity(self.bytes(rows) as usize);
        words.extend_from_slice(bytemuck::cast_slice(table));
        for rows in ranges.iter().map(|range| self.kept(range)) {
            if whole {
                words.extend_from_slice(rows);
                continue;
            }
            for row in rows.chunks_exact(width) {
                words.extend_from_slice(row);
                words.resize(words.len().next_multiple_of(4), 0);
            }
        }
        words.into()
    }
}

//! Layers that change height and width without weights: upsampling, padding, cropping. They take images, \[height,
//! width, channels\], or sequences, \[steps, channels\].

use super::convolution::Size;
use super::with_length;
use crate::error::{Error, Result};
use crate::ops::{self, LONGEST_LOOP, Terms};
use crate::shape::Shape;

/// Resizes height and width by interpolation, each channel separately. For a sequence, the options of the width apply.
///
/// ```
/// use wgrad::{Crop, Network, Pad, Upsample};
/// let network = Network::input([8, 8, 3])
///     .layer(Pad::reflect(1))
///     .layer(Upsample::bilinear(2))
///     .layer(Crop::new(2))
///     .build()?;
/// assert_eq!(network.output_specs()[0].shape[..], [16, 16, 3]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Upsample {
    /// The interpolation.
    pub how: Interpolation,
    /// The factors of height and width.
    pub factor: [u32; 2],
    /// The output height and width. `Some` replaces the factor.
    pub target: Option<[u32; 2]>,
}

/// The interpolation of an [`Upsample`] layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Interpolation {
    /// Nearest neighbour: output i of m is input floor(i · n / m) of n. This is PyTorch's "nearest". An integer factor
    /// repeats each element.
    Nearest,
    /// Bilinear: weighted by the distance along both axes. Output i of m lies at input position (i + ½) · n / m − ½,
    /// clamped to the border. This is Keras' "bilinear", and PyTorch's with `align_corners=False`.
    Bilinear,
}

impl Upsample {
    /// Nearest-neighbour upsampling by this factor.
    pub fn nearest(factor: impl Into<Size>) -> Self {
        Self { how: Interpolation::Nearest, factor: factor.into().0, target: None }
    }

    /// Bilinear upsampling by this factor.
    pub fn bilinear(factor: impl Into<Size>) -> Self {
        Self { how: Interpolation::Bilinear, ..Self::nearest(factor) }
    }

    /// Sets a fixed output height and width. They may be smaller than those of the input.
    pub fn to(self, target: impl Into<Size>) -> Self {
        Self { target: Some(target.into().0), ..self }
    }
}

/// Adds rows and columns around an image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Pad {
    /// The content of the added rows and columns.
    pub with: Margin,
    /// The padding: \[top, bottom\] and \[left, right\].
    pub sides: [[u32; 2]; 2],
}

/// The content of the rows and columns that a [`Pad`] adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Margin {
    /// Zeros.
    Zeros,
    /// The image mirrored at its border. The border itself is not repeated: a b c becomes b | a b c | b with a padding
    /// of 1.
    Reflect,
    /// The border elements, repeated.
    Replicate,
}

impl Pad {
    /// Pads with zeros on both sides of the height, and on both sides of the width.
    pub fn zeros(sides: impl Into<Size>) -> Self {
        Self { with: Margin::Zeros, sides: sides.into().0.map(|side| [side; 2]) }
    }

    /// Pads with the mirrored image on all sides. The padding must be less than the height and the width.
    pub fn reflect(sides: impl Into<Size>) -> Self {
        Self { with: Margin::Reflect, ..Self::zeros(sides) }
    }

    /// Pads with the repeated border on all sides.
    pub fn replicate(sides: impl Into<Size>) -> Self {
        Self { with: Margin::Replicate, ..Self::zeros(sides) }
    }

    /// Sets the padding for each side: \[top, bottom\] and \[left, right\]. For a sequence, `columns` applies:
    /// \[before, after\].
    pub fn sides(self, rows: [u32; 2], columns: [u32; 2]) -> Self {
        Self { sides: [rows, columns], ..self }
    }
}

/// Removes rows and columns at the sides of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Crop {
    /// The number of rows removed at \[top, bottom\], and of columns removed at \[left, right\].
    pub sides: [[u32; 2]; 2],
}

impl Crop {
    /// Crops this number of rows at the top and the bottom, and of columns at the left and the right.
    pub fn new(sides: impl Into<Size>) -> Self {
        Self { sides: sides.into().0.map(|side| [side; 2]) }
    }

    /// Sets the cropping for each side: \[top, bottom\] and \[left, right\]. For a sequence, `columns` applies:
    /// \[before, after\].
    pub fn sides(self, rows: [u32; 2], columns: [u32; 2]) -> Self {
        Self { sides: [rows, columns] }
    }
}

/// The largest height and width. A table has an entry for each row and each column.
const LONGEST: u64 = 1 << 20;

/// The axes of a sample without the channels, each with its side: height (0) or width (1).
fn axes(sample: Shape, what: &str) -> Result<impl Iterator<Item = (usize, usize)>> {
    match sample.len() {
        2 | 3 => Ok((0..sample.len() - 1).map(move |axis| (axis, 3 - sample.len() + axis))),
        _ => {
            let expected = "samples of shape [height, width, channels] or [steps, channels]";
            Err(Error::shape(what, expected, format!("{sample:?}")))
        }
    }
}

/// The shape of a sample with changed height and width.
fn resized(sample: Shape, what: &str, length: impl Fn(usize, u32) -> u64) -> Result<Shape> {
    let mut output = sample;
    for (axis, side) in axes(sample, what)? {
        let length = length(side, sample[axis]);
        if ![sample[axis].into(), length].iter().all(|length| (1..=LONGEST).contains(length)) {
            let expected = format!("lengths from 1 to {LONGEST} along axis {axis}");
            let actual = format!("an input of {} and an output of {length}", sample[axis]);
            return Err(Error::shape(what, expected, actual));
        }
        output = with_length(output, axis, length as u32);
    }
    Ok(output)
}

/// Returns an error if a kernel's loop over the terms would be too long, forward or backward.
fn checked(sample: Shape, output: Shape, what: &str, terms: [Terms; 2]) -> Result<Shape> {
    let image = as_image(sample);
    let back = [0, 1].map(|side| ops::most(&ops::transposed(&terms[side], image[side])));
    match u64::from(back[0]) * (u64::from(back[1]) + 1) {
        loops if loops <= LONGEST_LOOP.into() => Ok(output),
        _ => {
            let expected = format!("at most {LONGEST_LOOP} outputs that read the same input");
            Err(Error::shape(what, expected, format!("{} x {}", back[0], back[1])))
        }
    }
}

/// Height and width of a sample. A sequence is an image with one row.
fn as_image(sample: Shape) -> [u32; 2] {
    if sample.len() == 2 { [1, sample[0]] } else { [sample[0], sample[1]] }
}

impl Upsample {
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        let length = |side: usize, length: u32| match self.target {
            Some(target) => target[side].into(),
            None => u64::from(self.factor[side]) * u64::from(length),
        };
        let output = resized(sample, what, length)?;
        checked(sample, output, what, self.terms(sample, output))
    }

    /// The input rows and columns, with their weights, that each output row and column sums.
    pub(crate) fn terms(&self, sample: Shape, output: Shape) -> [Terms; 2] {
        let (from, to) = (as_image(sample), as_image(output));
        [0, 1].map(|side| {
            let (n, m) = (from[side], to[side]);
            let place = |i: u32| match self.how {
                Interpolation::Nearest => vec![((u64::from(i) * u64::from(n) / u64::from(m)) as u32, 1.0)],
                Interpolation::Bilinear => {
                    let at = (f64::from(i) + 0.5) * f64::from(n) / f64::from(m) - 0.5;
                    let at = at.clamp(0.0, f64::from(n - 1));
                    let (first, weight) = (at as u32, at.fract());
                    let terms = [(first, (1.0 - weight) as f32), (first + 1, weight as f32)];
                    terms.into_iter().filter(|(_, weight)| *weight > 0.0).collect()
                }
            };
            (0..m).map(place).collect()
        })
    }
}

impl Pad {
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        let length =
            |side: usize, length: u32| self.sides[side].into_iter().map(u64::from).sum::<u64>() + u64::from(length);
        let output = resized(sample, what, length)?;
        for (axis, side) in axes(sample, what)? {
            let is_short = self.sides[side].iter().any(|side| *side >= sample[axis]);
            if self.with == Margin::Reflect && is_short {
                let expected = format!("margins below {} (the length that they mirror)", sample[axis]);
                return Err(Error::shape(what, expected, format!("{:?}", self.sides[side])));
            }
        }
        checked(sample, output, what, self.terms(sample))
    }

    /// The input rows and columns, with their weights, that each output row and column sums.
    pub(crate) fn terms(&self, sample: Shape) -> [Terms; 2] {
        let from = as_image(sample);
        [0, 1].map(|side| {
            let last = i64::from(from[side]) - 1;
            let [before, behind] = margins(self.sides, sample)[side].map(i64::from);
            let place = |i: i64| match self.with {
                Margin::Zeros if !(0..=last).contains(&i) => vec![],
                Margin::Reflect => vec![((last - (last - i.abs()).abs()) as u32, 1.0)],
                _ => vec![(i.clamp(0, last) as u32, 1.0)],
            };
            (-before..=last + behind).map(place).collect()
        })
    }
}

impl Crop {
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        resized(sample, what, |side, length| {
            u64::from(length).saturating_sub(self.sides[side].into_iter().map(u64::from).sum())
        })
    }
}

/// The output shape of [`Layer::DepthToSpace`](super::Layer::DepthToSpace), or of its inverse.
pub(super) fn of_blocks(sample: Shape, block: u32, to_space: bool, what: &str) -> Result<Shape> {
    let fault = |expected: &str| Err(Error::shape(what, expected, format!("{sample:?}")));
    let [height, width, channels] = sample[..] else { return fault("samples of shape [height, width, channels]") };
    let area = u64::from(block) * u64::from(block);
    let divides = |length: u32, by: u64| u64::from(length).is_multiple_of(by);
    match to_space {
        _ if block == 0 => Err(Error::shape(what, "blocks of at least 1 pixel", block)),
        true if divides(channels, area) => Ok([height * block, width * block, channels / block / block].into()),
        true => fault(&format!("channels divisible by {area} ({block} x {block})")),
        false if [height, width].iter().all(|&length| divides(length, block.into())) => {
            Ok([height / block, width / block, channels * block * block].into())
        }
        false => fault(&format!("a height and a width divisible by {block}")),
    }
}

/// The sides that apply to a sample. A sequence has none at the top and the bottom.
pub(crate) fn margins(sides: [[u32; 2]; 2], sample: Shape) -> [[u32; 2]; 2] {
    if sample.len() == 2 { [[0; 2], sides[1]] } else { sides }
}

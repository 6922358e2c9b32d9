//! Pooling: the options; shapes and windows are those of a convolution.

use super::convolution::{Conv, Padding, Size};
use crate::error::{Error, Result};
use crate::ops::{Pooling, Window};
use crate::shape::Shape;

/// Max or average pooling over the height and the width of images, \[height, width, channels\], or over the steps of a
/// sequence, \[steps, channels\]. Each channel by itself. The output has
/// floor((length + padding − size) / stride) + 1 positions along a dimension, as in PyTorch.
///
/// ```
/// use wgrad::{Activation::*, Network, Pool};
/// let network = Network::input([28, 28, 1])
///     .conv(32, 3, Relu)
///     .max_pool(2)
///     .layer(Pool::average(3).stride(2).padding(1))
///     .build()?;
/// assert_eq!(network.output_specs()[0].shape[..], [7, 7, 32]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Pool {
    /// Maximum or mean.
    pub how: Pooling,
    /// Height and width of the window.
    pub size: [u32; 2],
    /// See [`stride`](Self::stride).
    pub stride: [u32; 2],
    /// See [`padding`](Self::padding) and [`same`](Self::same).
    pub padding: Padding,
}

/// The most places of a window, and of a stride: kernels go over them in loops that some drivers limit.
const MOST_PLACES: u32 = 1 << 12;

impl Pool {
    /// The largest number of each window. Its gradient goes to the first of equal numbers, row by row. The maximum is
    /// NaN where a number is NaN, and the gradient then goes to the first NaN. Padding never is the maximum.
    pub fn max(size: impl Into<Size>) -> Self {
        let size = size.into().0;
        Self { how: Pooling::Max, size, stride: size, padding: Padding::Explicit([[0; 2]; 2]) }
    }

    /// The mean of each window's numbers. Padding counts for nothing: the sum is divided by how many numbers there are,
    /// as with PyTorch's `count_include_pad=False`, and as in Keras.
    pub fn average(size: impl Into<Size>) -> Self {
        Self { how: Pooling::Average, ..Self::max(size) }
    }

    /// Elements from one window to the next. Default: the size.
    pub fn stride(self, stride: impl Into<Size>) -> Self {
        Self { stride: stride.into().0, ..self }
    }

    /// Padding on each side of the height, and on each side of the width: at most half of the window. Default 0.
    pub fn padding(self, padding: impl Into<Size>) -> Self {
        Self { padding: Padding::Explicit(padding.into().0.map(|side| [side; 2])), ..self }
    }

    /// As much padding as makes the output as large as the input, divided by the stride and rounded up.
    pub fn same(self) -> Self {
        Self { padding: Padding::Same, ..self }
    }

    /// The convolution with the same windows.
    fn as_conv(&self, sample: Shape) -> Conv {
        let channels = sample.last().copied().unwrap_or(1);
        let mut conv = Conv::new(channels, self.size).stride(self.stride);
        conv.padding = self.padding;
        conv
    }

    /// The shape of what comes out, where it can take such a sample.
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        if let Padding::Explicit(sides) = self.padding
            && (0..2).any(|i| sides[i].iter().any(|side| *side > self.size[i] / 2))
        {
            let expected = format!("a padding of at most half of the window, {:?}", self.size);
            return Err(Error::shape(what, expected, format!("{sides:?}")));
        }
        let output = self.as_conv(sample).output(sample, what)?;
        for (name, size) in [("window", self.size), ("stride", self.stride)] {
            let places = size[3 - sample.len()..].iter().product::<u32>();
            if places > MOST_PLACES {
                let expected = format!("a {name} of at most {MOST_PLACES} places; a global pool takes any number");
                return Err(Error::shape(what, expected, format!("{size:?}")));
            }
        }
        Ok(output)
    }

    /// What it sees of a sample of this shape, which it can take.
    pub(crate) fn window(&self, sample: Shape) -> Window {
        self.as_conv(sample).window(sample)
    }
}

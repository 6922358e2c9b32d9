//! Pooling layers: options. Shapes and windows are those of a convolution.

use super::convolution::{Conv, Padding, Size};
use crate::error::{Error, Result};
use crate::ops::{Pooling, Window};
use crate::shape::Shape;

/// Max or average pooling over images, \[height, width, channels\], or sequences, \[steps, channels\].
///
/// Each channel is pooled separately. An output dimension is floor((length + padding − size) / stride) + 1, as in
/// PyTorch.
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
    /// Stride along height and width. See [`stride`](Self::stride).
    pub stride: [u32; 2],
    /// Padding. See [`padding`](Self::padding) and [`same`](Self::same). Before a dimension it is at most half of the
    /// window, and after it less than the window.
    pub padding: Padding,
}

/// The largest number of positions in a window or a stride. Kernels loop over them, and some drivers limit loops.
const MOST_PLACES: u32 = 1 << 12;

impl Pool {
    /// Max pooling: the maximum of each window.
    ///
    /// Padding is never the maximum. The gradient goes to the first of equal maxima, row by row. If a window contains
    /// NaN, the maximum is NaN, and the gradient goes to the first NaN.
    pub fn max(size: impl Into<Size>) -> Self {
        let size = size.into().0;
        Self { how: Pooling::Max, size, stride: size, padding: Padding::Explicit([[0; 2]; 2]) }
    }

    /// Average pooling: the mean of each window.
    ///
    /// The sum is divided by the number of elements without padding. Keras does the same, and so does PyTorch with
    /// `count_include_pad=False`.
    pub fn average(size: impl Into<Size>) -> Self {
        Self { how: Pooling::Average, ..Self::max(size) }
    }

    /// Sets the stride: the distance between two windows. Default: the window size.
    pub fn stride(self, stride: impl Into<Size>) -> Self {
        Self { stride: stride.into().0, ..self }
    }

    /// Sets the padding on both sides of the height, and on both sides of the width. It is at most half of the window.
    /// Default 0.
    pub fn padding(self, padding: impl Into<Size>) -> Self {
        Self { padding: Padding::Explicit(padding.into().0.map(|side| [side; 2])), ..self }
    }

    /// Pads so that an output dimension is the input dimension divided by the stride, rounded up ("same").
    pub fn same(self) -> Self {
        Self { padding: Padding::Same, ..self }
    }

    /// A convolution with the same windows.
    pub(crate) fn as_conv(&self, sample: Shape) -> Conv {
        let channels = sample.last().copied().unwrap_or(1);
        let mut conv = Conv::new(channels, self.size).stride(self.stride);
        conv.padding = self.padding;
        conv
    }

    /// The output shape for a sample of this shape. Returns an error if the layer cannot take the sample.
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        if let Padding::Explicit(sides) = self.padding
            && (0..2).any(|i| sides[i][0] > self.size[i] / 2 || sides[i][1] > self.size[i].saturating_sub(1))
        {
            // At the end, more is possible for windows that rounding up adds: each still has an element.
            let expected = format!("a padding of at most half the window {:?}", self.size);
            return Err(Error::shape(what, expected, format!("{sides:?}")));
        }
        let output = self.as_conv(sample).output(sample, what)?;
        for (name, size) in [("window", self.size), ("stride", self.stride)] {
            let places = size[3 - sample.len()..].iter().product::<u32>();
            if places > MOST_PLACES {
                let expected = format!("a {name} with at most {MOST_PLACES} positions");
                return Err(Error::shape(what, expected, format!("{size:?}; a global pool has no such limit")));
            }
        }
        Ok(output)
    }

    /// The windows of a sample. The sample's shape must be valid.
    pub(crate) fn window(&self, sample: Shape) -> Window {
        self.as_conv(sample).window(sample)
    }
}

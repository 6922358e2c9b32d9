//! Convolution layers: options, output shapes, and the windows that the matmul reads.

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::ops::{Axis, Window};
use crate::shape::Shape;

/// A 2-D convolution of images, \[height, width, channels\], or a 1-D convolution of sequences, \[steps, channels\].
///
/// y = activation(x * W + b). W has shape \[kernel height, kernel width, input channels / groups, output channels\].
/// For sequences it has shape \[kernel, input channels / groups, output channels\]. The kernel is not flipped, as in
/// PyTorch and Keras. An output dimension is floor((length + padding − dilation · (kernel − 1) − 1) / stride) + 1.
/// Here, padding is the sum of both sides.
///
/// ```
/// use wgrad::{Activation::*, Conv, Network};
/// let network = Network::input([28, 28, 1])
///     .layer(Conv::new(8, 3).same().activation(Relu))
///     .layer(Conv::new(16, 3).stride(2).activation(Relu))
///     .build()?;
/// assert_eq!(network.output_specs()[0].shape[..], [13, 13, 16]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Conv {
    /// The number of output channels.
    pub channels: u32,
    /// Height and width of the kernel.
    pub kernel: [u32; 2],
    /// Stride along height and width. See [`stride`](Self::stride).
    pub stride: [u32; 2],
    /// Dilation along height and width. See [`dilation`](Self::dilation).
    pub dilation: [u32; 2],
    /// Zero padding. See [`padding`](Self::padding) and [`same`](Self::same).
    pub padding: Padding,
    /// The number of groups. See [`groups`](Self::groups).
    pub groups: u32,
    /// `Some` for a transposed convolution, with its [output padding](Self::output_padding).
    pub transposed: Option<[u32; 2]>,
    /// The activation of the outputs.
    pub activation: Activation,
    weight_init: Option<Init>,
    /// `None`: the layer has no bias.
    bias_init: Option<Init>,
}

/// The zero padding of a [`Conv`] or the padding of a [`Pool`](crate::Pool).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub enum Padding {
    /// Pads so that the output length is the input length divided by the stride, rounded up. If the total is odd, the
    /// end gets one more.
    Same,
    /// The padding at the top and bottom, then at the left and right.
    Explicit([[u32; 2]; 2]),
}

/// A height and a width, or one number for both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size(pub(super) [u32; 2]);

impl From<u32> for Size {
    fn from(both: u32) -> Self {
        Self([both; 2])
    }
}

impl From<[u32; 2]> for Size {
    fn from(size: [u32; 2]) -> Self {
        Self(size)
    }
}

/// The largest kernel, stride, dilation and padding.
const LARGEST: u32 = 1 << 12;

impl Conv {
    /// A convolution with this number of output channels and this kernel size.
    ///
    /// Defaults: stride 1, dilation 1, no padding ("valid"), no activation. The weights have the same default
    /// initialiser as [`Dense`](crate::Dense). Biases start as zeros.
    pub fn new(channels: u32, kernel: impl Into<Size>) -> Self {
        Self {
            channels,
            kernel: kernel.into().0,
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::Explicit([[0; 2]; 2]),
            groups: 1,
            transposed: None,
            activation: Activation::Identity,
            weight_init: None,
            bias_init: Some(Init::Zeros),
        }
    }

    /// A transposed convolution: the gradient with respect to the input of a convolution with the same options.
    ///
    /// An output dimension is (length − 1) · stride − padding + dilation · (kernel − 1) + 1 + output padding. Here,
    /// padding is the sum of both sides. With [`same`](Self::same), a stride of 2 doubles height and width.
    pub fn transposed(channels: u32, kernel: impl Into<Size>) -> Self {
        Self { transposed: Some([0; 2]), ..Self::new(channels, kernel) }
    }

    /// Sets the activation. Default identity.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Sets the stride: the distance between two window positions. Default 1.
    pub fn stride(self, stride: impl Into<Size>) -> Self {
        Self { stride: stride.into().0, ..self }
    }

    /// Sets the dilation: the distance between two taps of the kernel. Default 1.
    pub fn dilation(self, dilation: impl Into<Size>) -> Self {
        Self { dilation: dilation.into().0, ..self }
    }

    /// Sets the number of groups of a grouped convolution. Default 1.
    ///
    /// Input and output channels are split into this number of groups, in order. An output channel reads only the input
    /// channels of its group. The number must divide both channel counts. A depthwise convolution has one group for
    /// each input channel.
    pub fn groups(self, groups: u32) -> Self {
        Self { groups, ..self }
    }

    /// Sets the zero padding on both sides of the height, and on both sides of the width. Default 0.
    pub fn padding(self, padding: impl Into<Size>) -> Self {
        let [height, width] = padding.into().0;
        self.padding_of([height; 2], [width; 2])
    }

    /// Sets the zero padding for each side: \[top, bottom\] and \[left, right\].
    pub fn padding_of(self, rows: [u32; 2], columns: [u32; 2]) -> Self {
        Self { padding: Padding::Explicit([rows, columns]), ..self }
    }

    /// Pads so that an output dimension is the input dimension divided by the stride, rounded up ("same"). For a
    /// transposed convolution, it is the input dimension times the stride.
    pub fn same(self) -> Self {
        Self { padding: Padding::Same, ..self }
    }

    /// Sets the output padding of a transposed convolution: additional rows at the bottom and columns at the right. It
    /// must be less than the stride or the dilation. Default 0.
    pub fn output_padding(self, more: impl Into<Size>) -> Self {
        Self { transposed: self.transposed.and(Some(more.into().0)), ..self }
    }

    /// Sets the initialiser of the weights.
    pub fn weight_init(self, init: Init) -> Self {
        Self { weight_init: Some(init), ..self }
    }

    /// Sets the initialiser of the biases. The layer then has a bias.
    pub fn bias_init(self, init: Init) -> Self {
        Self { bias_init: Some(init), ..self }
    }

    /// Removes the bias.
    pub fn without_bias(self) -> Self {
        Self { bias_init: None, ..self }
    }

    /// Whether the layer has a bias.
    pub fn has_bias(&self) -> bool {
        self.bias_init.is_some()
    }

    /// The initialisers of weights and biases.
    pub(super) fn inits(&self) -> (Init, Option<Init>) {
        let usual = super::Dense::new(1, self.activation).weight_init;
        (self.weight_init.unwrap_or(usual), self.bias_init)
    }

    /// The shape of the weights for samples of this shape.
    pub(super) fn weights(&self, sample: Shape) -> Vec<u32> {
        let inputs = sample.last().copied().unwrap_or(1);
        let kernel = if sample.len() == 2 { &self.kernel[1..] } else { &self.kernel[..] };
        [kernel, &[inputs / self.groups.max(1), self.channels]].concat()
    }

    /// The output shape for a sample of this shape. Returns an error if the layer cannot take the sample.
    pub(super) fn output(&self, sample: Shape, what: &str) -> Result<Shape> {
        let fault = |expected: &str, actual: String| Err(Error::shape(what, expected, actual));
        let (init, bias) = self.inits();
        init.check()?;
        bias.map_or(Ok(()), Init::check)?;
        if !matches!(sample.len(), 2 | 3) {
            return fault("samples of shape [height, width, channels] or [steps, channels]", format!("{sample:?}"));
        }
        if self.channels == 0 {
            return fault("at least 1 channel", "0".into());
        }
        let inputs = sample.last().copied().unwrap_or(1);
        if self.groups == 0 {
            return fault("at least 1 group", "0".into());
        }
        if [inputs, self.channels].iter().any(|channels| !channels.is_multiple_of(self.groups)) {
            let expected = format!("channels divisible by its {} groups", self.groups);
            return fault(&expected, format!("{inputs} inputs and {} outputs", self.channels));
        }
        let options = [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)];
        for (name, size) in options {
            if size.iter().any(|length| !(1..=LARGEST).contains(length)) {
                return fault(&format!("a {name} from 1 to {LARGEST}"), format!("{size:?}"));
            }
            if sample.len() == 2 && size[0] != size[1] {
                return fault(&format!("one length as the {name} of a sequence"), format!("{size:?}"));
            }
        }
        if let Padding::Explicit(sides) = self.padding
            && sides.iter().flatten().any(|side| *side > LARGEST)
        {
            return fault(&format!("a padding from 0 to {LARGEST}"), format!("{sides:?}"));
        }
        if let Some(more) = self.transposed
            && (0..2).any(|i| more[i] >= self.stride[i].max(self.dilation[i]))
        {
            return fault("an output padding below the stride or the dilation", format!("{more:?}"));
        }
        let (mut output, first) = (sample, 3 - sample.len());
        for (i, length) in output.lengths[..sample.len() - 1].iter_mut().enumerate() {
            let positions = self.positions(first + i, *length);
            *length = match positions {
                1.. => u32::try_from(positions).unwrap_or(u32::MAX),
                _ => {
                    let span = self.span(first + i);
                    let expected = format!("an input, with its padding, of at least {span} (the length of the kernel)");
                    return fault(&expected, format!("{sample:?}"));
                }
            };
        }
        output.lengths[sample.len() - 1] = self.channels;
        Ok(output)
    }

    /// The number of elements from the first tap to the last, both included.
    pub(crate) fn span(&self, i: usize) -> i64 {
        i64::from(self.dilation[i]) * i64::from(self.kernel[i] - 1) + 1
    }

    /// Zero padding before and after, along the height (0) or the width (1).
    pub(crate) fn padded(&self, i: usize, length: u32) -> [i64; 2] {
        let (length, stride, span) = (i64::from(length), i64::from(self.stride[i]), self.span(i));
        match self.padding {
            Padding::Explicit(sides) => sides[i].map(i64::from),
            Padding::Same => {
                let missing = match self.transposed {
                    // The padding of the forward convolution, whose input has `length` · stride positions.
                    Some(_) => (span - stride).max(0),
                    None => ((length + stride - 1) / stride * stride - stride + span - length).max(0),
                };
                [missing / 2, missing - missing / 2]
            }
        }
    }

    /// The number of output positions. Below 1 if the kernel does not fit.
    fn positions(&self, i: usize, length: u32) -> i64 {
        let [before, behind] = self.padded(i, length);
        let (length, stride, span) = (i64::from(length), i64::from(self.stride[i]), self.span(i));
        match (self.transposed, self.padding) {
            (Some(more), Padding::Explicit(_)) => (length - 1) * stride - before - behind + span + i64::from(more[i]),
            (Some(_), Padding::Same) => length * stride,
            (None, _) if length + before + behind < span => 0,
            (None, _) => (length + before + behind - span) / stride + 1,
        }
    }

    /// The windows that the matmul reads from a sample. The sample's shape must be valid.
    pub(crate) fn window(&self, sample: Shape) -> Window {
        let first = 3 - sample.len();
        let axis = |i: usize| {
            if i < first {
                return Axis { length: 1, positions: 1, taps: 1, down: 1, step: 1, first: 0, up: 1 };
            }
            let length = sample[i - first];
            let (positions, before) = (self.positions(i, length) as u32, self.padded(i, length)[0] as i32);
            let convolution = Axis {
                length,
                positions,
                taps: self.kernel[i],
                down: self.stride[i],
                step: self.dilation[i] as i32,
                first: -before,
                up: 1,
            };
            match self.transposed {
                // The windows of the forward convolution, reversed.
                Some(_) => Axis { length: positions, positions: length, ..convolution }.reversed(),
                None => convolution,
            }
        };
        let channels = sample.last().copied().unwrap_or(1);
        Window { channels, groups: self.groups, rows: axis(0), columns: axis(1) }
    }
}

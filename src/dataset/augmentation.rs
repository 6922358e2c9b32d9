//! Data augmentation: random changes of images during training.

use super::{Dataset, DatasetBuilder};
use crate::error::{Error, Result};
use crate::ops::DataInfo;
use crate::optimizer::option;

/// Data augmentation: random changes of an input's images, applied when a batch is gathered. Set by
/// [`DatasetBuilder::augmented`].
///
/// Each epoch draws new changes. Evaluation, validation and prediction use the unchanged images.
///
/// The order of operations: flip, scale and rotate about the centre, shift, contrast, brightness, cutout. Pixels are
/// interpolated once (bilinear), and only if `rotation` or `scale` is set. Shifts and flips alone copy pixels. Pixels
/// from outside the image and in the cutout square are 0, like a black byte. Channels are normalised afterwards.
///
/// The change of an image is a function of the seed, the epoch and the row of the data set. It is the same on the GPU
/// and the CPU, for every batch size, and after training is resumed. If an epoch is trained [window by
/// window](crate::TrainerConfig::window), each window counts as one epoch here, and rows are counted from the start of
/// the window. If several inputs have the same augmentation, the inputs of a row are changed in the same way. Targets
/// are not changed.
///
/// The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Largest shift in either direction along each axis, in whole pixels; default 0. It must be smaller than the
    /// height and the width. A shift has the effect of zero padding by that many pixels, then a random crop to the
    /// original size.
    pub shift: u32,
    /// Probability of a horizontal flip (left and right swapped), 0 to 1; default 0.
    pub flip: f32,
    /// Probability of a vertical flip (top and bottom swapped), 0 to 1; default 0.
    pub flip_vertical: f32,
    /// Largest rotation in either direction, in degrees, 0 to 180; default 0.
    pub rotation: f32,
    /// Smallest and largest scale factor, each 0.1 to 10; default \[1, 1\].
    pub scale: [f32; 2],
    /// Side of the cutout square, in pixels, up to 65,536; default 0. Its centre is a random pixel of the image. The
    /// part outside the image has no effect.
    pub cutout: u32,
    /// Brightness range, finite; default 0. A random number from −`brightness` to `brightness` is added to all values
    /// of an image. Bytes are read as values from 0 to 1. Results can be outside 0 to 1.
    pub brightness: f32,
    /// Contrast range, finite; default 0. The distance of each value from 0.5 is multiplied by a random factor from 1
    /// − `contrast` to 1 + `contrast`. Results can be outside 0 to 1.
    pub contrast: f32,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            shift: 0,
            flip: 0.0,
            flip_vertical: 0.0,
            rotation: 0.0,
            scale: [1.0; 2],
            cutout: 0,
            brightness: 0.0,
            contrast: 0.0,
        }
    }
}

impl Augmentation {
    fn check(&self, height: u32, width: u32) -> Result<()> {
        let Self { shift, flip, flip_vertical, rotation, scale: [low, high], cutout, brightness, contrast } = *self;
        let smaller = "below the images' height and width";
        option("shift", smaller, shift, shift < height.min(width))?;
        for (name, value) in [("flip", flip), ("flip_vertical", flip_vertical)] {
            option(name, "a probability from 0 to 1", value, (0.0..=1.0).contains(&value))?;
        }
        option("rotation", "from 0 to 180 degrees", rotation, (0.0..=180.0).contains(&rotation))?;
        let expected = "two factors from 0.1 to 10, the smaller one first";
        option("scale", expected, format!("{low} and {high}"), 0.1 <= low && low <= high && high <= 10.0)?;
        option("cutout", "at most 65536 pixels", cutout, cutout <= 1 << 16)?;
        for (name, value) in [("brightness", brightness), ("contrast", contrast)] {
            option(name, "finite and at least 0", value, value.is_finite() && value >= 0.0)?;
        }
        Ok(())
    }

    /// Adds the kernels' parameters of this augmentation.
    pub(super) fn add_info(&self, info: &mut DataInfo) {
        let Self { shift, flip, flip_vertical, rotation, scale: [scale, largest], cutout, brightness, contrast } =
            *self;
        let moves_whole = rotation == 0.0 && [scale, largest] == [1.0; 2];
        let (augment, rotation, scale_span) = (if moves_whole { 1 } else { 2 }, rotation.to_radians(), largest - scale);
        *info = DataInfo {
            augment,
            shift,
            cutout,
            flip,
            flip_vertical,
            rotation,
            scale,
            scale_span,
            brightness,
            contrast,
            ..*info
        };
    }
}

impl DatasetBuilder {
    /// Sets random changes of an input's images during training. The input's shape must be \[height, width,
    /// channels\]. The network's input must have the same shape.
    ///
    /// ```
    /// use wgrad::{Augmentation, Dataset};
    /// let data = Dataset::of_rows(2)
    ///     .input("image", vec![0u8; 2 * 28 * 28], [28, 28, 1])
    ///     .augmented("image", Augmentation { shift: 2, rotation: 10.0, scale: [0.9, 1.1], ..Augmentation::default() })
    ///     .labels("digit", vec![3, 7], 10)
    ///     .build()?;
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn augmented(self, name: &str, augmentation: Augmentation) -> Self {
        self.then(|data| data.augment(name, augmentation))
    }
}

impl Dataset {
    /// The same data with this augmentation of an input's images. [`Augmentation::default()`](Augmentation) removes
    /// one. See [`DatasetBuilder::augmented`].
    ///
    /// # Errors
    /// - [`Error::Shape`] if no input has this name or the input is not an image.
    /// - [`Error::InvalidOption`] if a number is out of its range.
    pub fn with_augmentation(mut self, name: &str, augmentation: Augmentation) -> Result<Self> {
        self.augment(name, augmentation)?;
        Ok(self)
    }

    fn augment(&mut self, name: &str, augmentation: Augmentation) -> Result<()> {
        let i = self.input_index(name)?;
        let input = &mut self.inputs[i];
        let what = format!("augmentation of input {name:?}");
        let [height, width, _] = input.shape[..] else {
            return Err(Error::shape(what, "images of shape [height, width, channels]", format!("{:?}", input.shape)));
        };
        augmentation.check(height, width).map_err(|fault| fault.within(&format!("the {what}")))?;
        input.augmentation = Some(augmentation).filter(|augmentation| *augmentation != Augmentation::default());
        Ok(())
    }
}

//! Images that are changed at random while a network trains on them.

use super::{Dataset, DatasetBuilder};
use crate::error::{Error, Result};
use crate::ops::DataInfo;
use crate::optimizer::option;

/// Data augmentation: how the images of an input are changed at random, anew in each epoch, as batches are gathered.
/// Given to [`DatasetBuilder::augmented`]. Evaluation, validation and prediction see the images as they are.
///
/// In this order an image is flipped, scaled and rotated about its centre, and shifted; contrast and brightness change;
/// a square is cut out. Pixels are interpolated once (bilinear), and only where `rotation` or `scale` is set: shifts
/// and flips alone copy pixels. What comes from outside of the image is 0, as a black byte is, and so is the square;
/// means and deviations of channels apply afterwards.
///
/// How an image is changed is a function of the seed, the epoch and the row of the data set: the same on the GPU and
/// the CPU, for every batch size, and after a training is resumed. Where an epoch goes [window by
/// window](crate::TrainerConfig::window), each window counts as an epoch of its own rows. Several inputs of a row are
/// changed alike by the same augmentation. Targets are not changed.
///
/// The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Largest shift in either direction along each axis, in whole pixels, below height and width; default 0. The same
    /// as to pad an image with that many zeros and to crop it to its size at a random place.
    pub shift: u32,
    /// Probability that left and right change places, 0 to 1; default 0.
    pub flip: f32,
    /// Probability that top and bottom change places, 0 to 1; default 0.
    pub flip_vertical: f32,
    /// Largest rotation in either direction, in degrees, 0 to 180; default 0.
    pub rotation: f32,
    /// Smallest and largest factor of the size, 0.1 to 10; default \[1, 1\].
    pub scale: [f32; 2],
    /// Side of the square that is cut out (cutout), in pixels, up to 65,536; default 0. Its centre is any pixel, so the
    /// image's edge may cut it short.
    pub cutout: u32,
    /// Largest number that is added to all values or taken from them, finite; default 0. Bytes are values from 0 to 1.
    /// Results may lie outside.
    pub brightness: f32,
    /// Contrast: the distance of each value from 0.5 is multiplied by a factor between 1 − `contrast` and 1 +
    /// `contrast`, finite; default 0. Results may lie outside of 0 to 1.
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

    /// Adds what kernels are told of it.
    pub(super) fn tell(&self, info: &mut DataInfo) {
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
    /// Has the images of an input changed at random in training. Its shape is \[height, width, channels\], and that of
    /// the network's input is the same.
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
    /// The same data with the images of an input changed at random in training, or no longer, as
    /// [`DatasetBuilder::augmented`].
    ///
    /// # Errors
    /// [`Error::Shape`] for a name that no input has, or an input that is no image; [`Error::InvalidOption`] for a
    /// number out of its range.
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

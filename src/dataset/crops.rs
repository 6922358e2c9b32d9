//! Random crops of images and of targets that are images.

use super::{Dataset, Input, Target};
use crate::error::{Error, Result};
use crate::ops::DataInfo;
use crate::shape::Shape;

/// A crop of each row of an input or a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crop {
    /// Height and width.
    size: [u32; 2],
    /// Number of possible corners along each axis, in the smallest images.
    places: [u32; 2],
    factor: u32,
}

impl Crop {
    /// The shape of a row after cropping.
    fn of(self, shape: Shape) -> Shape {
        Shape::of(&[&self.size, &shape[2..]].concat())
    }
}

impl Dataset {
    /// Trains on random crops of `size`, \[height, width\]. Each epoch takes one crop of each row, at a random place.
    /// The place is the same for all inputs and targets of a row.
    ///
    /// These are cropped:
    /// - Every input of shape \[height, width, channels\]. All must have one height and width.
    /// - Every target of that height and width, or of a whole multiple of it: numbers \[height, width, channels\], or
    ///   [labels of positions](super::DatasetBuilder::positions) \[height, width\]. The crop of a larger target, as
    ///   in super-resolution, is larger by the same factor.
    ///
    /// Other inputs and targets are not cropped.
    ///
    /// An [`Augmentation`](super::Augmentation) changes the crops of inputs, not of targets. The place is a function
    /// of the seed, the epoch and the row. Evaluation and validation use the middle of each image.
    /// [`Model::score`](crate::Model::score) takes only whole images, from a network [at their
    /// size](crate::Network::at_input).
    ///
    /// ```
    /// use wgrad::Dataset;
    /// let data = Dataset::of_rows(2)
    ///     .input("noisy", vec![0u8; 2 * 48 * 64 * 3], [48, 64, 3])
    ///     .targets("clean", vec![0.0; 2 * 48 * 64 * 3], [48, 64, 3])
    ///     .build()?
    ///     .with_crops([32, 32])?; // for a network from [32, 32, 3] to [32, 32, 3]
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if no input is an image, images have different sizes or are smaller than the crop, or the
    /// crop has no pixel.
    pub fn with_crops(mut self, size: [u32; 2]) -> Result<Self> {
        let is_image = |input: &&mut Input| input.shape.len() == 3;
        let mut whole = None;
        for input in self.inputs.iter_mut().filter(is_image) {
            let own = [input.shape[0], input.shape[1]];
            let [height, width] = *whole.get_or_insert(own);
            if own != [height, width] {
                let what = format!("size of input {:?} to crop", input.name);
                let expected = format!("[{height}, {width}] (the size of the other images)");
                return Err(Error::shape(what, expected, format!("{own:?}")));
            }
            if !(1..=height).contains(&size[0]) || !(1..=width).contains(&size[1]) {
                let what = format!("crop of input {:?}", input.name);
                let expected = format!("a size from [1, 1] to [{height}, {width}] (the image)");
                return Err(Error::shape(what, expected, format!("{size:?}")));
            }
            let places = [height - size[0] + 1, width - size[1] + 1];
            input.crop = Some(Crop { size, places, factor: 1 });
        }
        let Some([height, width]) = whole else {
            return Err(Error::shape("inputs to crop", "an image of shape [height, width, channels]", "none"));
        };
        for target in &mut self.targets {
            target.crop = None;
            let is_image = target.shape.len() == if target.is_labels() { 2 } else { 3 };
            let factor = if is_image { target.shape[0] / height } else { 0 };
            if factor > 0 && [height, width].map(|length| length * factor) == [target.shape[0], target.shape[1]] {
                let places = [height - size[0] + 1, width - size[1] + 1];
                target.crop = Some(Crop { size: size.map(|length| length * factor), places, factor });
            }
        }
        Ok(self)
    }
}

impl Input {
    /// The shape of a row after cropping.
    pub fn seen(&self) -> Shape {
        self.crop.map_or(self.shape, |crop| crop.of(self.shape))
    }

    /// Adds the kernels' parameters of augmentation and crops.
    pub fn add_image_info(&self, info: &mut DataInfo, training: bool) {
        if let Some(augmentation) = self.augmentation.filter(|_| training) {
            augmentation.add_info(info);
        } else if self.crop.is_some() {
            (info.augment, info.scale) = (1, 1.0);
        }
        if info.augment != 0 {
            (info.image_height, info.image_width) = (self.shape[0], self.shape[1]);
        }
        add_info(self.crop, info, training);
    }
}

impl Target {
    /// The shape of a row after cropping.
    pub fn seen(&self) -> Shape {
        self.crop.map_or(self.shape, |crop| crop.of(self.shape))
    }

    /// Adds the kernels' parameters of crops.
    pub fn add_crop_info(&self, info: &mut DataInfo, training: bool) {
        if let Some(Crop { size, factor, .. }) = self.crop {
            (info.target_factor, info.target_width, info.target_crop_width) = (factor, self.shape[1], size[1]);
        }
        add_info(self.crop, info, training);
    }
}

fn add_info(crop: Option<Crop>, info: &mut DataInfo, training: bool) {
    if let Some(Crop { places, .. }) = crop {
        info.crop = if training { 1 } else { 2 };
        [info.places_y, info.places_x] = places;
    }
}

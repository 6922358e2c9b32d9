//! The material as JPEG files: three channels in each, or one. The qualities are those with the least error for a
//! number of bytes, so that JPEG is shown at its best.

use image::{ExtendedColorType, ImageFormat};

use super::Coded;
use crate::common::Result;
use crate::material::{CHANNELS, Material};

/// One image at one quality.
struct File {
    bytes: usize,
    /// Sum of the squared errors, in steps of 8 bits.
    error: f64,
    pixels: Vec<u8>,
}

/// The images of each group of channels, at all qualities.
pub struct Jpegs {
    size: u32,
    groups: Vec<Group>,
}

/// Three channels as one colour image, or as three grey images. The files are at all qualities.
struct Group {
    colour: Vec<File>,
    grey: [Vec<File>; 3],
}

impl Jpegs {
    pub fn encode(material: &Material) -> Result<Self> {
        let texels = &material.mips[0];
        let channels = |first: usize, count: usize| -> Vec<u8> {
            texels.iter().flat_map(|texel| texel[first..first + count].to_vec()).collect()
        };
        let groups = (0..CHANNELS).step_by(3).map(|first| {
            let grey = |i: usize| files(&channels(first + i, 1), material.size, ExtendedColorType::L8);
            let colour = files(&channels(first, 3), material.size, ExtendedColorType::Rgb8)?;
            Ok(Group { colour, grey: [grey(0)?, grey(1)?, grey(2)?] })
        });
        Ok(Self { size: material.size, groups: groups.collect::<Result<_>>()? })
    }

    /// The files with the least error that have at most this number of bytes in total. If even the smallest files have
    /// more, the smallest files.
    pub fn within(&self, bytes: usize) -> Coded {
        // Of a byte's price in error. A higher price gives smaller files.
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..100 {
            let price = f64::midpoint(low, high);
            if self.at_price(price).iter().map(|file| file.bytes).sum::<usize>() > bytes {
                low = price;
            } else {
                high = price;
            }
        }
        self.coded(&self.at_price(high))
    }

    /// The best files for a price: one or three for each group.
    fn at_price(&self, price: f64) -> Vec<&File> {
        let cost = |file: &File| file.error + price * file.bytes as f64;
        let groups = self.groups.iter().flat_map(|Group { colour, grey }| {
            let colour = best(colour, cost);
            let grey = grey.each_ref().map(|files| best(files, cost));
            if cost(colour) <= grey.iter().map(|file| cost(file)).sum() { vec![colour] } else { grey.to_vec() }
        });
        groups.collect()
    }

    fn coded(&self, files: &[&File]) -> Coded {
        let count = (self.size * self.size) as usize;
        // The files are in the order of the channels.
        let mut texels = vec![[0; CHANNELS]; count];
        let mut first = 0;
        for file in files {
            let channels = file.pixels.len() / count;
            for (texel, pixel) in texels.iter_mut().zip(file.pixels.chunks_exact(channels)) {
                texel[first..first + channels].copy_from_slice(pixel);
            }
            first += channels;
        }
        Coded { bytes: files.iter().map(|file| file.bytes).sum(), material: Material::from_texels(self.size, &texels) }
    }
}

fn best(files: &[File], cost: impl Fn(&File) -> f64) -> &File {
    let cost = |&i: &usize| cost(&files[i]);
    &files[(0..files.len()).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(0)]
}

fn files(pixels: &[u8], side: u32, colour: ExtendedColorType) -> Result<Vec<File>> {
    let at = |quality| {
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).encode(pixels, side, side, colour)?;
        let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg)?.into_bytes();
        let error = pixels.iter().zip(&decoded).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum();
        Ok(File { bytes: bytes.len(), error, pixels: decoded })
    };
    (2..=98).step_by(3).map(at).collect()
}

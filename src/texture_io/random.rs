//! Samples at random points of a texture.

use super::{Dispatch, TextureSamples, check_samples, folded};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::ops::{Shader, shader, text};
use crate::random::Stream;

/// Rows of a workgroup.
const LANES: u32 = 64;

pub(crate) fn from_texture_random(channels: u32, rows: u32) -> Shader {
    let source = text!("shared/texture_rows.wgsl", "shared/pcg4d.wgsl", "from_texture_random.wgsl.in");
    shader("from_texture_random", source, [("CHANNELS", channels.into()), ("ROWS", rows.into())])
}

impl TextureSamples {
    /// Draws `rows` samples at random points of a texture; each [`record`](Self::record) draws new points. Submits
    /// nothing.
    ///
    /// The features are the point: x and y, from 0 up to 1. The targets are the colour at the point. The colour is
    /// interpolated bilinearly between texels; coordinates are clamped at the edges. At the centre of a texel it
    /// equals the texel, as [`new`](Self::new) returns it. The same seed draws the same points on every device.
    ///
    /// To give each step of a frame its own points, set `rows` to batch · steps of a frame. Then record once before
    /// the steps.
    ///
    /// ```no_run
    /// # fn f(gpu: &wgrad::Gpu, trainer: &mut wgrad::Trainer, picture: &wgrad::wgpu::Texture,
    /// #      encoder: &mut wgrad::wgpu::CommandEncoder) -> wgrad::Result<()> {
    /// let rows = trainer.config().batch * 4;
    /// let samples = wgrad::TextureSamples::random(gpu, picture, 3, rows, 7)?;
    /// let training = trainer.prepare_buffers(samples.features(), samples.targets(), rows)?;
    /// samples.record(encoder); // in each frame
    /// training.record_steps(encoder, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Shape`] if `rows` is 0.
    pub fn random(gpu: &Gpu, texture: &wgpu::Texture, channels: u32, rows: u32, seed: u64) -> Result<Self> {
        let view = check_samples(gpu, texture, channels, None)?;
        if rows == 0 {
            return Err(Error::shape("random samples of a texture", "at least 1 row", 0));
        }
        let [features, targets] = Self::buffers(gpu, rows, channels)?;
        // The first words are the random key. The others count the draws of each row.
        let state = gpu.zeros("random state of texels", (u64::from(rows) + 2) * 4)?;
        let key = [seed as u32, (seed >> 32) as u32 ^ Stream::Texels as u32];
        gpu.write(&state, 0, bytemuck::cast_slice(&key))?;
        let bindings = [
            wgpu::BindingResource::TextureView(&view),
            features.as_entire_binding(),
            targets.as_entire_binding(),
            state.as_entire_binding(),
        ];
        let grid = folded(gpu, rows.div_ceil(LANES));
        let dispatch = Dispatch::new(gpu, &from_texture_random(channels, rows), &bindings, grid)?;
        Ok(Self { features, targets, rows, dispatch })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIZE, gpu, picture, read};
    use super::super::twins::{bilinear, from_texture_random as twin};
    use super::*;

    #[test]
    fn bilinear_is_the_texel_at_its_centre_and_the_mean_between_two() {
        let texels = [[0.0, 4.0, 1.0, 0.0], [1.0, 2.0, 1.0, 0.5], [0.5, 0.0, 1.0, 0.25], [0.25, 8.0, 1.0, 1.0]];
        let at = |x, y| bilinear([2, 2], &texels, [x, y]);
        assert_eq!([at(0.25, 0.25), at(0.75, 0.25), at(0.25, 0.75), at(0.75, 0.75)], texels);
        assert_eq!(at(0.5, 0.25), [0.5, 3.0, 1.0, 0.25]);
        assert_eq!(at(0.25, 0.5), [0.25, 2.0, 1.0, 0.125]);
        assert_eq!(at(0.5, 0.5), [0.4375, 3.5, 1.0, 0.4375]);
        assert_eq!([at(0.0, 0.0), at(0.999, 0.0)], [texels[0], texels[1]], "edges are clamped");
    }

    #[test]
    fn each_record_draws_new_points_and_what_lies_between_the_texels() {
        let gpu = gpu();
        let (image, texels) = picture(&gpu);
        let (rows, seed) = (200, 0x1234_5678_9abc_def0);
        let mut points = Vec::new();
        for channels in 1..=4 {
            let samples = TextureSamples::random(&gpu, &image, channels, rows, seed).unwrap();
            assert_eq!(samples.rows(), rows);
            for drawn in 0..2 {
                let mut encoder = gpu.encoder();
                samples.record(&mut encoder);
                let features = read(&gpu, encoder, samples.features());
                let targets = read(&gpu, gpu.encoder(), samples.targets());
                let size = [SIZE.width, SIZE.height];
                let (x, y) = twin(size, &texels, channels as usize, rows, seed, drawn);
                assert!(features.iter().map(|word| f32::from_bits(*word)).eq(x.iter().copied()), "the same points");
                // A coordinate among 13 texels has two roundings of 2^-21 on either side; the colour has this error
                // on each of two axes. The interpolation and the conversion of a byte to f32 add about 16 roundings
                // of 2^-24.
                let bound = 2.0 * 4.0 / (1 << 21) as f32 + 16.0 / (1 << 24) as f32;
                for (word, expected) in targets.into_iter().zip(y) {
                    let actual = f32::from_bits(word);
                    assert!((actual - expected).abs() <= bound, "{actual} {expected}");
                }
                points.push(x);
            }
        }
        assert_ne!(points[0], points[1], "new points");
        assert_eq!(points[0], points[2], "by the seed alone");
        let other = twin([13, 10], &texels, 1, rows, seed ^ 1 << 40, 0).0;
        assert_ne!(points[0], other);
        let none = TextureSamples::random(&gpu, &image, 3, 0, seed).unwrap_err().to_string();
        assert_eq!(none, "random samples of a texture: expected at least 1 row, got 0");
    }
}

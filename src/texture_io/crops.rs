//! Random crops of images as training data.

use super::{Dispatch, binding, check_samples, folded};
use crate::buffer_rows::Rows;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Recorder, warm_up};
use crate::ops::{LONGEST_LOOP, Shader, shader, template, text};
use crate::random::Stream;

/// Invocations for a crop.
const LANES: u32 = 64;
/// The largest number of values in a crop of one source. An invocation's loop runs at most twice for each of its
/// values.
const LONGEST_CROP: u32 = LONGEST_LOOP / 2 * LANES;

pub(crate) fn from_texture_crops(texture: bool, constants: Vec<(&'static str, f64)>) -> Shader {
    let source = text!("shared/pcg4d.wgsl", "from_texture_crops.wgsl.in");
    let name = if texture { "from_texture_crops" } else { "from_texture_crops buffer" };
    shader(name, template::expand(source, &[], &[("texture", texture), ("buffer", !texture)]), constants)
}

/// A source of [random crops](RandomCrops): one image or several of one size, in a texture or in a range of an app's
/// buffer.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    source: Source<'a>,
    count: u32,
    /// Height, width and channels.
    shape: [u32; 3],
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Texture(&'a wgpu::Texture),
    Buffer(Rows<'a>),
}

impl<'a> Images<'a> {
    /// Images in a 2-D texture of any format that shaders read as f32: its mip level 0, one image for each layer.
    /// `channels`, 1 to 4, is the number of channels to use. A texture of an sRGB format gives linear colours.
    pub fn texture(texture: &'a wgpu::Texture, channels: u32) -> Self {
        let shape = [texture.height(), texture.width(), channels];
        Self { source: Source::Texture(texture), count: texture.depth_or_array_layers(), shape }
    }

    /// `count` images in a buffer, each row-major \[height, width, channels\] of f32 or of [bytes](Rows::bytes).
    pub fn buffer(images: impl Into<Rows<'a>>, count: u32, shape: [u32; 3]) -> Self {
        Self { source: Source::Buffer(images.into()), count, shape }
    }
}

/// Training data from random crops of images. A row is a crop, \[height, width, channels\], of a random image at a
/// random place; input and target use the same image and place. It has the channels of all sources.
///
/// Each [`record`](Self::record) draws new crops. They depend only on the seed, the row and the number of earlier
/// records, so every device draws the same crops.
///
/// ```no_run
/// # fn f(gpu: &wgrad::Gpu, trainer: &mut wgrad::Trainer, colour: &wgrad::wgpu::Texture,
/// #      normals: &wgrad::wgpu::Texture,
/// #      reference: &wgrad::wgpu::Buffer, encoder: &mut wgrad::wgpu::CommandEncoder) -> wgrad::Result<()> {
/// use wgrad::{Images, RandomCrops};
/// // From two textures [128, 128, 6] in all, and from a buffer: rows of [64, 64, 6] and [64, 64, 3].
/// let inputs = [Images::texture(colour, 3), Images::texture(normals, 3)];
/// let targets = [Images::buffer(reference, 1, [128, 128, 3])];
/// let rows = trainer.config().batch * 4;
/// let crops = RandomCrops::new(gpu, &inputs, &targets, [64, 64], rows, 7)?;
/// let training = trainer.prepare_buffers(crops.features(), crops.targets(), crops.rows())?;
/// crops.record(encoder); // in each frame, after the passes that draw the images
/// training.record_steps(encoder, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RandomCrops {
    features: wgpu::Buffer,
    targets: wgpu::Buffer,
    rows: u32,
    dispatch: Dispatch,
}

warm_up::methods!(RandomCrops: dispatch);

impl RandomCrops {
    /// Prepares `rows` crops of `size`, \[height, width\]. Submits nothing.
    ///
    /// All sources have the same number of images, and all inputs have one size. All targets have one size too: that
    /// of the inputs, or a whole multiple of it for super-resolution. Crops of the targets are larger by the same
    /// factor.
    ///
    /// To give each step of a frame its own crops, set `rows` to batch · steps of a frame. Then record once before
    /// the steps.
    ///
    /// # Errors
    /// - [`Error::Shape`] if there is no input, target or row; if sources do not match; if a crop is larger than an
    ///   image; if a texture cannot be read or lacks the usage `TEXTURE_BINDING`; if a buffer is too short.
    /// - [`Error::LimitExceeded`], also if a crop of a source has more than 1,048,576 numbers.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(
        gpu: &Gpu,
        inputs: &[Images<'_>],
        targets: &[Images<'_>],
        size: [u32; 2],
        rows: u32,
        seed: u64,
    ) -> Result<Self> {
        Self::with(gpu, [inputs, targets], size, rows, seed, false)
    }

    /// As [`new`](Self::new), at random places between the texels instead of whole texels. Values are interpolated
    /// bilinearly.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn between_texels(
        gpu: &Gpu,
        inputs: &[Images<'_>],
        targets: &[Images<'_>],
        size: [u32; 2],
        rows: u32,
        seed: u64,
    ) -> Result<Self> {
        Self::with(gpu, [inputs, targets], size, rows, seed, true)
    }

    fn with(
        gpu: &Gpu,
        [inputs, targets]: [&[Images<'_>]; 2],
        size: [u32; 2],
        rows: u32,
        seed: u64,
        between: bool,
    ) -> Result<Self> {
        let factors = [factor("inputs", inputs, inputs)?, factor("targets", targets, inputs)?];
        let [height, width, _] = inputs[0].shape;
        if rows == 0 || !(1..=height).contains(&size[0]) || !(1..=width).contains(&size[1]) {
            let expected = format!("at least 1, of a size from [1, 1] to [{height}, {width}] (the image)");
            return Err(Error::shape("random crops", expected, format!("{rows} of {size:?}")));
        }
        // The first words are the random key. The others count the draws of each row.
        let state = gpu.zeros("random state of crops", (u64::from(rows) + 2) * 4)?;
        let key = [seed as u32, (seed >> 32) as u32 ^ Stream::Crops as u32];
        gpu.write(&state, 0, bytemuck::cast_slice(&key))?;
        let places = [("PLACES_Y", height - size[0] + 1), ("PLACES_X", width - size[1] + 1)];
        let (mut buffers, mut dispatch) = (Vec::new(), Dispatch::none(gpu));
        for (name, sources, factor) in [("inputs", inputs, factors[0]), ("targets", targets, factors[1])] {
            let [crop_height, crop_width] = size.map(|length| length * factor);
            let of_channels = |channels: u64| (u64::from(crop_height) * u64::from(crop_width)).saturating_mul(channels);
            let channels = sources.iter().map(|images| u64::from(images.shape[2])).sum();
            let (what, bytes) = (format!("crops of {name}"), of_channels(channels).saturating_mul(u64::from(rows) * 4));
            gpu.check_size(&what, bytes)?;
            let crops = gpu.zeros(&what, bytes)?;
            let mut offset = 0;
            for (i, images) in sources.iter().enumerate() {
                let (needed, limit) = (of_channels(images.shape[2].into()), LONGEST_CROP.into());
                if needed > limit {
                    let what = format!("a crop of {name}");
                    return Err(Error::LimitExceeded { what, needed, limit, unit: "numbers" });
                }
                let last = name == "targets" && i + 1 == sources.len();
                let constants = [
                    ("ROWS", rows),
                    ("IMAGES", images.count),
                    ("FACTOR", factor),
                    ("CROP_HEIGHT", crop_height),
                    ("CROP_WIDTH", crop_width),
                    ("OFFSET", offset),
                    ("STRIDE", channels as u32),
                    ("LAST", last.into()),
                    ("BETWEEN", between.into()),
                ];
                let constants = constants.into_iter().chain(places).collect();
                dispatch.add(images.dispatch(gpu, name, [&state, &crops], constants, folded(gpu, rows))?);
                offset += images.shape[2];
            }
            buffers.push(crops);
        }
        let targets = buffers.remove(1);
        Ok(Self { features: buffers.remove(0), targets, rows, dispatch })
    }

    /// Records the computation of the crops. No allocation, no submission, no polling; cannot fail.
    pub fn record(&self, to: &mut impl Recorder) {
        self.dispatch.record(to, "random crops");
    }

    /// Buffer of the features, \[rows, height, width, channels of all inputs\].
    pub fn features(&self) -> &wgpu::Buffer {
        &self.features
    }

    /// Buffer of the targets, \[rows, height, width, channels of all targets\].
    pub fn targets(&self) -> &wgpu::Buffer {
        &self.targets
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }
}

impl Images<'_> {
    /// The dispatch that writes a source's channels of the crops.
    fn dispatch(
        &self,
        gpu: &Gpu,
        name: &str,
        [state, crops]: [&wgpu::Buffer; 2],
        mut constants: Vec<(&'static str, u32)>,
        grid: [u32; 2],
    ) -> Result<Dispatch> {
        let [height, width, channels] = self.shape;
        constants.push(("CHANNELS", channels));
        let (view, region);
        let source = match self.source {
            Source::Texture(texture) => {
                view = check_samples(gpu, texture, channels, Some(wgpu::TextureViewDimension::D2Array))?;
                wgpu::BindingResource::TextureView(&view)
            }
            Source::Buffer(rows) => {
                let numbers = [height, width, channels].map(u64::from).into_iter().fold(1, u64::saturating_mul);
                let numbers = u32::try_from(numbers).unwrap_or(u32::MAX);
                let (images, bytes) = rows.features(gpu, &format!("images as {name}"), self.count, numbers)?;
                constants.extend([("WIDTH", width), ("FIRST", images.first)]);
                constants.extend([("IMAGE_STRIDE", images.stride), ("BYTES", bytes.into())]);
                region = images.region;
                binding(&region)
            }
        };
        let constants = constants.into_iter().map(|(name, value)| (name, value.into())).collect();
        let shader = from_texture_crops(matches!(self.source, Source::Texture(_)), constants);
        Dispatch::new(gpu, &shader, &[source, state.as_entire_binding(), crops.as_entire_binding()], grid)
    }
}

/// The size of these sources as a multiple of the first input's size. Returns an error if the sources do not match.
fn factor(name: &str, sources: &[Images<'_>], inputs: &[Images<'_>]) -> Result<u32> {
    let (Some(own), Some(first)) = (sources.first(), inputs.first()) else {
        return Err(Error::shape(format!("{name} of random crops"), "at least 1", 0));
    };
    let [height, width, _] = first.shape;
    let factor = own.shape[0] / height.max(1);
    for (i, images) in sources.iter().enumerate() {
        let fits = factor > 0
            && [images.shape[0], images.shape[1]].map(u64::from)
                == [height, width].map(|l| u64::from(l) * u64::from(factor));
        if !fits || images.count != first.count || images.count == 0 || images.shape.contains(&0) {
            let multiple = if name == "targets" { ", or whole multiples of it" } else { "" };
            let expected =
                format!("{} of [{height}, {width}]{multiple}, each with at least 1 channel", first.count.max(1));
            let what = format!("images of source {i} in the {name} of random crops");
            let [height, width, channels] = images.shape;
            return Err(Error::shape(what, expected, format!("{} of [{height}, {width}, {channels}]", images.count)));
        }
    }
    Ok(factor)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gpu, read};
    use super::super::twins::random_crop;
    use super::*;

    /// Three images of bytes, 10 · 13 pixels each.
    const COUNT: u32 = 3;
    const SIZE: [u32; 2] = [10, 13];

    fn bytes(count: u32, seed: u32) -> Vec<u8> {
        (0..count).map(|i| crate::random::pcg4d([i, seed, 0, 0])[0] as u8).collect()
    }

    fn texture(gpu: &Gpu, texels: &[u8], usage: wgpu::TextureUsages) -> wgpu::Texture {
        let size = wgpu::Extent3d { width: SIZE[1], height: SIZE[0], depth_or_array_layers: COUNT };
        let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: None,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: usage | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let layout =
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(SIZE[1] * 4), rows_per_image: Some(SIZE[0]) };
        gpu.queue().write_texture(texture.as_image_copy(), texels, layout, size);
        texture
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
    }

    /// Inputs are two textures and bytes; targets are floats of twice the size.
    #[test]
    fn crops_of_every_source_are_of_one_place() {
        let gpu = gpu();
        let pixels = COUNT * SIZE[0] * SIZE[1];
        let texels = [1, 2].map(|seed| bytes(pixels * 4, seed));
        let [first, second] = [0, 1].map(|i| texture(&gpu, &texels[i], wgpu::TextureUsages::TEXTURE_BINDING));
        let of_bytes = bytes(pixels * 5, 3);
        // An image has 650 bytes and takes 163 words. The first begins at the third word.
        let mut padded = vec![0; 8];
        for image in of_bytes.chunks(650) {
            padded.extend_from_slice(image);
            padded.extend([0; 2]);
        }
        let of_bytes_there = gpu.upload("bytes", &padded).unwrap();
        let doubled: Vec<f32> = floats(&bytes(pixels * 4 * 2, 4));
        let doubled_there = gpu.upload("floats", bytemuck::cast_slice(&doubled)).unwrap();
        let inputs = [
            Images::texture(&first, 3),
            Images::buffer(Rows::from(of_bytes_there.slice(8..)).bytes(), COUNT, [SIZE[0], SIZE[1], 5]),
            Images::texture(&second, 1),
        ];
        let targets = [Images::buffer(&doubled_there, COUNT, [2 * SIZE[0], 2 * SIZE[1], 2])];
        let (size, rows, seed) = ([4, 6], 150, 0x1234_5678_9abc_def0);
        let places = [SIZE[0] - size[0] + 1, SIZE[1] - size[1] + 1];
        let of_inputs = [(floats(&texels[0]), 4, 3), (floats(&of_bytes), 5, 5), (floats(&texels[1]), 4, 1)];
        for between in [false, true] {
            let new = if between { RandomCrops::between_texels } else { RandomCrops::new };
            let crops = new(&gpu, &inputs, &targets, size, rows, seed).unwrap();
            assert_eq!(crops.rows(), rows);
            let mut seen = std::collections::BTreeSet::new();
            for drawn in 0..3 {
                let mut encoder = gpu.encoder();
                crops.record(&mut encoder);
                let read = |encoder, buffer| read(&gpu, encoder, buffer).into_iter().map(f32::from_bits);
                let mut features = read(encoder, crops.features());
                let mut targets = read(gpu.encoder(), crops.targets());
                assert_eq!((features.len(), targets.len()), (150 * 4 * 6 * 9, 150 * 8 * 12 * 2));
                for row in 0..rows {
                    let (image, corner) = random_crop(COUNT, places, between, seed, drawn, row);
                    seen.insert((image, corner.map(f32::to_bits)));
                    let near = |actual: f32, numbers: &[f32], at: (usize, usize), factor: u32, [i, j]: [u32; 2]| {
                        let [height, width] = SIZE.map(|length| length * factor);
                        let [y, x] = corner.map(|place| place * factor as f32);
                        let number = |down: u32, along: u32| {
                            let [y, x] = [y as u32 + i + down, x as u32 + j + along];
                            let pixel = (image * height + y.min(height - 1)) * width + x.min(width - 1);
                            f64::from(numbers[pixel as usize * at.0 + at.1])
                        };
                        let [share_y, share_x] = [y, x].map(|place| f64::from(place.fract()));
                        let line = |down| number(down, 0) * (1.0 - share_x) + number(down, 1) * share_x;
                        let expected = line(0) * (1.0 - share_y) + line(1) * share_y;
                        // A byte is divided, or multiplied by a rounded 1 / 255; three interpolations with four
                        // roundings each.
                        let bound = f64::from(f32::EPSILON) * if between { 8.0 } else { 2.0 * expected };
                        assert!((f64::from(actual) - expected).abs() <= bound, "{actual} {expected}");
                    };
                    for (i, j) in (0..4).flat_map(|i| (0..6).map(move |j| (i, j))) {
                        for (numbers, stride, channels) in &of_inputs {
                            for channel in 0..*channels {
                                near(features.next().unwrap(), numbers, (*stride, channel), 1, [i, j]);
                            }
                        }
                    }
                    for (i, j) in (0..8).flat_map(|i| (0..12).map(move |j| (i, j))) {
                        for channel in 0..2 {
                            near(targets.next().unwrap(), &doubled, (2, channel), 2, [i, j]);
                        }
                    }
                }
            }
            // 450 crops at 3 · 7 · 8 whole places: each place is missed with a probability of about 1/15. Places
            // between texels do not repeat.
            let expected = if between { 449..=450 } else { 140..=168 };
            assert!(expected.contains(&seen.len()), "{}", seen.len());
        }
        let of = |seed| random_crop(COUNT, places, false, seed, 0, 1);
        assert_ne!(of(seed), of(seed ^ 1 << 40));
    }

    #[test]
    fn images_that_do_not_go_together_are_refused() {
        let gpu = gpu();
        let buffer = gpu.zeros("images", 4 * 1000).unwrap();
        let of = |count, shape| Images::buffer(&buffer, count, shape);
        let fault = |inputs: &[Images<'_>], targets: &[Images<'_>], size, rows| {
            RandomCrops::new(&gpu, inputs, targets, size, rows, 0).unwrap_err().to_string()
        };
        let good = [of(1, [6, 8, 2])];
        assert_eq!(fault(&[], &good, [2, 2], 1), "inputs of random crops: expected at least 1, got 0");
        assert_eq!(fault(&good, &[], [2, 2], 1), "targets of random crops: expected at least 1, got 0");
        let expected = "random crops: expected at least 1, of a size from [1, 1] to [6, 8] (the image), got";
        assert_eq!(fault(&good, &good, [7, 8], 1), format!("{expected} 1 of [7, 8]"));
        assert_eq!(fault(&good, &good, [6, 8], 0), format!("{expected} 0 of [6, 8]"));
        assert_eq!(
            fault(&[good[0], of(2, [6, 8, 1])], &good, [2, 2], 1),
            "images of source 1 in the inputs of random crops: expected 1 of [6, 8], each with at least 1 channel, got \
             2 of [6, 8, 1]"
        );
        assert_eq!(
            fault(&good, &[of(1, [12, 8, 1])], [2, 2], 1),
            "images of source 0 in the targets of random crops: expected 1 of [6, 8], or whole multiples of it, each \
             with at least 1 channel, got 1 of [12, 8, 1]"
        );
        assert!(fault(&good, &[of(1, [60, 80, 1])], [2, 2], 1).starts_with("buffer of images as targets for 1 rows: "));
        let texture = texture(&gpu, &bytes(COUNT * 130 * 4, 1), wgpu::TextureUsages::STORAGE_BINDING);
        let fault = fault(&[Images::texture(&texture, 3)], &[Images::texture(&texture, 3)], [2, 2], 1);
        assert!(fault.starts_with("texture to take samples from: expected the usage"), "{fault}");
    }
}

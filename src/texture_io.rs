//! Textures as training data, and outputs written to textures.

mod crops;
mod random;
#[cfg(test)]
mod twins;

use crate::buffer_rows::Rows;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Recorder, Region, warm_up};
use crate::ops::{Shader, shader, template, text};
pub(crate) use crops::from_texture_crops;
pub use crops::{Images, RandomCrops};
pub(crate) use random::from_texture_random;

/// Width and height of a workgroup, for both kernels.
const TILE: u32 = 8;

/// Output formats, with their names in WGSL: colour formats that every device can write from shaders.
pub(crate) const FORMATS: [(wgpu::TextureFormat, &str); 5] = [
    (wgpu::TextureFormat::Rgba8Unorm, "rgba8unorm"),
    (wgpu::TextureFormat::Rgba8Snorm, "rgba8snorm"),
    (wgpu::TextureFormat::Rgba16Float, "rgba16float"),
    (wgpu::TextureFormat::Rgba32Float, "rgba32float"),
    (wgpu::TextureFormat::R32Float, "r32float"),
];

pub(crate) fn from_texture(channels: u32) -> Shader {
    let source = text!("shared/texture_rows.wgsl", "from_texture.wgsl.in");
    shader("from_texture", source, [("CHANNELS", channels.into())])
}

/// For a format by its name in WGSL. The first row begins at the word `first`; rows are `stride` words apart.
pub(crate) fn to_texture(format: &str, channels: u32, first: u32, stride: u32) -> Shader {
    let formats = FORMATS.map(|(_, known)| (known, known == format));
    shader(
        format!("to_texture {format}"),
        template::expand(text!("to_texture.wgsl.in"), &[], &formats),
        [("CHANNELS", channels.into()), ("FIRST", first.into()), ("STRIDE", stride.into())],
    )
}

/// Training data from a texture: one row for each texel, line by line from the top left.
///
/// The features are the centre of the texel: x and y, as fractions of width and height, from 0 to 1. The targets are
/// the colour. For points between the texels see [`random`](Self::random).
///
/// ```no_run
/// # fn f(gpu: &wgrad::Gpu, trainer: &mut wgrad::Trainer, picture: &wgrad::wgpu::Texture,
/// #      encoder: &mut wgrad::wgpu::CommandEncoder) -> wgrad::Result<()> {
/// let samples = wgrad::TextureSamples::new(gpu, picture, 3)?;
/// let training = trainer.prepare_buffers(samples.features(), samples.targets(), samples.rows())?;
/// samples.record(encoder); // again whenever the texture has changed
/// training.record_steps(encoder, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TextureSamples {
    features: wgpu::Buffer,
    targets: wgpu::Buffer,
    rows: u32,
    dispatch: Dispatch,
}

warm_up::methods!(TextureSamples: dispatch);

impl TextureSamples {
    /// Prepares samples of a 2-D texture, of its mip level 0. The format is any that shaders read as f32. `channels`,
    /// 1 to 4, is the number of colour channels in the targets. A texture of an sRGB format gives linear colours.
    /// Submits nothing.
    ///
    /// # Errors
    /// - [`Error::Shape`] if the texture is of another kind or lacks the usage `TEXTURE_BINDING`.
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, texture: &wgpu::Texture, channels: u32) -> Result<Self> {
        let view = check_samples(gpu, texture, channels, None)?;
        let rows = texture.width() * texture.height();
        let [features, targets] = Self::buffers(gpu, rows, channels)?;
        let bindings =
            [wgpu::BindingResource::TextureView(&view), features.as_entire_binding(), targets.as_entire_binding()];
        let dispatch = Dispatch::new(gpu, &from_texture(channels), &bindings, tiles(texture))?;
        Ok(Self { features, targets, rows, dispatch })
    }

    fn buffers(gpu: &Gpu, rows: u32, channels: u32) -> Result<[wgpu::Buffer; 2]> {
        let buffers = [("features of texels", 2), ("colours of texels", channels)];
        let buffers = buffers.map(|(what, width)| (what, u64::from(rows) * u64::from(width) * 4));
        for (what, bytes) in buffers {
            gpu.check_size(what, bytes)?;
        }
        let [features, targets] = buffers.map(|(what, bytes)| gpu.zeros(what, bytes));
        Ok([features?, targets?])
    }

    /// Records the computation of the rows. No allocation, no submission, no polling; cannot fail.
    pub fn record(&self, to: &mut impl Recorder) {
        self.dispatch.record(to, "samples of a texture");
    }

    /// Buffer of the features, \[rows, 2\]: x and y.
    pub fn features(&self) -> &wgpu::Buffer {
        &self.features
    }

    /// Buffer of the targets, \[rows, channels\].
    pub fn targets(&self) -> &wgpu::Buffer {
        &self.targets
    }

    /// Number of rows: that of the texels, or of the requested [random points](Self::random).
    pub fn rows(&self) -> u32 {
        self.rows
    }
}

/// Writes rows, such as a network's outputs, to a texture: one texel a row, line by line from the top left.
///
/// One channel is written as grey, two as red and green. Alpha is 1 unless there are four channels. For a network
/// with several outputs, it writes the rows of one output: those given to
/// [`Model::prepare_forward`](crate::Model::prepare_forward).
#[derive(Debug, Clone)]
pub struct TextureOutput {
    dispatch: Dispatch,
}

warm_up::methods!(TextureOutput: dispatch);

impl TextureOutput {
    /// Prepares writing rows of `channels` f32, 1 to 4, to mip level 0 of a 2-D texture. There is one row for each
    /// texel. Submits nothing.
    ///
    /// The format is `Rgba8Unorm`, `Rgba8Snorm`, `Rgba16Float`, `Rgba32Float` or `R32Float`.
    ///
    /// # Errors
    /// - [`Error::Shape`] if the texture is of another kind or lacks the usage `STORAGE_BINDING`; if there are too
    ///   few rows, or they do not start at multiples of 4 bytes.
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new<'a>(gpu: &Gpu, rows: impl Into<Rows<'a>>, channels: u32, texture: &wgpu::Texture) -> Result<Self> {
        let what = "texture to write to";
        check(what, texture, channels, wgpu::TextureUsages::STORAGE_BINDING, false)?;
        let Some((_, format)) = FORMATS.iter().find(|(format, _)| *format == texture.format()) else {
            let formats: Vec<String> = FORMATS.iter().map(|(format, _)| format!("{format:?}")).collect();
            let expected = format!("one of {}", formats.join(", "));
            return Err(Error::shape(what, expected, format!("{:?}", texture.format())));
        };
        let view = gpu.view(what, texture, None)?;
        let texels = texture.width() * texture.height();
        let rows = rows.into().strided(gpu, "texels", texels, channels)?;
        let shader = to_texture(format, channels, rows.first, rows.stride);
        let bindings = [binding(&rows.region), wgpu::BindingResource::TextureView(&view)];
        Ok(Self { dispatch: Dispatch::new(gpu, &shader, &bindings, tiles(texture))? })
    }

    /// Records the write. No allocation, no submission, no polling; cannot fail.
    pub fn record(&self, to: &mut impl Recorder) {
        self.dispatch.record(to, "rows to a texture");
    }
}

/// Number of workgroups along each axis, with one invocation for each texel.
fn tiles(texture: &wgpu::Texture) -> [u32; 2] {
    [texture.width(), texture.height()].map(|texels| texels.div_ceil(TILE))
}

/// Divides workgroups over two dimensions, because each dimension is limited to 65,535.
fn folded(gpu: &Gpu, workgroups: u32) -> [u32; 2] {
    let lines = workgroups.div_ceil(gpu.device().limits().max_compute_workgroups_per_dimension.max(1));
    [workgroups.div_ceil(lines), lines]
}

fn binding(region: &Region) -> wgpu::BindingResource<'_> {
    let (buffer, offset, size) = (&region.buffer, region.offset, std::num::NonZeroU64::new(region.bytes));
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
}

/// A view of a texture that shaders read as f32: of one layer, or of all layers as an array. Returns an error for
/// others.
fn check_samples(
    gpu: &Gpu,
    texture: &wgpu::Texture,
    channels: u32,
    array: Option<wgpu::TextureViewDimension>,
) -> Result<wgpu::TextureView> {
    let what = "texture to take samples from";
    check(what, texture, channels, wgpu::TextureUsages::TEXTURE_BINDING, array.is_some())?;
    let format = texture.format();
    if !matches!(format.sample_type(None, None), Some(wgpu::TextureSampleType::Float { .. })) {
        return Err(Error::shape(what, "a format that shaders can read as f32", format!("{format:?}")));
    }
    gpu.view(what, texture, array)
}

/// Returns an error unless it is a plain 2-D texture with this usage. It must have one layer, unless `array` allows
/// more.
fn check(
    what: &str,
    texture: &wgpu::Texture,
    channels: u32,
    usage: wgpu::TextureUsages,
    may_be_array: bool,
) -> Result<()> {
    if !(1..=4).contains(&channels) {
        return Err(Error::shape(what, "1 to 4 channels", channels));
    }
    if !texture.usage().contains(usage) {
        return Err(Error::shape(what, format!("the usage {usage:?}"), format!("{:?}", texture.usage())));
    }
    let (dimension, layers, samples) = (texture.dimension(), texture.depth_or_array_layers(), texture.sample_count());
    if (dimension, samples) != (wgpu::TextureDimension::D2, 1) || (layers != 1 && !may_be_array) {
        let actual = format!("{dimension:?} with {layers} layers and {samples} samples");
        return Err(Error::shape(
            what,
            if may_be_array { "D2 with 1 sample" } else { "D2 with 1 layer and 1 sample" },
            actual,
        ));
    }
    Ok(())
}

/// Dispatches that read or write textures, in order.
#[derive(Debug, Clone)]
struct Dispatch {
    gpu: Gpu,
    steps: Vec<(wgpu::ComputePipeline, wgpu::BindGroup, [u32; 2])>,
}

impl Dispatch {
    fn none(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), steps: Vec::new() }
    }

    fn add(&mut self, next: Self) {
        self.steps.extend(next.steps);
    }

    fn new(gpu: &Gpu, shader: &Shader, bindings: &[wgpu::BindingResource<'_>], grid: [u32; 2]) -> Result<Self> {
        gpu.check_alive()?;
        let pipeline = gpu.pipeline_of_its_own_layout(shader)?;
        let entries = bindings.iter().zip(0..);
        let entries: Vec<_> =
            entries.map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource: resource.clone() }).collect();
        let bind_group = gpu.guard(&format!("bind group of {}", shader.name), 0, || {
            gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&shader.name),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        Ok(Self { gpu: gpu.clone(), steps: vec![(pipeline, bind_group, grid)] })
    }

    fn record(&self, to: &mut impl Recorder, label: &str) {
        to.compute(label, |pass| {
            for (pipeline, bind_group, [columns, lines]) in &self.steps {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, bind_group, &[]);
                pass.dispatch_workgroups(*columns, *lines, 1);
            }
        });
    }

    fn warm_up(&self) -> Result<()> {
        self.gpu.warm_up(|encoder| {
            self.record_warm_up(encoder);
            Ok(())
        })
    }

    fn record_warm_up(&self, to: &mut impl Recorder) {
        warm_up::record(to, self.steps.iter().map(|(pipeline, bind_group, _)| (pipeline, Some(bind_group))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SIZE: wgpu::Extent3d = wgpu::Extent3d { width: 13, height: 10, depth_or_array_layers: 1 };
    pub(super) const TEXELS: usize = 130;

    pub(super) fn gpu() -> Gpu {
        Gpu::request().unwrap_or_else(|e| panic!("{e}"))
    }

    pub(super) fn texture(gpu: &Gpu, format: wgpu::TextureFormat, usage: wgpu::TextureUsages) -> wgpu::Texture {
        gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: SIZE,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: usage | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        })
    }

    /// A texture to take samples from, and its texels.
    pub(super) fn picture(gpu: &Gpu) -> (wgpu::Texture, Vec<[f32; 4]>) {
        let image = texture(gpu, wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureUsages::TEXTURE_BINDING);
        let bytes: Vec<u8> = (0..TEXELS * 4).map(|i| (i * 37 % 256) as u8).collect();
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(13 * 4), rows_per_image: None };
        gpu.queue().write_texture(image.as_image_copy(), &bytes, layout, SIZE);
        let texels = bytes.chunks(4).map(|t| [0, 1, 2, 3].map(|i| f32::from(t[i]) / 255.0)).collect();
        (image, texels)
    }

    pub(super) fn read(gpu: &Gpu, mut encoder: wgpu::CommandEncoder, buffer: &wgpu::Buffer) -> Vec<u32> {
        let copy = gpu.record_readback(&mut encoder, buffer, 0..buffer.size()).unwrap();
        gpu.submit(encoder).unwrap();
        gpu.block_on(copy.read(gpu).unwrap().finish()).unwrap()
    }

    #[test]
    fn texels_become_rows() {
        let gpu = gpu();
        let (image, texels) = picture(&gpu);
        for channels in 1..=4 {
            let samples = TextureSamples::new(&gpu, &image, channels).unwrap();
            assert_eq!(samples.rows(), TEXELS as u32);
            let [features, targets] = [samples.features(), samples.targets()].map(|buffer| {
                let mut encoder = gpu.encoder();
                samples.record(&mut encoder);
                read(&gpu, encoder, buffer)
            });
            let (x, y) = twins::from_texture([SIZE.width, SIZE.height], &texels, channels as usize);
            // A division has an error of up to 2.5 ULP, and so has a driver's conversion of a byte.
            for (words, expected) in [(features, x), (targets, y)] {
                for (word, expected) in words.into_iter().zip(expected) {
                    let actual = f32::from_bits(word);
                    assert!((actual - expected).abs() <= 3.0 * f32::EPSILON * expected, "{actual} {expected}");
                }
            }
        }
    }

    #[test]
    fn rows_become_texels() {
        let gpu = gpu();
        let values: Vec<f32> = (0..64 + TEXELS * 5).map(|i| (i as f32 * 0.37).fract()).collect();
        let rows = gpu.upload("rows", bytemuck::cast_slice(&values)).unwrap();
        for (format, _) in FORMATS {
            let image = texture(&gpu, format, wgpu::TextureUsages::STORAGE_BINDING);
            for channels in 1..=4 {
                // The rows start at the 65th word; or at the fourth word, with one word between two rows.
                let (first, gap) = if channels % 2 == 0 { (64, 0) } else { (3, 1) };
                let stride = channels as usize + gap;
                let texels = Rows::from(rows.slice(first as u64 * 4..)).stride(stride as u64 * 4);
                let output = TextureOutput::new(&gpu, texels, channels, &image).unwrap();
                let line = 256;
                let copied = gpu.zeros("copy", line * u64::from(SIZE.height)).unwrap();
                let mut encoder = gpu.encoder();
                output.record(&mut encoder);
                let layout =
                    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(line as u32), rows_per_image: None };
                let to = wgpu::TexelCopyBufferInfo { buffer: &copied, layout };
                encoder.copy_texture_to_buffer(image.as_image_copy(), to, SIZE);
                let words = read(&gpu, encoder, &copied);
                let bytes: &[u8] = bytemuck::cast_slice(&words);
                let packed: Vec<f32> = values[first..]
                    .chunks(stride)
                    .take(TEXELS)
                    .flat_map(|row| row[..channels as usize].to_vec())
                    .collect();
                let expected = twins::to_texture(&packed, channels as usize);
                for (i, expected) in expected.into_iter().enumerate() {
                    let texel = &bytes[i / 13 * 256..][i % 13 * format.block_copy_size(None).unwrap() as usize..];
                    let (kept, step, actual): (usize, f32, [f32; 4]) = match format {
                        wgpu::TextureFormat::Rgba8Unorm => {
                            (4, 0.5 / 255.0, [0, 1, 2, 3].map(|c| f32::from(texel[c]) / 255.0))
                        }
                        wgpu::TextureFormat::Rgba8Snorm => {
                            (4, 0.5 / 127.0, [0, 1, 2, 3].map(|c| f32::from(texel[c] as i8) / 127.0))
                        }
                        wgpu::TextureFormat::Rgba16Float => {
                            let half = |c: usize| half(u16::from_ne_bytes([texel[2 * c], texel[2 * c + 1]]));
                            // Half an ULP of an 11-bit significand for numbers below 1. Some drivers truncate instead
                            // of rounding.
                            (4, 1.0 / 2048.0, [0, 1, 2, 3].map(half))
                        }
                        _ => {
                            let kept = if format == wgpu::TextureFormat::R32Float { 1 } else { 4 };
                            let number = |c: usize| f32::from_ne_bytes(texel[4 * c..][..4].try_into().unwrap());
                            (kept, 0.0, [0, 1, 2, 3].map(|c| if c < kept { number(c) } else { 0.0 }))
                        }
                    };
                    for c in 0..kept {
                        let error = (actual[c] - expected[c]).abs();
                        let what = format!("{format:?}, texel {i}, channel {c} of {channels}");
                        assert!(error <= step * 1.001, "{what}: {actual:?} {expected:?}");
                    }
                }
            }
        }
    }

    /// Decodes a 16-bit float from 0 to 1.
    fn half(bits: u16) -> f32 {
        let (exponent, fraction) = (i32::from(bits >> 10), f32::from(bits & 1023) / 1024.0);
        if exponent == 0 { fraction * 2f32.powi(-14) } else { (1.0 + fraction) * 2f32.powi(exponent - 15) }
    }

    #[test]
    fn textures_that_do_not_serve_are_refused() {
        let gpu = gpu();
        let samples = |t: &wgpu::Texture, channels| TextureSamples::new(&gpu, t, channels).unwrap_err().to_string();
        let (float, binding) = (wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureUsages::TEXTURE_BINDING);
        let plain = texture(&gpu, float, wgpu::TextureUsages::COPY_DST);
        assert!(samples(&plain, 3).starts_with("texture to take samples from: expected the usage"));
        let good = texture(&gpu, float, binding);
        assert_eq!(samples(&good, 5), "texture to take samples from: expected 1 to 4 channels, got 5");
        let integers = texture(&gpu, wgpu::TextureFormat::Rgba8Uint, binding);
        assert!(samples(&integers, 3).ends_with("expected a format that shaders can read as f32, got Rgba8Uint"));
        let rows = gpu.zeros("rows", 512).unwrap();
        let output = |t: &wgpu::Texture| TextureOutput::new(&gpu, &rows, 3, t).unwrap_err().to_string();
        assert!(output(&good).contains("STORAGE_BINDING"));
        let storage = texture(&gpu, wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureUsages::STORAGE_BINDING);
        assert!(output(&storage).starts_with("buffer of texels for 130 rows: expected at least 1 row and 1560 bytes"));
        let uint = texture(&gpu, wgpu::TextureFormat::R32Uint, wgpu::TextureUsages::STORAGE_BINDING);
        assert!(output(&uint).starts_with("texture to write to: expected one of Rgba8Unorm"));
    }
}

//! Textures as data sets, and outputs as textures.

use crate::error::{Error, Result};
use crate::gpu::{FORMATS, Gpu, Recorder, Shader, from_texture, to_texture};
use crate::rows::Rows;

/// Lines and columns of a workgroup of either kernel.
const TILE: u32 = 8;

/// Makes training data of a texture: one row for each texel, line by line from the top left. Its features are the texel's
/// centre, x and y as shares of width and height, so from 0 to 1; its targets the colour.
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

impl TextureSamples {
    /// From a 2-D texture of any format that shaders read as f32, its mip level 0; `channels` of it, 1 to 4, are targets. A
    /// texture of an sRGB format yields linear colours. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] where the texture is not such, or lacks the usage `TEXTURE_BINDING`; [`Error::LimitExceeded`],
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new(gpu: &Gpu, texture: &wgpu::Texture, channels: u32) -> Result<Self> {
        let what = "texture to take samples from";
        check(what, texture, channels, wgpu::TextureUsages::TEXTURE_BINDING)?;
        let format = texture.format();
        if !matches!(format.sample_type(None, None), Some(wgpu::TextureSampleType::Float { .. })) {
            let (what, expected) = (what.into(), "a format that shaders read as f32".into());
            return Err(Error::Shape { what, expected, actual: format!("{format:?}") });
        }
        let rows = texture.width() * texture.height();
        let features = gpu.zeros("features of texels", u64::from(rows) * 8)?;
        let targets = gpu.zeros("colours of texels", u64::from(rows) * u64::from(channels) * 4)?;
        let view = view(texture);
        let bindings =
            [wgpu::BindingResource::TextureView(&view), features.as_entire_binding(), targets.as_entire_binding()];
        let dispatch = Dispatch::new(gpu, &from_texture(channels), &bindings, texture)?;
        Ok(Self { features, targets, rows, dispatch })
    }

    /// Records the making of the rows. No allocation, no submission, no polling; cannot fail.
    pub fn record(&self, to: &mut impl Recorder) {
        self.dispatch.record(to, "samples of a texture");
    }

    /// \[rows, 2\]: x and y.
    pub fn features(&self) -> &wgpu::Buffer {
        &self.features
    }

    /// \[rows, channels\].
    pub fn targets(&self) -> &wgpu::Buffer {
        &self.targets
    }

    /// How many there are: one for each texel.
    pub fn rows(&self) -> u32 {
        self.rows
    }
}

/// Writes rows, such as a network's outputs, to a texture: a texel each, line by line from the top left. One channel is grey,
/// two are red and green, and alpha is 1 unless there are four.
#[derive(Debug, Clone)]
pub struct TextureOutput {
    dispatch: Dispatch,
}

impl TextureOutput {
    /// From as many rows of `channels` f32, 1 to 4, as the texture has texels, to its mip level 0: a 2-D texture of the
    /// format `Rgba8Unorm`, `Rgba8Snorm`, `Rgba16Float`, `Rgba32Float` or `R32Float`. Submits nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] where the texture is not such, or lacks the usage `STORAGE_BINDING`, or where the rows are too few,
    /// start where the device cannot bind them, or have gaps between them; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn new<'a>(gpu: &Gpu, rows: impl Into<Rows<'a>>, channels: u32, texture: &wgpu::Texture) -> Result<Self> {
        let what = "texture to write to";
        check(what, texture, channels, wgpu::TextureUsages::STORAGE_BINDING)?;
        let Some((_, format)) = FORMATS.iter().find(|(format, _)| *format == texture.format()) else {
            let formats: Vec<String> = FORMATS.iter().map(|(format, _)| format!("{format:?}")).collect();
            let (what, expected) = (what.into(), format!("one of {}", formats.join(", ")));
            return Err(Error::Shape { what, expected, actual: format!("{:?}", texture.format()) });
        };
        let region = rows.into().bound(gpu, "rows of the texture", channels)?;
        let bytes = u64::from(texture.width()) * u64::from(texture.height()) * u64::from(channels) * 4;
        if region.bytes < bytes {
            let expected = format!("at least {bytes} bytes (width x height x channels x 4)");
            let (what, actual) = ("buffer given as rows of the texture".into(), format!("{} bytes", region.bytes));
            return Err(Error::Shape { what, expected, actual });
        }
        gpu.check_size("rows of the texture", bytes)?;
        let rows = wgpu::BufferBinding {
            buffer: &region.buffer,
            offset: region.offset,
            size: std::num::NonZeroU64::new(bytes),
        };
        let view = view(texture);
        let bindings = [wgpu::BindingResource::Buffer(rows), wgpu::BindingResource::TextureView(&view)];
        Ok(Self { dispatch: Dispatch::new(gpu, &to_texture(format, channels), &bindings, texture)? })
    }

    /// Records the writing. No allocation, no submission, no polling; cannot fail.
    pub fn record(&self, to: &mut impl Recorder) {
        self.dispatch.record(to, "rows to a texture");
    }
}

fn view(texture: &wgpu::Texture) -> wgpu::TextureView {
    texture.create_view(&wgpu::TextureViewDescriptor { mip_level_count: Some(1), ..Default::default() })
}

/// Refuses what is not a plain 2-D texture with that usage.
fn check(what: &str, texture: &wgpu::Texture, channels: u32, usage: wgpu::TextureUsages) -> Result<()> {
    let fault = |expected: String, actual: String| Err(Error::Shape { what: what.into(), expected, actual });
    if !(1..=4).contains(&channels) {
        return fault("1 to 4 channels".into(), channels.to_string());
    }
    if !texture.usage().contains(usage) {
        return fault(format!("the usage {usage:?}"), format!("{:?}", texture.usage()));
    }
    let (dimension, layers, samples) = (texture.dimension(), texture.depth_or_array_layers(), texture.sample_count());
    if (dimension, layers, samples) != (wgpu::TextureDimension::D2, 1, 1) {
        return fault("2-D, 1 layer, 1 sample".into(), format!("{dimension:?}, {layers} layers, {samples} samples"));
    }
    Ok(())
}

/// A dispatch over the texels of a texture.
#[derive(Debug, Clone)]
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl Dispatch {
    fn new(
        gpu: &Gpu,
        shader: &Shader,
        bindings: &[wgpu::BindingResource<'_>],
        texture: &wgpu::Texture,
    ) -> Result<Self> {
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
        let grid = [texture.width(), texture.height()].map(|texels| texels.div_ceil(TILE));
        Ok(Self { pipeline, bind_group, grid })
    }

    fn record(&self, to: &mut impl Recorder, label: &str) {
        to.compute(label, |pass| {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
        });
    }
}

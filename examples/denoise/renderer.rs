//! The app's renderer: its textures, buffers and passes.

use bytemuck::{Pod, Zeroable};
use wgrad::{Gpu, wgpu};

use crate::common::camera::Camera;
use crate::common::passes::{Pass, storage_buffer};

/// Uniforms of a frame: see `path_tracer.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Frame {
    pub eye: [f32; 3],
    pub lens: f32,
    pub size: [u32; 2],
    pub seed: u32,
    pub view: u32,
    pub fresh: u32,
    pub samples: u32,
    /// Width and height of the window, in pixels.
    pub window: [u32; 2],
}

/// Parameters of the à-trous filter: the number of levels, and the allowed difference between two similar pixels.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    pub levels: usize,
    /// Difference of log(1 + light).
    pub colour: f32,
    pub normal: f32,
    pub albedo: f32,
    pub position: f32,
}

pub const MOST_LEVELS: usize = 5;

/// Parameters of the filter whose result is an input of the network.
pub const GUIDE: Filter = Filter { levels: 4, colour: 2.0, normal: 0.5, albedo: 1.0, position: 1.0 };
/// The filter level to which the network adds its correction.
pub const BASE: usize = 2;

pub struct Renderer {
    pub gpu: Gpu,
    pub module: wgpu::ShaderModule,
    pub size: u32,
    pub frame: wgpu::Buffer,
    /// Textures of colour, albedo, normal and position.
    pub textures: [wgpu::TextureView; 4],
    /// The filtered light after each level.
    pub filtered: [wgpu::Buffer; MOST_LEVELS + 1],
    /// Sums of all samples of each view.
    pub sums: wgpu::Buffer,
    /// The displayed image, RGBA.
    pub picture: wgpu::Buffer,
    levels: [wgpu::Buffer; MOST_LEVELS],
    draw: Pass,
    add: Pass,
    take_light: Pass,
    a_trous: [Pass; MOST_LEVELS],
    show_noisy: Pass,
    show_mean: Pass,
    show_filtered: [Pass; MOST_LEVELS + 1],
}

impl Renderer {
    pub fn new(gpu: Gpu, size: u32, views: u32) -> Self {
        let device = gpu.device();
        let source = concat!(
            include_str!("../common/random.wgsl"),
            include_str!("../common/room.wgsl"),
            include_str!("../common/screen.wgsl"),
            include_str!("path_tracer.wgsl"),
            include_str!("passes.wgsl"),
        );
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("denoise"), source });
        let frame = storage_buffer(gpu.device(), size_of::<Frame>() as u64);
        let pixels = u64::from(size * size);
        let sums = storage_buffer(gpu.device(), pixels * 16 * u64::from(views));
        let picture = storage_buffer(gpu.device(), pixels * 4);
        let filtered = [(); MOST_LEVELS + 1].map(|()| storage_buffer(gpu.device(), pixels * 16));
        let levels = [(); MOST_LEVELS].map(|()| storage_buffer(gpu.device(), 32));
        let textures = ["colour", "albedo", "normal", "position"].map(|label| {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: Some(label),
                size: wgpu::Extent3d { width: size, height: size, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba32Float,
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::TEXTURE_BINDING,
                view_formats: &[],
            });
            texture.create_view(&Default::default())
        });
        let [colour, albedo, normal, position] = textures.each_ref().map(wgpu::BindingResource::TextureView);
        let pass = |entry: &str, resources: &[(u32, wgpu::BindingResource<'_>)]| {
            Pass::new(device, &module, entry, &[&[(0, frame.as_entire_binding())], resources].concat())
        };
        let drawn = [
            (1, colour.clone()),
            (2, albedo.clone()),
            (3, normal.clone()),
            (17, position.clone()),
            (4, sums.as_entire_binding()),
        ];
        let seen = [(5, colour.clone()), (6, albedo.clone()), (7, normal.clone()), (18, position.clone())];
        let shown = (14, picture.as_entire_binding());
        let a_trous = [0, 1, 2, 3, 4].map(|i| {
            let (from, to) = (&filtered[i], &filtered[i + 1]);
            let own = [(11, from), (12, to), (13, &levels[i])].map(|(at, buffer)| (at, buffer.as_entire_binding()));
            pass("a_trous", &[&seen[1..], &own].concat())
        });
        let show_filtered = filtered.each_ref().map(|filtered| {
            pass("show_filtered", &[seen[1].clone(), (11, filtered.as_entire_binding()), shown.clone()])
        });
        Self {
            draw: pass("draw", &drawn),
            add: pass("add", &drawn[4..]),
            take_light: pass("take_light", &[&seen[..2], &[(12, filtered[0].as_entire_binding())]].concat()),
            a_trous,
            show_noisy: pass("show_noisy", &[seen[0].clone(), shown.clone()]),
            show_mean: pass("show_mean", &[(15, sums.as_entire_binding()), shown.clone()]),
            show_filtered,
            gpu: gpu.clone(),
            module: module.clone(),
            size,
            textures: textures.clone(),
            frame: frame.clone(),
            sums: sums.clone(),
            picture: picture.clone(),
            filtered,
            levels,
        }
    }

    pub fn pass(&self, entry: &str, resources: &[(u32, wgpu::BindingResource<'_>)]) -> Pass {
        Pass::new(self.gpu.device(), &self.module, entry, resources)
    }

    /// Number of workgroups of a pass over the image.
    pub fn grid(&self) -> [u32; 3] {
        [self.size.div_ceil(8), self.size.div_ceil(8), 1]
    }

    /// Writes the uniforms for the next submission.
    pub fn write(&self, camera: Camera, frame: Frame) {
        let frame = Frame { eye: camera.eye(), lens: 2.2, size: [self.size; 2], ..frame };
        self.gpu.queue().write_buffer(&self.frame, 0, bytemuck::bytes_of(&frame));
    }

    /// Draws one sample per pixel, and adds other samples to the sum of the view.
    pub fn draw(&self, encoder: &mut wgpu::CommandEncoder) {
        self.draw.record(encoder, self.grid());
    }

    /// Adds samples to the sum of the view.
    pub fn add(&self, encoder: &mut wgpu::CommandEncoder) {
        self.add.record(encoder, self.grid());
    }

    /// Displays the noisy image.
    pub fn show_noisy(&self, encoder: &mut wgpu::CommandEncoder) {
        self.show_noisy.record(encoder, self.grid());
    }

    /// Displays the mean of a view's samples.
    pub fn show_mean(&self, encoder: &mut wgpu::CommandEncoder) {
        self.show_mean.record(encoder, self.grid());
    }

    /// Filters the drawn image. At most once per submission, because it writes uniforms.
    pub fn filter(&self, encoder: &mut wgpu::CommandEncoder, filter: Filter) {
        self.take_light.record(encoder, self.grid());
        for level in 0..filter.levels {
            // Each level has less noise, so the allowed colour difference is halved.
            let weights = [filter.colour * 0.5f32.powi(level as i32), filter.normal, filter.albedo, filter.position];
            let weights = weights.map(|difference| (1.0 / (difference * difference)).to_bits());
            let words = [1u32 << level, weights[0], weights[1], weights[2], weights[3], 0, 0, 0];
            self.gpu.queue().write_buffer(&self.levels[level], 0, bytemuck::cast_slice(&words));
            self.a_trous[level].record(encoder, self.grid());
        }
    }

    /// Displays the filtered image.
    pub fn show_filtered(&self, encoder: &mut wgpu::CommandEncoder, filter: Filter) {
        self.show_filtered[filter.levels].record(encoder, self.grid());
    }
}

//! The app's passes that read the compressed material: see `view.wgsl`.

use bytemuck::{Pod, Zeroable};
use wgrad::{Gpu, Model, wgpu};

use crate::common::Result;
use crate::common::passes::{bind_group, fullscreen_pipeline, render_pass};
use crate::learner::{Textures, buffer};
use crate::pyramid::Pyramid;

const SCREEN: &str = include_str!("../common/screen.wgsl");

/// Uniforms of a frame: see `view.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct View {
    pub centre: [f32; 2],
    pub height: f32,
    pub tilt: f32,
    pub size: [f32; 2],
    pub split: f32,
    pub lod: f32,
}

pub struct Viewer {
    gpu: Gpu,
    pub view: wgpu::Buffer,
    pub texels: wgpu::Buffer,
    draw: wgpu::RenderPipeline,
    drawn: [wgpu::BindGroup; 2],
    decode: wgpu::ComputePipeline,
    decoded: [wgpu::BindGroup; 2],
}

impl Viewer {
    /// `format` is that of the images to draw to.
    pub fn new(
        gpu: &Gpu,
        pyramid: &Pyramid,
        textures: &Textures,
        latents: &wgpu::Buffer,
        decoder: &Model,
        format: wgpu::TextureFormat,
    ) -> Result<Self> {
        let device = gpu.device();
        let function = decoder.wgsl("decoder")?.bound_at(1, 0);
        let source = format!("{}{SCREEN}{function}{}", pyramid.wgsl(), include_str!("view.wgsl"));
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("view"), source });
        let view = buffer(gpu, (size_of::<View>() / 4) as u32);
        let texels = buffer(gpu, pyramid.size * pyramid.size * 3);

        let draw = fullscreen_pipeline(device, None, &module, "shade", format);
        let decode = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("decode"),
            layout: None,
            module: &module,
            entry_point: Some("decode"),
            compilation_options: Default::default(),
            cache: None,
        });
        let read = [(0, latents.as_entire_binding()), (2, view.as_entire_binding())];
        let weights = [(0, decoder.parameter_buffer()?.as_entire_binding())];
        let lit = [&read[..], &textures.resources()].concat();
        let drawn = [(0, &lit[..]), (1, &weights)]
            .map(|(i, resources)| bind_group(device, &draw.get_bind_group_layout(i), resources));
        let stored = [&read[..], &[(7, texels.as_entire_binding())]].concat();
        let decoded = [(0, &stored[..]), (1, &weights)]
            .map(|(i, resources)| bind_group(device, &decode.get_bind_group_layout(i), resources));
        Ok(Self { gpu: gpu.clone(), view, texels, draw, drawn, decode, decoded })
    }

    /// Records decoding `texels` texels of the view's level. Once per submission, because it writes uniforms.
    pub fn record_decode(&self, encoder: &mut wgpu::CommandEncoder, view: &View, texels: u32) {
        self.gpu.queue().write_buffer(&self.view, 0, bytemuck::bytes_of(view));
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.decode);
        for (i, group) in (0..).zip(&self.decoded) {
            pass.set_bind_group(i, group, &[]);
        }
        pass.dispatch_workgroups(texels.div_ceil(64), 1, 1);
    }

    /// Records drawing the lit plane. Once per submission, because it writes uniforms.
    pub fn record_draw(&self, encoder: &mut wgpu::CommandEncoder, view: &View, target: &wgpu::Texture) {
        self.gpu.queue().write_buffer(&self.view, 0, bytemuck::bytes_of(view));
        let mut pass = render_pass(encoder, &target.create_view(&Default::default()));
        pass.set_pipeline(&self.draw);
        for (i, group) in (0..).zip(&self.drawn) {
            pass.set_bind_group(i, group, &[]);
        }
        pass.draw(0..3, 0..1);
    }
}

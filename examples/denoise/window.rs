//! Learning to denoise in a window: a scene whose frames draw, filter, train and denoise, all in one encoder.

use std::ops::RangeInclusive;

use bytemuck::Zeroable;
use wgrad::{Training, wgpu};

use crate::Args;
use crate::common::Result;
use crate::common::passes::{covering, group};
use crate::common::window::{self, Scene};
use crate::denoiser::{Denoiser, KEPT};
use crate::renderer::{Camera, Frame, GUIDE, Renderer};

pub fn run(args: &Args) -> Result<()> {
    window::run(&args.device, |gpu| {
        let renderer = Renderer::new(gpu, args.size, 1);
        let mut denoiser = Denoiser::new(&renderer, args.seed)?;
        // It never ends, so the rate does not fall.
        denoiser.trainer.set_rate_scale(0.3)?;
        denoiser.training.pause();
        let camera = Camera { yaw: 0.6, pitch: 0.2, distance: 3.5 };
        Ok(RoomScene { renderer, denoiser, camera, drawn: None, frames: 0, window: [1; 2], shown: None })
    })
}

struct RoomScene {
    renderer: Renderer,
    denoiser: Denoiser,
    camera: Camera,
    /// Where the camera stood in the last frame.
    drawn: Option<Camera>,
    frames: u32,
    /// Width and height of the window, in pixels.
    window: [u32; 2],
    shown: Option<(wgpu::RenderPipeline, wgpu::BindGroup)>,
}

impl Scene for RoomScene {
    /// Samples a pixel that a frame adds to the targets.
    const AMOUNT: RangeInclusive<u32> = 1..=16;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        self.window = size;
        if self.shown.is_none() {
            let renderer = &self.renderer;
            let device = renderer.gpu.device();
            let pipeline = covering(device, None, &renderer.module, "compare", format);
            let resources = [
                (0, renderer.frame.as_entire_binding()),
                (5, wgpu::BindingResource::TextureView(&renderer.textures[0])),
                (10, self.denoiser.output.as_entire_binding()),
            ];
            let group = group(device, &pipeline.get_bind_group_layout(0), &resources);
            self.shown = Some((pipeline, group));
        }
        Ok(())
    }

    fn drag(&mut self, by: [f64; 2]) {
        self.camera.yaw -= 0.01 * by[0] as f32;
        self.camera.pitch = (self.camera.pitch + 0.01 * by[1] as f32).clamp(-1.5, 1.5);
    }

    fn zoom(&mut self, lines: f64, _: [f64; 2]) {
        self.camera.distance = (self.camera.distance * 0.9f32.powf(lines as f32)).clamp(1.0, 10.0);
    }

    fn training(&self) -> &Training {
        &self.denoiser.training
    }

    fn record_before(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32) {
        let (seed, window) = (self.frames, self.window);
        let fresh = (self.drawn != Some(self.camera)).into();
        let frame = Frame { seed, fresh, samples: amount, window, ..Frame::zeroed() };
        self.renderer.write(self.camera, frame);
        self.renderer.draw(encoder);
        self.renderer.filter(encoder, GUIDE);
        self.denoiser.record_crops(encoder, &self.renderer);
        self.drawn = Some(self.camera);
        self.frames = self.frames.wrapping_add(1);
        // Before that, crops would be taken where nothing was kept yet.
        if self.frames == KEPT {
            self.denoiser.training.resume();
        }
    }

    fn record(&mut self, encoder: &mut wgpu::CommandEncoder, _: u32, target: &wgpu::Texture) {
        let Some((pipeline, group)) = &self.shown else { return };
        self.denoiser.record(encoder, &self.renderer);
        let view = &target.create_view(&Default::default());
        let ops = wgpu::Operations::default();
        let colour = wgpu::RenderPassColorAttachment { view, depth_slice: None, resolve_target: None, ops };
        let color_attachments = &[Some(colour)];
        let mut pass =
            encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments, ..Default::default() });
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.draw(0..3, 0..1);
    }

    fn told(&self, loss: f64) -> String {
        format!("error {loss:.5}")
    }
}

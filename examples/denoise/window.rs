//! Runs in a window: each frame draws, filters, trains and denoises, in one encoder.

use std::ops::RangeInclusive;

use bytemuck::Zeroable;
use wgrad::{Training, wgpu};

use crate::Args;
use crate::common::Result;
use crate::common::camera::Camera;
use crate::common::passes::{bind_group, draw_fullscreen, fullscreen_pipeline};
use crate::common::window::{self, Scene};
use crate::denoiser::{Denoiser, KEPT};
use crate::renderer::{Frame, GUIDE, Renderer};

pub fn run(args: &Args) -> Result<()> {
    window::run(&args.device, |gpu| {
        let renderer = Renderer::new(gpu, args.size, 1);
        let mut denoiser = Denoiser::new(&renderer, args.seed)?;
        // The training has no end, so the learning rate is constant.
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
    /// The camera of the last frame.
    drawn: Option<Camera>,
    frames: u32,
    /// Width and height of the window, in pixels.
    window: [u32; 2],
    shown: Option<(wgpu::RenderPipeline, wgpu::BindGroup)>,
}

impl Scene for RoomScene {
    /// Samples per pixel that a frame adds to the targets.
    const WORK: RangeInclusive<u32> = 1..=16;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        self.window = size;
        if self.shown.is_none() {
            let renderer = &self.renderer;
            let device = renderer.gpu.device();
            let pipeline = fullscreen_pipeline(device, None, &renderer.module, "compare", format);
            let resources = [
                (0, renderer.frame.as_entire_binding()),
                (5, wgpu::BindingResource::TextureView(&renderer.textures[0])),
                (10, self.denoiser.output.as_entire_binding()),
            ];
            let group = bind_group(device, &pipeline.get_bind_group_layout(0), &resources);
            self.shown = Some((pipeline, group));
        }
        Ok(())
    }

    fn drag(&mut self, by: [f64; 2]) {
        self.camera.drag(by);
    }

    fn zoom(&mut self, lines: f64, _: [f64; 2]) {
        self.camera.zoom(lines, 1.0, 10.0);
    }

    fn training(&self) -> &Training {
        &self.denoiser.training
    }

    fn record_before_training(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32) {
        let (seed, window) = (self.frames, self.window);
        let fresh = (self.drawn != Some(self.camera)).into();
        let frame = Frame { seed, fresh, samples: amount, window, ..Frame::zeroed() };
        self.renderer.write(self.camera, frame);
        self.renderer.draw(encoder);
        self.renderer.filter(encoder, GUIDE);
        self.denoiser.record_crops(encoder, &self.renderer);
        self.drawn = Some(self.camera);
        self.frames = self.frames.wrapping_add(1);
        // The training waits until all stored frames are filled.
        if self.frames == KEPT {
            self.denoiser.training.resume();
        }
    }

    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, _: u32, target: &wgpu::Texture) {
        let Some(shown) = &self.shown else { return };
        self.denoiser.record(encoder, &self.renderer);
        draw_fullscreen(encoder, &target.create_view(&Default::default()), shown);
    }

    fn describe_loss(&self, loss: f64) -> String {
        format!("loss {loss:.5}")
    }
}

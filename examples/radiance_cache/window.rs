//! Runs in a window: each frame draws with and without the network, and trains, in one encoder.

use std::ops::RangeInclusive;

use bytemuck::Zeroable;
use wgrad::{Training, wgpu};

use crate::Args;
use crate::cache::{Cache, Frame};
use crate::common::Result;
use crate::common::camera::Camera;
use crate::common::passes::{bind_group, draw_fullscreen, fullscreen_pipeline};
use crate::common::window::{self, Scene};

pub fn run(args: &Args) -> Result<()> {
    window::run(&args.device, |gpu| {
        let cache = Cache::new(gpu, args.size, args.seed)?;
        let camera = Camera { yaw: 0.6, pitch: 0.2, distance: 3.5 };
        Ok(RoomScene { cache, camera, bounces: args.bounces, frames: 0, window: [1; 2], shown: None })
    })
}

struct RoomScene {
    cache: Cache,
    camera: Camera,
    bounces: u32,
    frames: u32,
    /// Width and height of the window, in pixels.
    window: [u32; 2],
    shown: Option<(wgpu::RenderPipeline, wgpu::BindGroup)>,
}

impl Scene for RoomScene {
    /// A frame has one sample per pixel.
    const WORK: RangeInclusive<u32> = 1..=1;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        self.window = size;
        if self.shown.is_none() {
            let cache = &self.cache;
            let device = cache.gpu.device();
            let pipeline = fullscreen_pipeline(device, None, &cache.module, "compare", format);
            let resources = [(0, &cache.frame), (9, &cache.plain.frame), (10, &cache.cached.frame)];
            let resources = resources.map(|(binding, buffer)| (binding, buffer.as_entire_binding()));
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
        &self.cache.training
    }

    fn record_before_training(&mut self, encoder: &mut wgpu::CommandEncoder, samples: u32) {
        let (seed, bounces, window) = (self.frames, self.bounces, self.window);
        self.cache.write(self.camera, Frame { seed, bounces, window, samples, ..Frame::zeroed() });
        self.cache.record_plain(encoder);
        self.cache.record(encoder);
        self.frames = self.frames.wrapping_add(1);
    }

    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, _: u32, target: &wgpu::Texture) {
        let Some(shown) = &self.shown else { return };
        draw_fullscreen(encoder, &target.create_view(&Default::default()), shown);
    }

    fn describe_loss(&self, loss: f64) -> String {
        format!("relative L2 {loss:.4}")
    }
}

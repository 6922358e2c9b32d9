//! Runs in a window: each frame computes samples, trains the network, and marches rays in a fragment shader. The
//! resolution adapts to the time of a frame; the window shows the image enlarged.

use std::ops::RangeInclusive;

use wgrad::{Training, wgpu};

use crate::common::Result;
use crate::common::camera::Camera;
use crate::common::passes::{bind_group, fullscreen_pipeline, render_pass};
use crate::common::window::{self, Scene};
use crate::{Args, Frame, Learner, NO_FIELD, module};

pub fn run(args: &Args) -> Result<()> {
    window::run(&args.device, |gpu| {
        let learner = Learner::new(gpu, args, None)?;
        let camera = Camera { yaw: 0.64, pitch: 0.59, distance: 3.4 };
        Ok(ShapeScene { learner, shown: None, camera, frames: 0 })
    })
}

struct ShapeScene {
    learner: Learner,
    /// Resources for the current window size.
    shown: Option<Shown>,
    camera: Camera,
    frames: u32,
}

struct Shown {
    /// A texture of the window's size. The image fills a corner of it.
    texture: wgpu::TextureView,
    size: [u32; 2],
    look: Draw,
    stretch: Draw,
}

impl Shown {
    /// Width and height of the image, if its shorter side has `amount` pixels.
    fn small(&self, amount: u32) -> [u32; 2] {
        let shorter = self.size[0].min(self.size[1]);
        self.size.map(|side| side * amount.min(shorter) / shorter)
    }
}

/// A render pass over the whole target.
struct Draw {
    pipeline: wgpu::RenderPipeline,
    groups: Vec<wgpu::BindGroup>,
}

impl Draw {
    fn record(&self, encoder: &mut wgpu::CommandEncoder, view: &wgpu::TextureView, [width, height]: [u32; 2]) {
        let mut pass = render_pass(encoder, view);
        pass.set_pipeline(&self.pipeline);
        for (index, group) in (0..).zip(&self.groups) {
            pass.set_bind_group(index, group, &[]);
        }
        pass.set_viewport(0.0, 0.0, width as f32, height as f32, 0.0, 1.0);
        pass.draw(0..3, 0..1);
    }
}

/// Format of the image before it is enlarged.
const SMALL: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

impl ShapeScene {
    fn pipeline(&self, field: &str, entry: &str, format: wgpu::TextureFormat) -> wgpu::RenderPipeline {
        let module = module(&self.learner.gpu, field);
        fullscreen_pipeline(self.learner.gpu.device(), None, &module, entry, format)
    }
}

impl Scene for ShapeScene {
    /// Pixels of the image's shorter side.
    const WORK: RangeInclusive<u32> = 96..=2160;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        let (gpu, frame) = (&self.learner.gpu, self.learner.frame.as_entire_binding());
        let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: wgpu::Extent3d { width: size[0], height: size[1], depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: SMALL,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING,
            view_formats: &[],
        });
        let texture = texture.create_view(&Default::default());
        let filter = wgpu::FilterMode::Linear;
        let sampler = gpu.device().create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: filter,
            min_filter: filter,
            ..Default::default()
        });
        let model = self.learner.trainer.model();
        let weights = model.parameter_buffer()?.as_entire_binding();
        // The pipelines do not depend on the size. They are kept, because the ray-marching pipeline compiles slowly.
        let (look, pipeline) = match self.shown.take() {
            Some(shown) => (shown.look, shown.stretch.pipeline),
            None => {
                let pipeline = self.pipeline(&self.learner.field()?, "look", SMALL);
                let own = bind_group(gpu.device(), &pipeline.get_bind_group_layout(0), &[(0, frame.clone())]);
                let weights = bind_group(gpu.device(), &pipeline.get_bind_group_layout(1), &[(0, weights)]);
                (Draw { pipeline, groups: vec![own, weights] }, self.pipeline(NO_FIELD, "stretch", format))
            }
        };
        let resources = [
            (0, frame),
            (4, wgpu::BindingResource::TextureView(&texture)),
            (5, wgpu::BindingResource::Sampler(&sampler)),
        ];
        let own = bind_group(gpu.device(), &pipeline.get_bind_group_layout(0), &resources);
        let stretch = Draw { pipeline, groups: vec![own] };
        self.shown = Some(Shown { texture, size, look, stretch });
        Ok(())
    }

    fn drag(&mut self, by: [f64; 2]) {
        self.camera.drag(by);
    }

    fn zoom(&mut self, lines: f64, _: [f64; 2]) {
        self.camera.zoom(lines, 0.5, 20.0);
    }

    fn training(&self) -> &Training {
        &self.learner.training
    }

    fn record_before_training(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32) {
        let Some(shown) = &self.shown else { return };
        self.frames = self.frames.wrapping_add(1);
        self.learner.write(Frame::new(self.camera.eye(), shown.small(amount), self.frames));
        self.learner.record_samples(encoder);
    }

    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32, target: &wgpu::Texture) {
        let Some(shown) = &self.shown else { return };
        shown.look.record(encoder, &shown.texture, shown.small(amount));
        shown.stretch.record(encoder, &target.create_view(&Default::default()), shown.size);
    }

    fn describe_loss(&self, loss: f64) -> String {
        format!("mean absolute error {loss:.4}")
    }
}

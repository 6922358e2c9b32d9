//! Runs in a window: each frame trains, packs the latents, and draws the plane with them.

use std::ops::RangeInclusive;

use wgrad::{Gpu, Training, wgpu};

use crate::Args;
use crate::common::Result;
use crate::common::window::{self, Scene};
use crate::learner::{Learner, Packing, Textures};
use crate::material::Material;
use crate::pyramid::Pyramid;
use crate::viewer::{View, Viewer};

pub fn run(args: &Args) -> Result<()> {
    window::run(&args.device, |gpu| {
        let pyramid = Pyramid::new(args.size, args.bits)?;
        let textures = Textures::new(&gpu, &Material::draw(args.size));
        let learner = Learner::new(&gpu, &pyramid, &textures, args.seed, None)?;
        let trained = learner.trainer.model();
        let packing = Packing::new(&gpu, &pyramid, &trained)?;
        let view = View { centre: [0.5; 2], height: 0.5, tilt: 0.7, size: [1.0; 2], split: 0.0, lod: 0.0 };
        Ok(PlaneScene { gpu, pyramid, textures, learner, packing, view, viewer: None })
    })
}

struct PlaneScene {
    gpu: Gpu,
    pyramid: Pyramid,
    textures: Textures,
    learner: Learner,
    packing: Packing,
    view: View,
    viewer: Option<Viewer>,
}

impl Scene for PlaneScene {
    /// Not used: a frame always draws the whole window.
    const WORK: RangeInclusive<u32> = 1..=1;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        let size = size.map(|side| side as f32);
        self.view = View { size, split: size[0] / 2.0, ..self.view };
        if self.viewer.is_none() {
            let Packing { latents, decoder, .. } = &self.packing;
            self.viewer = Some(Viewer::new(&self.gpu, &self.pyramid, &self.textures, latents, decoder, format)?);
        }
        Ok(())
    }

    fn drag(&mut self, by: [f64; 2]) {
        for (centre, by) in self.view.centre.iter_mut().zip(by) {
            *centre -= by as f32 * self.view.height / self.view.size[1];
        }
    }

    fn zoom(&mut self, lines: f64, _: [f64; 2]) {
        self.view.height = (self.view.height * 0.9f32.powf(lines as f32)).clamp(0.01, 20.0);
    }

    fn training(&self) -> &Training {
        &self.learner.training
    }

    fn record_before_training(&mut self, encoder: &mut wgpu::CommandEncoder, _: u32) {
        self.learner.record_samples(&self.gpu, encoder, true);
    }

    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, _: u32, target: &wgpu::Texture) {
        let Some(viewer) = &self.viewer else { return };
        self.learner.record_rounding(encoder);
        self.packing.record(encoder);
        viewer.record_draw(encoder, &self.view, target);
    }

    fn describe_loss(&self, loss: f64) -> String {
        format!("PSNR {:.1} dB", -10.0 * loss.log10())
    }
}

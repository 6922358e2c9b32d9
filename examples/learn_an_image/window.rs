//! Runs in a window: each frame trains the network and computes some of the window's pixels with it.

mod painter;

use std::ops::RangeInclusive;

use image::RgbImage;
use wgrad::{Training, wgpu};

use crate::common::Result;
use crate::common::window::{self, Scene};
use crate::{Args, Learner, psnr};
use painter::{LATTICES, Painter, View};

pub fn run(args: &Args, picture: impl FnOnce() -> RgbImage) -> Result<()> {
    window::run(&args.device, |gpu| {
        let picture = picture();
        let learner = Learner::new(gpu, args, &picture, None)?;
        Ok(PictureScene { learner, picture: picture.dimensions().into(), shown: None })
    })
}

struct PictureScene {
    learner: Learner,
    /// Width and height, in pixels.
    picture: [u32; 2],
    /// Resources for the current window size, and the visible part of the image.
    shown: Option<(Painter, View)>,
}

impl Scene for PictureScene {
    /// Lattices to compute in a frame.
    const WORK: RangeInclusive<u32> = 2..=LATTICES;

    fn resize(&mut self, format: wgpu::TextureFormat, size: [u32; 2]) -> Result<()> {
        let painter = Painter::new(&self.learner, format, size)?;
        let mut view = self.shown.take().map_or(View::integer(self.picture, size), |(_, view)| view);
        view.resize(size);
        self.shown = Some((painter, view));
        Ok(())
    }

    fn drag(&mut self, by: [f64; 2]) {
        if let Some((painter, view)) = &mut self.shown {
            view.pan(by);
            painter.start_over();
        }
    }

    fn zoom(&mut self, lines: f64, at: [f64; 2]) {
        if let Some((painter, view)) = &mut self.shown {
            view.zoom(1.15f64.powf(lines), at);
            painter.start_over();
        }
    }

    fn training(&self) -> &Training {
        &self.learner.training
    }

    fn record_after_training(&mut self, encoder: &mut wgpu::CommandEncoder, amount: u32, target: &wgpu::Texture) {
        if let Some((painter, view)) = &mut self.shown {
            painter.record(self.learner.gpu.queue(), encoder, view, amount, target);
        }
    }

    fn describe_loss(&self, loss: f64) -> String {
        format!("PSNR {:.1} dB", psnr(loss))
    }
}

//! Runs without a window: renders and trains for some minutes, then denoises views that are not in the training data.

use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use image::ExtendedColorType;
use wgrad::plan::RowMetrics;
use wgrad::wgpu;

use crate::Args;
use crate::common::camera::Camera;
use crate::common::passes::read_buffer;
use crate::common::picture::{self, Tile};
use crate::common::plot::{self, Curve, Panel};
use crate::common::{self, Result};
use crate::denoiser::{Denoiser, KEPT, STEPS};
use crate::renderer::{BASE, Filter, Frame, GUIDE, MOST_LEVELS, Renderer};

/// Number of training views. The held-out views follow.
const VIEWS: u32 = 32;
const HELD_OUT: u32 = 8;
/// Frames between two measurements of the time.
const FRAMES: u32 = 4;

pub fn run(args: &Args) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let [sheet, curves] = common::checked_outputs(&args.out, ["sheet.svg", "curves.svg"])?;
    let strips: Vec<_> = (1..=HELD_OUT).map(|view| args.out.join(format!("view_{view}.png"))).collect();
    common::check_outputs(&strips)?;
    let renderer = Renderer::new(gpu, args.size, VIEWS + HELD_OUT);
    let denoiser = Denoiser::new(&renderer, args.seed)?;
    let mut studio = Studio { renderer, denoiser };
    println!("drawing {HELD_OUT} reference images with {} samples per pixel", args.reference);
    let held_out = (VIEWS..VIEWS + HELD_OUT).map(|view| studio.reference(view, args.reference));
    let held_out = held_out.collect::<Result<Vec<_>>>()?;

    let points = studio.train(args, &held_out)?;
    // The filter is tuned on training views, for a fair comparison.
    let tuning = (0..VIEWS).step_by(8).map(|view| studio.reference(view, args.reference.min(256)));
    let filter = studio.tuned(&tuning.collect::<Result<Vec<_>>>()?)?;
    println!("à-trous filter, tuned on training views: {filter:?}");

    const NAMES: [&str; 3] = ["noisy", "à-trous", "denoised"];
    let (mut tiles, mut sums) = (Vec::new(), [[0.0; 2]; 3]);
    for (number, (reference, path)) in held_out.iter().zip(&strips).enumerate() {
        let shown = [Shown::Noisy, Shown::Filtered(filter), Shown::Denoised];
        let mut strip = Vec::new();
        let mut line = format!("view {}:", number + 1);
        let tile = |pixels, caption| Tile { pixels, width: args.size, height: args.size, caption, frame: None };
        for ((shown, name), sums) in shown.into_iter().zip(NAMES).zip(&mut sums) {
            let panel = studio.image(reference.view, shown)?;
            let [psnr, ssim] = [reference.psnr(&panel)?, reference.ssim(&panel, args.size)?];
            line += &format!(" {name} {psnr:.2} dB {ssim:.4}");
            *sums = [sums[0] + psnr, sums[1] + ssim];
            tiles.push(tile(bytes(&panel), format!("{name}\n{psnr:.2} dB, {ssim:.4}")));
            strip.push(panel);
        }
        println!("{line}");
        tiles.push(Tile {
            frame: Some(picture::TARGET),
            ..tile(bytes(&reference.pixels), format!("{} samples per pixel", args.reference))
        });
        strip.push(reference.pixels.clone());
        let width = args.size as usize * 3;
        let rows = (0..args.size as usize).flat_map(|y| strip.iter().map(move |panel| &panel[y * width..][..width]));
        let png = picture::encode_png(
            &bytes(&rows.flatten().copied().collect::<Vec<_>>()),
            args.size * 4,
            args.size,
            ExtendedColorType::Rgb8,
        )?;
        common::write_file(path, png)?;
    }
    for (name, [psnr, ssim]) in NAMES.into_iter().zip(sums) {
        let count = f64::from(HELD_OUT);
        println!("mean of {HELD_OUT} views, {name}: PSNR {:.2} dB, SSIM {:.4}", psnr / count, ssim / count);
    }
    picture::write_sheet(&sheet, "Held-out views: PSNR and SSIM", &tiles, 4)?;
    draw_curves(&curves, &points)?;
    println!("see view_*.png, sheet.svg and curves.svg in {}", args.out.display());
    Ok(())
}

/// A measurement during the training.
#[derive(Clone, Copy)]
struct Point {
    seconds: f64,
    loss: f64,
    /// Mean PSNR of the noisy held-out views, in dB.
    noisy: f64,
    /// Mean PSNR of the denoised held-out views, in dB.
    denoised: f64,
}

fn draw_curves(path: &std::path::Path, points: &[Point]) -> Result<()> {
    let curve = |label: &str, of: fn(&Point) -> f64| Curve {
        label: label.into(),
        points: points.iter().map(|point| (point.seconds, of(point))).collect(),
    };
    let panel = |title, y_label, log_y, curves| Panel { title, x_label: "seconds", y_label, log_y, curves };
    let psnr = vec![curve("denoised", |p| p.denoised), curve("noisy", |p| p.noisy)];
    let loss = panel("Loss", "mean loss since the last measurement", true, vec![curve("loss", |p| p.loss)]);
    plot::curves(path, &[loss, panel("Held-out views", "PSNR in dB", false, psnr)])
}

/// A view drawn with many samples per pixel.
struct Reference {
    view: u32,
    pixels: Vec<f32>,
}

impl Reference {
    fn psnr(&self, pixels: &[f32]) -> Result<f64> {
        Ok(wgrad::psnr(pixels, &self.pixels, 1.0)?)
    }

    fn ssim(&self, pixels: &[f32], size: u32) -> Result<f64> {
        Ok(wgrad::ssim(pixels, &self.pixels, [size as usize, size as usize, 3], 1.0)?)
    }
}

/// The content of an image.
#[derive(Clone, Copy)]
enum Shown {
    Noisy,
    Filtered(Filter),
    Denoised,
    /// The mean of all samples of the view.
    Mean,
}

struct Studio {
    renderer: Renderer,
    denoiser: Denoiser,
}

impl Studio {
    /// Renders and trains until the time or the number of steps is reached.
    fn train(&mut self, args: &Args, held_out: &[Reference]) -> Result<Vec<Point>> {
        let limit = args.minutes * 60.0;
        let (mut spent, mut frames, mut steps, mut done) = (Duration::ZERO, 0, 0, 0.0f64);
        let (mut points, mut next_measurement) = (Vec::new(), 0.02);
        while next_measurement <= 1.0 {
            let begun = Instant::now();
            // Cosine decay of the learning rate over the time.
            let rate = 0.5 + 0.5 * (done * std::f64::consts::PI).cos();
            self.denoiser.trainer.set_rate_scale(rate as f32)?;
            for _ in 0..FRAMES {
                let view = frames % VIEWS;
                let fresh = (frames < VIEWS).into();
                let frame = Frame { seed: frames, view, fresh, samples: 3, ..Frame::zeroed() };
                let mut encoder = self.begin(camera(view), frame);
                self.renderer.draw(&mut encoder);
                self.renderer.filter(&mut encoder, GUIDE);
                self.denoiser.record_crops(&mut encoder, &self.renderer);
                // The training waits until all stored frames are filled.
                if frames >= KEPT {
                    self.denoiser.training.record_steps(&mut encoder, STEPS);
                    steps += STEPS;
                }
                self.renderer.gpu.queue().submit([encoder.finish()]);
                frames += 1;
            }
            self.renderer.gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
            spent += begun.elapsed();
            done = (spent.as_secs_f64() / limit).max(f64::from(steps) / f64::from(args.steps)).min(1.0);
            if done >= next_measurement && steps > 0 {
                next_measurement = if done < 1.0 { (done * 1.6).min(1.0) } else { 2.0 };
                points.push(self.measure(spent.as_secs_f64(), held_out)?);
                let Point { seconds, loss, noisy, denoised } = points[points.len() - 1];
                println!(
                    "{seconds:.0} s, {frames} frames, {steps} steps: loss {loss:.5}, PSNR {denoised:.2} dB (noisy {noisy:.2} dB)"
                );
            }
        }
        Ok(points)
    }

    /// Measures the mean loss since the last measurement, and the PSNR of the held-out views.
    fn measure(&self, seconds: f64, held_out: &[Reference]) -> Result<Point> {
        let training = &self.denoiser.training;
        let mut encoder = self.renderer.gpu.device().create_command_encoder(&Default::default());
        training.record_metrics(&mut encoder);
        training.record_clear_metrics(&mut encoder);
        let RowMetrics { loss, rows, .. } = read_buffer(&self.renderer.gpu, encoder, training.metrics_buffer())?[0];
        let mut psnr = [0.0; 2];
        for reference in held_out {
            for (sum, shown) in psnr.iter_mut().zip([Shown::Noisy, Shown::Denoised]) {
                *sum += reference.psnr(&self.image(reference.view, shown)?)? / held_out.len() as f64;
            }
        }
        Ok(Point { seconds, loss: f64::from(loss) / f64::from(rows), noisy: psnr[0], denoised: psnr[1] })
    }

    /// The filter with the highest PSNR on these views: a search over one parameter after the other, twice.
    fn tuned(&self, views: &[Reference]) -> Result<Filter> {
        const VALUES: [f32; 8] = [0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 2.0, 8.0];
        let mut best = (f64::NEG_INFINITY, Filter { levels: BASE, ..GUIDE });
        for parameter in [0, 1, 2, 3, 4, 0, 1, 2, 3, 4] {
            for (number, value) in VALUES.into_iter().enumerate() {
                let filter = match parameter {
                    0 => Filter { levels: number.min(MOST_LEVELS), ..best.1 },
                    1 => Filter { colour: value, ..best.1 },
                    2 => Filter { normal: value, ..best.1 },
                    3 => Filter { albedo: value, ..best.1 },
                    _ => Filter { position: value, ..best.1 },
                };
                let psnr = |view: &Reference| view.psnr(&self.image(view.view, Shown::Filtered(filter))?);
                let psnr = views.iter().map(psnr).sum::<Result<f64>>()?;
                if psnr > best.0 {
                    best = (psnr, filter);
                }
            }
        }
        Ok(best.1)
    }

    /// Draws a view with this number of samples per pixel. Its sum restarts at 0.
    fn reference(&self, view: u32, samples: u32) -> Result<Reference> {
        // Samples per submission. An operating system resets a GPU after some seconds; this takes much less.
        const EACH: u32 = 16;
        for first in (0..samples).step_by(EACH as usize) {
            // These seeds differ from those of the training and of the displayed frames.
            let (seed, samples) = (1_000_000_000 + first * 65_536, EACH.min(samples - first));
            let frame = Frame { seed, view, fresh: (first == 0).into(), samples, ..Frame::zeroed() };
            let mut encoder = self.begin(camera(view), frame);
            self.renderer.add(&mut encoder);
            self.renderer.gpu.queue().submit([encoder.finish()]);
        }
        Ok(Reference { view, pixels: self.image(view, Shown::Mean)? })
    }

    /// Draws an image of a view, always with the same noise. Returns red, green and blue of each pixel, sRGB from 0 to
    /// 1.
    fn image(&self, view: u32, shown: Shown) -> Result<Vec<f32>> {
        let (renderer, denoiser) = (&self.renderer, &self.denoiser);
        let frame = Frame { seed: 2_000_000_000 + view, view, ..Frame::zeroed() };
        let mut encoder = self.begin(camera(view), frame);
        renderer.draw(&mut encoder);
        match shown {
            Shown::Noisy => renderer.show_noisy(&mut encoder),
            Shown::Mean => renderer.show_mean(&mut encoder),
            Shown::Filtered(filter) => {
                renderer.filter(&mut encoder, filter);
                renderer.show_filtered(&mut encoder, filter);
            }
            Shown::Denoised => {
                renderer.filter(&mut encoder, GUIDE);
                denoiser.record(&mut encoder, renderer);
                denoiser.record_show(&mut encoder, renderer);
            }
        }
        let pixels = read_buffer::<[u8; 4]>(&renderer.gpu, encoder, &renderer.picture)?;
        Ok(pixels.into_iter().flat_map(|[r, g, b, _]| [r, g, b].map(|byte| f32::from(byte) / 255.0)).collect())
    }

    /// Starts a frame: writes its uniforms and creates its encoder.
    fn begin(&self, camera: Camera, frame: Frame) -> wgpu::CommandEncoder {
        self.renderer.write(camera, frame);
        self.renderer.gpu.device().create_command_encoder(&Default::default())
    }
}

/// The camera of a view. Roberts' sequence spreads the views evenly.
fn camera(view: u32) -> Camera {
    let [a, b] = [0.754_877_7, 0.569_840_3].map(|step: f64| (0.5 + f64::from(view) * step).fract() as f32);
    Camera { yaw: a * std::f32::consts::TAU, pitch: -0.1 + 0.6 * b, distance: 3.5 }
}

fn bytes(pixels: &[f32]) -> Vec<u8> {
    pixels.iter().map(|value| (value * 255.0).round() as u8).collect()
}

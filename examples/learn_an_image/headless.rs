//! Learning a picture without a window: what is learned at every power of two steps, the curves, a comparison.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use image::{ExtendedColorType, RgbImage};
use wgrad::plan::RowMetrics;
use wgrad::wgpu;

use crate::common::picture::{self, Tile};
use crate::common::plot::{self, Curve, Panel};
use crate::common::{self, Result, steps};
use crate::{Args, Learner, decibels, places};

/// Steps of a submission: well below the seconds after which an operating system resets a GPU.
const SUBMISSION: u32 = 16;

pub fn run(args: &Args, picture: impl FnOnce() -> RgbImage) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let [curves, comparison] = common::outputs(&args.out, ["curves.svg", "comparison.svg"])?;
    let looked_at = steps::looked_at(args.steps);
    common::check_outputs(looked_at.iter().map(|&step| steps::file(&args.out, step)))?;
    let picture = &picture();
    let learner = Learner::new(gpu, args, picture, Some(args.steps))?;
    let (width, height) = picture.dimensions();
    println!("learning {width}x{height} pixels, {} a step", args.batch);

    let (mut losses, mut of_batches, mut of_picture) = (Vec::new(), Vec::new(), Vec::new());
    let (mut learned, mut training) = (picture.clone(), Duration::ZERO);
    let mut done = 0;
    for next in looked_at {
        let mut loss = f64::NAN;
        while done < next {
            let steps = SUBMISSION.min(next - done);
            let start = Instant::now();
            loss = train(&learner, steps)?;
            training += start.elapsed();
            done += steps;
            losses.push((f64::from(done), loss));
            of_batches.push((f64::from(done), decibels(loss)));
        }
        learned = render(&learner, picture)?;
        let psnr = decibels(squared_error(picture, &learned));
        of_picture.push((f64::from(done), psnr));
        println!("step {done}: loss {loss:.6}, PSNR {psnr:.2} dB, after {:.1} s of training", training.as_secs_f64());
        let png = picture::png(&learned, learned.width(), learned.height(), ExtendedColorType::Rgb8)?;
        common::write_whole(&steps::file(&args.out, done), png)?;
    }
    steps::remove_others(&args.out, args.steps)?;

    let curve = |label: &str, points| Curve { label: label.into(), points };
    let panel = |title, y_label, log_y, curves| Panel { title, x_label: "step", y_label, log_y, curves };
    let panels = [
        panel("Loss", "mean squared error", true, vec![curve("of batches", losses)]),
        panel(
            "Quality",
            "PSNR in dB",
            false,
            vec![curve("of batches", of_batches), curve("of the picture", of_picture)],
        ),
    ];
    plot::curves(&curves, &panels)?;
    compare(&comparison, args.steps, picture, &learned)?;
    println!("see step_*.png, curves.svg and comparison.svg in {}", args.out.display());
    Ok(())
}

/// Trains so many steps; returns their mean loss.
fn train(learner: &Learner, steps: u32) -> Result<f64> {
    let (device, queue) = (learner.gpu.device(), learner.gpu.queue());
    let training = &learner.training;
    let mut encoder = device.create_command_encoder(&Default::default());
    training.record_clear_metrics(&mut encoder);
    training.record_steps(&mut encoder, steps);
    training.record_metrics(&mut encoder);
    queue.submit([encoder.finish()]);
    let (sender, receiver) = channel();
    // Nobody else listens, so the message arrives.
    let read = move |read: std::result::Result<wgpu::util::DownloadBuffer, _>| sender.send(read).unwrap_or_default();
    wgpu::util::DownloadBuffer::read_buffer(device, queue, &training.metrics_buffer().slice(..), read);
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = receiver.recv()??;
    let RowMetrics { loss, rows, .. } = bytemuck::pod_read_unaligned(&bytes[..size_of::<RowMetrics>()]);
    if loss.is_finite() { Ok(f64::from(loss) / f64::from(rows)) } else { Err("the loss is not finite any more".into()) }
}

/// The picture as the network has it.
fn render(learner: &Learner, picture: &RgbImage) -> Result<RgbImage> {
    let colours = learner.trainer.model().forward(&places(picture))?;
    let bytes = colours.iter().map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    Ok(RgbImage::from_raw(picture.width(), picture.height(), bytes).ok_or("a colour for each pixel")?)
}

/// The mean squared difference of two pictures, their values from 0 to 1.
fn squared_error(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(&a, &b): (&u8, &u8)| ((f64::from(a) - f64::from(b)) / 255.0).powi(2);
    a.as_raw().iter().zip(b.as_raw()).map(square).sum::<f64>() / a.as_raw().len() as f64
}

/// Target, learned and their difference side by side.
fn compare(path: &Path, steps: u32, picture: &RgbImage, learned: &RgbImage) -> Result<()> {
    const STRONGER: u8 = 8;
    let apart = |(&a, &b): (&u8, &u8)| a.abs_diff(b).saturating_mul(STRONGER);
    let difference = picture.as_raw().iter().zip(learned.as_raw()).map(apart).collect();
    let (width, height) = picture.dimensions();
    let tile = |pixels, caption: String| Tile { pixels, width, height, caption, frame: None };
    let psnr = decibels(squared_error(picture, learned));
    let tiles = [
        tile(picture.as_raw().clone(), "target".into()),
        tile(learned.as_raw().clone(), format!("learned: {psnr:.2} dB at step {steps}")),
        tile(difference, format!("difference, {STRONGER} times as strong")),
    ];
    picture::sheet(path, "A picture learned from coordinates", &tiles, 3)
}

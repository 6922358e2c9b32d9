//! Runs without a window: writes the network's output after 1, 2, 4, 8, ... steps, the curves, and a comparison.

use std::path::Path;
use std::time::{Duration, Instant};

use image::{ExtendedColorType, RgbImage};
use wgrad::plan::RowMetrics;

use crate::common::passes::read_buffer;
use crate::common::picture::{self, Tile};
use crate::common::plot::{self, Curve, Panel};
use crate::common::{self, Result, snapshots};
use crate::{Args, Learner, pixel_centres, psnr};

/// Training steps per submission. An operating system resets a GPU after some seconds; this takes much less.
pub const SUBMISSION: u32 = 16;

pub fn run(args: &Args, picture: impl FnOnce() -> RgbImage) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let [curves, comparison] = common::checked_outputs(&args.out, ["curves.svg", "comparison.svg"])?;
    let snapshot_steps = snapshots::steps(args.steps);
    common::check_outputs(snapshot_steps.iter().map(|&step| snapshots::path(&args.out, step)))?;
    let picture = &picture();
    let learner = Learner::new(gpu, args, picture, Some(args.steps))?;
    let (width, height) = picture.dimensions();
    println!("image of {width}x{height} pixels, batch size {}", args.batch);

    let (mut losses, mut batch_psnrs, mut image_psnrs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut learned, mut training) = (picture.clone(), Duration::ZERO);
    let mut done = 0;
    for next in snapshot_steps {
        let mut loss = f64::NAN;
        while done < next {
            let steps = SUBMISSION.min(next - done);
            let start = Instant::now();
            loss = train(&learner, steps)?;
            training += start.elapsed();
            done += steps;
            losses.push((f64::from(done), loss));
            batch_psnrs.push((f64::from(done), psnr(loss)));
        }
        learned = render(&learner, picture)?;
        let image_psnr = psnr(squared_error(picture, &learned));
        image_psnrs.push((f64::from(done), image_psnr));
        println!(
            "step {done}: loss {loss:.6}, PSNR {image_psnr:.2} dB, after {:.1} s of training",
            training.as_secs_f64()
        );
        let png = picture::encode_png(&learned, learned.width(), learned.height(), ExtendedColorType::Rgb8)?;
        common::write_file(&snapshots::path(&args.out, done), png)?;
    }
    snapshots::remove_old(&args.out, args.steps)?;

    let curve = |label: &str, points| Curve { label: label.into(), points };
    let panel = |title, y_label, log_y, curves| Panel { title, x_label: "step", y_label, log_y, curves };
    let panels = [
        panel("Loss", "mean squared error", true, vec![curve("batches", losses)]),
        panel("Quality", "PSNR in dB", false, vec![curve("batches", batch_psnrs), curve("whole image", image_psnrs)]),
    ];
    plot::curves(&curves, &panels)?;
    compare(&comparison, args.steps, picture, &learned)?;
    println!("see step_*.png, curves.svg and comparison.svg in {}", args.out.display());
    Ok(())
}

/// Trains for this number of steps. Returns their mean loss.
pub fn train(learner: &Learner, steps: u32) -> Result<f64> {
    let training = &learner.training;
    let mut encoder = learner.gpu.device().create_command_encoder(&Default::default());
    training.record_clear_metrics(&mut encoder);
    training.record_steps(&mut encoder, steps);
    training.record_metrics(&mut encoder);
    let RowMetrics { loss, rows, .. } = read_buffer(&learner.gpu, encoder, training.metrics_buffer())?[0];
    if loss.is_finite() { Ok(f64::from(loss) / f64::from(rows)) } else { Err("the loss is no longer finite".into()) }
}

/// The image that the network computes.
pub fn render(learner: &Learner, picture: &RgbImage) -> Result<RgbImage> {
    let colours = learner.trainer.model().forward(&pixel_centres(picture))?;
    let bytes = colours.iter().map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
    Ok(RgbImage::from_raw(picture.width(), picture.height(), bytes).ok_or("expected a colour for each pixel")?)
}

/// The mean squared error of two images, with values scaled to 0 to 1.
pub fn squared_error(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(&a, &b): (&u8, &u8)| ((f64::from(a) - f64::from(b)) / 255.0).powi(2);
    a.as_raw().iter().zip(b.as_raw()).map(square).sum::<f64>() / a.as_raw().len() as f64
}

/// Draws the target, the network's output and their difference side by side.
fn compare(path: &Path, steps: u32, picture: &RgbImage, learned: &RgbImage) -> Result<()> {
    const GAIN: u8 = 8;
    let difference = |(&a, &b): (&u8, &u8)| a.abs_diff(b).saturating_mul(GAIN);
    let difference = picture.as_raw().iter().zip(learned.as_raw()).map(difference).collect();
    let (width, height) = picture.dimensions();
    let tile = |pixels, caption: String| Tile { pixels, width, height, caption, frame: None };
    let psnr = psnr(squared_error(picture, learned));
    let tiles = [
        tile(picture.as_raw().clone(), "target".into()),
        tile(learned.as_raw().clone(), format!("network: {psnr:.2} dB at step {steps}")),
        tile(difference, format!("difference, multiplied by {GAIN}")),
    ];
    picture::write_sheet(path, "An image learned from coordinates", &tiles, 3)
}

//! Runs without a window: trains during some frames, then measures noise and bias beside plain path tracing.

use std::path::Path;
use std::time::Instant;

use bytemuck::Zeroable;
use image::ExtendedColorType;
use wgrad::plan::RowMetrics;
use wgrad::wgpu;

use crate::Args;
use crate::cache::{Cache, Frame, Image, STEPS};
use crate::common::camera::Camera;
use crate::common::passes::{Pass, read_buffer, storage_buffer};
use crate::common::picture::{self, Tile};
use crate::common::{self, Result, snapshots, write_file};

/// The room fills the image: a pixel of the background would have no noise and no bias.
const CAMERA: Camera = Camera { yaw: 0.6, pitch: 0.2, distance: 2.2 };
/// Frames of a measurement. The training continues.
const MEASURED: u32 = 64;
/// Where a path asks the network: after this number of bounces.
const ENDS: [(u32, &str); 2] = [(0, "network at the first surface"), (1, "network after one bounce")];
/// The error images show errors this many times brighter.
const GAIN: f32 = 8.0;

pub fn run(args: &Args) -> Result<()> {
    let gpu = args.device.open_gpu()?;
    let names =
        ["sheet.svg", "reference.png", "plain.png", "cached_0.png", "cached_1.png", "error_0.png", "error_1.png"];
    let [sheet, reference_file, plain_file, cached_0, cached_1, error_0, error_1] =
        common::checked_outputs(&args.out, names)?;
    let mut studio = Studio { cache: Cache::new(gpu, args.size, args.seed)?, size: args.size, frames: 0 };

    let begun = Instant::now();
    let (reference, milliseconds) = studio.reference(args.reference)?;
    println!("reference of {} samples per pixel: {:.0} s", args.reference, begun.elapsed().as_secs_f64());
    studio.train(args.frames)?;

    println!(
        "plain path tracing: {milliseconds:.1} ms per frame, variance {:.6}, mean {:.4}",
        reference.variance,
        reference.mean()
    );
    let samples = format!("{} samples per pixel", args.reference);
    let plain = format!("plain path tracing\nvariance {:.5}", reference.variance);
    let mut images = vec![studio.save(&plain_file, &reference.last, plain)?];
    let mut errors =
        vec![Tile { frame: Some(picture::TARGET), ..studio.save(&reference_file, &reference.radiance, samples)? }];
    for ((bounces, name), [image_file, error_file]) in ENDS.into_iter().zip([[cached_0, error_0], [cached_1, error_1]])
    {
        let (measured, milliseconds) = studio.measure(bounces)?;
        let share = measured.variance / reference.variance;
        let bias = 100.0 * (measured.mean() / reference.mean() - 1.0).abs();
        let squared = measured.squared_bias(&reference);
        let pixel = 100.0 * squared.sqrt() / reference.mean();
        println!(
            "{name}: {milliseconds:.1} ms per frame with training, variance {:.6}, {share:.4} times that of plain path tracing; \
             bias of the mean {bias:.2}%, of a pixel {pixel:.2}%; mean squared error of a sample {:.4} times",
            measured.variance,
            (measured.variance + squared) / reference.variance
        );
        images.push(studio.save(&image_file, &measured.last, format!("{name}\nvariance {:.5}", measured.variance))?);
        let caption = format!("error of the mean, {GAIN} times\nmean {bias:.2}%, pixel {pixel:.2}%");
        errors.push(studio.save(&error_file, &measured.errors(&reference), caption)?);
    }
    let tiles: Vec<Tile> = images.into_iter().chain(errors).collect();
    picture::write_sheet(&sheet, "One sample per pixel, without and with the network", &tiles, 3)?;
    println!("see sheet.svg and the images in {}", args.out.display());
    Ok(())
}

/// The samples of an image: [height, width, 4], as in [`Image`].
struct Measured {
    /// The last sample of each pixel.
    last: Vec<f32>,
    /// The mean of the samples.
    radiance: Vec<f32>,
    /// The variance of a sample, a mean over pixels and colours. Its unit is that of the squared radiance.
    variance: f64,
    samples: f64,
}

impl Measured {
    fn new(last: Vec<f32>, sums: &[f32], squares: &[f32]) -> Self {
        let samples = f64::from(sums[3]);
        let radiance: Vec<f32> = sums.iter().map(|sum| sum / sums[3]).collect();
        let of_a_number = |(&sum, &square): (&f32, &f32)| {
            let (sum, square) = (f64::from(sum), f64::from(square));
            (square - sum * sum / samples) / (samples - 1.0)
        };
        let variance = mean_over_colours(sums.iter().zip(squares).map(of_a_number));
        Self { last, radiance, variance, samples }
    }

    /// The mean radiance of the image.
    fn mean(&self) -> f64 {
        mean_over_colours(self.radiance.iter().map(|&value| value.into()))
    }

    /// The squared error of a pixel's mean, a mean over pixels and colours. The noise that is left in the two means is
    /// subtracted.
    fn squared_bias(&self, reference: &Self) -> f64 {
        let pairs = self.radiance.iter().zip(&reference.radiance);
        let squared = mean_over_colours(pairs.map(|(a, b)| f64::from(a - b).powi(2)));
        let noise = self.variance / self.samples + reference.variance / reference.samples;
        (squared - noise).max(0.0)
    }

    /// The absolute errors, [height, width, 4], times [`GAIN`].
    fn errors(&self, reference: &Self) -> Vec<f32> {
        let pairs = self.radiance.iter().zip(&reference.radiance).enumerate();
        pairs.map(|(i, (a, b))| if i % 4 == 3 { 1.0 } else { GAIN * (a - b).abs() }).collect()
    }
}

/// The mean of all numbers except each fourth, which is no colour.
fn mean_over_colours(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (_, number) in numbers.enumerate().filter(|(i, _)| i % 4 != 3) {
        sum += number;
        count += 1.0;
    }
    sum / count
}

struct Studio {
    cache: Cache,
    size: u32,
    /// Number of frames with training.
    frames: u32,
}

impl Studio {
    /// Plain path tracing, and the time of a frame of one sample per pixel, in milliseconds.
    fn reference(&self, samples: u32) -> Result<(Measured, f64)> {
        // Samples per submission. An operating system resets a GPU after some seconds; this takes much less.
        const EACH: u32 = 16;
        let mut begun = Instant::now();
        for seed in 0..samples / EACH {
            let mut encoder = self.begin(Frame { seed, samples: EACH, ..Frame::zeroed() });
            self.cache.record_plain(&mut encoder);
            self.cache.gpu.queue().submit([encoder.finish()]);
            if seed == 0 {
                // Its time is that of the driver's compiler.
                self.cache.gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
                begun = Instant::now();
            }
        }
        let measured = self.read_image(&self.cache.plain)?;
        Ok((measured, begun.elapsed().as_secs_f64() * 1e3 / f64::from(samples - EACH)))
    }

    /// Draws and trains for a number of frames. Prints the loss after 1, 2, 4, 8, ... frames.
    fn train(&mut self, frames: u32) -> Result<()> {
        let (begun, training) = (Instant::now(), self.cache.training.clone());
        for next in snapshots::steps(frames) {
            let mut encoder = self.begin(Frame::zeroed());
            training.record_clear_metrics(&mut encoder);
            self.cache.gpu.queue().submit([encoder.finish()]);
            while self.frames < next {
                self.draw_and_train(1);
            }
            let mut encoder = self.begin(Frame::zeroed());
            training.record_metrics(&mut encoder);
            let metrics: RowMetrics = read_buffer(&self.cache.gpu, encoder, training.metrics_buffer())?[0];
            let loss = f64::from(metrics.loss) / f64::from(metrics.rows);
            let (steps, seconds) = (next * STEPS, begun.elapsed().as_secs_f64());
            println!("frame {next:>5}: {steps} steps, {seconds:.1} s, relative L2 {loss:.4}");
        }
        Ok(())
    }

    /// Measures the image with the network, and the time of a frame in milliseconds. The training continues, so its
    /// changes count as noise.
    fn measure(&mut self, bounces: u32) -> Result<(Measured, f64)> {
        let begun = Instant::now();
        let mut encoder = self.begin(Frame::zeroed());
        self.cache.cached.record_clear(&mut encoder);
        self.cache.gpu.queue().submit([encoder.finish()]);
        for _ in 0..MEASURED {
            self.draw_and_train(bounces);
        }
        let measured = self.read_image(&self.cache.cached)?;
        Ok((measured, begun.elapsed().as_secs_f64() * 1e3 / f64::from(MEASURED)))
    }

    /// Submits a frame.
    fn draw_and_train(&mut self, bounces: u32) {
        let mut encoder = self.begin(Frame { seed: self.frames, bounces, ..Frame::zeroed() });
        self.cache.record(&mut encoder);
        self.cache.training.record_steps(&mut encoder, STEPS);
        self.cache.gpu.queue().submit([encoder.finish()]);
        self.frames += 1;
    }

    fn read_image(&self, image: &Image) -> Result<Measured> {
        let read = |buffer| read_buffer(&self.cache.gpu, self.begin(Frame::zeroed()), buffer);
        Ok(Measured::new(read(&image.frame)?, &read(&image.sums)?, &read(&image.squares)?))
    }

    /// Writes radiance, [height, width, 4], to a PNG file.
    fn save(&self, path: &Path, radiance: &[f32], caption: String) -> Result<Tile> {
        let (gpu, pixels) = (&self.cache.gpu, u64::from(self.size * self.size));
        let (shown, picture) = (storage_buffer(gpu.device(), pixels * 16), storage_buffer(gpu.device(), pixels * 4));
        let resources = [(0, &self.cache.frame), (9, &shown), (11, &picture)];
        let resources = resources.map(|(binding, buffer)| (binding, buffer.as_entire_binding()));
        let show = Pass::new(gpu.device(), &self.cache.module, "show", &resources);
        gpu.queue().write_buffer(&shown, 0, bytemuck::cast_slice(radiance));
        let mut encoder = self.begin(Frame::zeroed());
        show.record(&mut encoder, self.cache.grid());
        let pixels =
            read_buffer::<[u8; 4]>(gpu, encoder, &picture)?.into_iter().flat_map(|[r, g, b, _]| [r, g, b]).collect();
        let tile = Tile { pixels, width: self.size, height: self.size, caption, frame: None };
        write_file(path, picture::encode_png(&tile.pixels, self.size, self.size, ExtendedColorType::Rgb8)?)?;
        Ok(tile)
    }

    /// Starts a frame: writes its uniforms and creates its encoder.
    fn begin(&self, frame: Frame) -> wgpu::CommandEncoder {
        self.cache.write(CAMERA, frame);
        self.cache.gpu.device().create_command_encoder(&Default::default())
    }
}

//! Trains a denoiser inside the frames of a renderer. A path tracer draws a room with one sample per pixel.
//!
//! In the same encoder, a small U-Net trains on random crops of the last frames, and denoises the image. Its targets
//! are other samples of the view. While the camera moves, a target is one sample (Noise2Noise; Lehtinen et al., 2018).
//! Else it is the mean of all samples.
//!
//! The window shows the noisy image on the left and the denoised image on the right. Drag to look around, use the
//! wheel to zoom.
//!
//! With `--headless` it trains for 3 minutes, then prints PSNR and SSIM of views outside the training data. It writes
//! view_*.png, sheet.svg (all views with their scores) and curves.svg (loss and PSNR).
//! `--headless` takes about 4 minutes on two CPU cores with a software adapter.
//!
//!     cargo run --release --example denoise
//!     cargo run --release --example denoise -- --headless

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod denoiser;
mod headless;
mod renderer;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};

/// Trains a denoiser for a path tracer with one sample per pixel.
#[derive(Parser)]
struct Args {
    /// Runs without a window, and writes images and plots
    #[arg(long)]
    headless: bool,
    /// Time of rendering and training with --headless, in minutes
    #[arg(long, default_value_t = 3.0, value_parser = minutes)]
    minutes: f64,
    /// Largest number of training steps with --headless [default: no limit]
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true, value_parser = integer(1..=u32::MAX))]
    steps: u32,
    /// Samples per pixel of the reference images
    #[arg(long, default_value_t = 1024, value_parser = integer(1..=16384))]
    reference: u32,
    /// Width and height of the image, in pixels, rounded up to a multiple of 8
    #[arg(long, default_value_t = 128, value_parser = integer(32..=1024))]
    size: u32,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the images and plots
    #[arg(long, value_name = "DIR", default_value = "out/denoise")]
    out: PathBuf,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn minutes(word: &str) -> Result<f64, String> {
    let number = word.parse().ok().filter(|minutes| (0.0..=1440.0).contains(minutes));
    number.ok_or_else(|| "expected a number from 0 to 1440".into())
}

fn main() -> ExitCode {
    let mut args = options::parse::<Args>();
    args.size = args.size.next_multiple_of(8);
    common::exit_code(if args.headless { headless::run(&args) } else { window::run(&args) })
}

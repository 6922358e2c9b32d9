//! A denoiser that learns inside a renderer's frame. The app's path tracer draws a room at one sample a pixel. In the
//! same encoder a small U-Net trains on random crops of the last frames and denoises the picture. Its targets are other
//! samples of the view: one while the camera moves (Noise2Noise; Lehtinen et al., 2018), their mean while it rests.
//! The window shows noisy on the left and denoised on the right: drag to look around, turn the wheel to come closer.
//! Without one it trains for some minutes and writes pictures of views that it has not trained on.
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
use common::options::{self, seed, whole};

/// Learns to denoise what a path tracer draws at one sample a pixel.
#[derive(Parser)]
struct Args {
    /// Without a window: writes pictures and curves
    #[arg(long)]
    headless: bool,
    /// Minutes of rendering and training without a window
    #[arg(long, default_value_t = 3.0, value_parser = minutes)]
    minutes: f64,
    /// Ends the training after this number of steps, if that is sooner
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true, value_parser = whole(1..=u32::MAX))]
    steps: u32,
    /// Samples a pixel of the pictures that results are compared with
    #[arg(long, default_value_t = 1024, value_parser = whole(1..=16384))]
    reference: u32,
    /// Width and height of the picture, in pixels, rounded up to a multiple of 8
    #[arg(long, default_value_t = 128, value_parser = whole(32..=1024))]
    size: u32,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/denoise")]
    out: PathBuf,
    /// auto or part of a GPU's name
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

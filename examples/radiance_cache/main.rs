//! A path tracer with a neural radiance cache (Müller, Rousselle, Novák and Keller, "Real-time Neural Radiance Caching
//! for Path Tracing", 2021). A network learns the light of all surfaces while the app draws its frames.
//!
//! In one encoder, each frame traces a short path through each pixel. The network predicts the light at its end: at the
//! first diffuse surface, or with `--bounces` at a later one, which has more noise and less bias. The frame also traces
//! some thousand training paths of three bounces. Their targets use the network too, for the light beyond their ends.
//! Then the network trains on them: a hash grid, the relative L2 loss, and an average of the weights for the
//! predictions.
//!
//! The window shows plain path tracing on the left and the network's image on the right, both with one sample per
//! pixel. Drag to look around, use the wheel to zoom.
//!
//! With `--headless` it trains for 512 frames, then prints the variance of a pixel and the bias of the mean image beside
//! plain path tracing. It writes reference.png, plain.png, cached_*.png, error_*.png and sheet.svg (all images).
//! `--headless` takes about 1 minute on two CPU cores with a software adapter.
//!
//!     cargo run --release --example radiance_cache
//!     cargo run --release --example radiance_cache -- --headless

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod cache;
mod headless;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};

/// Draws a room with short paths that end in a network, which learns the light during the frames.
#[derive(Parser)]
struct Args {
    /// Runs without a window, and writes images
    #[arg(long)]
    headless: bool,
    /// Number of frames of training with --headless, before the measurement
    #[arg(long, default_value_t = 512, value_parser = integer(1..=1_000_000))]
    frames: u32,
    /// Bounces of a path before it asks the network, in the window; --headless measures 0 and 1
    #[arg(long, default_value_t = 0, value_parser = integer(0..=8))]
    bounces: u32,
    /// Samples per pixel of the reference image, rounded up to a multiple of 16
    #[arg(long, default_value_t = 1024, value_parser = integer(32..=16384))]
    reference: u32,
    /// Width and height of the image, in pixels
    #[arg(long, default_value_t = 128, value_parser = integer(32..=1024))]
    size: u32,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the images
    #[arg(long, value_name = "DIR", default_value = "out/radiance_cache")]
    out: PathBuf,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    let mut args = options::parse::<Args>();
    args.reference = args.reference.next_multiple_of(16);
    common::exit_code(if args.headless { headless::run(&args) } else { window::run(&args) })
}

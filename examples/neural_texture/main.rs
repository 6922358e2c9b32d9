//! Compresses a material of nine channels into a pyramid of latents and a small network, after Vaidyanathan et al.,
//! "Random-Access Neural Compression of Material Textures" (SIGGRAPH 2023). The app's fragment shader decodes the
//! material at any place and any level of detail.
//!
//! The window shows a plane with the material during training: the original textures on the left, the compressed ones
//! on the right. Drag to move, use the wheel to zoom.
//!
//! With `--headless` it trains, writes material.safetensors, and reads this file again. It prints their bits per
//! texel and PSNR beside JPEG and BC. It writes crops.png and plane.png (images of the material), results.csv and
//! curves.svg.
//!
//!     cargo run --release --example neural_texture
//!     cargo run --release --example neural_texture -- --headless

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod baselines;
mod file;
mod headless;
mod learner;
mod material;
mod pyramid;
mod viewer;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};

/// Compresses a material into latents and a small network that a fragment shader decodes.
#[derive(Parser)]
struct Args {
    /// Runs without a window, and writes the compressed material, images and figures
    #[arg(long)]
    headless: bool,
    /// Width and height of the material in texels, rounded up to a power of two
    #[arg(long, default_value_t = 512, value_parser = integer(64..=2048))]
    size: u32,
    /// Bits of a latent
    #[arg(long, default_value_t = 3, value_parser = integer(1..=8))]
    bits: u32,
    /// Number of training steps with --headless
    #[arg(long, default_value_t = 10_000, value_parser = integer(1..=u32::MAX))]
    steps: u32,
    /// Seed of the initial weights and the samples
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = "out/neural_texture")]
    out: PathBuf,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    let mut args = options::parse::<Args>();
    args.size = args.size.next_power_of_two();
    common::exit_code(if args.headless { headless::run(&args) } else { window::run(&args) })
}

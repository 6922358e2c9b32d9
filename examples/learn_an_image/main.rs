//! Trains a network to represent an image: the input is a position, the output its colour.
//!
//! The network is a hash grid (Müller et al., 2022) with four layers of 64 units.
//! The window shows the network's output during training. Drag to pan, use the wheel to zoom.
//!
//! With `--headless` it prints loss and PSNR after 1, 2, 4, 8, ... steps. It writes step_*.png (the network's output),
//! curves.svg and comparison.svg.
//! `--headless` takes about 2 minutes on two CPU cores with a software adapter.
//!
//! With `--compare` it trains two networks for equal times, one as usual and one with an op for each layer
//! (`TrainerConfig::op_by_op`), in turns. It prints the PSNR of both.
//!
//!     cargo run --release --example learn_an_image
//!     cargo run --release --example learn_an_image -- --headless --image FILE
//!     cargo run --release --example learn_an_image -- --compare

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod comparison;
mod headless;
mod landscape;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};
use image::RgbImage;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Gpu, HashGrid, Loss, Network, Schedule, Trainer, TrainerConfig, Training};

/// Trains a network that computes the colours of an image from coordinates.
#[derive(Parser)]
struct Args {
    /// PNG or JPEG image to learn [default: a landscape drawn by the program]
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Longest side of the image, in pixels; larger images are scaled down
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = integer(16..=4096))]
    size: u32,
    /// Runs without a window, and writes images and plots
    #[arg(long)]
    headless: bool,
    /// Trains without a window and prints the PSNR beside that of training op by op, after equal times
    #[arg(long, conflicts_with = "headless")]
    compare: bool,
    /// Number of training steps with --headless or --compare
    #[arg(long, default_value_t = 1024, value_parser = integer(1..=u32::MAX))]
    steps: u32,
    /// Batch size, in pixels
    #[arg(long, default_value_t = 4096, value_parser = integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Seed of the initial weights and the shuffle
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the images and plots
    #[arg(long, value_name = "DIR", default_value = "out/learn_an_image")]
    out: PathBuf,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    let args = options::parse::<Args>();
    let run = || {
        // The file is read first, because it may be invalid. The landscape is drawn last, because that takes seconds.
        let file = args.image.as_ref().map(|file| common::picture::load_at_most(file, args.size)).transpose()?;
        let picture = || file.unwrap_or_else(|| landscape::draw(args.size));
        match args {
            Args { headless: true, .. } => headless::run(&args, picture),
            Args { compare: true, .. } => comparison::run(&args, picture),
            _ => window::run(&args, picture),
        }
    };
    common::exit_code(run())
}

/// The network of an image, and its training.
struct Learner {
    gpu: Gpu,
    trainer: Trainer,
    training: Training,
}

impl Learner {
    /// The finest level of the hash grid has the resolution of the image. Adam has the parameters of Instant NGP. If
    /// `steps` is given, the learning rate decays over these steps; else it is constant.
    fn new(gpu: Gpu, args: &Args, picture: &RgbImage, steps: Option<u32>) -> Result<Self> {
        Self::with_ops(gpu, args, picture, steps, false)
    }

    /// `op_by_op`: see [`TrainerConfig::op_by_op`].
    fn with_ops(gpu: Gpu, args: &Args, picture: &RgbImage, steps: Option<u32>, op_by_op: bool) -> Result<Self> {
        let (width, height) = picture.dimensions();
        let finest = width.max(height);
        let base_resolution = HashGrid::default().base_resolution.min(finest);
        let grid = HashGrid { levels: 8, log2_hashmap_size: 15, base_resolution, ..HashGrid::default() }.up_to(finest);
        let hidden = (0..4).fold(Network::input(2).encoding(grid), |network, _| network.dense(64, Relu));
        let network = hidden.dense(3, Identity).build()?;
        if !op_by_op {
            println!("{}", network.summary());
        }

        let schedule = steps.map_or(Schedule::constant(), |steps| Schedule::cosine(steps, 0.05));
        let config =
            TrainerConfig { batch: args.batch, seed: args.seed, schedule, op_by_op, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.01, beta2: 0.99, epsilon: 1e-15, ..Adam::default() };
        let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, adam, config)
            .map_err(|e| options::suggest_smaller("--batch", e))?;
        let training = trainer.prepare(&pixels(picture)?)?;
        Ok(Self { gpu, trainer, training })
    }
}

/// A sample for each pixel. Its features are the pixel's centre, and its target is the colour. The image is 1 wide and
/// 1 high.
fn pixels(picture: &RgbImage) -> Result<Dataset> {
    let colours = picture.as_raw().iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Ok(Dataset::from_f32_targets(pixel_centres(picture), 2, colours, 3)?)
}

/// The centres of all pixels, x and y from 0 to 1.
fn pixel_centres(picture: &RgbImage) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let middle = |i: u32, n: u32| (i as f32 + 0.5) / n as f32;
    (0..height).flat_map(|y| (0..width).flat_map(move |x| [middle(x, width), middle(y, height)])).collect()
}

/// Peak signal-to-noise ratio (PSNR) in decibels, from the mean squared error of values from 0 to 1.
fn psnr(mean_squared_error: f64) -> f64 {
    -10.0 * mean_squared_error.log10()
}

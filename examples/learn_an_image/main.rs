//! Learns a picture: a network that makes the colour of every place from its coordinates, by a hash grid (Müller et al.,
//! 2022) and four small layers. In a window it trains within the frame while you look around: drag to pan, turn the wheel
//! to zoom. Without one it writes what it has learned at every power of two steps, its curves and a comparison.
//!
//!     cargo run --release --example learn_an_image
//!     cargo run --release --example learn_an_image -- --headless --image FILE

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod headless;
mod landscape;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, seed, whole};
use image::RgbImage;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Gpu, HashGrid, Loss, Network, Schedule, Trainer, TrainerConfig, Training};

/// Learns a picture from coordinates.
#[derive(Parser)]
struct Args {
    /// PNG or JPEG picture to learn; without one, a landscape that the program draws
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Longest side, in pixels: larger pictures are scaled down
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = whole(16..=4096))]
    size: u32,
    /// Without a window: writes pictures and curves
    #[arg(long)]
    headless: bool,
    /// Steps without a window
    #[arg(long, default_value_t = 1024, value_parser = whole(1..=u32::MAX))]
    steps: u32,
    /// Pixels of a step
    #[arg(long, default_value_t = 4096, value_parser = whole(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Seed of the initial weights and of the order of pixels
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/learn_an_image")]
    out: PathBuf,
    /// auto or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    let args = options::parse::<Args>();
    let run = || {
        // A file is read first, as it may be no picture; the landscape is drawn last, as that takes seconds.
        let file = args.image.as_ref().map(|file| common::picture::load_at_most(file, args.size)).transpose()?;
        let picture = || file.unwrap_or_else(|| landscape::draw(args.size));
        if args.headless { headless::run(&args, picture) } else { window::run(&args, picture) }
    };
    common::exit_code(run())
}

/// A picture's network in training.
struct Learner {
    gpu: Gpu,
    trainer: Trainer,
    training: Training,
}

impl Learner {
    /// A hash grid as fine as the picture, four layers of 64, and Adam as Instant NGP has it. The rate falls over `steps`
    /// where there is an end.
    fn new(gpu: Gpu, args: &Args, picture: &RgbImage, steps: Option<u32>) -> Result<Self> {
        let (width, height) = picture.dimensions();
        let finest = width.max(height);
        let base_resolution = HashGrid::default().base_resolution.min(finest);
        let grid = HashGrid { levels: 10, log2_hashmap_size: 15, base_resolution, ..HashGrid::default() }.up_to(finest);
        let hidden = (0..4).fold(Network::input(2).encoding(grid), |network, _| network.dense(64, Relu));
        let network = hidden.dense(3, Identity).build()?;
        println!("{}", network.summary());

        let schedule = steps.map_or(Schedule::constant(), |steps| Schedule::cosine(steps, 0.05));
        let config = TrainerConfig { batch: args.batch, seed: args.seed, schedule, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.01, beta2: 0.99, epsilon: 1e-15, ..Adam::default() };
        let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, adam, config)
            .map_err(|e| options::blame("--batch", e))?;
        let training = trainer.prepare(&pixels(picture)?)?;
        Ok(Self { gpu, trainer, training })
    }
}

/// A row for each pixel: where its middle lies, the picture being 1 wide and 1 high, and its colour.
fn pixels(picture: &RgbImage) -> Result<Dataset> {
    let colours = picture.as_raw().iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Ok(Dataset::from_f32_targets(places(picture), 2, colours, 3)?)
}

fn places(picture: &RgbImage) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let middle = |i: u32, n: u32| (i as f32 + 0.5) / n as f32;
    (0..height).flat_map(|y| (0..width).flat_map(move |x| [middle(x, width), middle(y, height)])).collect()
}

/// Peak signal-to-noise ratio in decibels, of a mean squared error of values from 0 to 1.
fn decibels(mean_squared_error: f64) -> f64 {
    -10.0 * mean_squared_error.log10()
}

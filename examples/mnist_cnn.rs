//! Trains a convolutional network on MNIST: a small one with data augmentation, or the network of Keras' tutorial.
//!
//! Prints the loss and the accuracy of each epoch, then the test accuracy.
//! With `--plot`, writes training curves, filters, feature maps, test digits and the confusion matrix.
//! Takes about 6 minutes on two CPU cores with a software adapter and the default options.
//!
//!     cargo run --release --example mnist_cnn
//!     cargo run --release --example mnist_cnn -- --network keras --plot out/mnist_cnn

#[macro_use]
mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use common::options::{self, integer, rate, seed};
use common::picture::{self, Tile};
use common::{Result, device::DeviceChoice, digit_plots, progress::Progress, report};
use wgrad::Activation::{Relu, Softmax};
use wgrad::mnist::{Mnist, SIDE, TRAIN_ROWS};
use wgrad::{Adam, Augmentation, Conv, Dataset, Fit, Layer, LoadWeights, Loss, Model, Naming, Network};
use wgrad::{NetworkBuilder, Schedule, Trainer, TrainerConfig};

/// Trains a convolutional network on MNIST, on a GPU.
#[derive(Parser)]
struct Args {
    /// Network, and its augmentation and learning-rate schedule
    #[arg(long, value_enum, default_value_t = NetworkName::Small)]
    network: NetworkName,
    /// Number of epochs
    #[arg(long, default_value_t = 8, value_parser = integer(1..=u32::MAX))]
    epochs: u32,
    /// Number of training images; the first ones are used
    #[arg(long, default_value_t = TRAIN_ROWS as u32, value_parser = integer(1..=TRAIN_ROWS as u32))]
    rows: u32,
    /// Batch size, in images
    #[arg(long, default_value_t = 128, value_parser = integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Learning rate of Adam, before the schedule [default: 0.003 for small, 0.001 for keras]
    #[arg(long, value_parser = rate)]
    learning_rate: Option<f32>,
    /// Seed of the initial weights, the shuffle, dropout and augmentation
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Folder of the four MNIST files, compressed (.gz) or not
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    data: PathBuf,
    /// File for the trained model
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Folder for plots: training curves, filters, feature maps, test digits and confusion matrix
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// File for the results, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum NetworkName {
    /// Three convolutions with batch normalisation, trained with augmentation and a cosine schedule
    Small,
    /// Two convolutions with dropout, as in Keras' convnet for MNIST
    Keras,
}

/// Names of the plots, besides those of `digit_plots`.
const PLOTS: [&str; 2] = ["filters.svg", "features.svg"];

fn main() -> ExitCode {
    let start = Instant::now();
    common::exit_code(run(&options::parse(), start))
}

fn run(args: &Args, start: Instant) -> Result<()> {
    let plots =
        args.plot.iter().flat_map(|folder| digit_plots::FILES.iter().chain(&PLOTS).map(|plot| folder.join(plot)));
    common::check_outputs([&args.save, &args.json].into_iter().flatten().cloned().chain(plots))?;
    let Mnist { train, test } = Mnist::read(&args.data)?;
    let rows = args.rows as usize;
    let train = if rows < TRAIN_ROWS { train.split(rows)?.0 } else { train };
    let train = args.network.augmented(train)?;

    let config = TrainerConfig { batch: args.batch, seed: args.seed, ..TrainerConfig::default() };
    let schedule = args.network.schedule(config.updates(rows, args.epochs));
    let adam = Adam { learning_rate: args.learning_rate.unwrap_or(args.network.learning_rate()), ..Adam::default() };
    let config = TrainerConfig { schedule, ..config };
    let network = args.network.network()?;
    let mut trainer = Trainer::new(args.device.open()?, &network, Loss::SoftmaxCrossEntropy, adam, config)
        .map_err(|e| options::suggest_smaller("--batch", e))?;
    println!("{}", network.summary());

    let mut progress = Progress::new(args.epochs, args.batch);
    let fit = Fit { epochs: args.epochs, validation: Some(&test), live: progress.is_shown(), ..Fit::default() };
    trainer.fit(train, fit, |event| progress.show(event))?;
    let seconds_to_first_step = progress.seconds_to_first_step(start);

    let model = trainer.model();
    if let Some(path) = &args.save {
        model.save(path)?;
    }
    if let Some(path) = &args.json {
        let result = trainer.evaluate(&test)?;
        report::write_training(path, &trainer, seconds_to_first_step, result)?;
    }
    let scores = model.score(&test)?;
    if let Some(folder) = &args.plot {
        digit_plots::draw_history(folder, trainer.history())?;
        digit_plots::draw_scores(folder, &test, &scores)?;
        draw_filters(&folder.join(PLOTS[0]), &model)?;
        draw_features(&folder.join(PLOTS[1]), args.network, &trainer, &test)?;
        println!("plots are in {}", folder.display());
    }
    println!("test accuracy {:.2}%", scores.accuracy() * 100.0);
    Ok(())
}

impl NetworkName {
    fn network(self) -> wgrad::Result<Network> {
        let head = match self {
            Self::Small => self.blocks(3).flatten().dropout(0.3),
            Self::Keras => self.blocks(2).flatten().dropout(0.5),
        };
        head.dense(10, Softmax).build()
    }

    /// The first `blocks` convolutions, each with its pooling, normalisation and activation. Pooling comes before
    /// batch normalisation, which then has a quarter of the numbers to process.
    fn blocks(self, blocks: usize) -> NetworkBuilder {
        let input = Network::input([SIDE as u32, SIDE as u32, 1]);
        let small = |network: NetworkBuilder, conv: Conv, pool: bool| {
            let network = network.layer(conv.without_bias());
            let network = if pool { network.max_pool(2) } else { network };
            network.batch_norm().activation(Relu)
        };
        (0..blocks).fold(input, |network, block| match (self, block) {
            (Self::Small, 0) => small(network, Conv::new(24, 5).same(), true),
            (Self::Small, 1) => small(network, Conv::new(48, 3).same(), true),
            (Self::Small, _) => small(network, Conv::new(64, 3), false),
            (Self::Keras, 0) => network.conv(32, 3, Relu).max_pool(2),
            (Self::Keras, _) => network.conv(64, 3, Relu).max_pool(2),
        })
    }

    fn augmented(self, data: Dataset) -> wgrad::Result<Dataset> {
        match self {
            Self::Small => {
                let augmentation =
                    Augmentation { shift: 2, rotation: 10.0, scale: [0.9, 1.1], ..Augmentation::default() };
                data.with_augmentation("input", augmentation)
            }
            Self::Keras => Ok(data),
        }
    }

    fn schedule(self, updates: u32) -> Schedule {
        match self {
            Self::Small => Schedule::cosine(updates, 0.001),
            Self::Keras => Schedule::constant(),
        }
    }

    fn learning_rate(self) -> f32 {
        if self == Self::Small { 0.003 } else { 0.001 }
    }
}

/// Draws the filters of the first convolution. White is the largest absolute weight, black its negative.
fn draw_filters(path: &Path, model: &Model) -> Result<()> {
    let [height, width, _, filters] = model.network().parameters()[0].shape[..] else {
        return Err("the first layer is not a convolution".into());
    };
    let parameters = model.parameters()?;
    let weights = &parameters[..(height * width * filters) as usize];
    let largest = weights.iter().fold(f32::MIN_POSITIVE, |largest, w| largest.max(w.abs()));
    let tile = |filter: usize| {
        let taps = weights[filter..].iter().step_by(filters as usize);
        let pixels = taps.map(|w| ((w / largest + 1.0) * 127.5).round() as u8).collect();
        Tile { pixels, width, height, caption: filter.to_string(), frame: None }
    };
    let tiles: Vec<Tile> = (0..filters as usize).map(tile).collect();
    picture::write_sheet(path, "Filters of the first convolution", &tiles, 8)
}

/// Draws the first feature maps of each block for a test digit. White is the largest value of the block.
fn draw_features(path: &Path, name: NetworkName, trainer: &Trainer, data: &Dataset) -> Result<()> {
    const SHOWN: usize = 12;
    let weights = trainer.model().weights_to_bytes(Naming::Wgrad)?;
    let digit = data.features_of(0..1);
    let side = SIDE as u32;
    let ink: Vec<u8> = digit.iter().map(|ink| (ink * 255.0).round() as u8).collect();
    let mut tiles = Vec::new();
    let convolutions = trainer.network().layers().filter(|(_, layer)| matches!(layer, Layer::Conv(_))).count();
    for block in 1..=convolutions {
        let network = name.blocks(block).build()?;
        let [height, width, maps] = network.output_specs()[0].shape[..] else { continue };
        let options = LoadWeights::new().ignore_others();
        let model = Model::weights_from_bytes_with(trainer.device().clone(), &network, &weights, &options)?;
        let features = model.forward(&digit)?;
        let largest = features.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let caption = "input".into();
        tiles.push(Tile { pixels: ink.clone(), width: side, height: side, caption, frame: None });
        tiles.extend((0..SHOWN.min(maps as usize)).map(|map| {
            let numbers = features[map..].iter().step_by(maps as usize);
            let pixels = numbers.map(|n| (n / largest * 255.0).clamp(0.0, 255.0).round() as u8).collect();
            Tile { pixels, width, height, caption: format!("block {block}, map {map}"), frame: None }
        }));
    }
    picture::write_sheet(path, "Feature maps of a test digit", &tiles, SHOWN + 1)
}

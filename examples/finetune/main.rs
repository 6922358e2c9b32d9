//! Trains a model of another program further, and gives it back: ONNX in, ONNX out.
//!
//! `digits_0_to_4.onnx` is a classifier of the digits 0 to 4, made by PyTorch with `digits.py`. The example loads it,
//! replaces its head by one for all ten digits, trains it on MNIST and saves it as ONNX again.
//! Prints the accuracy before and after. Takes under a minute on two CPU cores with a software adapter.
//!
//!     cargo run --release --example finetune
//!     cargo run --release --example finetune -- --epochs 3 --save out/digits.onnx

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Result, device::DeviceChoice, options, progress::Progress};
use wgrad::Activation::Identity;
use wgrad::mnist::{Mnist, TRAIN_ROWS};
use wgrad::{Adam, Dataset, Dense, Fit, Loss, Model, Network, Schedule, Trainer, TrainerConfig};

/// Loads a classifier of five digits from an ONNX file, trains it on ten digits and saves it as ONNX.
#[derive(Parser)]
struct Args {
    /// ONNX file of the classifier; its last layer is named "head"
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/finetune/digits_0_to_4.onnx"))]
    load: PathBuf,
    /// ONNX file for the trained classifier
    #[arg(long, value_name = "FILE", default_value = "out/digits_0_to_9.onnx")]
    save: PathBuf,
    /// Number of epochs
    #[arg(long, default_value_t = 1, value_parser = options::integer(1..=u32::MAX))]
    epochs: u32,
    /// Number of training images; the first ones are used
    #[arg(long, default_value_t = TRAIN_ROWS as u32, value_parser = options::integer(1..=TRAIN_ROWS as u32))]
    rows: u32,
    /// Batch size, in images
    #[arg(long, default_value_t = 128, value_parser = options::integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Seed of the new head's weights and of the shuffle
    #[arg(long, default_value_t = 0, value_parser = options::seed)]
    seed: u64,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Folder of the four MNIST files, compressed (.gz) or not
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    data: PathBuf,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    common::check_outputs([&args.save])?;
    let device = args.device.open()?;
    let Mnist { train, test } = Mnist::read(&args.data)?;
    let rows = args.rows as usize;
    let train = if rows < train.rows() { train.split(rows)?.0 } else { train };

    let bytes = std::fs::read(&args.load).map_err(|error| format!("{}: {error}", args.load.display()))?;
    let (five, weights) = Network::from_onnx(&bytes)?;
    println!("{}", five.summary());
    let loaded = predictions(&Model::new(&device, &five, &weights)?, &test)?;
    println!("loaded: {:.2}% of the test digits 0 to 4 are right", 100.0 * accuracy(&loaded, &test, 5));
    println!("loaded: {:.2}% of all test digits are right", 100.0 * accuracy(&loaded, &test, 10));

    // The layers before the head keep their weights.
    let network = five.with_layer("head", Dense::new(10, Identity))?;
    let weights = network.initial_parameters_from(args.seed, &five, &weights)?;
    let config = TrainerConfig { batch: args.batch, seed: args.seed, ..TrainerConfig::default() };
    let schedule = Schedule::cosine(config.updates(rows, args.epochs), 0.0001);
    let (adam, config) = (Adam { learning_rate: 0.003, ..Adam::default() }, TrainerConfig { schedule, ..config });
    let mut trainer = Trainer::from_parameters(&device, &network, Loss::SoftmaxCrossEntropy, adam, config, &weights)?;
    let start = Instant::now();
    let mut progress = Progress::new(args.epochs, args.batch);
    let fit = Fit { epochs: args.epochs, live: progress.is_shown(), ..Fit::default() };
    trainer.fit(train, fit, |event| progress.show(event))?;
    println!("trained on {rows} images for {} epochs in {:.1} s", args.epochs, start.elapsed().as_secs_f64());

    let model = trainer.model();
    let trained = predictions(&model, &test)?;
    println!("trained: {:.2}% of the test digits 0 to 4 are right", 100.0 * accuracy(&trained, &test, 5));
    println!("trained: {:.2}% of all test digits are right", 100.0 * accuracy(&trained, &test, 10));
    model.save_onnx(&args.save)?;
    let saved = predictions(&Model::from_onnx(&device, &std::fs::read(&args.save)?)?, &test)?;
    let same = saved.iter().zip(&trained).filter(|(saved, trained)| saved == trained).count();
    println!("the saved file gives the same digit for {same} of {} test images", test.rows());
    println!("the model is in {}", args.save.display());
    Ok(())
}

/// The digit of each image.
fn predictions(model: &Model, data: &Dataset) -> Result<Vec<u32>> {
    Ok(model.predict(&data.features_of(0..data.rows()))?)
}

/// The share of right predictions among the images of the digits below `digits`.
fn accuracy(predictions: &[u32], data: &Dataset, digits: u32) -> f64 {
    let pairs: Vec<_> = predictions.iter().zip(data.labels()).filter(|(_, label)| **label < digits).collect();
    pairs.iter().filter(|(prediction, label)| prediction == label).count() as f64 / pairs.len() as f64
}

//! Trains a 784-512-256-128-10 network on MNIST, on any GPU.
//!
//! Prints the loss and the accuracy of each epoch, then the test accuracy: about 98.5% with the default options.
//! Saves, loads and resumes models, writes results as JSON, and draws plots if an option asks for it.
//! Takes about 1 to 5 minutes on two CPU cores with a software adapter.
//! `mnist_options` trains other networks, with other optimizers and schedules.
//!
//!     cargo run --release --example mnist_gpu
//!     cargo run --release --example mnist_gpu -- --epochs 3 --batch 128 --plot out/mnist_gpu

#[macro_use]
mod common;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::{Result, device::DeviceChoice, mnist_files::MnistFiles, options, progress::Progress};
use wgrad::Activation::{Relu, Softmax};
use wgrad::mnist::{Mnist, TRAIN_ROWS};
use wgrad::{Adam, Fit, Loss, Network, Resume, Schedule, Trainer, TrainerConfig};

/// Trains a dense network on MNIST, on a GPU.
#[derive(Parser)]
struct Args {
    /// Total number of epochs, including those before a resume
    #[arg(long, default_value_t = 10, value_parser = options::integer(1..=u32::MAX))]
    epochs: u32,
    /// Batch size, in images [default: 32, or that of the resumed run]
    #[arg(long, conflicts_with = "load", value_parser = options::integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: Option<u32>,
    /// Seed of the initial weights and the shuffle; a resumed run keeps its seed
    #[arg(long, conflicts_with = "load", default_value_t = 0, value_parser = options::seed)]
    seed: u64,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    #[command(flatten)]
    files: MnistFiles,
}

fn main() -> ExitCode {
    let start = Instant::now();
    common::exit_code(run(&options::parse(), start))
}

fn run(args: &Args, start: Instant) -> Result<()> {
    args.files.check(None)?;
    let data = args.files.start_reading(); // in a thread, while the GPU opens
    let device = args.device.open()?;
    if args.files.load.is_some() {
        return args.files.evaluate_saved(&device, &data()?.test).map(|_| ());
    }
    let trainer = match args.files.checkpoint() {
        Some(path) => Trainer::resume_with(device, path, &Resume { batch: args.batch, ..Resume::default() }),
        None => {
            let network = Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Softmax);
            let adam = Adam { learning_rate: 0.001, ..Adam::default() };
            let config = TrainerConfig { batch: args.batch.unwrap_or(32), seed: args.seed, ..TrainerConfig::default() };
            let schedule = Schedule::cosine(config.updates(TRAIN_ROWS, args.epochs), 0.001);
            let config = TrainerConfig { schedule, ..config };
            Trainer::new(device, &network.build()?, Loss::SoftmaxCrossEntropy, adam, config)
        }
    };
    let mut trainer = trainer.map_err(|error| options::suggest_smaller("--batch", error))?;
    if trainer.epochs() > 0 {
        println!("resumed after epoch {}", trainer.epochs());
    }
    println!("{}", trainer.network().summary());
    trainer.warm_up()?;

    let Mnist { train, test } = data()?;
    let mut progress = Progress::new(args.epochs, trainer.config().batch);
    let epochs = args.epochs.saturating_sub(trainer.epochs());
    let (live, checkpoint) = (progress.is_shown(), args.files.new_checkpoint());
    let fit = Fit { epochs, validation: Some(&test), live, checkpoint, ..Fit::default() };
    trainer.fit(train, fit, |event| progress.show(event))?;
    args.files.write_training(&mut trainer, &test, progress.seconds_to_first_step(start))?;
    args.files.report_scores(&trainer.model(), &test).map(|_| ())
}

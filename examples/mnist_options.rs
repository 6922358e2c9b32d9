//! Trains a dense network on MNIST with many options: layer widths, dropout, label smoothing, optimizer, learning-rate
//! schedule and warm-up.
//!
//! Prints the loss and the accuracy of each epoch, then the test accuracy. Writes the same files as `mnist_gpu`.
//! With `--image` it also classifies a digit in your own image.
//! Takes about 1 to 5 minutes on two CPU cores with a software adapter and the default options.
//! The second command below reaches about 98.7%; it takes about 4 times as long.
//!
//!     cargo run --release --example mnist_options -- --optimizer sgd --schedule one-cycle
//!     cargo run --release --example mnist_options -- --epochs 40 --batch 256 --optimizer adamw --learning-rate 0.002 \
//!         --warm-up 1 --dropout 0.3 --input-dropout 0.2 --smoothing 0.1

#[macro_use]
mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::mnist_files::MnistFiles;
use common::options::{self, integer};
use common::training_options::TrainingOptions;
use common::{Result, device::DeviceChoice, picture, progress::Progress};
use wgrad::mnist::{Mnist, TRAIN_ROWS};
use wgrad::{Dataset, Device, Fit, Model, Trainer};

/// Trains a dense network on MNIST, on a GPU, with many options. A resumed run keeps its options, except --batch,
/// --learning-rate, --optimizer, --momentum, --weight-decay, --schedule and --warm-up if they are given.
#[derive(Parser)]
struct Args {
    /// Total number of epochs, including those before a resume
    #[arg(long, default_value_t = 10, value_parser = integer(1..=u32::MAX))]
    epochs: u32,
    #[command(flatten)]
    training: TrainingOptions,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Folder that keeps compiled kernels for the next run, if the driver supports it
    #[arg(long, value_name = "DIR")]
    pipeline_cache: Option<PathBuf>,
    #[command(flatten)]
    files: MnistFiles,
    /// PNG or JPEG image of one digit to classify after the training
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

fn main() -> ExitCode {
    let start = Instant::now();
    let (args, given) = options::parse_given();
    common::exit_code(run(&args, &given, start))
}

/// `given` lists the options of the command line.
fn run(args: &Args, given: &[String], start: Instant) -> Result<()> {
    let image = args.image.as_ref().map(|path| picture::load_digit(path)).transpose()?;
    args.files.check(args.image.as_ref())?;
    let ignored = TrainingOptions::among(given);
    if args.files.load.is_some() && !ignored.is_empty() {
        return Err(format!("--load trains no network, so {} would change nothing", ignored.join(", ")).into());
    }
    let data = args.files.start_reading(); // in a thread, while the GPU opens
    let device = args.device.open()?;
    if let (Device::Gpu(gpu), Some(folder)) = (&device, &args.pipeline_cache) {
        gpu.cache_pipelines(folder)?;
    }
    let model = match args.files.load {
        Some(_) => args.files.evaluate_saved(&device, &data()?.test)?,
        None => {
            let (model, test) = train(args, given, device, data, start)?;
            args.files.report_scores(&model, &test)?;
            model
        }
    };
    if let Some(pixels) = image {
        let features: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
        let probabilities = model.predict_proba(&features)?;
        let digit = model.predict(&features)?[0];
        println!("digit in the image: {digit}, probability {:.1}%", probabilities[digit as usize] * 100.0);
    }
    Ok(())
}

/// Trains a network, or resumes its training, and writes the files. Returns the model and the test set.
fn train(
    args: &Args,
    given: &[String],
    device: Device,
    data: impl FnOnce() -> Result<Mnist>,
    start: Instant,
) -> Result<(Model, Dataset)> {
    let mut trainer = match args.files.checkpoint() {
        Some(path) => resume(device, path, args, given)?,
        None => {
            let config = args.training.config(args.epochs, TRAIN_ROWS)?;
            let (loss, optimizer) = (args.training.loss(), args.training.optimizer());
            Trainer::new(device, &args.training.network()?, loss, optimizer, config)
                .map_err(|error| options::suggest_smaller("--batch", error))?
        }
    };
    println!("{}", trainer.network().summary());
    trainer.warm_up()?;

    let Mnist { train, test } = data()?;
    let mut progress = Progress::new(args.epochs, trainer.config().batch);
    let epochs = args.epochs.saturating_sub(trainer.epochs());
    let (live, checkpoint) = (progress.is_shown(), args.files.new_checkpoint());
    let fit = Fit { epochs, validation: Some(&test), live, checkpoint, ..Fit::default() };
    trainer.fit(train, fit, |event| progress.show(event))?;
    args.files.write_training(&mut trainer, &test, progress.seconds_to_first_step(start))?;
    Ok((trainer.model(), test))
}

/// Resumes the training from a checkpoint. Applies the options that may change, and prints which options it applied.
fn resume(device: Device, path: &Path, args: &Args, given: &[String]) -> Result<Trainer> {
    // The new schedule depends on the number of epochs that are done, so the file is read twice.
    let saved = Trainer::resume(Device::Cpu, path)?;
    let (resume, changed, kept) = args.training.changes(given, &saved, args.epochs, TRAIN_ROWS)?;
    let trainer =
        Trainer::resume_with(device, path, &resume).map_err(|error| options::suggest_smaller("--batch", error))?;
    match trainer.epochs() {
        done if done < args.epochs => println!("resumed {} after epoch {done}", path.display()),
        done => println!("resumed {}, which has all its {done} epochs: nothing is left to train", path.display()),
    }
    if !changed.is_empty() {
        println!("changed from here on: {}", changed.join(", "));
    }
    if !kept.is_empty() {
        println!("ignored, because the checkpoint has its own: {}", kept.join(", "));
    }
    Ok(trainer)
}

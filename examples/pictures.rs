//! Trains a small convolutional network to classify your own images. The folder has one subfolder per class.
//!
//! Holds out a fifth of the images as the test set, and augments the others.
//! Prints the loss and the accuracy of each epoch, then the test accuracy. Writes confusion.svg.
//! The time depends on the number of images: about 20 seconds per epoch of 1000 images on two CPU cores with a
//! software adapter.
//!
//!     cargo run --release --example pictures -- DIR

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};
use common::progress::Progress;
use common::{Result, picture_folder, plot};
use wgrad::Activation::{Relu, Softmax};
use wgrad::{Adam, Augmentation, Conv, Fit, Loss, Network, NetworkBuilder, Schedule, Trainer, TrainerConfig};

/// Trains a convolutional network on a folder of images, with one subfolder per class.
#[derive(Parser)]
struct Args {
    /// Folder with a subfolder of PNG or JPEG images for each class; a fifth of all images becomes the test set
    folder: PathBuf,
    /// Width and height to which images are scaled, in pixels
    #[arg(long, default_value_t = 64, value_parser = integer(8..=512))]
    side: u32,
    /// Number of epochs
    #[arg(long, default_value_t = 30, value_parser = integer(1..=u32::MAX))]
    epochs: u32,
    /// Batch size, in images
    #[arg(long, default_value_t = 32, value_parser = integer(1..=wgrad::plan::LARGEST_BATCH))]
    batch: u32,
    /// Seed of the split, the initial weights, the shuffle and the augmentation
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Folder for the confusion matrix
    #[arg(long, value_name = "DIR", default_value = "out/pictures")]
    out: PathBuf,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    let [confusion] = common::checked_outputs(&args.out, ["confusion.svg"])?;
    let (data, names) = picture_folder::labelled_pictures(&args.folder, args.side)?;
    println!("{} images of the classes {}", data.rows(), names.join(", "));
    let (train, test) = data.shuffled(args.seed).hold_out(0.2)?;
    let changes = Augmentation {
        shift: args.side / 16,
        flip: 0.5,
        rotation: 10.0,
        scale: [0.9, 1.1],
        brightness: 0.1,
        contrast: 0.2,
        ..Augmentation::default()
    };
    let train = train.with_augmentation("image", changes)?;

    let block = |network: NetworkBuilder, channels: u32| {
        network.layer(Conv::new(channels, 3).same().without_bias()).batch_norm().activation(Relu)
    };
    let network = [16, 32]
        .into_iter()
        .fold(Network::input([args.side, args.side, 3]), |network, channels| block(network, channels).max_pool(2));
    let network = block(network, 64).global_average_pool().dense(names.len() as u32, Softmax).build()?;
    println!("{}", network.summary());
    let config = TrainerConfig { batch: args.batch, seed: args.seed, ..TrainerConfig::default() };
    let schedule = Schedule::cosine(config.updates(train.rows(), args.epochs), 0.01);
    let (config, adam) = (TrainerConfig { schedule, ..config }, Adam { learning_rate: 0.003, ..Adam::default() });
    let mut trainer = Trainer::new(args.device.open()?, &network, Loss::SoftmaxCrossEntropy, adam, config)
        .map_err(|e| options::suggest_smaller("--batch", e))?;

    let mut progress = Progress::new(args.epochs, args.batch);
    let fit = Fit { epochs: args.epochs, validation: Some(&test), live: progress.is_shown(), ..Fit::default() };
    trainer.fit(train, fit, |event| progress.show(event))?;
    drop(progress);
    let scores = trainer.model().score(&test)?;
    plot::confusion_matrix(&confusion, "Test images", &names, &scores.confusion_matrix())?;
    println!("test accuracy {:.2}%", scores.accuracy() * 100.0);
    println!("the confusion matrix is in {}", args.out.display());
    Ok(())
}

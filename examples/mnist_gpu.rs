//! Trains a network on MNIST, on whatever GPU is there, and says how well.
//!
//!     cargo run --release --example mnist_gpu -- --help

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::options::{self, whole};
use common::{Result, device::DeviceChoice, digits, picture, progress::Progress, recipe::Recipe, report};
use wgrad::mnist::Mnist;
use wgrad::{Checkpoint, Dataset, Device, Fit, Model, Trainer};

/// Trains a dense network on MNIST, on a GPU.
#[derive(Parser)]
struct Args {
    /// Epochs over the 60,000 training images, in total
    #[arg(long, default_value_t = 10, value_parser = whole(1..=u32::MAX))]
    epochs: u32,
    #[command(flatten)]
    recipe: Recipe,
    /// auto, cpu or part of a GPU's name; auto takes the CPU where there is no GPU
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Keeps compiled kernels in a folder from one run to the next, where the driver hands them out
    #[arg(long, value_name = "DIR")]
    pipeline_cache: Option<PathBuf>,
    /// Folder of the four MNIST files, packed or not
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    data: PathBuf,
    /// Saves the trained model to a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Evaluates a saved model instead of training one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["epochs", "resume", "save"])]
    load: Option<PathBuf>,
    /// Checkpoint: written after each epoch, and resumed if the file exists. A resumed run keeps its options; --batch,
    /// --learning-rate, --optimizer and --schedule change them from there on. Give the total in --epochs from the start, as
    /// schedules end with it
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Draws curves, a sheet of digits and the confusion matrix into a folder
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Reads a digit from a picture, PNG or JPEG, too
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Writes the results to a file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let start = Instant::now();
    let (args, given) = options::parse_given();
    common::exit_code(run(&args, &given, start))
}

fn run(args: &Args, given: &[String], start: Instant) -> Result<()> {
    // Better to fail now than after the training.
    let image = args.image.as_ref().map(|path| picture::load_digit(path)).transpose()?;
    let plots = args.plot.iter().flat_map(|folder| digits::PLOTS.map(|plot| folder.join(plot)));
    let outputs: Vec<_> = [&args.save, &args.resume, &args.json].into_iter().flatten().cloned().chain(plots).collect();
    common::check_outputs(&outputs)?;
    for input in [&args.load, &args.image].into_iter().flatten() {
        let same =
            |output: &&PathBuf| output.canonicalize().is_ok_and(|path| input.canonicalize().is_ok_and(|i| i == path));
        if let Some(output) = outputs.iter().find(same) {
            return Err(format!("{} is read, so it cannot be written: give another file", output.display()).into());
        }
    }
    // The files are read while the GPU opens and compiles; the scope waits for the reader also where something fails.
    let mut loaded = None;
    let (model, test) = std::thread::scope(|scope| {
        let data = scope.spawn(|| Mnist::read(&args.data));
        let data = || data.join().map_err(|_| "reading the data panicked")?.map_err(Into::into);
        match &args.load {
            Some(path) => {
                let device = open(args)?;
                loaded = Some(device.clone());
                Ok((digits::load(device, path, given)?, data()?.test))
            }
            None => train(args, given, start, data),
        }
    })?;

    let scores = model.score(&test)?;
    if let (Some(device), Some(path)) = (&loaded, &args.json) {
        report::write_model(path, &model, device, &test, scores.accuracy())?;
    }
    println!("test accuracy {:.2}%, error {:.2}%", scores.accuracy() * 100.0, (1.0 - scores.accuracy()) * 100.0);
    println!("the right digit is among the first two in {:.2}%", scores.top_k_accuracy(2) * 100.0);
    if let Some(folder) = &args.plot {
        digits::draw(folder, &test, &scores)?;
        println!("pictures are in {}", folder.display());
    }
    if let Some(pixels) = image {
        let ink: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
        let probabilities = model.predict_proba(&ink)?;
        let digit = model.predict(&ink)?[0];
        println!("the digit in the picture: {digit} ({:.1}%)", probabilities[digit as usize] * 100.0);
    }
    Ok(())
}

fn open(args: &Args) -> Result<Device> {
    let device = args.device.open()?;
    if let (Device::Gpu(gpu), Some(folder)) = (&device, &args.pipeline_cache) {
        gpu.cache_pipelines(folder)?;
    }
    Ok(device)
}

fn train(
    args: &Args,
    given: &[String],
    start: Instant,
    data: impl FnOnce() -> Result<Mnist>,
) -> Result<(Model, Dataset)> {
    let device = open(args)?;
    let mut trainer = match &args.resume {
        Some(path) if path.exists() => digits::resume(device, path, args.epochs, &args.recipe, given)?,
        _ => {
            let config = args.recipe.config(args.epochs, wgrad::mnist::TRAIN_ROWS)?;
            let (network, loss, optimizer) = (args.recipe.network()?, args.recipe.loss(), args.recipe.optimizer());
            Trainer::new(device, &network, loss, optimizer, config).map_err(|e| options::blame("--batch", e))?
        }
    };
    println!("{}", trainer.network().summary());
    trainer.warm_up()?;

    let Mnist { train, test } = data()?;
    let mut progress = Progress::new(args.epochs, trainer.config().batch);
    let mut first_step_seconds = None;
    let fit = Fit {
        epochs: args.epochs.saturating_sub(trainer.epochs()),
        validation: Some(&test),
        live: progress.is_shown(),
        checkpoint: args.resume.as_ref().map(|path| Checkpoint { path, every: None }),
        ..Fit::default()
    };
    trainer.fit(train, fit, |event| {
        first_step_seconds.get_or_insert_with(|| start.elapsed().as_secs_f64());
        progress.show(event);
    })?;
    drop(progress);

    if let Some(path) = &args.save {
        trainer.model().save(path)?;
    }
    if let Some(path) = &args.json {
        let result = trainer.evaluate(&test)?;
        report::write(path, &trainer, first_step_seconds, result)?;
    }
    if let Some(folder) = &args.plot {
        digits::draw_history(folder, trainer.history())?;
    }
    Ok((trainer.model(), test))
}

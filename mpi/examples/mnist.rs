//! Trains a 784-512-256-128-10 network on MNIST, on several processes.
//!
//! All processes end with the same weights. With the same --slices they are those of one process, bit for bit.
//!
//!     mpirun -n 2 cargo run --release --manifest-path mpi/Cargo.toml --example mnist

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use wgrad::Activation::{Relu, Softmax};
use wgrad::mnist::Mnist;
use wgrad::{Adam, Checkpoint, Event, Fit, Loss, Network, Ranks, Schedule, Trainer, TrainerConfig};
use wgrad_mpi::World;

/// Trains a dense network on MNIST, on several processes.
#[derive(Parser)]
struct Args {
    /// Number of epochs
    #[arg(long, default_value_t = 3)]
    epochs: u32,
    /// Batch size, in images: those of all processes together
    #[arg(long, default_value_t = 256)]
    batch: u32,
    /// Slices of a batch: a multiple of the number of processes [default: one for each process]
    #[arg(long)]
    slices: Option<u32>,
    /// Seed of the initial weights and the shuffle
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the MNIST files
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/mnist"))]
    data: PathBuf,
    /// Saves the training run here after every 100 steps, and continues from this file if it exists
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Saves the model here
    #[arg(long)]
    save: Option<PathBuf>,
    /// Seconds after which a process that does not answer ends the run
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    wgrad_mpi::run(Duration::from_secs(args.timeout), |world| run(&args, world))
}

fn run(args: &Args, world: &World) -> Result<(), Box<dyn Error>> {
    let say = |line: String| {
        if world.rank() == 0 {
            println!("{line}");
        }
    };
    let gpu = world.gpu()?;
    let Mnist { train, test } = Mnist::read(&args.data)?;
    let mut trainer = match &args.checkpoint {
        Some(path) if path.exists() => Trainer::resume(&gpu, path)?,
        _ => {
            let slices = Some(args.slices.unwrap_or(world.count()));
            let config = TrainerConfig { batch: args.batch, slices, seed: args.seed, ..TrainerConfig::default() };
            let schedule = Schedule::cosine(config.updates(train.rows(), args.epochs), 0.001);
            let config = TrainerConfig { schedule, ..config };
            let network = Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Softmax);
            let adam = Adam { learning_rate: 0.001, ..Adam::default() };
            Trainer::new(&gpu, &network.build()?, Loss::SoftmaxCrossEntropy, adam, config)?
        }
    };
    let name = &gpu.adapter_info().name;
    say(format!("{} processes, batch {}, on {name}", world.count(), trainer.config().batch));
    if trainer.epochs() > 0 {
        say(format!("resumed after epoch {}", trainer.epochs()));
    }
    let epochs = args.epochs.saturating_sub(trainer.epochs());
    let checkpoint = args.checkpoint.as_deref().map(|path| Checkpoint { path, every: Some(100) });
    let fit = Fit { epochs, validation: Some(&test), checkpoint, ranks: Some(world), ..Fit::default() };
    let start = Instant::now();
    trainer.fit(train, fit, |event| {
        if let Event::Epoch(epoch) = event {
            let accuracy = epoch.validation.map_or(0.0, |test| test.accuracy) * 100.0;
            let seconds = epoch.seconds.unwrap_or(0.0);
            say(format!(
                "epoch {}: loss {:.4}, test accuracy {accuracy:.2}%, {seconds:.1} s",
                epoch.epoch, epoch.train.loss
            ));
        }
    })?;
    say(format!("{:.1} s", start.elapsed().as_secs_f64()));
    if let Some(path) = args.save.as_ref().filter(|_| world.rank() == 0) {
        trainer.model().save(path)?;
    }
    Ok(())
}

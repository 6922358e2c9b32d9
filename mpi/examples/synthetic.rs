//! Trains small networks on synthetic data: for the tests of this crate.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::{
    Adam, Augmentation, Checkpoint, Clip, Conv, Dataset, Event, Fit, Loss, Network, Optimizer, Ranks, Schedule, Sgd,
    Trainer, TrainerConfig,
};
use wgrad_mpi::World;

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Dense, with dropout, clipping, accumulation and a schedule
    Mlp,
    /// Convolutional, with batch normalisation and augmentation
    Cnn,
}

/// Trains small networks on synthetic data.
#[derive(Parser)]
struct Args {
    network: Kind,
    /// Slices of a batch
    #[arg(long, default_value_t = 12)]
    slices: u32,
    /// Number of epochs
    #[arg(long, default_value_t = 2)]
    epochs: u32,
    /// Saves the training run here after every update, and continues from this file if it exists
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Saves the model here
    #[arg(long)]
    save: Option<PathBuf>,
    /// A rank that has another seed
    #[arg(long)]
    other: Option<u32>,
    /// A rank that stops answering after the first step
    #[arg(long)]
    hang: Option<u32>,
    /// A rank whose callback panics after the first step
    #[arg(long)]
    panic: Option<u32>,
    /// Seconds after which a process that does not answer ends the run
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    wgrad_mpi::run(Duration::from_secs(args.timeout), |world| run(&args, world))
}

fn run(args: &Args, world: &World) -> Result<(), Box<dyn Error>> {
    let gpu = world.gpu()?;
    let seed = u64::from(args.other == Some(world.rank()));
    let trainer = match &args.checkpoint {
        Some(path) if path.exists() => Trainer::resume(&gpu, path)?,
        _ => {
            let (network, optimizer, config) = training(args.network)?;
            let config = TrainerConfig { slices: Some(args.slices), seed, ..config };
            Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, optimizer, config)?
        }
    };
    let mut trainer = trainer;
    let (train, validation) = data(args.network)?.hold_out(0.2)?;
    let checkpoint = args.checkpoint.as_deref().map(|path| Checkpoint { path, every: Some(1) });
    let epochs = args.epochs.saturating_sub(trainer.epochs());
    let fit = Fit { epochs, validation: Some(&validation), checkpoint, ranks: Some(world), ..Fit::default() };
    trainer.fit(train, fit, |event| {
        let Event::Steps { epoch, done, .. } = event else { return };
        if args.hang == Some(world.rank()) {
            std::thread::sleep(Duration::from_secs(3600));
        }
        assert!(args.panic != Some(world.rank()), "as asked");
        if world.rank() == 0 {
            println!("epoch {epoch}, step {done}");
        }
    })?;
    if let Some(path) = args.save.as_ref().filter(|_| world.rank() == 0) {
        trainer.model().save(path)?;
    }
    Ok(())
}

fn training(kind: Kind) -> wgrad::Result<(Network, Optimizer, TrainerConfig)> {
    let config = TrainerConfig { batch: 24, ..TrainerConfig::default() };
    Ok(match kind {
        Kind::Mlp => {
            let network = Network::input(64).dense(100, Tanh).dropout(0.25).dense(40, Relu).dense(3, Identity);
            let schedule = Schedule::cosine(20, 0.1);
            let config = TrainerConfig { accumulate: 3, clip: Some(Clip::Norm(0.5)), schedule, ..config };
            (network.build()?, Adam { learning_rate: 0.01, ..Adam::default() }.into(), config)
        }
        Kind::Cnn => {
            let network = Network::input([8, 8, 1]).layer(Conv::new(8, 3).same()).batch_norm().activation(Relu);
            let network = network.layer(Conv::new(12, 3)).batch_norm().activation(Relu).flatten().dropout(0.1);
            let sgd = Sgd { learning_rate: 0.05, momentum: 0.9, ..Sgd::default() };
            (network.dense(3, Identity).build()?, sgd.into(), config)
        }
    })
}

/// Images of 8 by 8 pixels with a bright stripe, whose direction is the class. The last batches are partial.
fn data(kind: Kind) -> wgrad::Result<Dataset> {
    const ROWS: u32 = 271;
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for row in 0..ROWS {
        let (class, place) = (row % 3, (random() * 8.0) as u32);
        for i in 0..64 {
            let (y, x) = (i / 8, i % 8);
            let is_bright = [y == place, x == place, (x + y) % 8 == place][class as usize];
            pixels.push(random() * 0.5 + f32::from(u8::from(is_bright)));
        }
        labels.push(class);
    }
    let data = Dataset::of_rows(ROWS as usize);
    match kind {
        Kind::Mlp => data.input("x", pixels, 64).labels("y", labels, 3).build(),
        Kind::Cnn => {
            let data = data.input("x", pixels, [8, 8, 1]).labels("y", labels, 3).build()?;
            data.with_augmentation("x", Augmentation { shift: 1, flip: 0.5, ..Augmentation::default() })
        }
    }
}

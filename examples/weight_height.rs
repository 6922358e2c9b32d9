//! Trains a 2-2-1 network to classify people as women or men by weight and height, from four samples.
//!
//! Prints the loss every 10 epochs, then the predictions for two other people.
//! Writes loss.svg and boundary.svg (the decision boundary).
//! Takes a few seconds.
//!
//!     cargo run --release --example weight_height

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer, rate, seed};
use common::plot::{self, Curve, Grid, Panel};
use wgrad::Activation::Sigmoid;
use wgrad::{Dataset, Dense, Event, Fit, Init, Loss, Network, Sgd, Trainer, TrainerConfig};

/// Trains a 2-2-1 network on the weight and height of four people.
#[derive(Parser)]
struct Args {
    /// Number of epochs
    #[arg(long, default_value_t = 1000, value_parser = integer(1..=u32::MAX))]
    epochs: u32,
    /// Learning rate
    #[arg(long, default_value_t = 0.1, value_parser = rate)]
    rate: f32,
    // All seeds from 0 to 199 converge.
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the plots
    #[arg(long, value_name = "DIR", default_value = "out/weight_height")]
    out: PathBuf,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

/// Weight minus 135 pounds, height minus 66 inches, and 1 for a woman. Features near 0 make the training easier.
const PEOPLE: [(f32, f32, f32); 4] = [(-2.0, -1.0, 1.0), (25.0, 6.0, 0.0), (17.0, 4.0, 0.0), (-15.0, -6.0, 1.0)];

/// Two people who are not in the training data.
const STRANGERS: [(&str, [f32; 2]); 2] =
    [("128 pounds, 63 inches", [-7.0, -3.0]), ("155 pounds, 68 inches", [20.0, 2.0])];

fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let [loss, boundary] = common::checked_outputs(&args.out, ["loss.svg", "boundary.svg"])?;
    let features = PEOPLE.iter().flat_map(|p| [p.0, p.1]).collect();
    let data = Dataset::from_f32_targets(features, 2, PEOPLE.iter().map(|p| p.2).collect(), 1)?;

    let normal = Init::Normal { std: 1.0 };
    let dense = |units| Dense::new(units, Sigmoid).weight_init(normal).bias_init(normal);
    let network = Network::input(2).layer(dense(2)).layer(dense(1)).build()?;
    println!("{}", network.summary());

    // A batch is one person. The order is the same in each epoch.
    let config = TrainerConfig { batch: 1, shuffle: false, seed: args.seed, ..TrainerConfig::default() };
    let descent = Sgd { learning_rate: args.rate, ..Sgd::default() };
    let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, descent, config)?;
    // The validation loss is that of all four people after the epoch. The training loss mixes the weights of four
    // steps.
    let fit = Fit { epochs: args.epochs, validation: Some(&data), ..Fit::default() };
    let history = trainer.fit(&data, fit, |event| match event {
        Event::Epoch(e) if e.epoch % 10 == 0 || e.epoch == args.epochs => {
            println!("epoch {}: loss {:.4}", e.epoch, e.validation.map_or(f64::NAN, |v| v.loss))
        }
        _ => {}
    })?;

    for (stranger, x) in STRANGERS {
        let probability = trainer.model().forward(&x)?[0];
        println!("{stranger}: probability of a woman {probability:.3}");
    }

    let losses = history.epochs.iter().filter_map(|e| e.validation).map(|v| v.loss as f32);
    let panel = Panel {
        title: "Women and men by weight and height",
        x_label: "epoch",
        y_label: "loss (mean squared error)",
        log_y: false,
        curves: vec![Curve::per_epoch("loss", losses)],
    };
    plot::curves(&loss, &[panel])?;

    let points = PEOPLE.map(|p| (f64::from(p.0) + 135.0, f64::from(p.1) + 66.0, p.2 > 0.5));
    let grid = Grid::over(&points);
    let cells: Vec<f32> = grid.cells().flat_map(|(x, y)| [(x - 135.0) as f32, (y - 66.0) as f32]).collect();
    plot::decision_boundary(
        &boundary,
        "Prediction for each weight and height",
        ["weight in pounds", "height in inches"],
        &grid,
        &trainer.model().forward(&cells)?,
        &points,
        ["man", "woman"],
    )?;
    println!("see loss.svg and boundary.svg in {}", args.out.display());
    Ok(())
}

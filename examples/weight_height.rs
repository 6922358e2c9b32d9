//! A network of three neurons learns to tell women from men by weight and height, from four people.
//!
//!     cargo run --release --example weight_height

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, rate, seed, whole};
use common::plot::{self, Curve, Grid, Panel};
use wgrad::Activation::Sigmoid;
use wgrad::{Dataset, Dense, Event, Fit, Init, Loss, Network, Sgd, Trainer, TrainerConfig};

/// Trains a 2-2-1 network on the weight and height of four people.
#[derive(Parser)]
struct Args {
    /// Times over the four people
    #[arg(long, default_value_t = 1000, value_parser = whole(1..=u32::MAX))]
    epochs: u32,
    /// Learning rate
    #[arg(long, default_value_t = 0.1, value_parser = rate)]
    rate: f32,
    // Of the seeds 0 to 199, all learn it.
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/weight_height")]
    out: PathBuf,
    /// auto, cpu or part of a GPU's name; auto takes the CPU where there is no GPU
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

/// Weight less 135 pounds, height less 66 inches, and whether it is a woman: numbers near 0 are the easier to learn from.
const PEOPLE: [(f32, f32, f32); 4] = [(-2.0, -1.0, 1.0), (25.0, 6.0, 0.0), (17.0, 4.0, 0.0), (-15.0, -6.0, 1.0)];

/// Two whom the network has not seen.
const STRANGERS: [(&str, [f32; 2]); 2] =
    [("128 pounds, 63 inches", [-7.0, -3.0]), ("155 pounds, 68 inches", [20.0, 2.0])];

fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let [loss, boundary] = common::outputs(&args.out, ["loss.svg", "boundary.svg"])?;
    let features = PEOPLE.iter().flat_map(|p| [p.0, p.1]).collect();
    let data = Dataset::from_f32_targets(features, 2, PEOPLE.iter().map(|p| p.2).collect(), 1)?;

    let normal = Init::Normal { std: 1.0 };
    let dense = |units| Dense::new(units, Sigmoid).weight_init(normal).bias_init(normal);
    let network = Network::input(2).layer(dense(2)).layer(dense(1)).build()?;
    println!("{}", network.summary());

    // A step for each person, in the same order each time.
    let config = TrainerConfig { batch: 1, shuffle: false, seed: args.seed, ..TrainerConfig::default() };
    let descent = Sgd { learning_rate: args.rate, ..Sgd::default() };
    let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, descent, config)?;
    // The loss of all four after each epoch; while it runs, the weights still change from person to person.
    let fit = Fit { epochs: args.epochs, validation: Some(&data), ..Fit::default() };
    let history = trainer.fit(&data, fit, |event| match event {
        Event::Epoch(e) if e.epoch % 10 == 0 || e.epoch == args.epochs => {
            println!("epoch {}: loss {:.4}", e.epoch, e.validation.map_or(f64::NAN, |v| v.loss))
        }
        _ => {}
    })?;

    for (stranger, x) in STRANGERS {
        let probability = trainer.model().forward(&x)?[0];
        println!("{stranger}: a woman with probability {probability:.3}");
    }

    let losses = history.epochs.iter().filter_map(|e| e.validation).map(|v| v.loss as f32);
    let panel = Panel {
        title: "Women and men by weight and height",
        x_label: "epoch",
        y_label: "loss (mean squared error)",
        log_y: false,
        curves: vec![Curve::of_epochs("loss", losses)],
    };
    plot::curves(&loss, &[panel])?;

    let points = PEOPLE.map(|p| (f64::from(p.0) + 135.0, f64::from(p.1) + 66.0, p.2 > 0.5));
    let grid = Grid::over(&points);
    let cells: Vec<f32> = grid.cells().flat_map(|(x, y)| [(x - 135.0) as f32, (y - 66.0) as f32]).collect();
    plot::decision_boundary(
        &boundary,
        "What the network makes of any weight and height",
        ["weight in pounds", "height in inches"],
        &grid,
        &trainer.model().forward(&cells)?,
        &points,
        ["man", "woman"],
    )?;
    println!("see loss.svg and boundary.svg in {}", args.out.display());
    Ok(())
}

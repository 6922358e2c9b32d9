//! Trains a small network with one hidden layer, 3-4-1, on four samples: the exclusive or of two inputs.
//!
//! Prints the loss every 100 iterations, then the output and the target of each sample. Writes loss.svg.
//! Takes a few seconds.
//!
//!     cargo run --release --example two_layer

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer, rate, seed};
use common::plot::{self, Curve, Panel};
use wgrad::Activation::Sigmoid;
use wgrad::{Dataset, Dense, Fit, Init, Loss, Network, Sgd, Trainer, TrainerConfig};

/// Trains a 3-4-1 network without biases on four samples.
#[derive(Parser)]
struct Args {
    /// Steps of gradient descent, each over all four samples
    #[arg(long, default_value_t = 1500, value_parser = integer(1..=u32::MAX))]
    iterations: u32,
    /// Learning rate
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f32,
    // All seeds from 0 to 199 converge.
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the plot
    #[arg(long, value_name = "DIR", default_value = "out/two_layer")]
    out: PathBuf,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

/// The target is the exclusive or of the first two inputs. The third input is always 1: it replaces the hidden layer's
/// bias.
const INPUTS: [[f32; 3]; 4] = [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]];
const TARGETS: [f32; 4] = [0.0, 1.0, 1.0, 0.0];

fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let [plot_file] = common::checked_outputs(&args.out, ["loss.svg"])?;
    let data = Dataset::from_f32_targets(INPUTS.concat(), 3, TARGETS.to_vec(), 1)?;

    let dense = |units| Dense::new(units, Sigmoid).without_bias().weight_init(Init::Uniform { bound: 1.0 });
    let network = Network::input(3).layer(dense(4)).layer(dense(1)).build()?;
    println!("{}", network.summary());

    // The batch is the whole data set, so an epoch is one step. Its loss is computed before the update.
    let config = TrainerConfig { batch: 4, seed: args.seed, ..TrainerConfig::default() };
    let descent = Sgd { learning_rate: args.rate, ..Sgd::default() };
    let mut trainer = Trainer::new(device, &network, Loss::SumOfSquares, descent, config)?;
    let history = trainer.fit(&data, Fit { epochs: args.iterations, ..Fit::default() }, |_| {})?;
    let losses: Vec<f64> = history.epochs.iter().map(|e| e.train.loss).chain([trainer.evaluate(&data)?.loss]).collect();

    for (iteration, loss) in losses.iter().enumerate().filter(|(i, _)| i % 100 == 0 || i + 1 == losses.len()) {
        println!("loss after iteration {iteration}: {loss:.6}");
    }
    match losses.windows(2).position(|pair| pair[1] >= pair[0]) {
        None => println!("the loss decreased in every iteration"),
        Some(before) => println!("the loss did not decrease in iteration {}", before + 1),
    }
    let outputs = trainer.model().forward(&INPUTS.concat())?;
    for ((input, target), output) in INPUTS.iter().zip(TARGETS).zip(&outputs) {
        println!("{input:?}: {output:.3}, target {target}");
    }

    let panel = Panel {
        title: "A 3-4-1 network on four samples",
        x_label: "iteration",
        y_label: "loss (sum of squares)",
        log_y: true,
        curves: vec![Curve { label: "loss".into(), points: (0..).map(f64::from).zip(losses).collect() }],
    };
    plot::curves(&plot_file, &[panel])?;
    println!("see loss.svg in {}", args.out.display());
    Ok(())
}

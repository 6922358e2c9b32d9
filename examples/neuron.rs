//! Computes the output of one neuron, the output of a 2-2-1 network, and the gradient of its loss.
//!
//! The numbers are small enough to check by hand. Prints each derivative twice: by backpropagation and by finite
//! differences. Writes gradient.svg: the loss as a function of one weight, with its tangent.
//! Takes a few seconds.
//!
//!     cargo run --release --example neuron

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options;
use common::plot::{self, Curve, Panel};
use wgrad::Activation::Sigmoid;
use wgrad::{Dataset, Device, Fit, Loss, Model, Network, Sgd, Trainer, TrainerConfig};

/// Computes the output of a neuron and of a 2-2-1 network, and the gradient of its loss in two ways.
#[derive(Parser)]
struct Args {
    /// Folder for the plot
    #[arg(long, value_name = "DIR", default_value = "out/neuron")]
    out: PathBuf,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

/// The training sample of the gradient: its features and its target.
const X: [f32; 2] = [-2.0, -1.0];
const TARGET: f32 = 1.0;

/// Names of the weights and biases, in the order of the parameter buffer. A weight matrix has a row for each input.
const NAMES: [&str; 9] =
    ["w1, x1 to h1", "w3, x1 to h2", "w2, x2 to h1", "w4, x2 to h2", "b1", "b2", "w5, h1 to o", "w6, h2 to o", "b3"];

fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let [plot_file] = common::checked_outputs(&args.out, ["gradient.svg"])?;
    let output = |network: &Network, weights: &[f32], x: &[f32]| -> Result<f32> {
        Ok(Model::new(device.clone(), network, weights)?.forward(x)?[0])
    };

    // The output of a neuron is sigmoid(w · x + b).
    let neuron = Network::input(2).dense(1, Sigmoid).build()?;
    let weights = buffer(&neuron, &[&[0.0, 1.0], &[4.0]]);
    println!("one neuron, w = [0, 1], b = 4, on x = [2, 3]: {:.7}", output(&neuron, &weights, &[2.0, 3.0])?);

    // Two hidden neurons, h1 and h2, are the inputs of the output neuron o.
    let network = Network::input(2).dense(2, Sigmoid).dense(1, Sigmoid).build()?;
    let weights = buffer(&network, &[&[0.0, 0.0, 1.0, 1.0], &[0.0, 0.0], &[0.0, 1.0], &[0.0]]);
    println!("three neurons, w = [0, 1], b = 0, on x = [2, 3]: {:.7}", output(&network, &weights, &[2.0, 3.0])?);

    // The gradient is the derivative of the loss with respect to each weight. Backpropagation computes all derivatives
    // in one pass. Finite differences check them: change one weight a little in both directions, and measure the loss.
    let ones = buffer(&network, &[&[1.0; 4], &[0.0; 2], &[1.0; 2], &[0.0]]);
    println!("three neurons, w = [1, 1], b = 0, on x = [-2, -1]: {:.3}", output(&network, &ones, &X)?);
    let loss = |index: usize, weight: f32| -> Result<f64> {
        let mut weights = ones.clone();
        weights[index] = weight;
        Ok(f64::from(output(&network, &weights, &X)? - TARGET).powi(2))
    };
    let gradient = gradient(&device, &network, &ones)?;
    // A calculation by hand with factors of three digits gives dL/dw1 = 0.0214.
    println!("\ngradient of the squared error, target {TARGET}:");
    println!("{:14}{:>16}{:>20}", "", "backpropagation", "finite differences");
    for (name, i) in NAMES.iter().zip(network.parameters().iter().flat_map(|p| p.range())) {
        let (below, above) = (ones[i] - 0.01, ones[i] + 0.01);
        let slope = (loss(i, above)? - loss(i, below)?) / f64::from(above - below);
        println!("{name:14}{:>16.5}{slope:>20.5}", gradient[i]);
    }

    // The gradient is the slope of the tangent at w1 = 1.
    let w1 = || (-60..=80).map(|i| f64::from(i) / 20.0);
    let curve = w1().map(|w| Ok((w, loss(0, w as f32)?))).collect::<Result<_>>()?;
    let (here, slope) = (loss(0, 1.0)?, f64::from(gradient[0]));
    let tangent = w1().filter(|w| (w - 1.0).abs() <= 2.0).map(|w| (w, here + slope * (w - 1.0))).collect();
    let named = |label: &str, points| Curve { label: label.into(), points };
    let panel = Panel {
        title: "The gradient is the slope of the loss",
        x_label: "w1",
        y_label: "loss",
        log_y: false,
        curves: vec![
            named("loss", curve),
            named(&format!("slope dL/dw1 = {slope:.5}"), tangent),
            named("w1 = 1", vec![(1.0, here)]),
        ],
    };
    plot::curves(&plot_file, &[panel])?;
    println!("\nsee gradient.svg in {}", args.out.display());
    Ok(())
}

/// The gradient by backpropagation. A step of gradient descent with learning rate 1 subtracts the gradient from the
/// weights, so the difference of the weights is the gradient.
fn gradient(device: &Device, network: &Network, weights: &[f32]) -> Result<Vec<f32>> {
    let data = Dataset::from_f32_targets(X.to_vec(), 2, vec![TARGET], 1)?;
    let (loss, descent) = (Loss::MeanSquaredError, Sgd { learning_rate: 1.0, ..Sgd::default() });
    let config = TrainerConfig::default();
    let mut trainer = Trainer::from_parameters(device.clone(), network, loss, descent, config, weights)?;
    trainer.fit(&data, Fit::default(), |_| {})?;
    let after = trainer.model().parameters()?;
    Ok(weights.iter().zip(after).map(|(before, after)| before - after).collect())
}

/// The parameter buffer of a network, from one list of values for each parameter tensor.
fn buffer(network: &Network, tensors: &[&[f32]]) -> Vec<f32> {
    let mut buffer = vec![0.0; network.parameter_words() as usize];
    for (parameter, values) in network.parameters().iter().zip(tensors) {
        buffer[parameter.range()].copy_from_slice(values);
    }
    buffer
}

//! What a neuron puts out, what a network of three puts out, and which way its weights should turn: the gradient.
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

/// Computes the output of a neuron and of a network of three, and the gradient of its loss in two ways.
#[derive(Parser)]
struct Args {
    /// Folder for the picture
    #[arg(long, value_name = "DIR", default_value = "out/neuron")]
    out: PathBuf,
    /// auto, cpu or part of a GPU's name; auto takes the CPU where there is no GPU
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

/// The sample that the gradient is computed on.
const X: [f32; 2] = [-2.0, -1.0];
const TARGET: f32 = 1.0;

/// What the weights of the network connect, in the order of its buffer: a weight matrix has a row for each input.
const NAMES: [&str; 9] =
    ["w1, x1 to h1", "w3, x1 to h2", "w2, x2 to h1", "w4, x2 to h2", "b1", "b2", "w5, h1 to o", "w6, h2 to o", "b3"];

fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let [picture] = common::outputs(&args.out, ["gradient.svg"])?;
    let output = |network: &Network, weights: &[f32], x: &[f32]| -> Result<f32> {
        Ok(Model::new(device.clone(), network, weights)?.forward(x)?[0])
    };

    // A neuron puts out sigmoid(w · x + b).
    let neuron = Network::input(2).dense(1, Sigmoid).build()?;
    let weights = buffer(&neuron, &[&[0.0, 1.0], &[4.0]]);
    println!("one neuron, w = [0, 1], b = 4, on x = [2, 3]: {:.7}", output(&neuron, &weights, &[2.0, 3.0])?);

    // Two hidden neurons h1 and h2 feed a third, o.
    let network = Network::input(2).dense(2, Sigmoid).dense(1, Sigmoid).build()?;
    let weights = buffer(&network, &[&[0.0, 0.0, 1.0, 1.0], &[0.0, 0.0], &[0.0, 1.0], &[0.0]]);
    println!("three neurons, w = [0, 1], b = 0, on x = [2, 3]: {:.7}", output(&network, &weights, &[2.0, 3.0])?);

    // The gradient says how the loss changes with each weight. Backpropagation finds all of it in one pass; to check it,
    // turn each weight a little to either side and look at what the loss does.
    let ones = buffer(&network, &[&[1.0; 4], &[0.0; 2], &[1.0; 2], &[0.0]]);
    println!("three neurons, w = [1, 1], b = 0, on x = [-2, -1]: {:.3}", output(&network, &ones, &X)?);
    let loss = |index: usize, weight: f32| -> Result<f64> {
        let mut weights = ones.clone();
        weights[index] = weight;
        Ok(f64::from(output(&network, &weights, &X)? - TARGET).powi(2))
    };
    let gradient = gradient(&device, &network, &ones)?;
    // By hand, from factors rounded to three digits, dL/dw1 comes out as 0.0214.
    println!("\ngradient of the squared error, target {TARGET}:");
    println!("{:14}{:>16}{:>20}", "", "backpropagation", "finite differences");
    for (name, i) in NAMES.iter().zip(network.parameters().iter().flat_map(|p| p.range())) {
        let (below, above) = (ones[i] - 0.01, ones[i] + 0.01);
        let slope = (loss(i, above)? - loss(i, below)?) / f64::from(above - below);
        println!("{name:14}{:>16.5}{slope:>20.5}", gradient[i]);
    }

    // The gradient is the slope of the tangent: beside w1 = 1, the loss as it would be if it went straight on.
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
    plot::curves(&picture, &[panel])?;
    println!("\nsee gradient.svg in {}", args.out.display());
    Ok(())
}

/// The gradient by backpropagation: one step of gradient descent at rate 1 subtracts just it from the weights.
fn gradient(device: &Device, network: &Network, weights: &[f32]) -> Result<Vec<f32>> {
    let data = Dataset::from_f32_targets(X.to_vec(), 2, vec![TARGET], 1)?;
    let (loss, descent) = (Loss::MeanSquaredError, Sgd { learning_rate: 1.0, ..Sgd::default() });
    let config = TrainerConfig::default();
    let mut trainer = Trainer::from_parameters(device.clone(), network, loss, descent, config, weights)?;
    trainer.fit(&data, Fit::default(), |_| {})?;
    let after = trainer.model().parameters()?;
    Ok(weights.iter().zip(after).map(|(before, after)| before - after).collect())
}

/// The weights of a network, one list for each of its tensors, as they lie in its one buffer.
fn buffer(network: &Network, tensors: &[&[f32]]) -> Vec<f32> {
    let mut buffer = vec![0.0; network.parameter_words() as usize];
    for (parameter, values) in network.parameters().iter().zip(tensors) {
        buffer[parameter.range()].copy_from_slice(values);
    }
    buffer
}

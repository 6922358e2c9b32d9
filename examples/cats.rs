//! Is it a cat? Logistic regression, or a deep network, learns it from 209 pictures.
//!
//!     cargo run --release --example cats
//!     cargo run --release --example cats -- --layers 20,7,5 --image my_cat.jpg

#[macro_use]
mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use common::Result;
use common::cats::{self, Cats, FEATURES, Pictures, SIDE};
use common::device::DeviceChoice;
use common::options::{self, activation, rate, seed, whole};
use common::picture::{self, Tile};
use common::plot::{self, Curve, Panel};
use wgrad::{Activation, Dataset, Dense, Event, Fit, Init, Loss, Model, Network, Sgd, Trainer, TrainerConfig};

/// Learns from 209 pictures whether a picture shows a cat, and is tested on 50 others.
#[derive(Parser)]
struct Args {
    /// Units of each hidden layer, as in 20,7,5 [default: none, which makes it logistic regression]
    #[arg(long, value_name = "UNITS", value_delimiter = ',', value_parser = whole(1..=u32::MAX))]
    layers: Vec<u32>,
    /// Activation of hidden layers: relu, tanh, sigmoid (which learns from a rate of 0.1 on) or another
    #[arg(long, value_name = "ACTIVATION", default_value = "relu", value_parser = activation)]
    hidden: Activation,
    /// Learning rate; several, as in 0.01,0.001,0.0001, train a network each: one plot shows the costs of all, the other
    /// pictures are the first one's [default: 0.005, with hidden layers 0.0075]
    #[arg(long, visible_alias = "rate", value_delimiter = ',', value_parser = rate)]
    rates: Vec<f32>,
    /// Steps of gradient descent, each over all 209 pictures [default: 2000, with hidden layers 2500]
    #[arg(long, visible_alias = "epochs", value_parser = whole(1..=u32::MAX))]
    iterations: Option<u32>,
    // Of 20,7,5 the seeds 0 to 3 all get 100% of the training pictures right and 74 to 76% of the test pictures.
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// A picture of your own to judge, PNG or JPEG, of any size
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Folder of the data; they are downloaded if it lacks them
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cats"))]
    data: PathBuf,
    /// Folder for the plots
    #[arg(long, value_name = "DIR", default_value = "out/cats")]
    out: PathBuf,
    /// auto, cpu or part of a GPU's name; auto takes the CPU where there is no GPU
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    let image = args.image.as_ref().map(|file| picture::load_rgb(file, SIDE, SIDE)).transpose()?;
    let device = args.device.open()?;
    cats::fetch(&args.data)?;
    let cats = cats::load(&args.data)?;
    let [cost, sheet, confusion] = common::outputs(&args.out, ["cost.svg", "test.svg", "confusion.svg"])?;
    let dataset = |p: &Pictures| Dataset::from_u8(p.pixels.clone(), FEATURES, p.labels.clone(), 2);
    let (train, test) = (dataset(&cats.train)?, dataset(&cats.test)?);

    // Hidden layers need a random start: from zeros, all neurons of a layer would stay the same.
    let (init, rate, iterations) =
        if args.layers.is_empty() { (Init::Zeros, 0.005, 2000) } else { (Init::HeNormal, 0.0075, 2500) };
    let rates = if args.rates.is_empty() { &[rate] } else { args.rates.as_slice() };
    let iterations = args.iterations.unwrap_or(iterations);
    let dense = |units, activation| Dense::new(units, activation).weight_init(init);
    let hidden = args.layers.iter().fold(Network::input(FEATURES as u32), |n, &u| n.layer(dense(u, args.hidden)));
    // The last neuron's output is the probability of a cat.
    let network = hidden.layer(dense(1, Activation::Sigmoid)).build()?;
    println!("{}", network.summary());

    let (mut curves, mut models) = (Vec::new(), Vec::new());
    for &learning_rate in rates {
        println!("learning rate {learning_rate}");
        // A batch of all rows makes an epoch of one step, whose cost is that of the weights before it.
        let config = TrainerConfig { batch: train.rows() as u32, seed: args.seed, ..TrainerConfig::default() };
        let descent = Sgd { learning_rate, ..Sgd::default() };
        let mut trainer = Trainer::new(device.clone(), &network, Loss::BinaryCrossEntropy, descent, config)?;
        let fit = Fit { epochs: iterations, ..Fit::default() };
        let mut points = Vec::new();
        let trained = trainer.fit(&train, fit, |event| match event {
            Event::Epoch(e) if e.epoch % 100 == 1 => {
                println!("cost after iteration {}: {:.6}", e.epoch - 1, e.train.loss);
                points.push((f64::from(e.epoch - 1), e.train.loss));
            }
            _ => {}
        });
        // One rate that is too high does not keep the others from being seen.
        if let Err(error @ wgrad::Error::NonFiniteLoss { .. }) = trained {
            println!("{error}");
            curves.push(Curve { label: format!("rate {learning_rate}, diverged"), points });
            continue;
        }
        trained?;
        let (on_train, on_test) = (trainer.evaluate(&train)?, trainer.evaluate(&test)?);
        println!("cost after iteration {iterations}: {:.6}", on_train.loss);
        points.push((f64::from(iterations), on_train.loss));
        println!("train accuracy {:.2}%, test accuracy {:.2}%", on_train.accuracy * 100.0, on_test.accuracy * 100.0);
        curves.push(Curve { label: format!("rate {learning_rate}"), points });
        models.push(trainer.model());
    }

    let model = models.first().ok_or("every rate diverged")?;
    if let (Some(pixels), Some(file)) = (image, &args.image) {
        let features: Vec<f32> = pixels.into_iter().map(|byte| f32::from(byte) / 255.0).collect();
        println!("{}: {}", file.display(), verdict(&cats, model.forward(&features)?[0]));
    }
    let (x_label, y_label) = ("iteration", "cost (binary cross-entropy)");
    let panel = Panel { title: "Is it a cat?", x_label, y_label, log_y: false, curves };
    plot::curves(&cost, &[panel])?;
    draw_test([&sheet, &confusion], model, &test, &cats)?;
    println!("see cost.svg, test.svg and confusion.svg in {}", args.out.display());
    Ok(())
}

/// The test pictures with what the model makes of them, and how often it errs.
fn draw_test([sheet, confusion]: [&Path; 2], model: &Model, test: &Dataset, cats: &Cats) -> Result<()> {
    let scores = model.score(test)?;
    let outcomes = scores.outputs().iter().zip(scores.predictions()).zip(scores.expected());
    let tiles: Vec<Tile> = (cats.test.pixels.chunks_exact(FEATURES).zip(outcomes))
        .map(|(pixels, ((&probability, predicted), expected))| Tile {
            pixels: pixels.to_vec(),
            width: SIDE,
            height: SIDE,
            caption: verdict(cats, probability),
            frame: (predicted != expected).then_some(picture::MISTAKE),
        })
        .collect();
    picture::sheet(sheet, "The test pictures, mistakes framed", &tiles, 10)?;
    plot::confusion_matrix(confusion, "Test pictures", &cats.classes, &scores.confusion_matrix())
}

/// As in `cat, 93%`.
fn verdict(cats: &Cats, probability: f32) -> String {
    let is_cat = probability > 0.5;
    let certainty = if is_cat { probability } else { 1.0 - probability };
    format!("{}, {:.0}%", cats.classes[usize::from(is_cat)], certainty * 100.0)
}

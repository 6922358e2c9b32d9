//! Predicts the efficiency of data-parallel training: the part of the time in which the GPUs compute. It prints the
//! tables of docs/scaling.md, from the cost model that is described there.
//!
//!     cargo run --release --manifest-path mpi/Cargo.toml --example scaling

use std::error::Error;

use clap::Parser;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, BatchNorm, Conv, Dense, Graph, Layer, Loss, Network, Plan, TrainerConfig};

/// Predicts the efficiency of data-parallel training.
#[derive(Parser)]
struct Args {
    /// Floating-point operations per second that a GPU reaches in training
    #[arg(long, default_value_t = 5e12)]
    flops: f64,
    /// Seconds from the start of a transfer to its first byte
    #[arg(long, default_value_t = 5e-6)]
    latency: f64,
    /// Bytes per second between the memories of GPU and host, per direction
    #[arg(long, default_value_t = 12e9)]
    host: f64,
    /// Seconds of a submission and of waiting for it
    #[arg(long, default_value_t = 100e-6)]
    submission: f64,
}

/// What a training does, for each rank.
struct Work {
    name: &'static str,
    weights: f64,
    /// Samples of a rank in a step.
    samples: u32,
    /// Floating-point operations of a sample: forward, backward, and its part of the update.
    flops: f64,
}

/// Speed of a link between two ranks, in bytes per second and direction.
const LINKS: [(&str, f64); 3] = [("10 Gbit/s", 1.25e9), ("100 Gbit/s", 12.5e9), ("NVLink class, 200 GB/s", 200e9)];
const RANKS: [u32; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
const ACCUMULATE: [u32; 3] = [1, 8, 64];

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let works = [mnist()?, resnet_20()?, gpt("GPT 4×128", 4.0, 128.0, 65.0, 256.0, 32), large()];
    println!("| network | weights | samples a rank | GFLOP a step and rank | computing, ms |");
    println!("|---|---|---|---|---|");
    for work in &works {
        let (flops, weights) = (work.flops * f64::from(work.samples), work.weights / 1e6);
        let milliseconds = flops / args.flops * 1e3;
        println!("| {} | {weights:.2} M | {} | {:.1} | {milliseconds:.2} |", work.name, work.samples, flops / 1e9);
    }
    for (link, speed) in LINKS {
        println!("\n{link}:\n");
        println!("| network | batches an update | {} |", RANKS.map(|ranks| ranks.to_string()).join(" | "));
        println!("|---|---|{}", "---|".repeat(RANKS.len()));
        for work in &works {
            for accumulate in ACCUMULATE {
                let efficiency = |ranks: u32| {
                    let computing = f64::from(accumulate) * work.flops * f64::from(work.samples) / args.flops;
                    let percent = 100.0 * computing / (computing + args.exchange(work.weights, ranks, speed));
                    format!("{percent:.0}%")
                };
                println!("| {} | {accumulate} | {} |", work.name, RANKS.map(efficiency).join(" | "));
            }
        }
    }
    Ok(())
}

impl Args {
    /// Seconds from the last gradient to the start of the update.
    fn exchange(&self, weights: f64, ranks: u32, link: f64) -> f64 {
        let (bytes, others) = (4.0 * weights, f64::from(ranks - 1));
        let travelling = 2.0 * others / f64::from(ranks) * bytes / link;
        travelling + 2.0 * others * self.latency + 2.0 * bytes / self.host + self.submission
    }
}

/// The work of a network that wgrad has, from its plan.
fn planned(name: &'static str, network: &Network, samples: u32) -> Result<Work, Box<dyn Error>> {
    let config = TrainerConfig { batch: samples, slices: Some(1), ..TrainerConfig::default() };
    let plan = Plan::training(network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config)?;
    let flops: u64 = plan.cost().ops.iter().map(|(_, work)| work.flops).sum();
    let weights = network.parameters().iter().map(|parameter| parameter.len()).sum::<u32>();
    Ok(Work { name, weights: weights.into(), samples, flops: flops as f64 / f64::from(samples) })
}

fn mnist() -> Result<Work, Box<dyn Error>> {
    let network = Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity);
    planned("MNIST's MLP", &network.build()?, 512)
}

/// ResNet-20 for images of 32 by 32 pixels (He et al., 2015, section 4.2), with 1x1 convolutions where the size changes.
fn resnet_20() -> Result<Work, Box<dyn Error>> {
    let mut graph = Graph::new();
    let image = graph.input("image", [32, 32, 3]);
    let mut x = graph.layer(Conv::new(16, 3).same(), [image])?;
    x = graph.layer(BatchNorm::default(), [x])?;
    x = graph.layer(Layer::Activation(Relu), [x])?;
    let mut channels = 16;
    for stage in 0..3 {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let shortcut = match stride {
                1 => x,
                _ => graph.layer(Conv::new(2 * channels, 1).stride(2), [x])?,
            };
            channels *= stride;
            let mut y = graph.layer(Conv::new(channels, 3).stride(stride).same(), [x])?;
            y = graph.layer(BatchNorm::default(), [y])?;
            y = graph.layer(Layer::Activation(Relu), [y])?;
            y = graph.layer(Conv::new(channels, 3).same(), [y])?;
            y = graph.layer(BatchNorm::default(), [y])?;
            y = graph.add([y, shortcut])?;
            x = graph.layer(Layer::Activation(Relu), [y])?;
        }
    }
    let x = graph.layer(Layer::ReduceMean(vec![0, 1]), [x])?;
    let x = graph.layer(Dense::new(10, Identity), [x])?;
    planned("ResNet-20", &graph.build([("class", x)])?, 128)
}

/// A transformer, whose layers wgrad does not have yet. 12 · layers · width² weights in the blocks, and the embeddings
/// of the vocabulary. A token takes 6 operations for each weight, and 12 · layers · width · context for the attention
/// (Kaplan et al., 2020, "Scaling laws for neural language models", table 1, times 3 for the backward pass).
fn gpt(name: &'static str, layers: f64, width: f64, vocabulary: f64, context: f64, samples: u32) -> Work {
    let weights = 12.0 * layers * width * width + vocabulary * width;
    let of_token = 6.0 * weights + 12.0 * layers * width * context;
    Work { name, weights, samples, flops: of_token * context }
}

/// Any network with 100 million weights that uses each of them once a sample.
fn large() -> Work {
    Work { name: "100 M weights", weights: 1e8, samples: 64, flops: 6e8 }
}

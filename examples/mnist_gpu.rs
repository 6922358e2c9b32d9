//! Trains a network on MNIST, on whatever GPU is there, and says how well.
//!
//!     cargo run --release --example mnist_gpu -- --help

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use wgrad::mnist::Mnist;
use wgrad::{
    Activation, Adam, Device, Epoch, Error, Event, Fit, Gpu, Loss, Network, Optimizer, Sgd, Traffic, Trainer,
    TrainerConfig,
};

/// Trains a dense network on MNIST, on a GPU.
#[derive(Parser)]
struct Args {
    /// Times over the 60,000 training images
    #[arg(long, default_value_t = 10)]
    epochs: u32,
    /// Images of a step
    #[arg(long, default_value_t = 32)]
    batch: u32,
    /// Units of each hidden layer
    #[arg(long, value_delimiter = ',', default_value = "512,256,128")]
    hidden: Vec<u32>,
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    /// Step size [default: 0.1 for sgd; for adam 0.0003 at a batch of 32, in proportion to the batch, at most 0.001]
    #[arg(long, allow_negative_numbers = true)]
    learning_rate: Option<f32>,
    /// Momentum of sgd
    #[arg(long, default_value_t = 0.9, allow_negative_numbers = true)]
    momentum: f32,
    /// Seed of the initial weights and of the shuffle
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to train; auto takes the CPU where there is no GPU
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    device: DeviceName,
    /// Part of the name of the GPU to use, where there are several
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Folder of the four MNIST files, packed or not
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/mnist"))]
    data: PathBuf,
    /// Writes the figures of the run to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum DeviceName {
    Auto,
    Gpu,
    Cpu,
}

fn main() {
    let start = Instant::now();
    if let Err(error) = run(&Args::parse(), start) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args, start: Instant) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = &args.json {
        // Better to fail now than after the training.
        write_whole(path, "{}\n").map_err(|e| format!("--json {}: {e}", path.display()))?;
    }
    // The files are read while the GPU opens and compiles; the scope waits for the reader also where something fails.
    std::thread::scope(|scope| {
        let data = scope.spawn(|| Mnist::read(&args.data));
        train(args, start, data)
    })
}

fn train(
    args: &Args,
    start: Instant,
    data: std::thread::ScopedJoinHandle<'_, wgrad::Result<Mnist>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let device = open(args)?;
    print_device(&device);
    let builder = args.hidden.iter().fold(Network::input(784), |net, &units| net.dense(units, Activation::Relu));
    let network = builder.dense(10, Activation::Identity).build()?;
    println!("{}", network.summary());
    let config = TrainerConfig { batch: args.batch, seed: args.seed, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(device.clone(), &network, Loss::SoftmaxCrossEntropy, optimizer(args), config)?;

    trainer.warm_up();
    let Mnist { train, test } = data.join().map_err(|_| "reading the data panicked")??;
    let mut bar = Bar::new(args.epochs, args.batch);
    let mut first_step_seconds = None;
    let fit = Fit { epochs: args.epochs, validation: Some(&test), live: bar.is_shown() };
    let history = trainer.fit(&train, fit, |event| {
        first_step_seconds.get_or_insert_with(|| start.elapsed().as_secs_f64());
        bar.show(event);
    })?;
    drop(bar);
    let result = trainer.evaluate(&test)?;
    let traffic = match &device {
        Device::Gpu(gpu) => gpu.traffic(),
        Device::Cpu => Traffic::default(),
    };
    println!("test accuracy {:.2}%, error {:.2}%", result.accuracy * 100.0, (1.0 - result.accuracy) * 100.0);

    if let Some(path) = &args.json {
        let weights = trainer.model().parameters()?;
        let report = json!({
            "adapter": adapter(&device),
            "executor": if matches!(device, Device::Gpu(_)) { "gpu" } else { "cpu" },
            "network": network.layers().map(|(_, l)| l.outputs()).fold("784".into(), |s: String, n| format!("{s}-{n}")),
            "parameters": network.parameter_count(),
            "batch_size": args.batch,
            "seed": args.seed,
            "first_step_seconds": first_step_seconds,
            "dispatches_per_step": trainer.plan().step.len(),
            "submits": traffic.submits,
            "readback_bytes": traffic.readback_bytes,
            "epochs": history.epochs.iter().map(|e| epoch(e, train.rows())).collect::<Vec<_>>(),
            "test_accuracy": result.accuracy,
            "weights_fnv1a": format!("{:016x}", fnv1a(&weights)),
        });
        write_whole(path, &format!("{report:#}\n")).map_err(|e| format!("--json {}: {e}", path.display()))?;
    }
    Ok(())
}

fn open(args: &Args) -> Result<Device, Error> {
    if args.device == DeviceName::Cpu {
        return Ok(Device::Cpu);
    }
    let gpu = match &args.adapter {
        Some(name) => Gpu::request_named(name),
        None => Gpu::request(),
    };
    match gpu {
        Ok(gpu) => Ok(gpu.into()),
        Err(error @ Error::NoAdapter { .. }) if args.device == DeviceName::Auto && args.adapter.is_none() => {
            println!("{error}.\nTraining on the CPU reference instead, which is slow.");
            Ok(Device::Cpu)
        }
        Err(error) => Err(error),
    }
}

fn optimizer(args: &Args) -> Optimizer {
    match args.optimizer {
        OptimizerName::Adam => {
            // Small batches are noisy: at 0.001 their accuracy still wavers in the last epochs.
            let default = (0.0003 * args.batch as f32 / 32.0).min(0.001);
            Adam { learning_rate: args.learning_rate.unwrap_or(default), ..Adam::default() }.into()
        }
        OptimizerName::Sgd => Sgd { learning_rate: args.learning_rate.unwrap_or(0.1), momentum: args.momentum }.into(),
    }
}

fn print_device(device: &Device) {
    match device {
        Device::Gpu(gpu) => {
            let info = gpu.adapter_info();
            println!(
                "{} ({:?}), driver {} {}, {}",
                info.name, info.device_type, info.driver, info.driver_info, info.backend
            );
        }
        Device::Cpu => println!("CPU reference"),
    }
}

fn adapter(device: &Device) -> Value {
    let Device::Gpu(gpu) = device else { return Value::Null };
    let info = gpu.adapter_info();
    json!({
        "name": info.name,
        "backend": info.backend.to_string(),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(),
        "device_type": format!("{:?}", info.device_type),
    })
}

fn epoch(epoch: &Epoch, rows: usize) -> Value {
    let seconds = epoch.seconds.unwrap_or(f64::NAN);
    json!({
        "epoch": epoch.epoch,
        "train_loss": epoch.train.loss,
        "train_accuracy": epoch.train.accuracy,
        "validation_loss": epoch.validation.map(|v| v.loss),
        "validation_accuracy": epoch.validation.map(|v| v.accuracy),
        "seconds": seconds,
        "samples_per_second": rows as f64 / seconds,
        "ms_per_step": seconds * 1000.0 / f64::from(epoch.steps),
    })
}

/// The progress bar, and a line for each epoch.
struct Bar {
    bar: ProgressBar,
    epochs: u32,
    batch: u32,
    /// When this epoch began.
    began: Instant,
}

impl Bar {
    fn new(epochs: u32, batch: u32) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3}% {msg}").expect("a valid template");
        Self { bar: ProgressBar::new(0).with_style(style), epochs, batch, began: Instant::now() }
    }

    fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Steps { epoch, done, steps, train } => {
                if self.bar.position() >= u64::from(done) || self.bar.length() != Some(steps.into()) {
                    self.bar.reset();
                    self.bar.set_length(steps.into());
                }
                self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
                self.bar.set_position(done.into());
                let rate = f64::from(done * self.batch) / self.began.elapsed().as_secs_f64();
                let train = train.map(|t| format!("loss {:.4}, accuracy {:.2}%, ", t.loss, t.accuracy * 100.0));
                self.bar.set_message(format!("{}{rate:.0} samples/s", train.unwrap_or_default()));
            }
            Event::Epoch(epoch) => {
                self.began = Instant::now();
                let seconds = epoch.seconds.unwrap_or(f64::NAN);
                let validation = epoch
                    .validation
                    .map(|v| format!("validation loss {:.4}, accuracy {:.2}%, ", v.loss, v.accuracy * 100.0));
                self.bar.suspend(|| {
                    println!(
                        "epoch {}/{}: train loss {:.4}, accuracy {:.2}%; {}{:.1} s, {:.0} samples/s",
                        epoch.epoch,
                        self.epochs,
                        epoch.train.loss,
                        epoch.train.accuracy * 100.0,
                        validation.unwrap_or_default(),
                        seconds,
                        f64::from(epoch.train.rows) / seconds,
                    );
                });
            }
            _ => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A fingerprint of the weights' bits (the hash FNV-1a), to see whether two runs ended alike.
fn fnv1a(weights: &[f32]) -> u64 {
    let bytes = weights.iter().flat_map(|w| w.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, path)
}

//! Shows what is in a model file: layers, shapes, parameters, and operators that are not supported. Runs the model, times
//! it, and converts it.
//!
//! Files: ONNX, Keras (.keras, .h5), safetensors, and NumPy arrays (.npy, .npz).
//!
//!     cargo run --release --example inspect -- model.onnx
//!     cargo run --release --example inspect -- model.keras --run image.npy --output result.npy
//!     cargo run --release --example inspect -- model.onnx --to safetensors --save model.safetensors

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod file;
mod slices;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer};
use file::Contents;
use wgrad::{Device, Inputs, Model, NumpyArray, WeightFormat};

/// Shows a model file, runs the model, and converts it.
#[derive(Parser)]
struct Args {
    /// File: ONNX, Keras (.keras, .h5), safetensors or NumPy arrays (.npy, .npz)
    file: PathBuf,
    /// Runs and times the model: on zeros, or on arrays of a file (.npy; .npz with an array for each input)
    #[arg(long, value_name = "INPUT", num_args = 0..=1, default_missing_value = "zeros")]
    run: Option<PathBuf>,
    /// Number of rows of zeros, 1 by default
    #[arg(long, requires = "run", value_parser = integer(1..=65_536))]
    rows: Option<u32>,
    /// Also runs the model in slices, each within this number of milliseconds
    #[arg(long, value_name = "MS", requires = "run", value_parser = milliseconds)]
    budget: Option<Duration>,
    /// File for the output of --run (.npy)
    #[arg(long, value_name = "FILE", requires = "run")]
    output: Option<PathBuf>,
    /// Converts the model to this form: keras writes the weights only
    #[arg(long, value_name = "FORM", requires = "save")]
    to: Option<Form>,
    /// File for the converted model
    #[arg(long, value_name = "FILE", requires = "to")]
    save: Option<PathBuf>,
    /// Length of a dynamic dimension of an ONNX file, as NAME=LENGTH
    #[arg(long, value_name = "NAME=LENGTH", value_parser = dimension)]
    dimension: Vec<(String, u32)>,
    /// Keeps the order of an ONNX file's images, channels first
    #[arg(long)]
    channels_first: bool,
    /// Multiplies the factors of batch norms of an ONNX file into the weights before them
    #[arg(long)]
    fold_batch_norm: bool,
    /// Device: auto (a GPU, or the CPU if there is none), cpu, or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Onnx,
    Safetensors,
    Keras,
}

fn dimension(word: &str) -> Result<(String, u32), String> {
    let named = word.split_once('=').and_then(|(name, length)| Some((name.to_owned(), length.parse().ok()?)));
    named.ok_or_else(|| "expected NAME=LENGTH, such as height=224".into())
}

fn milliseconds(word: &str) -> Result<Duration, String> {
    let seconds = options::rate(word)? / 1e3;
    Ok(Duration::from_secs_f32(seconds))
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

fn run(args: &Args) -> Result<()> {
    common::check_outputs(args.output.iter().chain(&args.save))?;
    let (device, model) = match Contents::read(args)? {
        Contents::Model { form, network, weights } => {
            println!("{}: {form}", args.file.display());
            let device = args.device.open()?;
            (device.clone(), Model::new(device, &network, &weights)?)
        }
        Contents::Tensors { form, tensors } => {
            println!("{}: {form}, {} tensors without a network", args.file.display(), tensors.len());
            for (name, form) in tensors {
                println!("  {name}: {form}");
            }
            return match (&args.run, &args.to) {
                (None, None) => Ok(()),
                _ => Err("a file without a network can be neither run nor converted".into()),
            };
        }
    };
    println!("{}", model.network().summary());
    for (kind, specs) in [("input", model.network().input_specs()), ("output", model.network().output_specs())] {
        for spec in specs {
            println!("{kind} {:?}: a sample is {:?}", spec.name, &*spec.shape);
        }
    }
    if let Some(input) = &args.run {
        evaluate(args, &device, &model, input)?;
    }
    if let (Some(form), Some(path)) = (args.to, &args.save) {
        match form {
            Form::Onnx => model.save_onnx(path)?,
            Form::Safetensors => model.save(path)?,
            Form::Keras if path.to_string_lossy().ends_with(".weights.h5") => {
                model.save_weights(path, WeightFormat::KerasWeights)?;
            }
            Form::Keras => model.save_weights(path, WeightFormat::KerasH5)?,
        }
        println!("saved {}", path.display());
    }
    Ok(())
}

/// Runs and times the model.
fn evaluate(args: &Args, device: &Device, model: &Model, input: &std::path::Path) -> Result<()> {
    if args.output.is_some() && model.network().output_specs().len() > 1 {
        return Err("--output: expected a model with one output".into());
    }
    let specs = model.network().input_specs();
    let arrays = file::inputs(input, specs, args.rows)?;
    let named: Vec<(&str, &[f32])> = specs.iter().zip(&arrays).map(|(spec, row)| (&*spec.name, &row[..])).collect();
    let rows = arrays[0].len() / specs[0].features() as usize;
    // The first call compiles the kernels.
    let outputs = model.forward_all(Inputs::from(&named[..]))?;
    for (spec, output) in model.network().output_specs().iter().zip(&outputs) {
        let shape: Vec<usize> = [rows].into_iter().chain(spec.shape.iter().map(|&n| n as usize)).collect();
        let (least, most) = output.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &y| (a.min(y), b.max(y)));
        let mean = output.iter().map(|&y| f64::from(y)).sum::<f64>() / output.len() as f64;
        let first: Vec<String> = output.iter().take(8).map(|y| format!("{y:.6}")).collect();
        let more = if output.len() > 8 { ", ..." } else { "" };
        println!("output {:?} {shape:?}: from {least:.6} to {most:.6}, mean {mean:.6}", spec.name);
        println!("  {}{more}", first.join(", "));
        if let Some(path) = &args.output {
            common::write_file(path, NumpyArray::new(&shape, output)?.to_npy())?;
        }
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 3 || (start.elapsed().as_secs_f64() < 2.0 && times.len() < 1000) {
        let start = Instant::now();
        model.forward_all(Inputs::from(&named[..]))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{:.3} ms for {rows} rows, with upload and reading back (median of {})",
        times[times.len() / 2],
        times.len()
    );
    match (args.budget, device) {
        (Some(budget), Device::Gpu(gpu)) => slices::show(gpu, model, budget, rows as u32),
        (Some(_), Device::Cpu) => Err("--budget: expected a GPU".into()),
        (None, _) => Ok(()),
    }
}

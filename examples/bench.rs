//! Measures matrix multiplications, training and inference on each GPU, and compares them with the GPU's own limits.
//!
//! Prints a table for each adapter: time, samples per second, GFLOP/s, and the share of the roofline.
//! Writes bench.json, and for each adapter a roofline plot (SVG) and a trace of a training step.
//! Takes about 3 minutes on two CPU cores with a software adapter; `--quick` takes about 10 seconds.
//!
//!     cargo run --release --example bench
//!     cargo run --release --example bench -- --quick

#[macro_use]
mod common;
#[path = "bench/matmuls.rs"]
mod matmuls;
#[path = "bench/networks.rs"]
mod networks;
#[path = "bench/roofs.rs"]
mod roofs;
#[path = "bench/timing.rs"]
mod timing;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use common::plot::{self, Roofline};
use common::{Result, device, options, write_file};
use roofs::Roofs;
use serde_json::{Value, json};
use timing::Effort;
use wgrad::{Error, Gpu, Work, wgpu};

/// Measures matrix multiplications, training and inference on each GPU, and its memory bandwidth and arithmetic speed.
#[derive(Parser)]
struct Args {
    /// Measures only the GPUs whose name contains this text [default: all GPUs]
    #[arg(long, alias = "adapter", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    device: Option<String>,
    /// Measures fewer cases, for a few milliseconds each
    #[arg(long)]
    quick: bool,
    /// Folder for bench.json, the plots and the traces
    #[arg(long, value_name = "DIR", default_value = "out/bench")]
    out: PathBuf,
}

/// One measured case.
struct Measured {
    title: String,
    /// A shorter title, for plots.
    label: String,
    work: Work,
    seconds: f64,
    /// Samples of a batch, or rows of a matrix multiplication.
    rows: u32,
    details: Value,
}

fn main() -> ExitCode {
    common::exit_code(pollster::block_on(run(&options::parse())))
}

async fn run(args: &Args) -> Result<()> {
    let adapters = device::instance().enumerate_adapters(wgpu::Backends::all()).await;
    match adapters.len() {
        0 => return Err(device::no_gpu("wgpu lists no adapter").into()),
        1 => println!("1 adapter:"),
        many => println!("{many} adapters:"),
    }
    for adapter in &adapters {
        println!("  {}", device::describe_adapter(&adapter.get_info()));
    }
    let name = args.device.as_deref().unwrap_or("");
    let wanted: Vec<_> = adapters.iter().filter(|adapter| device::is_named(adapter, name)).collect();
    if wanted.is_empty() {
        return Err(device::no_gpu_named(name, &adapters).into());
    }
    let path = args.out.join("bench.json");
    let suffix = |i: usize| if i == 0 { String::new() } else { format!("-{}", i + 1) };
    let drawn =
        (0..wanted.len()).flat_map(|i| [format!("roofline{}.svg", suffix(i)), format!("trace{}.json", suffix(i))]);
    common::check_outputs(drawn.map(|file| args.out.join(file)).chain([path.clone()]))?;
    let mut reports = Vec::new();
    for (i, adapter) in wanted.into_iter().enumerate() {
        // If an adapter fails, the others are still measured and reported.
        let report = match Gpu::from_adapter(adapter).await {
            Ok(gpu) => bench(&gpu, args, &suffix(i)),
            Err(error) => Err(error.into()),
        };
        match report {
            Ok(report) => reports.push(report),
            Err(error) => println!("\n{}: {error}", adapter.get_info().name),
        }
        write_file(&path, format!("{:#}\n", json!({ "adapters": reports })))?;
    }
    if reports.is_empty() {
        return Err("no adapter could be measured".into());
    }
    println!("\nresults, plots and traces are in {}", args.out.display());
    Ok(())
}

fn bench(gpu: &Gpu, args: &Args, suffix: &str) -> Result<Value> {
    let info = gpu.adapter_info();
    println!("\n{}", info.name);
    let effort = match args.quick {
        true => Effort { seconds: 0.005, submissions: 3 },
        false => Effort { seconds: 0.1, submissions: 7 },
    };
    let roofs = Roofs::measure(gpu, effort, if args.quick { 16 << 20 } else { 128 << 20 })?;
    println!(
        "copy: {:.1} GB/s by a kernel, {:.1} GB/s by a copy command; multiply-add in registers: {:.1} GFLOP/s",
        roofs.kernel_bytes_per_second * 1e-9,
        roofs.command_bytes_per_second * 1e-9,
        roofs.flops_per_second * 1e-9
    );

    println!("{:<40}{:>12}{:>14}{:>12}{:>12}", "", "ms", "rows/s", "GFLOP/s", "of roofline");
    let line = |one: &Measured| {
        let (ms, rows) = (one.seconds * 1e3, f64::from(one.rows) / one.seconds);
        let share = one.flops_per_second() / roofs.at(one.work.intensity()) * 100.0;
        println!("{:<40}{ms:>12.4}{rows:>14.0}{:>12.2}{share:>11.1}%", one.title, one.flops_per_second() * 1e-9);
    };
    println!("matrix multiplications, C = op(A) · op(B), m x n x k");
    let matmuls = matmuls::measure(gpu, effort, args.quick, line)?;
    let mut heading = "";
    let [training, inference] = networks::measure(gpu, effort, args.quick, |which, one| {
        if which != heading {
            println!("{which}");
            heading = if which == "training" { "training" } else { "inference" };
        }
        line(one);
    })?;
    match networks::profile(gpu) {
        Ok(profile) => {
            println!("\n{profile}");
            write_file(&args.out.join(format!("trace{suffix}.json")), profile.to_chrome_trace())?;
        }
        Err(error) if matches!(error.downcast_ref(), Some(Error::MissingFeature { .. })) => println!("\n{error}"),
        Err(error) => return Err(error),
    }

    let series = [
        ("matmul: layout, m x n x k", &matmuls),
        ("training: widths, batch", &training),
        ("inference: widths, batch", &inference),
    ];
    let roofline = Roofline {
        title: &info.name,
        flops_per_second: roofs.flops_per_second,
        bytes_per_second: roofs.bytes_per_second(),
        series: series.map(|(name, all)| (name, all.iter().map(Measured::point).collect())).into(),
    };
    plot::roofline(&args.out.join(format!("roofline{suffix}.svg")), &roofline)?;
    Ok(json!({
        "name": info.name,
        "backend": info.backend.to_string(),
        "device_type": format!("{:?}", info.device_type),
        "driver": format!("{} {}", info.driver, info.driver_info).trim(),
        "version": env!("CARGO_PKG_VERSION"),
        "quick": args.quick,
        "kernel_copy_bytes_per_second": roofs.kernel_bytes_per_second,
        "command_copy_bytes_per_second": roofs.command_bytes_per_second,
        "flops_per_second": roofs.flops_per_second,
        "products": matmuls.iter().map(|one| one.json(&roofs)).collect::<Vec<_>>(),
        "training": training.iter().map(|one| one.json(&roofs)).collect::<Vec<_>>(),
        "inference": inference.iter().map(|one| one.json(&roofs)).collect::<Vec<_>>(),
    }))
}

impl Measured {
    fn flops_per_second(&self) -> f64 {
        self.work.flops as f64 / self.seconds
    }

    fn point(&self) -> (String, f64, f64) {
        (self.label.clone(), self.work.intensity(), self.flops_per_second())
    }

    fn json(&self, roofs: &Roofs) -> Value {
        let mut value = json!({
            "title": self.title,
            "seconds": self.seconds,
            "flops": self.work.flops,
            "bytes": self.work.bytes,
            "flops_per_second": self.flops_per_second(),
            "share_of_roof": self.flops_per_second() / roofs.at(self.work.intensity()),
        });
        for (key, detail) in self.details.as_object().into_iter().flatten() {
            value[key] = detail.clone();
        }
        value
    }
}

/// A xorshift generator of random numbers.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Uniform numbers from −1 to 1.
    fn f32s(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.word() as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    fn below(&mut self, n: u32) -> u32 {
        self.word() % n
    }
}

//! Trains networks with wgrad and with its peers, in turn, and says how they compare: README.md beside this crate.
//!
//!     cargo run --release --manifest-path compare/Cargo.toml -- --help

mod builds;
mod chart;
mod peers;
mod process;
mod report;
mod results;
mod rounds;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use compare::benchmarks::{self, BENCHMARKS};
use compare::{Result, engines};
use results::{Circumstances, Job, Results};

/// Trains networks with wgrad and its peers, side by side; writes results.json, results.md and results.svg.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Times that each engine has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Starts with nothing cached on disk, of which the median counts; slow starters have fewer
    #[arg(long, default_value_t = 3)]
    cold: usize,
    /// Only these networks; results of others are kept
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_values_t = BENCHMARKS.map(|b| b.name.to_string()))]
    networks: Vec<String>,
    /// Batch sizes to train at [default: each network's own]
    #[arg(long, value_delimiter = ',')]
    batches: Vec<usize>,
    /// Only these engines, and wgrad
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Runs the GPU's engines a second time with this LP_NATIVE_VECTOR_WIDTH (Mesa's software driver), for a second table
    #[arg(long, value_name = "BITS")]
    vector_width: Option<u32>,
    /// A Python that has PyTorch
    #[arg(long, env = "COMPARE_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// wgrad and TensorFlow.js in Chromium too: README.md says how to build them
    #[arg(long)]
    browser: bool,
    /// The browser for them
    #[arg(long, env = "COMPARE_CHROMIUM", default_value = "/usr/bin/chromium", value_name = "FILE")]
    chromium: PathBuf,
    /// Folder of the MNIST files
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/mnist"))]
    data: PathBuf,
    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_MANIFEST_DIR"))]
    out: PathBuf,
    /// Measures clean builds of minimal programs instead, which takes many minutes
    #[arg(long)]
    build: bool,
    /// Only draws the table and the chart again
    #[arg(long, conflicts_with = "build")]
    draw: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// The process of one engine, which answers questions: src/worker.rs
    #[command(hide = true)]
    Worker { engine: String, job: Job, batch: usize, task: PathBuf },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    if let Some(Role::Worker { engine, job, batch, task }) = args.role {
        return worker::serve(engines::find(&engine)?, job, batch, task);
    }
    if !args.only.is_empty() && args.out == Path::new(env!("CARGO_MANIFEST_DIR")) {
        let there = args.out.display();
        return Err(format!("--only: name a folder with --out, as {there} has the results of all engines").into());
    }
    let networks = args.networks.iter().map(|name| benchmarks::find(name)).collect::<Result<Vec<_>>>()?;
    let json = args.out.join("results.json");
    let now = Circumstances::now(); // before anything is written, which would be a change of the revision
    let mut results = Results::read(&json)?;
    if args.build {
        results.builds = Some(builds::measure(Path::new(env!("CARGO_MANIFEST_DIR")), now)?);
    } else if !args.draw {
        results::write_whole(&json, &results.json()?)?; // what cannot be written is known before it is measured
        for network in networks {
            results.record(rounds::measure(&args, network, now.clone())?);
            results::write_whole(&json, &results.json()?)?;
        }
    }
    results::write_whole(&json, &results.json()?)?;
    let table = report::markdown(&results);
    print!("{table}");
    results::write_whole(&args.out.join("results.md"), &table)?;
    results::write_whole(&args.out.join("results.svg"), &chart::draw(&results)?)
}

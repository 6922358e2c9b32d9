//! Trains the same networks with wgrad and with other engines, and compares speed, memory and start time. See
//! README.md.
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

/// Trains the same networks with wgrad and with other engines, and compares them. Writes results.json, results.md and
/// results.svg.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Number of rounds; each engine has one turn in a round
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn, in seconds
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Number of cold starts (nothing cached on disk); the median is reported, and slow engines get fewer
    #[arg(long, default_value_t = 3)]
    cold: usize,
    /// Networks to measure; the results of other networks are kept
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_values_t = BENCHMARKS.map(|b| b.name.to_string()))]
    networks: Vec<String>,
    /// Batch sizes of training [default: those of each network]
    #[arg(long, value_delimiter = ',')]
    batches: Vec<usize>,
    /// Engines to measure, in addition to wgrad [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Also runs the GPU engines with this LP_NATIVE_VECTOR_WIDTH (Mesa's software driver), for a second table
    #[arg(long, value_name = "BITS")]
    vector_width: Option<u32>,
    /// Python interpreter with PyTorch
    #[arg(long, env = "COMPARE_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// Also measures wgrad and TensorFlow.js in Chromium; README.md says how to build them
    #[arg(long)]
    browser: bool,
    /// Chromium executable for --browser
    #[arg(long, env = "COMPARE_CHROMIUM", default_value = "/usr/bin/chromium", value_name = "FILE")]
    chromium: PathBuf,
    /// Folder with the MNIST files
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/mnist"))]
    data: PathBuf,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_MANIFEST_DIR"))]
    out: PathBuf,
    /// Measures clean builds of minimal programs instead; takes many minutes
    #[arg(long)]
    build: bool,
    /// Measures nothing: writes the tables and the chart again from results.json
    #[arg(long, conflicts_with = "build")]
    draw: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// The process of one engine: src/worker.rs
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
        return Err(
            format!("--only: choose another folder with --out; {there} holds the results of all engines").into()
        );
    }
    let networks = args.networks.iter().map(|name| benchmarks::find(name)).collect::<Result<Vec<_>>>()?;
    let json = args.out.join("results.json");
    let now = Circumstances::now(); // before files are written: they would change the revision
    let mut results = Results::read(&json)?;
    if args.build {
        results.builds = Some(builds::measure(Path::new(env!("CARGO_MANIFEST_DIR")), now)?);
    } else if !args.draw {
        results::write_whole(&json, &results.json()?)?; // fails early if the file cannot be written
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

//! Measures the sum of the gradients over all processes: milliseconds for a number of f32 values, without a GPU.
//! Prints the medians of wgrad's sum, whose order is fixed, and of MPI's own all-reduce.
//!
//!     mpirun -n 2 cargo run --release --manifest-path mpi/Cargo.toml --example reduce

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use mpi::collective::{CommunicatorCollectives, SystemOperation};
use mpi::topology::SimpleCommunicator;
use wgrad::Ranks;

/// Measures the sum of the gradients over all processes.
#[derive(Parser)]
struct Args {
    /// Number of f32 values [default: the weights of 784-512-256-128-10]
    #[arg(long, default_value_t = 567_434)]
    values: usize,
    /// Number of measurements
    #[arg(long, default_value_t = 50)]
    times: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    wgrad_mpi::run(wgrad_mpi::TIMEOUT, |world| {
        let own: Vec<f32> = (0..args.values).map(|i| (i as f32 + world.rank() as f32) * 1e-3).collect();
        let (mut values, mut total) = (own.clone(), own.clone());
        let mut sum = wgrad::SumOverRanks::default();
        let ours = median(args.times, || {
            values.copy_from_slice(&own);
            sum.sum(world, &mut values)
        })?;
        let theirs = median(args.times, || {
            SimpleCommunicator::world().all_reduce_into(&own[..], &mut total[..], SystemOperation::sum());
            Ok(())
        })?;
        if world.rank() == 0 {
            println!(
                "{} values on {} processes: {ours:.2} ms, MPI_Allreduce {theirs:.2} ms",
                args.values,
                world.count()
            );
        }
        Ok(())
    })
}

/// Median of the milliseconds of a call, after two calls to warm up.
fn median(times: usize, mut call: impl FnMut() -> wgrad::Result<()>) -> wgrad::Result<f64> {
    let mut measured = Vec::new();
    for i in 0..times.max(1) + 2 {
        let start = Instant::now();
        call()?;
        if i >= 2 {
            measured.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    measured.sort_by(f64::total_cmp);
    Ok(measured[measured.len() / 2])
}

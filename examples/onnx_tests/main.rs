//! Runs the backend tests of the ONNX project on GPU and CPU. `scripts/onnx_tests.sh` makes the cases and calls it.
//!
//! A case passes if both devices give the stored results, within the tolerance that the case states. Each input that is
//! no float is bound as a constant, and so is each input that an operator needs as one, such as weights. A case is read
//! with `Onnx::unbatched`; if that is refused, its first dimension is the batch.

mod case;
mod page;
mod tensor;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use wgrad::{Device, Gpu};

use crate::case::{Case, Outcome};

pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
struct Args {
    /// Folder with cases.tsv and the cases
    folder: PathBuf,
    /// Markdown file to write the results to
    #[arg(long)]
    page: Option<PathBuf>,
    /// Run only the cases whose path contains this text, and print each result
    #[arg(long)]
    only: Option<String>,
    /// Number of threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let lines = std::fs::read_to_string(args.folder.join("cases.tsv"))?;
    let mut cases = lines.lines().map(Case::read).collect::<Result<Vec<_>>>()?;
    if let Some(text) = &args.only {
        cases.retain(|case| case.path.contains(text));
    }
    let gpu = Gpu::request()?;
    println!("{} cases on {} and on the CPU", cases.len(), gpu.adapter_info().name);
    let devices = [("GPU", Device::from(&gpu)), ("CPU", Device::Cpu)];
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = catch_unwind(AssertUnwindSafe(|| case.run(&args.folder, &devices)));
            let outcome = match run {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(fault)) => Outcome::Failed(format!("the files of the case: {fault}")),
                Err(_) => Outcome::Failed("a panic".into()),
            };
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            match (&outcome, args.only.is_some()) {
                (Outcome::Passed, true) => println!("passed  {}", case.path),
                (Outcome::Skipped(reason), true) => println!("skipped {}: {reason}", case.path),
                (Outcome::Failed(reason), _) => println!("failed  {}: {reason}", case.path),
                _ => {}
            }
            outcomes.push((case, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    if let Some(path) = &args.page {
        std::fs::write(path, page::page(&outcomes, &gpu.adapter_info().name))?;
    }
    println!("{}", page::summary(&outcomes));
    Ok(())
}

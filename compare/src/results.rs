//! The measurements, as stored in results.json.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use compare::Result;
use compare::benchmarks::BENCHMARKS;

/// `runs` and `builds` are measured by separate commands. Each command keeps the other's results.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    #[serde(default)]
    pub runs: Vec<Run>,
    pub builds: Option<Builds>,
}

/// Date, machine and command of a measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Circumstances {
    pub date: String,
    pub command: String,
    pub machine: String,
    /// Git revision of this repository, if it is one.
    #[serde(default)]
    pub revision: Option<String>,
}

/// All engines with one network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    pub network: String,
    /// Batch size for start times and memory.
    pub standard: usize,
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// wgrad's adapter and driver.
    pub adapter: String,
    pub minutes: f64,
    pub peers: Vec<Peer>,
    pub absent: Vec<Absent>,
}

/// An engine and its measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub version: String,
    pub device: String,
    /// The value of `LP_NATIVE_VECTOR_WIDTH`, if it was set.
    pub vector_width: Option<u32>,
    /// Seconds from the start of the process to the end of the first step, at the network's standard batch size, with
    /// nothing cached on disk.
    pub cold_first_step: Vec<f64>,
    /// The same with the driver's and the engine's caches from earlier runs.
    pub warm_first_step: Option<f64>,
    /// Peak resident memory in bytes while training at the standard batch size.
    pub peak_memory: Option<u64>,
    pub measured: Vec<Measured>,
    /// Errors, each with the phase in which it happened.
    pub failures: Vec<String>,
}

/// One job of one engine with one batch size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub job: Job,
    pub batch: usize,
    /// Seconds for each step or forward pass; one value for each round.
    pub seconds: Vec<f64>,
    /// Training: loss of the test rows after 1 step and after [`LEARNING_STEPS`]. Forward: loss with the initial
    /// weights.
    pub losses: Vec<f64>,
}

pub const LEARNING_STEPS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    Train,
    Forward,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Job::Train => "train",
            Job::Forward => "forward",
        })
    }
}

/// An engine that is not available on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Absent {
    pub name: String,
    pub why: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Builds {
    #[serde(flatten)]
    pub circumstances: Circumstances,
    pub programs: Vec<Program>,
}

/// A clean build of a minimal program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub seconds: f64,
    /// Number of compiled packages, including the program itself.
    pub crates: usize,
    pub bytes: u64,
}

impl Results {
    /// Adds a run. It replaces an earlier run of the same network.
    pub fn record(&mut self, run: Run) {
        let order = |run: &Run| BENCHMARKS.iter().position(|b| b.name == run.network);
        self.runs.retain(|other| other.network != run.network);
        self.runs.push(run);
        self.runs.sort_by_key(order);
    }

    pub fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()).into()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{}: {e}", path.display()).into()),
        }
    }

    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Writes a file atomically, and creates its folder if needed.
pub fn write_whole(path: &Path, contents: &str) -> Result<()> {
    if path.exists() && !path.is_file() {
        return Err(format!("cannot write {}: only regular files are replaced", path.display()).into());
    }
    let partial = path.with_added_extension("partial");
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&partial, contents)).and_then(|()| fs::rename(&partial, path));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

impl Circumstances {
    pub fn now() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let mut command = "cargo run --release --manifest-path compare/Cargo.toml".to_string();
        if !arguments.is_empty() {
            command += &format!(" -- {}", arguments.join(" "));
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let machine = format!("{}, {cores} cores", processor().unwrap_or_else(|| std::env::consts::ARCH.into()));
        Self { date: jiff::Zoned::now().date().to_string(), command, machine, revision: revision() }
    }
}

fn revision() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", folder, "describe", "--always", "--dirty"]).output().ok()?;
    git.status.success().then(|| String::from_utf8_lossy(&git.stdout).trim().to_string())
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

impl Peer {
    pub fn measured(&self, job: Job, batch: usize) -> Option<&Measured> {
        self.measured.iter().find(|m| (m.job, m.batch) == (job, batch))
    }
}

impl Measured {
    /// Rows per second.
    pub fn throughput(&self) -> f64 {
        self.batch as f64 / median(&self.seconds)
    }

    /// Speed relative to `other`: the ratio within each round, then the median over the rounds.
    pub fn speed_beside(&self, other: &Self) -> f64 {
        median(&other.seconds.iter().zip(&self.seconds).map(|(other, own)| other / own).collect::<Vec<_>>())
    }
}

/// The median of at least one number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

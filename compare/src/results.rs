//! What was measured, as it is kept in results.json.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use compare::Result;
use compare::benchmarks::BENCHMARKS;

/// A run leaves alone what only builds measure, and the other way round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    #[serde(default)]
    pub runs: Vec<Run>,
    pub builds: Option<Builds>,
}

/// When, where and by what command something was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Circumstances {
    pub date: String,
    pub command: String,
    pub machine: String,
    /// Of this repository, where it is one.
    #[serde(default)]
    pub revision: Option<String>,
}

/// All engines at one network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    pub network: String,
    /// Batch size of the starts and of the memory.
    pub standard: usize,
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// What wgrad ran on, with its driver.
    pub adapter: String,
    pub minutes: f64,
    pub peers: Vec<Peer>,
    pub absent: Vec<Absent>,
}

/// An engine, and all that was seen of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub version: String,
    pub device: String,
    /// The value of `LP_NATIVE_VECTOR_WIDTH`, where it was set.
    pub vector_width: Option<u32>,
    /// Seconds from the start of the process to the end of the first step, at the network's standard batch size, nothing
    /// cached on disk.
    pub cold_first_step: Vec<f64>,
    /// The same where the driver and the engine found what runs before had left.
    pub warm_first_step: Option<f64>,
    /// Resident bytes at most, training at the standard batch size.
    pub peak_memory: Option<u64>,
    pub measured: Vec<Measured>,
    /// What went wrong, and where.
    pub failures: Vec<String>,
}

/// One job of one engine at one batch size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub job: Job,
    pub batch: usize,
    /// Seconds a step, or a forward pass: one figure a round.
    pub seconds: Vec<f64>,
    /// Loss of the test rows after 1 step and after [`LEARNING_STEPS`]; or of the initial weights.
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

/// An engine that could not be had here.
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

/// A minimal program, built from nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub seconds: f64,
    /// Packages compiled, its own included.
    pub crates: usize,
    pub bytes: u64,
}

impl Results {
    /// Adds a run, in the place of one of the same network.
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

/// Writes a file whole or not at all, making its folder where there is none.
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
    /// Rows a second.
    pub fn throughput(&self) -> f64 {
        self.batch as f64 / median(&self.seconds)
    }

    /// How often the other's work is done in the time of this one's: the median over rounds, each compared with itself.
    pub fn speed_beside(&self, other: &Self) -> f64 {
        median(&other.seconds.iter().zip(&self.seconds).map(|(other, own)| other / own).collect::<Vec<_>>())
    }
}

/// Of at least one number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

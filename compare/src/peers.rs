//! Who is compared: the crates, and what runs outside of Rust where it can be found.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::engines::{BASE, ENGINES, FLOOR};
use crate::process::Recipe;
use crate::results::{Absent, Peer};

/// An engine, what is known of it, and how to start it.
pub struct Candidate {
    pub peer: Peer,
    pub recipe: Recipe,
}

impl Candidate {
    fn new(name: String, version: String, recipe: Recipe) -> Self {
        let peer = Peer {
            name,
            version,
            device: String::new(),
            vector_width: None,
            cold_first_step: Vec::new(),
            warm_first_step: None,
            peak_memory: None,
            measured: Vec::new(),
            failures: Vec::new(),
        };
        Self { peer, recipe }
    }

    pub fn is_floor(&self) -> bool {
        self.peer.name == FLOOR
    }
}

/// Those that are here, and those that are not. `only` leaves out all others but wgrad.
pub fn find(only: &[String], vector_width: Option<u32>, python: &Path) -> Result<(Vec<Candidate>, Vec<Absent>)> {
    let itself = std::env::current_exe()?;
    let of_kind = |kind: &crate::engines::Kind, vector_width: Option<u32>| {
        let recipe = Recipe {
            program: itself.clone(),
            arguments: vec!["worker".into(), kind.name.into()],
            environment: vector_width.map(|w| ("LP_NATIVE_VECTOR_WIDTH".into(), w.to_string())).into_iter().collect(),
        };
        let mut candidate = Candidate::new(kind.name.into(), locked_version(kind.package), recipe);
        candidate.peer.vector_width = vector_width;
        candidate
    };
    let wanted = |name: &str| only.is_empty() || name == BASE || only.iter().any(|n| n == name);
    let kinds = || ENGINES.iter().filter(|kind| wanted(kind.name));
    let mut candidates: Vec<Candidate> = kinds().map(|kind| of_kind(kind, None)).collect();
    let mut absent = Vec::new();
    let threads = [1, 2].map(|threads| (threads, format!("torch-cpu-{threads}")));
    let threads: Vec<_> = threads.into_iter().filter(|(_, name)| wanted(name)).collect();
    if !threads.is_empty() {
        match python_with_torch(python) {
            Ok(python) => candidates.extend(threads.into_iter().map(|(threads, name)| {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pytorch.py");
                let arguments = vec![script.into(), threads.to_string()];
                Candidate::new(name, String::new(), Recipe { program: python.clone(), arguments, environment: vec![] })
            })),
            Err(why) => absent.push(Absent { name: "torch-cpu".into(), why: why.to_string() }),
        }
    }
    if vector_width.is_some() {
        candidates.extend(kinds().filter(|k| k.gpu && k.name != FLOOR).map(|kind| of_kind(kind, vector_width)));
    }
    Ok((candidates, absent))
}

/// The interpreter itself: what is on the PATH may be a script that needs the user's home.
fn python_with_torch(python: &Path) -> Result<PathBuf> {
    let output = Command::new(python)
        .args(["-c", "import sys, torch; print(sys.executable)"])
        .output()
        .map_err(|e| format!("{}: {e}; name a Python that has PyTorch in COMPARE_PYTHON", python.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(format!(
            "{} has no PyTorch; name a Python that has it in COMPARE_PYTHON (pip install torch)",
            python.display()
        )
        .into()),
    }
}

/// The version of a package that this program is built with: the newest, where several are in it.
fn locked_version(package: &str) -> String {
    let mut lines = include_str!("../Cargo.lock").lines();
    let name = format!("name = \"{package}\"");
    let mut version = String::new();
    while lines.any(|line| line == name) {
        let line = lines.next().unwrap_or_default();
        version = line.trim_start_matches("version = ").trim_matches('"').into();
    }
    version
}

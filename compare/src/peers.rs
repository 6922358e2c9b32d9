//! The compared engines: Rust crates, and other programs if they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Args;
use crate::process::Recipe;
use crate::results::{Absent, Peer};
use compare::Result;
use compare::benchmarks::Benchmark;
use compare::engines::{BASE, ENGINES, FLOOR, Kind};

/// Engines in a browser: the name in the report, and the name in `peers/browser/worker.js`.
const IN_BROWSER: [(&str, &str); 2] = [("wgrad-browser", "wgrad"), ("tfjs-browser", "tfjs")];

/// An engine, its results, and how to start it.
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

/// The engines that are installed, and those that are not.
pub fn find(args: &Args, benchmark: &Benchmark) -> Result<(Vec<Candidate>, Vec<Absent>)> {
    let Args { only, vector_width, .. } = args;
    let itself = std::env::current_exe()?;
    let of_kind = |kind: &Kind, vector_width: Option<u32>| {
        let recipe = Recipe {
            program: itself.clone(),
            arguments: vec!["worker".into(), kind.name.into()],
            environment: vector_width.map(|w| ("LP_NATIVE_VECTOR_WIDTH".into(), w.to_string())).into_iter().collect(),
            one_process: true,
        };
        let mut candidate = Candidate::new(kind.name.into(), locked_version(kind.package), recipe);
        candidate.peer.vector_width = vector_width;
        candidate
    };
    let torch = [1, 2].map(|threads| (threads, format!("torch-cpu-{threads}")));
    let outside = || torch.iter().map(|(_, name)| name.as_str()).chain(IN_BROWSER.map(|(name, _)| name));
    let known = || ENGINES.iter().map(|k| k.name).chain(outside());
    if let Some(unknown) = only.iter().find(|name| !known().any(|known| known == *name)) {
        let known: Vec<&str> = known().collect();
        return Err(format!("unknown engine {unknown}; expected one of {}", known.join(", ")).into());
    }
    let wanted = |name: &str| only.is_empty() || name == BASE || only.iter().any(|n| n == name);
    let has_images = benchmark.input.len() > 1;
    let able = |kind: &&Kind| !has_images || kind.dense_only.is_none();
    let kinds = || ENGINES.iter().filter(|kind| wanted(kind.name)).filter(able);
    let mut candidates: Vec<Candidate> = kinds().map(|kind| of_kind(kind, None)).collect();
    let unable = ENGINES.iter().filter(|kind| wanted(kind.name) && !able(kind) && kind.name != FLOOR);
    let lacking = |kind: &Kind| Absent { name: kind.name.into(), why: kind.dense_only.unwrap_or_default().into() };
    let mut absent: Vec<Absent> = unable.map(lacking).collect();
    let torch: Vec<_> = torch.iter().filter(|(_, name)| wanted(name)).collect();
    if !torch.is_empty() {
        match python_with_torch(&args.python) {
            Ok(program) => candidates.extend(torch.into_iter().map(|(threads, name)| {
                let arguments = vec![in_folder("pytorch.py"), threads.to_string()];
                let recipe = Recipe { program: program.clone(), arguments, environment: vec![], one_process: true };
                Candidate::new(name.clone(), String::new(), recipe)
            })),
            Err(why) => absent.push(Absent { name: "torch-cpu".into(), why: why.to_string() }),
        }
    }
    for (name, engine) in IN_BROWSER {
        if args.browser && wanted(name) || only.iter().any(|n| n == name) {
            let version = if engine == BASE { locked_version(BASE) } else { String::new() };
            match in_chromium(engine, &args.chromium) {
                Ok(recipe) => candidates.push(Candidate::new(name.into(), version, recipe)),
                Err(why) => absent.push(Absent { name: name.into(), why: why.to_string() }),
            }
        }
    }
    if vector_width.is_some() {
        candidates.extend(kinds().filter(|k| k.gpu && k.name != FLOOR).map(|kind| of_kind(kind, *vector_width)));
    }
    Ok((candidates, absent))
}

/// Path of a file in peers/.
fn in_folder(name: &str) -> String {
    format!("{}/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn in_chromium(engine: &str, chromium: &Path) -> Result<Recipe> {
    if !Path::new(&in_folder("browser/node_modules")).is_dir() {
        return Err("its packages are not installed; run npm ci --prefix compare/peers/browser".into());
    }
    if engine == BASE && !Path::new(&in_folder("browser/wgrad/pkg")).is_dir() {
        return Err("it is not built; run npm run wgrad --prefix compare/peers/browser".into());
    }
    if !chromium.is_file() {
        return Err(
            format!("{} does not exist; set COMPARE_CHROMIUM to the Chromium executable", chromium.display()).into()
        );
    }
    let arguments = vec![in_folder("browser/worker.js"), engine.into(), chromium.display().to_string()];
    Ok(Recipe { program: "node".into(), arguments, environment: vec![], one_process: false })
}

/// Path of the interpreter itself. The program on the PATH may be a script that needs the user's home folder.
fn python_with_torch(python: &Path) -> Result<PathBuf> {
    let output = Command::new(python)
        .args(["-c", "import sys, torch; print(sys.executable)"])
        .output()
        .map_err(|e| format!("{}: {e}; set COMPARE_PYTHON to a Python interpreter with PyTorch", python.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(format!(
            "{} has no PyTorch; set COMPARE_PYTHON to a Python interpreter that has it (pip install torch)",
            python.display()
        )
        .into()),
    }
}

/// The version of a package in this program's lock file; the newest if there are several.
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

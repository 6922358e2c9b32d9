//! Clean builds of minimal programs: build time, number of compiled packages, size of the executable.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::process::last_words;
use crate::report::WGPU_PROGRAM;
use crate::results::{Builds, Circumstances, Program};
use compare::Result;

/// The folders in hello/.
const PROGRAMS: [&str; 6] = [WGPU_PROGRAM, "wgrad", "burn-wgpu", "meganeura", "burn-ndarray", "candle-cpu"];

/// Builds the programs of the workspace in `folder`.
pub fn measure(workspace: &Path, circumstances: Circumstances) -> Result<Builds> {
    let fetched = cargo(workspace, "fetch").status()?;
    if !fetched.success() {
        return Err("cargo fetch failed".into());
    }
    let programs = PROGRAMS.iter().map(|name| {
        let program = build(workspace, name)?;
        println!("{name}: {:.0} s, {} packages, {} bytes", program.seconds, program.crates, program.bytes);
        Ok(program)
    });
    Ok(Builds { programs: programs.collect::<Result<_>>()?, circumstances })
}

fn cargo(workspace: &Path, command: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg(command).arg("--manifest-path").arg(workspace.join("Cargo.toml")).arg("--locked");
    cargo
}

fn build(workspace: &Path, name: &str) -> Result<Program> {
    let target = tempfile::tempdir()?;
    let start = Instant::now();
    let output = cargo(workspace, "build")
        .args(["--release", "--offline", "--message-format", "json", "--package", &format!("hello-{name}")])
        .arg("--target-dir")
        .arg(target.path())
        .output()?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(format!("hello-{name} did not build: {}", last_words(&log)).into());
    }
    let mut packages = HashSet::new();
    let mut bytes = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["reason"] == "compiler-artifact" {
            packages.insert(message["package_id"].to_string());
            if let Some(executable) = message["executable"].as_str() {
                bytes = Some(std::fs::metadata(executable)?.len());
            }
        }
    }
    let bytes = bytes.ok_or_else(|| format!("hello-{name} has no executable"))?;
    Ok(Program { name: name.to_string(), seconds, crates: packages.len(), bytes })
}

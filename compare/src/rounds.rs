//! The order of a run: cold starts; then alternating turns of all engines for each job and batch size; then warm
//! starts. Before their turns, all engines do the same first steps.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::peers::{self, Candidate};
use crate::process::Process;
use crate::results::{Circumstances, Job, LEARNING_STEPS, Measured, Run};
use compare::Result;
use compare::benchmarks::Benchmark;
use compare::engines::BASE;
use compare::task::Task;

use crate::Args;

/// An engine gets no further cold start after this number of seconds of cold starts.
const COLD_SECONDS: f64 = 15.0;

/// An engine is left out if its first steps and its turns would take more seconds than this.
const MOST_SECONDS: f64 = 120.0;

pub fn measure(args: &Args, benchmark: &Benchmark, circumstances: Circumstances) -> Result<Run> {
    if args.rounds == 0 || args.seconds.is_nan() || args.seconds <= 0.0 {
        return Err("--rounds must be at least 1, and --seconds greater than 0".into());
    }
    let Benchmark { name, rows, test_rows, standard, forward, .. } = *benchmark;
    let batches = if args.batches.is_empty() { benchmark.batches } else { &args.batches };
    let whole = |batch: usize| batch > 0 && batch <= test_rows && rows.is_multiple_of(batch);
    if let Some(batch) = batches.iter().find(|&&batch| !whole(batch)) {
        return Err(format!("--batches: {name} needs divisors of {rows} up to {test_rows}, got {batch}").into());
    }
    println!("{name}");
    if cfg!(unix) && Command::new("kill").arg("-l").stdout(Stdio::null()).status().is_err() {
        return Err("the program kill (procps) is missing; it stops engines between their turns".into());
    }
    let start = Instant::now();
    let info = wgrad::Gpu::request()?.adapter_info().clone();
    let adapter = format!("{}, {} {}", info.name, info.driver, info.driver_info);
    let folder = tempfile::tempdir()?;
    let task = folder.path().join("task");
    std::fs::create_dir(&task)?;
    Task::write(benchmark, &args.data, &task)?;
    let (mut candidates, absent) = peers::find(args, benchmark)?;
    for absent in &absent {
        println!("left out: {}: {}", absent.name, absent.why);
    }

    println!("cold starts");
    for round in 0..args.cold {
        for (i, candidate) in candidates.iter_mut().enumerate() {
            if candidate.peer.cold_first_step.iter().sum::<f64>() < COLD_SECONDS && candidate.peer.failures.is_empty() {
                start_cold(candidate, standard, &task, &folder.path().join(format!("cold-{round}-{i}")));
            }
        }
    }
    let warm = folder.path().join("warm");
    for &batch in batches {
        take_turns(&mut candidates, args, Job::Train, batch, &task, &warm);
    }
    take_turns(&mut candidates, args, Job::Forward, forward, &task, &warm);
    println!("warm starts");
    for candidate in &mut candidates {
        if let Err(e) = start_warm(candidate, standard, &task, &warm) {
            candidate.fail("warm start", &*e);
        }
    }

    let base = &candidates[0].peer;
    if let Some(failure) = base.failures.first() {
        return Err(format!("{BASE} failed, but it is the base of all comparisons: {failure}").into());
    }
    let peers: Vec<_> = candidates.into_iter().map(|candidate| candidate.peer).collect();
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    Ok(Run { network: name.into(), standard, circumstances, adapter, minutes, peers, absent })
}

impl Candidate {
    fn fail(&mut self, at: &str, error: &dyn std::error::Error) {
        println!("  {} failed: {at}: {error}", self.peer.name);
        self.peer.failures.push(format!("{at}: {error}"));
    }

    /// Copies the device and the version from the process.
    fn meet(&mut self, process: &Process) {
        self.peer.device.clone_from(&process.device);
        if let Some(version) = &process.version {
            self.peer.version.clone_from(version);
        }
    }

    fn label(&self) -> String {
        match self.peer.vector_width {
            Some(bits) => format!("{} ({bits} bits)", self.peer.name),
            None => self.peer.name.clone(),
        }
    }
}

fn start_cold(candidate: &mut Candidate, batch: usize, task: &Path, home: &Path) {
    let mut recipe = candidate.recipe.clone();
    recipe.environment.push(("MESA_SHADER_CACHE_DISABLE".into(), "true".into()));
    match Process::start(&recipe, Job::Train, batch, task, home) {
        Ok(process) => {
            println!("  {:24} {:6.2} s", candidate.label(), process.first_step);
            candidate.meet(&process);
            candidate.peer.cold_first_step.push(process.first_step);
        }
        Err(e) => candidate.fail("cold start", &*e),
    }
}

/// Also measures the memory. A warm start excludes the memory of the driver's compiler.
fn start_warm(candidate: &mut Candidate, batch: usize, task: &Path, home: &Path) -> Result<()> {
    if candidate.is_floor() {
        Process::start(&candidate.recipe, Job::Train, batch, task, home)?; // has no turns: this fills its caches
    }
    let mut process = Process::start(&candidate.recipe, Job::Train, batch, task, home)?;
    candidate.meet(&process);
    candidate.peer.warm_first_step = Some(process.first_step);
    if !candidate.is_floor() {
        process.run(LEARNING_STEPS - 1)?;
    }
    candidate.peer.peak_memory = candidate.recipe.one_process.then(|| process.peak_memory()).flatten();
    Ok(())
}

/// A running engine and its work in one turn.
struct Player<'a> {
    candidate: &'a mut Candidate,
    process: Process,
    /// Number of jobs in one turn.
    count: usize,
    measured: Measured,
}

/// Runs one job on all engines in alternating turns.
fn take_turns(candidates: &mut [Candidate], args: &Args, job: Job, batch: usize, task: &Path, home: &Path) {
    println!("{job}, batch {batch}");
    let mut players = Vec::new();
    for candidate in candidates.iter_mut().filter(|c| !c.is_floor()) {
        match Player::prepare(candidate, args, job, batch, task, home) {
            Ok(player) => players.push(Some(player)),
            Err((candidate, e)) => candidate.fail(&format!("{job} {batch}"), &*e),
        }
    }
    for round in 0..args.rounds {
        for turn in 0..players.len() {
            let at = (turn + round) % players.len();
            if let Some(Err(e)) = players[at].as_mut().map(Player::turn)
                && let Some(player) = players[at].take()
            {
                player.candidate.fail(&format!("{job} {batch}"), &*e);
            }
        }
    }
    for player in players.into_iter().flatten() {
        player.finish();
    }
}

impl<'a> Player<'a> {
    /// Starts the engine, runs the first steps, and finds the number of steps in one turn.
    fn prepare(
        candidate: &'a mut Candidate,
        args: &Args,
        job: Job,
        batch: usize,
        task: &Path,
        home: &Path,
    ) -> std::result::Result<Self, (&'a mut Candidate, Box<dyn std::error::Error>)> {
        let begin = || -> Result<(Process, usize, Vec<f64>)> {
            let mut process = Process::start(&candidate.recipe, job, batch, task, home)?;
            let mut losses = vec![process.loss()?];
            let steps = if job == Job::Train { LEARNING_STEPS - 1 } else { 2 };
            let mut each = process.run(1)?;
            if each * (steps + args.rounds) as f64 > MOST_SECONDS {
                return Err(format!("a step takes {each:.1} s, which is too slow to measure").into());
            }
            process.run(steps - 1)?;
            if job == Job::Train {
                losses.push(process.loss()?);
            }
            // Measure again, because everything is compiled and tuned now.
            let count = |each: f64| (args.seconds / each).ceil() as usize;
            each = process.run(count(each))? / count(each) as f64;
            Ok((process, count(each), losses))
        };
        match begin() {
            Ok((process, count, losses)) => {
                let measured = Measured { job, batch, seconds: Vec::new(), losses };
                Ok(Self { candidate, process, count, measured })
            }
            Err(e) => Err((candidate, e)),
        }
    }

    fn turn(&mut self) -> Result<()> {
        self.measured.seconds.push(self.process.run(self.count)? / self.count as f64);
        Ok(())
    }

    fn finish(self) {
        let Self { candidate, measured, .. } = self;
        let losses: Vec<String> = measured.losses.iter().map(|l| format!("{l:.4}")).collect();
        println!("  {:24} {:9.0} samples/s, losses {}", candidate.label(), measured.throughput(), losses.join(", "));
        candidate.peer.measured.push(measured);
    }
}

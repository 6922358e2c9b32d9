//! The order of things: cold starts; then for each job and batch size all engines are started, do the same first steps,
//! and take turns; last, warm starts.

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

/// Seconds of cold starts after which an engine has no further one.
const COLD_SECONDS: f64 = 15.0;

/// An engine that would take longer than this for its first steps and its turns is left out.
const MOST_SECONDS: f64 = 120.0;

pub fn measure(args: &Args, benchmark: &Benchmark, circumstances: Circumstances) -> Result<Run> {
    if args.rounds == 0 || args.seconds.is_nan() || args.seconds <= 0.0 {
        return Err("there must be a round, of more than 0 seconds".into());
    }
    let Benchmark { name, rows, test_rows, standard, forward, .. } = *benchmark;
    let batches = if args.batches.is_empty() { benchmark.batches } else { &args.batches };
    let whole = |batch: usize| batch > 0 && batch <= test_rows && rows.is_multiple_of(batch);
    if let Some(batch) = batches.iter().find(|&&batch| !whole(batch)) {
        return Err(format!("--batches: {name} needs divisors of {rows} up to {test_rows}, got {batch}").into());
    }
    println!("{name}");
    if cfg!(unix) && Command::new("kill").arg("-l").stdout(Stdio::null()).status().is_err() {
        return Err("no program kill (procps) here: engines could not be stopped between their turns".into());
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
        return Err(format!("{BASE} failed, with which all are compared: {failure}").into());
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

    /// Notes what only the process knows.
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

/// Also counts the memory: of a process for which the driver's compiler, which has its own, has nothing left to do.
fn start_warm(candidate: &mut Candidate, batch: usize, task: &Path, home: &Path) -> Result<()> {
    if candidate.is_floor() {
        Process::start(&candidate.recipe, Job::Train, batch, task, home)?; // as it takes no turns, its caches are empty
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

/// An engine that is running, and what it does in a turn.
struct Player<'a> {
    candidate: &'a mut Candidate,
    process: Process,
    /// How often it does its job in a turn.
    count: usize,
    measured: Measured,
}

/// All engines at one job, alternating.
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
    /// Starts the engine, has it take the first steps, and finds out how many make a turn.
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
                return Err(format!("{each:.1} s a step are too slow to wait for").into());
            }
            process.run(steps - 1)?;
            if job == Job::Train {
                losses.push(process.loss()?);
            }
            // Once more, now that everything is compiled and tuned.
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

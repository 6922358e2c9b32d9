//! Starts an engine's process, sends it commands, and measures time and memory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::results::Job;
use compare::Result;

/// Time limit for one answer of an engine.
const PATIENCE: Duration = Duration::from_secs(600);

/// How to start an engine's process. The job, the batch size and the task's folder are added as arguments.
#[derive(Clone)]
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Whether the engine runs in the started process itself; otherwise its memory cannot be measured.
    pub one_process: bool,
}

pub struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    log: PathBuf,
    /// The device, and the engine's version if only the process knows it.
    pub device: String,
    pub version: Option<String>,
    /// Seconds from the start of the process to the end of the first step.
    pub first_step: f64,
}

impl Process {
    /// Starts the process with `home` as its home and cache folder, and waits for its first step.
    pub fn start(recipe: &Recipe, job: Job, batch: usize, task: &Path, home: &Path) -> Result<Self> {
        fs::create_dir_all(home)?;
        // One log for each process: processes that alternate share a home.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let log = home.join(format!("log-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let start = Instant::now();
        let mut command = Command::new(&recipe.program);
        #[cfg(unix)] // a separate process group, to stop child processes too
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .args(&recipe.arguments)
            .args([job.to_string(), batch.to_string()])
            .arg(task)
            .current_dir(home)
            .envs(["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"].map(|name| (name, home)))
            .envs(recipe.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|e| format!("{}: {e}", recipe.program.display()))?;
        let output = child.stdout.take().expect("it is piped");
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
                if line.starts_with('{') && send.send(line).is_err() {
                    break;
                }
            }
        });
        let questions = child.stdin.take();
        let mut process =
            Self { child, questions, answers, log, device: String::new(), version: None, first_step: 0.0 };
        let hello = process.answer()?;
        process.first_step = start.elapsed().as_secs_f64();
        process.device = hello["device"].as_str().unwrap_or_default().to_string();
        process.version = hello["version"].as_str().map(Into::into);
        process.signal("STOP");
        Ok(process)
    }

    /// Runs the job `count` times and returns the seconds that it took.
    pub fn run(&mut self, count: usize) -> Result<f64> {
        self.ask(&format!("run {count}"), "seconds")
    }

    pub fn loss(&mut self) -> Result<f64> {
        self.ask("loss", "loss")
    }

    /// Peak resident memory in bytes, if the system reports it.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    fn ask(&mut self, question: &str, key: &str) -> Result<f64> {
        self.signal("CONT");
        // If the process has ended, the missing answer becomes an error with its last output.
        let _ = self.questions.as_mut().map(|q| writeln!(q, "{question}"));
        let answer = self.answer();
        self.signal("STOP");
        let answer = answer?;
        answer[key].as_f64().ok_or_else(|| format!("asked for \"{question}\", it answered {answer}").into())
    }

    /// Stops the process between its turns, because some engines poll, or continues it. Unix only.
    fn signal(&self, name: &str) {
        if cfg!(unix) {
            let group = format!("-{}", self.child.id());
            let _ = Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
        }
    }

    fn answer(&mut self) -> Result<Value> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(e) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                Err(format!("{e}: {}", last_words(&log)).into())
            }
        }
    }
}

/// The last lines of a program's output, joined to one line.
pub fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("CONT");
        drop(self.questions.take()); // the process ends at the end of its input
        for _ in 0..50 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! An engine's process, seen from outside: started, asked, and timed.

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

/// An engine that takes longer for one answer is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How an engine's process is started; the job, the batch size and the folder of the task follow.
#[derive(Clone)]
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Whether its memory is that of the process started, not of others that this one starts.
    pub one_process: bool,
}

pub struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    log: PathBuf,
    /// What it runs on, and the version of its engine where only it knows.
    pub device: String,
    pub version: Option<String>,
    /// From its start to the end of its first step.
    pub first_step: f64,
}

impl Process {
    /// Starts it, its caches and its home in the folder given, and waits for its first step.
    pub fn start(recipe: &Recipe, job: Job, batch: usize, task: &Path, home: &Path) -> Result<Self> {
        fs::create_dir_all(home)?;
        // Each has its own: those that take turns share a home.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let log = home.join(format!("log-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let start = Instant::now();
        let mut command = Command::new(&recipe.program);
        #[cfg(unix)] // a group of its own, to be stopped with all that it starts
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

    /// Seconds that the job takes, done so many times.
    pub fn run(&mut self, count: usize) -> Result<f64> {
        self.ask(&format!("run {count}"), "seconds")
    }

    pub fn loss(&mut self) -> Result<f64> {
        self.ask("loss", "loss")
    }

    /// The most bytes that were resident, where the system tells.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    fn ask(&mut self, question: &str, key: &str) -> Result<f64> {
        self.signal("CONT");
        // If it is gone, the answer that does not come says so, with its last words.
        let _ = self.questions.as_mut().map(|q| writeln!(q, "{question}"));
        let answer = self.answer();
        self.signal("STOP");
        let answer = answer?;
        answer[key].as_f64().ok_or_else(|| format!("asked for \"{question}\", it answered {answer}").into())
    }

    /// Stops it between its turns, as some engines poll, or starts it again, where the system can.
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

/// The last lines of what a program wrote, as one.
pub fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("CONT");
        drop(self.questions.take()); // the end of its questions is the end of its work
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

//! Several processes end with the same weights as one, whatever happens on the way. Each test starts `mpirun`.
//! Where it is not installed, the tests say so and test nothing: `scripts/setup.sh mpi` installs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Whether `mpirun` can be started.
fn has_mpi() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("NOT TESTED: mpirun was not found. scripts/setup.sh mpi installs it");
    }
    found
}

/// The example that the tests run, which `cargo test` has built.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/synthetic")
}

fn mpirun(processes: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    // As in a container: as root, and with more processes than cores.
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.envs([
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ]);
    command.args(["-n", &processes.to_string()]).arg(program()).args(arguments);
    command
}

/// The output of a run that must succeed.
fn run(processes: u32, arguments: &[&str]) -> Output {
    let output = mpirun(processes, arguments).output().unwrap();
    assert!(output.status.success(), "{processes} processes, {arguments:?}: {}", text(&output));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], b"\n", &output.stderr].concat()).into_owned()
}

/// The errors of a run that must fail, and the seconds that it took.
fn failure(processes: u32, arguments: &[&str]) -> (String, f64) {
    let start = Instant::now();
    let output = mpirun(processes, arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} must fail");
    (text(&output), start.elapsed().as_secs_f64())
}

/// A folder for the files of one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_number_of_processes_ends_with_the_same_file() {
    if !has_mpi() {
        return;
    }
    let folder = Folder::new("same_file");
    for network in ["mlp", "cnn"] {
        let saved = |processes: u32| {
            let path = folder.file(&format!("{network}_{processes}"));
            run(processes, &[network, "--save", &path]);
            std::fs::read(path).unwrap()
        };
        let one = saved(1);
        for processes in 2..=4 {
            assert!(saved(processes) == one, "{network}: {processes} processes");
        }
    }
}

#[test]
fn a_process_that_differs_is_refused() {
    if !has_mpi() {
        return;
    }
    let (errors, _) = failure(3, &["mlp", "--other", "2"]);
    let expected = "rank 2: training options: `seed: 1,`, but rank 0 has `seed: 0,`";
    assert!(errors.contains(expected), "{errors}");
    let (errors, _) = failure(2, &["mlp", "--slices", "3"]);
    assert!(errors.contains("slices must be a multiple of the number of ranks"), "{errors}");
}

#[test]
fn a_process_that_hangs_or_panics_ends_all() {
    if !has_mpi() {
        return;
    }
    let (errors, seconds) = failure(3, &["mlp", "--hang", "1", "--timeout", "10"]);
    assert!(errors.contains("rank 1: did not answer within 10s"), "{errors}");
    assert!(seconds < 60.0, "{seconds} s");
    let (errors, _) = failure(2, &["mlp", "--panic", "1"]);
    assert!(errors.contains("error on rank 1 of 2: it has panicked"), "{errors}");
}

/// Kills a random rank by SIGKILL at a random time, again and again, each time on another number of processes, until a
/// run comes to its end.
#[test]
fn a_killed_process_loses_nothing() {
    if !has_mpi() {
        return;
    }
    let folder = Folder::new("killed");
    let (expected, saved, checkpoint) = (folder.file("expected"), folder.file("saved"), folder.file("checkpoint"));
    let epochs = ["--epochs", "40"];
    run(1, &[&["mlp", "--save", &expected], &epochs[..]].concat());
    let arguments = [&["mlp", "--save", &saved, "--checkpoint", &checkpoint], &epochs[..]].concat();
    let (mut kills, mut random) = (0u32, 12345u32);
    let mut draw = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    loop {
        let processes = 1 + (kills + 1) % 4;
        let mut child = mpirun(processes, &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let killed = kills < 20 && kill_one(&mut child, processes, draw(processes), 100 + draw(1500));
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(killed, "a run that was not disturbed: {}", text(&output));
        if processes > 1 {
            let errors = text(&output);
            assert!(errors.contains("signal 9"), "the end names the rank: {errors}");
        }
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills > 0, "the run ended before the first kill");
    let bytes = |path: &str| std::fs::read(path).unwrap();
    assert!(bytes(&saved) == bytes(&expected), "after {kills} kills");
}

/// Waits, then kills one of the ranks. Returns whether there was one.
fn kill_one(child: &mut Child, processes: u32, rank: u32, milliseconds: u32) -> bool {
    let start = Instant::now();
    let ranks = loop {
        let ranks = descendants(child.id());
        if ranks.len() as u32 >= processes || start.elapsed() > Duration::from_secs(20) {
            break ranks;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    std::thread::sleep(Duration::from_millis(milliseconds.into()));
    if child.try_wait().unwrap().is_some() {
        return false;
    }
    let Some(process) = ranks.get(rank as usize) else { return false };
    Command::new("kill").args(["-9", &process.to_string()]).status().is_ok_and(|status| status.success())
}

/// The processes of the example that a process has started, directly or not.
fn descendants(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-e", "-o", "pid=,ppid=,comm="]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let processes: Vec<(u32, u32, &str)> = lines
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?))
        })
        .collect();
    let parent_of = |process: u32| processes.iter().find(|(own, ..)| *own == process).map(|(_, parent, _)| *parent);
    let is_below = |process: u32| std::iter::successors(Some(process), |own| parent_of(*own)).any(|own| own == parent);
    processes.iter().filter(|(own, _, name)| *name == "synthetic" && is_below(*own)).map(|(own, ..)| *own).collect()
}

//! Training in a process that is killed repeatedly gives the same model as training without interruption.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::*;

const FOLDER: &str = "WGRAD_TEST_DEATH_FOLDER";
const EPOCHS: u32 = 120;
const KILLS: u32 = 10;

/// Resumes from the checkpoint, if there is one. Trains to the end and saves the model.
fn train(folder: &Path, pause: Duration) {
    let path = &folder.join("checkpoint");
    let mut trainer = match path.exists() {
        true => Trainer::resume(Device::Cpu, path).unwrap(),
        false => {
            let network =
                Network::input([3, 3, 1]).flatten().dense(8, Relu).batch_norm().dropout(0.2).dense(2, Identity);
            let network = network.build().unwrap();
            let config = TrainerConfig { batch: 4, accumulate: 2, ..TrainerConfig::default() };
            Trainer::new(Device::Cpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap()
        }
    };
    let labels = random(1, 38).iter().map(|&n| u32::from(n > 0.0)).collect();
    let augmentation = Augmentation { shift: 1, flip: 0.5, rotation: 30.0, ..Augmentation::default() };
    let data = Dataset::of_rows(38)
        .input("image", random(2, 38 * 20), [4, 5, 1])
        .augmented("image", augmentation)
        .labels("kind", labels, 2);
    let data = data.build().unwrap().with_crops([3, 3]).unwrap();
    let checkpoint = Some(Checkpoint { path, every: Some(3) });
    let fit = Fit { epochs: EPOCHS - trainer.epochs(), checkpoint, ..Fit::default() };
    trainer.fit(&data, fit, |_| std::thread::sleep(pause)).unwrap();
    trainer.model().save(folder.join("model")).unwrap();
}

#[test]
#[ignore = "the child of killed_at_any_moment_training_ends_as_if_it_had_not_been"]
fn child() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        // 1200 steps take at least 6 seconds on any machine.
        train(Path::new(&folder), Duration::from_millis(5));
    }
}

/// A run that is killed at random moments, and resumed each time, ends with the same model.
#[test]
fn killed_at_any_moment_training_ends_as_if_it_had_not_been() {
    let (folder, whole) = (folder("killed"), folder("not-killed"));
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "death::child"]).env(FOLDER, &folder);
        child.stdout(Stdio::null()).spawn().unwrap()
    };
    let mut seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let mut epochs = 0;
    for _ in 0..KILLS {
        let mut child = start();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let alive = Duration::from_millis(20 + u64::from(seed >> 16) % 230);
        std::thread::sleep(alive);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was killed, after {alive:?}, before it was done");
        let checkpoint = folder.join("checkpoint");
        if checkpoint.exists() {
            epochs = Trainer::resume(Device::Cpu, &checkpoint).unwrap().epochs();
            Model::load(Device::Cpu, &checkpoint).unwrap();
        }
    }
    assert!((1..EPOCHS).contains(&epochs), "{epochs} epochs between the kills");
    for folder in [&folder, &whole] {
        train(folder, Duration::ZERO);
    }
    let model = |folder: &Path| std::fs::read(folder.join("model")).unwrap();
    assert_eq!(model(&folder), model(&whole));
    // The next save has removed the temporary file that the killed process left.
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert!(!cfg!(target_os = "linux") || left == 2, "{left} files, not the checkpoint and the model alone");
}

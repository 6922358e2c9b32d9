//! Tests kernels chosen by measurement. A file must keep the choices, a bad file must do no harm, and all kernels
//! must agree.

mod common;

use std::fs;
use std::path::PathBuf;

use common::*;
use serde_json::Value;
use wgrad::Activation::{Identity, Relu};
use wgrad::plan::{DataInfo, K, MatmulKernel, Op, Role, Tile};
use wgrad::{Adam, Error, Gpu, Loss, Network, Plan, Trainer, TrainerConfig, Tuning, lockstep::Lockstep};

/// A file for one test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wgrad-tuning-{}-{name}.json", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.0).unwrap()).unwrap()
    }

    /// A GPU that measures the matmuls missing in this file.
    fn gpu(&self) -> Gpu {
        let gpu = Gpu::request().unwrap();
        gpu.tune(Tuning::Measure { file: Some(self.0.clone()) });
        gpu
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn network() -> Network {
    Network::input(8).dense(16, Relu).dense(3, Identity).build().unwrap()
}

/// A narrow network runs in one kernel of its own, without matmuls to measure.
fn config() -> TrainerConfig {
    TrainerConfig { batch: 12, seed: 1, op_by_op: true, ..TrainerConfig::default() }
}

fn trainer(gpu: &Gpu) -> wgrad::Result<Trainer> {
    Trainer::new(gpu, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config())
}

/// A training step must agree on GPU and CPU within the derived bounds.
fn agrees(gpu: &Gpu, what: &str) {
    let plan = Plan::training(&network(), Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config()).unwrap();
    let mut lockstep = lockstep(gpu, plan);
    for _ in 0..2 {
        assert_agree(&mut lockstep, what);
    }
}

fn lockstep(gpu: &Gpu, plan: Plan) -> Lockstep {
    // SAFETY: `Plan` made the plan, and the data below have its shapes.
    let mut lockstep = unsafe { Lockstep::new_unchecked(gpu, plan) }.unwrap();
    let find = |role| lockstep.plan().find(role).unwrap();
    let (f, l, d, p) = (find(Role::Features(0)), find(Role::Targets(0)), find(Role::Data(0)), find(Role::Parameters));
    lockstep.set(f, &Random(3).f32s(20 * 8)).unwrap();
    lockstep.set(l, &(0..20).map(|i| i % 3).collect::<Vec<u32>>()).unwrap();
    lockstep
        .set(d, &[DataInfo { rows: 20, shuffle: 1, feature_stride: 8, target_stride: 1, ..DataInfo::default() }])
        .unwrap();
    lockstep.set(p, &network().initial_parameters(1)).unwrap();
    lockstep
}

/// Measured choices must be kept in the file and not measured again.
#[test]
fn what_was_measured_is_kept_and_not_measured_again() {
    let file = File::new("kept");
    let gpu = file.gpu();
    let products = trainer(&gpu).unwrap().plan().step.iter().filter(|op| matches!(op, Op::Matmul(_))).count();
    assert!(gpu.traffic().submits > 0);
    let kept = file.read();
    assert_eq!(kept["products"].as_object().unwrap().len(), products, "{kept:#}");
    let again = file.gpu();
    trainer(&again).unwrap();
    assert_eq!(again.traffic().submits, 0, "nothing is measured");
    assert_eq!(file.read(), kept);
    // Another way back is the default rule, which measures nothing either.
    let gpu = Gpu::request().unwrap();
    gpu.tune(Tuning::Measure { file: None });
    gpu.tune(Tuning::default());
    trainer(&gpu).unwrap();
    assert_eq!(gpu.traffic().submits, 0);
}

/// Every kernel that a file can name must agree with the CPU reference.
#[test]
fn every_kernel_that_a_file_may_name_agrees_with_the_reference() {
    let file = File::new("each");
    trainer(&file.gpu()).unwrap();
    let measured = file.read();
    let lanes = Gpu::request().unwrap().adapter_info().subgroup_min_size;
    let mut kernels = vec![whole(Tile::Square32), MatmulKernel { tile: Tile::Square32, k: K::Slices(4) }];
    kernels.push(whole(Tile::Plain));
    if lanes == 8 || lanes == 16 {
        kernels.extend([8, 16, 32, 64].map(|rows| whole(Tile::Subgroup { rows })));
    }
    if lanes == 8 {
        kernels.extend([8, 16, 32].map(|rows| whole(Tile::Wide { rows })));
        kernels.push(whole(Tile::Panel));
    }
    for name in kernels.iter().map(|kernel| format!("{kernel:?}")) {
        let mut choices = measured.clone();
        for kernel in choices["products"].as_object_mut().unwrap().values_mut() {
            *kernel = name.clone().into();
        }
        fs::write(&file.0, choices.to_string()).unwrap();
        agrees(&file.gpu(), &name);
        // Other kernels replace this one where it cannot run a matmul. It must run some.
        assert!(file.read().to_string().contains(&name), "{name}");
    }
}

/// Damaged files and unknown kernels must be measured anew. The unit tests of the reader test other bad files.
#[test]
fn a_damaged_file_and_unknown_kernels_are_measured_anew() {
    let file = File::new("damaged");
    let network = Network::input(4).dense(3, Identity).build().unwrap();
    let trainer =
        |gpu: &Gpu| Trainer::new(gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();
    fs::write(&file.0, b"{ \"key\": ").unwrap();
    trainer(&file.gpu());
    let expected = file.read();
    let mut unknown = expected.clone();
    for kernel in unknown["products"].as_object_mut().unwrap().values_mut() {
        *kernel = "Quantum { rows: 4 }".into();
    }
    fs::write(&file.0, unknown.to_string()).unwrap();
    let gpu = file.gpu();
    trainer(&gpu);
    assert!(gpu.traffic().submits > 0);
    let names = |choices: &Value| choices["products"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&file.read()), names(&expected));
    assert!(!file.read().to_string().contains("Quantum"));
}

/// A file that cannot be written must return an error.
#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let folder = File::new("absent");
    let gpu = Gpu::request().unwrap();
    let path = folder.0.join("kernels.json");
    gpu.tune(Tuning::Measure { file: Some(path.clone()) });
    let Error::File { path: named, reason } = trainer(&gpu).unwrap_err() else { panic!("another error") };
    assert_eq!(named, path.display().to_string());
    assert!(reason.starts_with("cannot be written: "), "{reason}");
}

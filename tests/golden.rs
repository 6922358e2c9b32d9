//! Compares the MNIST network's training step and its final weights with `tests/golden/mnist.txt`.
//!
//! `WGRAD_WRITE_GOLDEN=1 cargo test --release --test golden` rewrites the file. It keeps the hashes of other adapters.

mod common;

use std::io::Write;

use common::Random;
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Device, Event, Fit, Gpu, Loss, Network, Plan, Trainer, TrainerConfig, kernel_sources};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mnist.txt");

/// Batch size, rows and epochs of each run. The last batch of an epoch is partial.
const RUNS: [[u32; 3]; 2] = [[128, 300, 2], [32, 100, 5]];

fn network() -> Network {
    Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build().unwrap()
}

fn config(batch: u32) -> TrainerConfig {
    TrainerConfig { batch, seed: 1, ..TrainerConfig::default() }
}

/// Lists the ops of a step, and the workgroups of its dispatches for each class of adapter.
fn plan_lines(batch: u32) -> Vec<String> {
    let loss = Loss::SoftmaxCrossEntropy;
    let plan = Plan::training(&network(), loss, &Adam::default().into(), &config(batch)).unwrap();
    let ops = plan.step.iter().map(|op| {
        // Kernel, layout, m n k and epilogue. Names of tensors are left out because they may change.
        let title = plan.title(op);
        format!("batch {batch} op {}", title.split(" -> ").next().unwrap())
    });
    let grids = kernel_sources::ADAPTERS.map(|adapter| {
        let kernels = kernel_sources::kernels(&plan, adapter).unwrap();
        let step = kernels.iter().take(plan.step.len()).flatten();
        let grids: Vec<String> = step.map(|kernel| kernel.workgroups.to_string()).collect();
        format!("batch {batch} workgroups on {adapter}: {}", grids.join(" "))
    });
    ops.chain(grids).collect()
}

/// The running loss after each step, and the hash of the final weights.
fn train(device: Device, [batch, rows, epochs]: [u32; 3]) -> (Vec<f64>, String) {
    let mut random = Random(7);
    let pixels = (0..rows * 784).map(|_| (random.word() >> 24) as u8).collect();
    let labels = (0..rows).map(|_| random.below(10)).collect();
    let data = Dataset::from_u8(pixels, 784, labels, 10).unwrap();
    let mut trainer =
        Trainer::new(device, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config(batch)).unwrap();
    let mut losses = Vec::new();
    let fit = Fit { epochs, every: Some(1), ..Fit::default() };
    trainer
        .fit(&data, fit, |event| {
            if let Event::Steps { train: Some(train), .. } = event {
                losses.push(train.loss);
            }
        })
        .unwrap();
    assert_eq!(losses.len(), (rows.div_ceil(batch) * epochs) as usize);
    let weights = trainer.model().parameters().unwrap();
    (losses, format!("{:016x}", fnv1a(&weights)))
}

/// The FNV-1a hash of the weights' bytes, the same as in `mnist_gpu --json`.
fn fnv1a(weights: &[f32]) -> u64 {
    let bytes = weights.iter().flat_map(|w| w.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Everything that decides the bits of a GPU: the adapter and the driver, and for a CPU adapter also the processor. The
/// name of a CPU adapter contains its vector width. Its driver compiles for the processor that it runs on.
fn key(gpu: &Gpu) -> String {
    let info = gpu.adapter_info();
    let mut key = format!("{} / {} {}", info.name, info.driver, info.driver_info);
    if info.device_type == wgrad::wgpu::DeviceType::Cpu {
        key += &format!(" / {}", processor());
    }
    key
}

/// The processor's maker and vector instructions.
fn processor() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name| cpu.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1));
    let flags: Vec<&str> = line("flags").unwrap_or_default().split(' ').collect();
    let known = ["avx2", "fma", "avx512f", "avx512vl"].into_iter().filter(|flag| flags.contains(flag));
    std::iter::once(line("vendor_id").unwrap_or(std::env::consts::ARCH)).chain(known).collect::<Vec<_>>().join(" ")
}

fn writes() -> bool {
    std::env::var_os("WGRAD_WRITE_GOLDEN").is_some_and(|value| value == "1")
}

/// The ops, the workgroups and the hashes of the weights match the golden file.
#[test]
fn ops_dispatches_and_weights_are_those_of_the_golden_file() {
    let golden = std::fs::read_to_string(FILE).unwrap_or_default();
    let known: Vec<&str> = golden.lines().collect();
    let gpu = common::gpu();
    let key = key(gpu);
    let mut lines = Vec::new();
    let mut of_gpu = Vec::new();
    for run @ [batch, rows, epochs] in RUNS {
        lines.extend(plan_lines(batch));
        let (on_cpu, cpu) = train(Device::Cpu, run);
        lines.push(format!("batch {batch} weights after {epochs} epochs of {rows} rows on the CPU: {cpu}"));
        let (on_gpu, hash) = train(gpu.into(), run);
        of_gpu.push(format!("batch {batch} weights on a GPU: {hash} / {key}"));
        // As in tests/training.rs: 1e-4 of the loss, which is some thousand roundings of f32.
        for (step, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
            assert!(
                (gpu - cpu).abs() <= 1e-4 * cpu,
                "batch {batch}, step {step}: loss {gpu} on the GPU, {cpu} on the CPU"
            );
        }
    }
    let is_gpu = |line: &&str| line.contains(" weights on a GPU: ");
    let is_mine = |line: &&str| line.ends_with(&format!(" / {key}"));
    if writes() {
        let others = known.iter().filter(|line| is_gpu(line) && !is_mine(line)).map(|line| line.to_string());
        let all: Vec<String> = lines.into_iter().chain(others).chain(of_gpu).collect();
        std::fs::write(FILE, all.join("\n") + "\n").unwrap();
        return;
    }
    let (gpus, rest): (Vec<&str>, Vec<&str>) = known.iter().partition(|line| is_gpu(line));
    assert_same(&lines, &rest);
    let mine: Vec<&str> = gpus.into_iter().filter(|line| is_mine(line)).collect();
    match mine.is_empty() {
        // stderr, because it is also shown for a test that passes.
        true => {
            let what = "compared with the CPU's, but their bits were not checked";
            let _ = writeln!(std::io::stderr(), "the GPU's weights were {what}: {FILE} has no line on {key}");
        }
        false => assert_same(&of_gpu, &mine),
    }
}

fn assert_same(now: &[String], golden: &[&str]) {
    for (now, golden) in now.iter().zip(golden) {
        assert_eq!(now, golden, "left: now; right: {FILE}");
    }
    assert_eq!(now.len(), golden.len(), "lines of {FILE}");
}

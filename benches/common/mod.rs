//! Code that the benchmarks share. The benchmarks compare two commits: run `cargo bench -- --save-baseline before`,
//! change the code, then run `cargo bench -- --baseline before`. Add a word to run only the benchmarks whose name
//! contains it. "Elements per second" counts floating-point operations of matrix multiplications, and samples of
//! networks.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use wgrad::{Activation::*, Gpu, Network, wgpu};

/// Few, short samples: all benchmarks together take about a minute.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args()
}

/// A group whose samples all have the same length.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

pub fn gpu() -> Gpu {
    Gpu::request().unwrap_or_else(|e| panic!("{e}"))
}

/// The time of these repetitions, recorded into one encoder and submitted. Recording is not included.
pub fn submitted(gpu: &Gpu, repetitions: u64, record: impl FnOnce(&mut wgpu::CommandEncoder, u32)) -> Duration {
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    record(&mut encoder, repetitions as u32);
    let commands = encoder.finish();
    let start = Instant::now();
    let submission_index = Some(gpu.queue().submit([commands]));
    gpu.device().poll(wgpu::PollType::Wait { submission_index, timeout: None }).expect("the device is there");
    start.elapsed()
}

/// The network of the example `mnist_gpu`, with logits as its output.
pub fn mnist_network() -> Network {
    let network = Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity);
    network.build().expect("a valid network")
}

/// Uniform numbers from −1 to 1, the same in each run (xorshift).
pub fn random(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as f32 / 2_147_483_648.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

//! Measures training steps, inference, and the host time to record a step.

mod common;
#[path = "../examples/common/networks.rs"]
mod networks;

use std::time::Instant;

use common::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::{Activation::*, Adam, Dataset, Gpu, Loss, Network, Trainer, TrainerConfig, wgpu};

fn trainer(gpu: &Gpu, network: &Network, batch: u32) -> Trainer {
    let config = TrainerConfig { batch, ..TrainerConfig::default() };
    Trainer::new(gpu, network, Loss::SoftmaxCrossEntropy, Adam::default(), config).expect("a network that fits")
}

/// Random samples for the network.
fn data(network: &Network) -> Dataset {
    const ROWS: u32 = 2048;
    let labels = (0..ROWS).map(|row| row % network.outputs()).collect();
    let features = random((ROWS * network.inputs()) as usize);
    Dataset::from_f32(features, network.inputs() as usize, labels, network.outputs()).expect("valid samples")
}

fn training(criterion: &mut Criterion) {
    let gpu = gpu();
    let convnet = networks::keras_convnet().expect("a valid network");
    for (name, network, batches) in
        [("784-512-256-128-10", mnist_network(), &[1, 32, 128, 1024][..]), ("Keras convnet", convnet, &[128])]
    {
        let train = data(&network);
        let mut group = group(criterion, &format!("train {name}"));
        for &batch in batches {
            let mut trainer = trainer(&gpu, &network, batch);
            let training = trainer.prepare(&train).expect("data that fit");
            group.throughput(Throughput::Elements(batch.into()));
            group.bench_function(batch.to_string(), |bencher| {
                let record = |steps| submitted(&gpu, steps, |encoder, steps| training.record_steps(encoder, steps));
                bencher.iter_custom(record);
            });
        }
    }
}

fn inference(criterion: &mut Criterion) {
    let gpu = gpu();
    let narrow = Network::input(32).dense(64, Relu).dense(64, Relu).dense(64, Relu).dense(3, Identity);
    let narrow = narrow.build().expect("a valid network");
    for (name, network, batches) in
        [("784-512-256-128-10", mnist_network(), [1, 1024]), ("32-64-64-64-3", narrow, [1024, 16_384])]
    {
        let model = trainer(&gpu, &network, 1).model();
        let mut group = group(criterion, &format!("infer {name}"));
        for batch in batches {
            let buffer = |features: u32| {
                let size = (u64::from(batch * features) * 4).next_multiple_of(16);
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
                gpu.device().create_buffer(&descriptor)
            };
            let (input, output) = (buffer(network.inputs()), buffer(network.outputs()));
            let features = random((batch * network.inputs()) as usize);
            gpu.queue().write_buffer(&input, 0, bytemuck::cast_slice(&features));
            let forward = model.prepare_forward(&input, &output, batch).expect("buffers that fit");
            group.throughput(Throughput::Elements(batch.into()));
            group.bench_function(batch.to_string(), |bencher| {
                bencher.iter_custom(|passes| {
                    submitted(&gpu, passes, |encoder, passes| {
                        (0..passes).for_each(|_| forward.record_forward(encoder));
                    })
                });
            });
        }
    }
}

/// Host time only: the encoder is dropped. An encoder has 100 steps, as in training.
fn recording(criterion: &mut Criterion) {
    const STEPS: u32 = 100;
    let (gpu, network) = (gpu(), mnist_network());
    let mut trainer = trainer(&gpu, &network, 128);
    let training = trainer.prepare(data(&network)).expect("data that fit");
    criterion.bench_function("record a step of 784-512-256-128-10", |bencher| {
        bencher.iter_custom(|times| {
            let start = Instant::now();
            for _ in 0..times.div_ceil(STEPS.into()) {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                training.record_steps(&mut encoder, STEPS);
                drop(encoder.finish());
            }
            start.elapsed().mul_f64(times as f64 / (times.div_ceil(STEPS.into()) * u64::from(STEPS)) as f64)
        });
    });
}

criterion_group! { name = benches; config = criterion(); targets = training, inference, recording }
criterion_main!(benches);

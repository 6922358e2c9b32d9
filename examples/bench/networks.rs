//! Training and inference of standard networks.

use serde_json::json;
use wgrad::{Activation, Adam, Dataset, Gpu, Loss, Network, NetworkBuilder, Profile, Trainer, TrainerConfig, wgpu};

use super::common::Result;
use super::timing::{Effort, seconds};
use super::{Measured, Random};

/// Widths, first to last: MNIST's, a wide one, and a narrow one as renderers have it.
const NETWORKS: [&[u32]; 3] = [&[784, 512, 256, 128, 10], &[1024, 1024, 1024, 1024, 100], &[32, 64, 64, 64, 64, 3]];
const TRAINING_BATCHES: [u32; 3] = [32, 128, 1024];
const INFERENCE_BATCHES: [u32; 3] = [1, 128, 4096];

/// Rows of the data sets.
const ROWS: u32 = 4096;

/// Training, then inference.
pub fn measure(
    gpu: &Gpu,
    effort: Effort,
    quick: bool,
    mut done: impl FnMut(&str, &Measured),
) -> Result<[Vec<Measured>; 2]> {
    let (networks, batches) = if quick { (1, 1..2) } else { (NETWORKS.len(), 0..3) };
    let mut measured = [Vec::new(), Vec::new()];
    for (which, batches_of) in [("training", TRAINING_BATCHES), ("inference", INFERENCE_BATCHES)] {
        for widths in &NETWORKS[..networks] {
            for &batch in &batches_of[batches.clone()] {
                let training = which == "training";
                let one =
                    if training { train(gpu, effort, widths, batch)? } else { infer(gpu, effort, widths, batch)? };
                done(which, &one);
                measured[usize::from(!training)].push(one);
            }
        }
    }
    Ok(measured)
}

/// What a training step of the first network spends its time on.
pub fn profile(gpu: &Gpu) -> Result<Profile> {
    let network = network(NETWORKS[0])?;
    Ok(trainer(gpu, &network, 128)?.profile(&data(&network)?, 20)?)
}

fn network(widths: &[u32]) -> Result<Network> {
    let add = |network: NetworkBuilder, &width: &u32| network.dense(width, Activation::Relu);
    let (last, hidden) = widths[1..].split_last().ok_or("a network has two widths at least")?;
    Ok(hidden.iter().fold(Network::input(widths[0]), add).dense(*last, Activation::Identity).build()?)
}

fn trainer(gpu: &Gpu, network: &Network, batch: u32) -> Result<Trainer> {
    let config = TrainerConfig { batch, ..TrainerConfig::default() };
    Ok(Trainer::new(gpu, network, Loss::SoftmaxCrossEntropy, Adam::default(), config)?)
}

/// Random rows, with random labels.
fn data(network: &Network) -> Result<Dataset> {
    let mut random = Random(3);
    let features = random.f32s((ROWS * network.inputs()) as usize);
    let labels = (0..ROWS).map(|_| random.below(network.outputs())).collect();
    Ok(Dataset::from_f32(features, network.inputs() as usize, labels, network.outputs())?)
}

fn train(gpu: &Gpu, effort: Effort, widths: &[u32], batch: u32) -> Result<Measured> {
    let network = network(widths)?;
    let mut trainer = trainer(gpu, &network, batch)?;
    let training = trainer.prepare(&data(&network)?)?;
    let seconds = seconds(gpu, effort, |encoder, steps| training.record_steps(encoder, steps));
    check(widths, &trainer.model().parameters()?)?;
    Ok(measured(widths, batch, trainer.plan(), seconds))
}

fn infer(gpu: &Gpu, effort: Effort, widths: &[u32], batch: u32) -> Result<Measured> {
    let network = network(widths)?;
    let trainer = trainer(gpu, &network, 1)?;
    let buffer = |features: u32| {
        let size = (u64::from(batch) * u64::from(features) * 4).next_multiple_of(16);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let (input, output) = (buffer(network.inputs()), buffer(network.outputs()));
    let features = Random(4).f32s((batch * network.inputs()) as usize);
    gpu.queue().write_buffer(&input, 0, bytemuck::cast_slice(&features));
    let model = trainer.model();
    let forward = model.prepare_forward(&input, &output, batch)?;
    let seconds = seconds(gpu, effort, |encoder, passes| (0..passes).for_each(|_| forward.record_forward(encoder)));
    check(widths, &bytemuck::cast_vec(super::roofs::read(gpu, &output)?))?;
    Ok(measured(widths, batch, &wgrad::Plan::forward(&network, batch)?, seconds))
}

/// Timings of nonsense are nonsense.
fn check(widths: &[u32], numbers: &[f32]) -> Result<()> {
    let sound = numbers.iter().all(|x| x.is_finite()) && numbers.iter().any(|&x| x != 0.0);
    if sound { Ok(()) } else { Err(format!("{widths:?}: numbers that are not finite, or all 0").into()) }
}

fn measured(widths: &[u32], batch: u32, plan: &wgrad::Plan, seconds: f64) -> Measured {
    let name = widths.iter().map(u32::to_string).collect::<Vec<_>>().join("-");
    let details = json!({ "network": name, "batch": batch, "ops": plan.step.len() });
    let label = format!("{}-…-{}, {batch}", widths[0], widths[widths.len() - 1]);
    Measured {
        title: format!("{name}, batch {batch}"),
        label,
        work: plan.cost().total(),
        seconds,
        rows: batch,
        details,
    }
}

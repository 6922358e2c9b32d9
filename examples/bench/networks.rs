//! Measures training and inference of standard networks.

use serde_json::json;
use wgrad::{Activation, Adam, Dataset, Gpu, Loss, Network, NetworkBuilder, Profile, Trainer, TrainerConfig, wgpu};

use super::common::{Result, networks};
use super::timing::{Effort, seconds};
use super::{Measured, Random};

/// Widths of dense networks: one for MNIST, a wide one, and a narrow one as in renderers.
const DENSE: [&[u32]; 3] = [&[784, 512, 256, 128, 10], &[1024, 1024, 1024, 1024, 100], &[32, 64, 64, 64, 64, 3]];
const TRAINING_BATCHES: [u32; 3] = [32, 128, 1024];
const INFERENCE_BATCHES: [u32; 3] = [1, 128, 4096];

type Make = fn() -> wgrad::Result<Network>;

/// Convolutional networks, and their batch size for training and inference.
const CONVOLUTIONAL: [(&str, Make, u32); 4] = [
    ("Keras convnet", networks::keras_convnet, 128),
    ("LeNet-5", networks::lenet_5, 128),
    ("ResNet-20", networks::resnet_20, 32),
    ("U-Net-16", networks::unet_16, 8),
];

/// Number of samples of a data set.
const ROWS: u32 = 4096;

/// A network, its name, and a short name for plots.
struct Named {
    name: String,
    label: String,
    network: Network,
}

/// Measures training, then inference. Calls `done` after each case.
pub fn measure(
    gpu: &Gpu,
    effort: Effort,
    quick: bool,
    mut done: impl FnMut(&str, &Measured),
) -> Result<[Vec<Measured>; 2]> {
    let mut measured = [Vec::new(), Vec::new()];
    for (which, batches) in [("training", TRAINING_BATCHES), ("inference", INFERENCE_BATCHES)] {
        let dense_networks = DENSE.iter().map(|widths| (dense(widths), &batches[..]));
        let convolutional = CONVOLUTIONAL.iter().map(|&(name, make, ref batch)| {
            let named = |network| Named { name: name.into(), label: name.into(), network };
            (make().map(named).map_err(Into::into), std::slice::from_ref(batch))
        });
        let networks: Vec<_> = match quick {
            true => vec![(dense(DENSE[0]), &batches[1..2])],
            false => dense_networks.chain(convolutional).collect(),
        };
        for (network, batches) in networks {
            let network = network?;
            for &batch in batches {
                let training = which == "training";
                let one =
                    if training { train(gpu, effort, &network, batch)? } else { infer(gpu, effort, &network, batch)? };
                done(which, &one);
                measured[usize::from(!training)].push(one);
            }
        }
    }
    Ok(measured)
}

/// The time of each op in a training step of the first network.
pub fn profile(gpu: &Gpu) -> Result<Profile> {
    let network = dense(DENSE[0])?.network;
    Ok(trainer(gpu, &network, 128)?.profile(&data(&network)?, 20)?)
}

fn dense(widths: &[u32]) -> Result<Named> {
    let add = |network: NetworkBuilder, &width: &u32| network.dense(width, Activation::Relu);
    let (last, hidden) = widths[1..].split_last().ok_or("a network has at least two widths")?;
    let network = hidden.iter().fold(Network::input(widths[0]), add).dense(*last, Activation::Identity).build()?;
    let name = widths.iter().map(u32::to_string).collect::<Vec<_>>().join("-");
    Ok(Named { name, label: format!("{}-…-{last}", widths[0]), network })
}

/// Mean squared error if the output is an image, else softmax cross-entropy.
fn loss(network: &Network) -> Loss {
    if network.output_specs()[0].shape.len() > 1 { Loss::MeanSquaredError } else { Loss::SoftmaxCrossEntropy }
}

fn trainer(gpu: &Gpu, network: &Network, batch: u32) -> Result<Trainer> {
    let config = TrainerConfig { batch, ..TrainerConfig::default() };
    Ok(Trainer::new(gpu, network, loss(network), Adam::default(), config)?)
}

/// Random features and targets. There are fewer samples if a sample is large.
fn data(network: &Network) -> Result<Dataset> {
    let mut random = Random(3);
    let rows = (ROWS * 1024 / network.inputs()).clamp(128, ROWS);
    let features = random.f32s((rows * network.inputs()) as usize);
    if loss(network) == Loss::MeanSquaredError {
        let targets = random.f32s((rows * network.outputs()) as usize);
        return Ok(Dataset::from_f32_targets(features, network.inputs() as usize, targets, network.outputs())?);
    }
    let labels = (0..rows).map(|_| random.below(network.outputs())).collect();
    Ok(Dataset::from_f32(features, network.inputs() as usize, labels, network.outputs())?)
}

fn train(gpu: &Gpu, effort: Effort, named: &Named, batch: u32) -> Result<Measured> {
    let mut trainer = trainer(gpu, &named.network, batch)?;
    let training = trainer.prepare(&data(&named.network)?)?;
    let seconds = seconds(gpu, effort, |encoder, steps| training.record_steps(encoder, steps));
    check(&named.name, &trainer.model().parameters()?)?;
    Ok(measured(named, batch, trainer.plan(), seconds))
}

fn infer(gpu: &Gpu, effort: Effort, named: &Named, batch: u32) -> Result<Measured> {
    let network = &named.network;
    let trainer = trainer(gpu, network, 1)?;
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
    check(&named.name, &bytemuck::cast_vec(super::roofs::read(gpu, &output)?))?;
    Ok(measured(named, batch, &wgrad::Plan::forward(network, batch)?, seconds))
}

/// Returns an error if the result is not finite or all 0: such a timing is worthless.
fn check(name: &str, numbers: &[f32]) -> Result<()> {
    let sound = numbers.iter().all(|x| x.is_finite()) && numbers.iter().any(|&x| x != 0.0);
    if sound { Ok(()) } else { Err(format!("{name}: the result is not finite, or all 0").into()) }
}

fn measured(Named { name, label, .. }: &Named, batch: u32, plan: &wgrad::Plan, seconds: f64) -> Measured {
    let details = json!({ "network": name, "batch": batch, "ops": plan.step.len() });
    Measured {
        title: format!("{name}, batch {batch}"),
        label: format!("{label}, {batch}"),
        work: plan.cost().total(),
        seconds,
        rows: batch,
        details,
    }
}

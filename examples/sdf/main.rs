//! Trains a network to represent the signed distance field (SDF) of a 3-D shape.
//!
//! A pass of the app computes the samples on the GPU. Another pass marches rays: its shader calls the network as a
//! WGSL function. The normals for the light are the network's gradient. The window shows the shape during training. Drag to orbit, use the wheel to zoom.
//!
//! With `--headless` it prints the loss after 1, 2, 4, 8, ... steps, and the overlap of the drawn shape with the true
//! shape. It writes step_*.png, shape.png (the true shape), sheet.svg and loss.svg.
//! `--headless` takes about 1 minute on two CPU cores with a software adapter.
//!
//! The eikonal term of the loss pulls the length of the field's gradient to 1, the length for a distance. `--eikonal 0`
//! trains without it. `--headless` prints how far the length is from 1 on average.
//!
//!     cargo run --release --example sdf
//!     cargo run --release --example sdf -- --headless

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
mod headless;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use bytemuck::{Pod, Zeroable};
use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer, seed};
use common::passes::{bind_group, storage_buffer};
use wgrad::Activation::{Identity, Relu};
use wgrad::{
    Adam, Chain, ChainRows, Encoding, Gpu, HashGrid, Loss, Losses, Network, NetworkGradientRows, Schedule, Trainer,
    TrainerConfig, Training, wgpu,
};

/// Trains a hash grid and two layers of 16 units on the distance to a shape, and draws it by ray marching.
#[derive(Parser)]
struct Args {
    /// Runs without a window, and writes images and a plot
    #[arg(long)]
    headless: bool,
    /// Number of training steps with --headless
    #[arg(long, default_value_t = 2048, value_parser = integer(1..=u32::MAX))]
    steps: u32,
    /// Width and height of the images with --headless, in pixels
    #[arg(long, default_value_t = 192, value_parser = integer(8..=4096))]
    size: u32,
    /// Weight of the eikonal term of the loss; 0: none
    #[arg(long, default_value_t = 0.02, value_parser = eikonal_weight)]
    eikonal: f32,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Folder for the images and the plot
    #[arg(long, value_name = "DIR", default_value = "out/sdf")]
    out: PathBuf,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn eikonal_weight(text: &str) -> std::result::Result<f32, String> {
    let weight = text.parse::<f32>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0);
    weight.ok_or_else(|| "expected a finite number, at least 0".into())
}

fn main() -> ExitCode {
    let args = options::parse::<Args>();
    common::exit_code(if args.headless { headless::run(&args) } else { window::run(&args) })
}

const BATCH: u32 = 1024;
/// Batches of new samples per frame.
const FRAME: u32 = 16;
const SHADER: &str = concat!(include_str!("../common/random.wgsl"), include_str!("sdf.wgsl"));

/// Uniforms of a frame: see `sdf.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Frame {
    eye: [f32; 3],
    lens: f32,
    size: [u32; 2],
    seed: u32,
    padding: u32,
}

impl Frame {
    fn new(eye: [f32; 3], size: [u32; 2], seed: u32) -> Self {
        Self { eye, lens: 3.3, size, seed, padding: 0 }
    }
}

/// The network of a shape, its training, and the app's passes.
struct Learner {
    gpu: Gpu,
    trainer: Trainer,
    training: Training,
    frame: wgpu::Buffer,
    points: wgpu::Buffer,
    samples: Pass,
}

impl Learner {
    /// The network is small, because ray marching evaluates it often. If `steps` is given, the learning rate decays
    /// over these steps; else it is constant.
    fn new(gpu: Gpu, args: &Args, steps: Option<u32>) -> Result<Self> {
        // The shape is in the cube from −1 to 1. The hash grid needs coordinates from 0 to 1.
        let to_grid = Encoding::Identity { scale: 0.5, offset: 0.5 };
        let grid = HashGrid { levels: 6, log2_hashmap_size: 15, base_resolution: 4, ..HashGrid::default() }.up_to(32);
        let network = Network::input(3).encoding(to_grid).encoding(grid);
        let network = network.dense(16, Relu).dense(16, Relu).dense(1, Identity).build()?;
        println!("{}", network.summary());
        let schedule = steps.map_or(Schedule::constant(), |steps| Schedule::cosine(steps, 0.02));
        let config =
            TrainerConfig { batch: BATCH, seed: args.seed, shuffle: false, schedule, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.005, ..Adam::default() };
        let distance = Losses::from(Loss::MeanAbsoluteError);
        let losses = if args.eikonal > 0.0 { distance.eikonal(args.eikonal) } else { distance };
        let mut trainer = Trainer::new(&gpu, &network, losses, adam, config)?;

        let frame = buffer(&gpu, (size_of::<Frame>() / 4) as u32);
        let [points, distances] = [3, 1].map(|numbers| buffer(&gpu, BATCH * FRAME * numbers));
        let training = trainer.prepare_buffers(&points, &distances, BATCH * FRAME)?;
        let resources = [(0, &frame), (1, &points), (2, &distances)].map(|(i, buffer)| (i, buffer.as_entire_binding()));
        let samples = Pass::new(&gpu, "samples", NO_FIELD, &resources, None);
        Ok(Self { gpu, trainer, training, frame, points, samples })
    }

    /// Prepares a chain that computes the gradient of the field at the newest samples, and its buffer.
    fn gradient(&mut self) -> Result<(Chain, wgpu::Buffer)> {
        let rows = BATCH * FRAME;
        let [y, dy, g, dg] = [1, 1, 3, 3].map(|numbers| buffer(&self.gpu, rows * numbers));
        let ends = ChainRows {
            input: (&self.points).into(),
            output: (&y).into(),
            output_gradient: (&dy).into(),
            input_gradient: None,
        };
        let of_field = NetworkGradientRows { value: (&g).into(), gradient: (&dg).into(), output_weights: &[1.0] };
        Ok((self.trainer.prepare_chain_with_gradient(ends, of_field, rows)?, g))
    }

    fn record_samples(&self, encoder: &mut wgpu::CommandEncoder) {
        self.samples.record(encoder, [BATCH * FRAME / 64, 1]);
    }

    /// WGSL of the network as the function `field`, and of its gradient. The weights are at group 1, binding 0.
    fn field(&self) -> Result<String> {
        let network = self.trainer.model().wgsl("network")?.bound_at(1, 0).with_gradient();
        Ok(format!(
            "{network}
            fn field(p: vec3f) -> f32 {{ return network(p); }}
            fn field_gradient(p: vec3f) -> vec3f {{ return network_gradient(p); }}"
        ))
    }

    /// Writes the uniforms for the next submission.
    fn write(&self, frame: Frame) {
        self.gpu.queue().write_buffer(&self.frame, 0, bytemuck::bytes_of(&frame));
    }
}

const NO_FIELD: &str = "
    fn field(p: vec3f) -> f32 { return 0.0; }
    fn field_gradient(p: vec3f) -> vec3f { return p; }";
const TRUE_FIELD: &str = "
    fn field(p: vec3f) -> f32 { return shape(p); }
    fn field_gradient(p: vec3f) -> vec3f { return shape_gradient(p); }";

fn buffer(gpu: &Gpu, words: u32) -> wgpu::Buffer {
    storage_buffer(gpu.device(), u64::from(words) * 4)
}

/// The app's shader with these WGSL functions: `field` and `field_gradient`.
fn module(gpu: &Gpu, field: &str) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(format!("{SHADER}{field}").into());
    gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("sdf"), source })
}

/// A compute pass of the app.
struct Pass {
    pipeline: wgpu::ComputePipeline,
    groups: Vec<wgpu::BindGroup>,
}

impl Pass {
    /// A pass of one entry point of the shader. `field` is the WGSL of the distance function, `weights` the buffer
    /// that it reads.
    fn new(
        gpu: &Gpu,
        entry: &str,
        field: &str,
        resources: &[(u32, wgpu::BindingResource<'_>)],
        weights: Option<&wgpu::Buffer>,
    ) -> Self {
        let pipeline = gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module: &module(gpu, field),
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let own = bind_group(gpu.device(), &pipeline.get_bind_group_layout(0), resources);
        let weights = weights.map(|weights| {
            bind_group(gpu.device(), &pipeline.get_bind_group_layout(1), &[(0, weights.as_entire_binding())])
        });
        Self { pipeline, groups: [own].into_iter().chain(weights).collect() }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, [x, y]: [u32; 2]) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        for (index, group) in (0..).zip(&self.groups) {
            pass.set_bind_group(index, group, &[]);
        }
        pass.dispatch_workgroups(x, y, 1);
    }
}

//! The training on the GPU: samples of the material, the latents with their decoder, and the packed latents.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use wgrad::{Adam, Forward, Gpu, Loss, Model, Network, Schedule, Trainer, TrainerConfig, Training, wgpu};

use crate::common::Result;
use crate::common::passes::{Pass, storage_buffer};
use crate::material::{CHANNELS, Material};
use crate::pyramid::{EXTRAS, FIRST_LAYER, Pyramid};

const RANDOM: &str = include_str!("../common/random.wgsl");

/// Samples of a step.
const BATCH: u32 = 4096;
/// Batches of new samples per submission.
pub const BATCHES: u32 = 8;

/// Uniforms of a submission: see `training.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Samples {
    seed: u32,
    first: u32,
    rounds: u32,
}

/// The training of latents and decoder.
pub struct Learner {
    pub training: Training,
    pub trainer: Trainer,
    draw: Pass,
    round: Pass,
    samples: wgpu::Buffer,
    /// Number of the weights that are latents. They come first.
    latents: u32,
    /// Number of the next sample.
    next: u32,
}

impl Learner {
    /// If `steps` is given, the learning rate decays over these steps; else it is constant.
    pub fn new(gpu: &Gpu, pyramid: &Pyramid, textures: &Textures, seed: u64, steps: Option<u32>) -> Result<Self> {
        let network = pyramid.trained_network()?;
        println!("{}", network.summary());
        let adam = Adam { learning_rate: 0.02, beta2: 0.99, epsilon: 1e-15, ..Adam::default() };
        let schedule = steps.map_or(Schedule::constant(), |steps| Schedule::cosine(steps, 0.02));
        let config = TrainerConfig { batch: BATCH, seed, shuffle: false, schedule, ..TrainerConfig::default() };
        let mut trainer = Trainer::new(gpu, &network, Loss::MeanSquaredError, adam, config)?;

        let rows = |width: u32| buffer(gpu, BATCH * BATCHES * width);
        let [places, fades, others, targets] = [2, pyramid.latents(), EXTRAS, CHANNELS as u32].map(rows);
        let inputs = [("place", &places), ("fade", &fades), ("others", &others)];
        let inputs = inputs.map(|(name, rows)| (name, wgrad::Rows::from(rows)));
        let training = trainer.prepare_buffers(inputs, &targets, BATCH * BATCHES)?;

        let decoder = network.parameters().iter().find(|tensor| tensor.name.starts_with(FIRST_LAYER));
        let latents = decoder.ok_or("the network has no decoder")?.offset;
        let (samples, exact) = (buffer(gpu, 3), buffer(gpu, latents * 2));
        let module = training_module(gpu, pyramid);
        let own = [(2, &samples), (7, &places), (8, &fades), (9, &others), (10, &targets)].map(as_resource);
        let draw = Pass::new(gpu.device(), &module, "draw", &[&textures.resources()[..], &own].concat());
        let own = [(2, &samples), (13, training.parameter_buffer()), (14, &exact)].map(as_resource);
        let round = Pass::new(gpu.device(), &module, "round_latents", &own);
        Ok(Self { trainer, training, draw, round, samples, latents, next: 0 })
    }

    /// Records new samples. Once per submission, because it writes uniforms. `rounds` tells whether [`record_rounding`]
    /// rounds in this submission.
    ///
    /// [`record_rounding`]: Self::record_rounding
    pub fn record_samples(&mut self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, rounds: bool) {
        let samples = Samples { seed: self.trainer.config().seed as u32, first: self.next, rounds: rounds.into() };
        gpu.queue().write_buffer(&self.samples, 0, bytemuck::bytes_of(&samples));
        self.draw.record(encoder, [BATCH * BATCHES / 64, 1, 1]);
        self.next = self.next.wrapping_add(BATCH * BATCHES);
    }

    /// Records keeping the latents between −1 and 1, and rounding them.
    pub fn record_rounding(&self, encoder: &mut wgpu::CommandEncoder) {
        self.round.record(encoder, grid(self.latents));
    }
}

/// The number of workgroups for this number of invocations, in two dimensions.
fn grid(invocations: u32) -> [u32; 3] {
    let groups = invocations.div_ceil(64);
    let rows = groups.div_ceil(1 << 15);
    [groups.div_ceil(rows), rows, 1]
}

/// The material on the GPU: three textures of three channels each, with mips.
pub struct Textures {
    views: [wgpu::TextureView; 3],
    sampler: wgpu::Sampler,
}

impl Textures {
    pub fn new(gpu: &Gpu, material: &Material) -> Self {
        let views = [0, 3, 6].map(|channel| {
            let side = material.size;
            let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
                label: Some("material"),
                size: wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
                mip_level_count: material.mips.len() as u32,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba8Unorm,
                usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            for (mip_level, texels) in (0..).zip(&material.mips) {
                let side = side >> mip_level;
                let bytes: Vec<u8> =
                    texels.iter().flat_map(|t| [t[channel], t[channel + 1], t[channel + 2], 255]).collect();
                let to = wgpu::TexelCopyTextureInfo { mip_level, ..texture.as_image_copy() };
                let layout =
                    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(side * 4), rows_per_image: None };
                let size = wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 };
                gpu.queue().write_texture(to, &bytes, layout, size);
            }
            texture.create_view(&Default::default())
        });
        let repeat = wgpu::AddressMode::Repeat;
        let sampler = gpu.device().create_sampler(&wgpu::SamplerDescriptor {
            address_mode_u: repeat,
            address_mode_v: repeat,
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            mipmap_filter: wgpu::MipmapFilterMode::Linear,
            ..Default::default()
        });
        Self { views, sampler }
    }

    /// Bindings 3 to 6.
    pub fn resources(&self) -> [(u32, wgpu::BindingResource<'_>); 4] {
        let [a, b, c] = self.views.each_ref().map(wgpu::BindingResource::TextureView);
        [(3, a), (4, b), (5, c), (6, wgpu::BindingResource::Sampler(&self.sampler))]
    }
}

/// Packs the latents of a training, and copies its decoder.
pub struct Packing {
    /// The latents in their compressed form: see `pyramid.wgsl`.
    pub latents: wgpu::Buffer,
    pub decoder: Model,
    copies: Vec<WeightCopy>,
    forward: Forward,
    pack: Pass,
    pyramid: Pyramid,
}

/// A copy of a weight tensor.
struct WeightCopy {
    from: wgpu::Buffer,
    first: u64,
    to: wgpu::Buffer,
    bytes: Range<u64>,
}

impl Packing {
    /// `trained` has the network of a [`Learner`].
    pub fn new(gpu: &Gpu, pyramid: &Pyramid, trained: &Model) -> Result<Self> {
        let model = |network: Network| Model::new(gpu, &network, &network.initial_parameters(0));
        let (grids, decoder) = (model(pyramid.grid_network()?)?, model(pyramid.decoder()?)?);
        let mut copies = Vec::new();
        for model in [&grids, &decoder] {
            for tensor in model.network().parameters() {
                let from = trained.network().parameters().iter().find(|from| from.name == tensor.name);
                let first = from.ok_or_else(|| format!("the trained network has no {}", tensor.name))?.bytes().start;
                let [from, to] = [trained, model].map(Model::parameter_buffer);
                copies.push(WeightCopy { from: from?.clone(), first, to: to?.clone(), bytes: tensor.bytes() });
            }
        }
        let [places, vertices] = [2, pyramid.latents()].map(|width| buffer(gpu, pyramid.vertices() * width));
        gpu.queue().write_buffer(&places, 0, bytemuck::cast_slice(&pyramid.vertex_places()));
        let forward = grids.prepare_forward(&places, &vertices, pyramid.vertices())?;
        let latents = buffer(gpu, pyramid.words());
        let resources = [(11, &vertices), (12, &latents)].map(as_resource);
        let pack = Pass::new(gpu.device(), &training_module(gpu, pyramid), "pack", &resources);
        Ok(Self { latents, decoder, copies, forward, pack, pyramid: *pyramid })
    }

    /// Records all passes: copies the weights of the training, computes the latents of each vertex, and packs them.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        for WeightCopy { from, first, to, bytes } in &self.copies {
            encoder.copy_buffer_to_buffer(from, *first, to, bytes.start, bytes.end - bytes.start);
        }
        self.forward.record_forward(encoder);
        self.pack.record(encoder, grid(self.pyramid.words()));
    }
}

fn as_resource<'a>((binding, buffer): (u32, &'a wgpu::Buffer)) -> (u32, wgpu::BindingResource<'a>) {
    (binding, buffer.as_entire_binding())
}

fn training_module(gpu: &Gpu, pyramid: &Pyramid) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl((pyramid.wgsl() + RANDOM + include_str!("training.wgsl")).into());
    gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("training"), source })
}

/// A buffer of words. Its size is a multiple of 16 bytes.
pub fn buffer(gpu: &Gpu, words: u32) -> wgpu::Buffer {
    storage_buffer(gpu.device(), (u64::from(words) * 4).next_multiple_of(16))
}

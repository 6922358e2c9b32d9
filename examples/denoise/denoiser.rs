//! The denoising network and its training, between the renderer's passes.

use wgrad::Activation::Relu;
use wgrad::{
    Adam, Conv, CustomLoss, Forward, Graph, Images, Init, Loss, Network, RandomCrops, Result, Trainer, TrainerConfig,
    Training, Value, wgpu,
};

use crate::common::passes::{Pass, storage_buffer};
use crate::renderer::{BASE, GUIDE, Renderer};

/// Width and height of a crop, in pixels.
const CROP: u32 = 32;
const BATCH: u32 = 8;
/// Training steps per frame, each on new crops.
pub const STEPS: u32 = 3;
/// Number of stored frames, from which crops are taken: see `passes.wgsl`.
pub const KEPT: u32 = 8;
/// Input channels of the network: see `passes.wgsl`.
const FEATURES: u32 = 16;

/// The squared error of the displayed image, to first order: (L − t)² · D². The output y is the logarithm of a
/// radiance L = e^y, and the target t is a radiance. D is the derivative of the display curve (L / (1 + L))^(1 / 2.2).
/// The gradient treats D as a constant. So the minimum is the mean of noisy targets, as Noise2Noise needs.
static DISPLAYED_ERROR: CustomLoss = CustomLoss::new(
    "displayed_error",
    "(1.0 - t * exp(-y)) * (1.0 - t * exp(-y)) * pow(1.0 + exp(-y), -0.90909) \
        / ((1.0 + exp(y)) * (1.0 + exp(y))) / 4.84",
    "2.0 * (1.0 - t * exp(-y)) * pow(1.0 + exp(-y), -0.90909) / ((1.0 + exp(y)) * (1.0 + exp(y))) / 4.84",
);

pub struct Denoiser {
    pub trainer: Trainer,
    pub training: Training,
    forward: Forward,
    keep: Pass,
    crops: RandomCrops,
    take: Pass,
    show: Pass,
    /// The logarithm of the radiance, [height, width, 3].
    pub output: wgpu::Buffer,
}

/// A U-Net (Ronneberger et al., 2015). Its output is added to the logarithm of the filtered image. The last weights
/// start at 0, so training starts from the filter's result. Skip connections are added, because concatenation costs
/// more.
fn network() -> Result<Network> {
    let mut g = Graph::new();
    let conv = |channels| Conv::new(channels, 3).same().activation(Relu);
    let features = g.input("features", [CROP, CROP, FEATURES]);
    let mut x = g.layer(conv(24), features)?;
    let mut skips: Vec<(Value, u32)> = Vec::new();
    for [channels, below] in [[24, 24], [24, 32], [32, 24]] {
        skips.push((x, channels));
        x = g.layer(Conv::new(below, 2).stride(2).activation(Relu), x)?;
        x = g.layer(conv(below), x)?;
    }
    for (skip, channels) in skips.into_iter().rev() {
        x = g.layer(Conv::transposed(channels, 2).stride(2), x)?;
        x = g.add([x, skip])?;
        x = g.layer(conv(channels), x)?;
    }
    let correction = g.layer(Conv::new(3, 1).weight_init(Init::Zeros), x)?;
    let filtered = g.slice(features, -1, 0..3)?;
    let radiance = g.add([correction, filtered])?;
    g.build([("log_radiance", radiance)])
}

impl Denoiser {
    pub fn new(renderer: &Renderer, seed: u64) -> Result<Self> {
        let (gpu, size) = (&renderer.gpu, renderer.size);
        let network = network()?;
        println!("{}", network.summary());
        let pixels = u64::from(size * size);
        let [kept_features, kept_targets] =
            [FEATURES, 3].map(|channels| storage_buffer(gpu.device(), u64::from(KEPT * channels) * pixels * 4));
        let images = |images, channels| [Images::buffer(images, KEPT, [size, size, channels])];
        let (features, targets) = (images(&kept_features, FEATURES), images(&kept_targets, 3));
        let crops = RandomCrops::new(gpu, &features, &targets, [CROP; 2], BATCH * STEPS, seed)?;
        let config = TrainerConfig { batch: BATCH, seed, shuffle: false, ..TrainerConfig::default() };
        let adam = Adam { learning_rate: 0.003, ..Adam::default() };
        let mut trainer = Trainer::new(gpu, &network, Loss::Custom(&DISPLAYED_ERROR), adam, config)?;
        let training = trainer.prepare_buffers(crops.features(), crops.targets(), crops.rows())?;
        let [input, output] =
            [FEATURES, 3].map(|channels| storage_buffer(gpu.device(), u64::from(channels) * pixels * 4));
        let model = trainer.model().at_input([size, size, FEATURES])?;
        let forward = model.prepare_forward(&input, &output, 1)?;

        let [colour, albedo, normal, position] = renderer.textures.each_ref().map(wgpu::BindingResource::TextureView);
        let frame = (0, renderer.frame.as_entire_binding());
        let [filtered, more] = [BASE, GUIDE.levels].map(|level| renderer.filtered[level].as_entire_binding());
        let seen = [frame.clone(), (5, colour), (6, albedo), (7, normal), (18, position), (11, filtered), (16, more)];
        let kept = [(8, &kept_features), (9, &kept_targets), (15, &renderer.sums)];
        let kept = kept.map(|(binding, buffer)| (binding, buffer.as_entire_binding()));
        let shown = [(10, output.as_entire_binding()), (14, renderer.picture.as_entire_binding())];
        Ok(Self {
            keep: renderer.pass("keep", &[&seen[..], &kept].concat()),
            crops,
            take: renderer.pass("take", &[&seen[..], &[(8, input.as_entire_binding())]].concat()),
            show: renderer.pass("show_denoised", &[&[frame][..], &shown].concat()),
            trainer,
            training,
            forward,
            output,
        })
    }

    /// Stores the drawn and filtered frame, and takes crops of the stored frames.
    pub fn record_crops(&self, encoder: &mut wgpu::CommandEncoder, renderer: &Renderer) {
        self.keep.record(encoder, renderer.grid());
        self.crops.record(encoder);
    }

    /// Denoises the drawn and filtered frame.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, renderer: &Renderer) {
        self.take.record(encoder, renderer.grid());
        self.forward.record_forward(encoder);
    }

    /// Writes the denoised image to the renderer's picture buffer.
    pub fn record_show(&self, encoder: &mut wgpu::CommandEncoder, renderer: &Renderer) {
        self.show.record(encoder, renderer.grid());
    }
}

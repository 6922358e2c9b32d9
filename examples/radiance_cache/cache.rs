//! The app's passes and its network. See `radiance_cache.wgsl` for the passes.

use bytemuck::{Pod, Zeroable};
use wgrad::Activation::{Identity, Relu};
use wgrad::{
    Adam, Dense, Ema, Encoding, Forward, Gpu, Graph, HashGrid, Layer, Loss, Network, Result, Trainer, TrainerConfig,
    Training, wgpu,
};

use crate::common::camera::Camera;
use crate::common::passes::{Pass, storage_buffer};

/// Rows of a training step.
const BATCH: u32 = 1024;
/// Training steps of a frame.
pub const STEPS: u32 = 4;
/// Training paths of a frame.
const ROWS: u32 = BATCH * STEPS;

/// Uniforms of a frame: see `radiance_cache.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Frame {
    pub eye: [f32; 3],
    pub lens: f32,
    pub size: [u32; 2],
    pub seed: u32,
    pub bounces: u32,
    /// Width and height of the window, in pixels.
    pub window: [u32; 2],
    pub samples: u32,
    pub training_rows: u32,
}

/// Position and normal in, light out: red, green and blue.
fn network() -> Result<Network> {
    let mut g = Graph::new();
    let surface = g.input("surface", 6);
    let (position, normal) = (g.slice(surface, -1, 0..3)?, g.slice(surface, -1, 3..6)?);
    let grid = HashGrid { levels: 8, log2_hashmap_size: 14, base_resolution: 4, ..HashGrid::default() }.up_to(64);
    let position = g.layer(Layer::Encoding(Encoding::HashGrid(grid)), position)?;
    let mut x = g.concat([position, normal], -1)?;
    for _ in 0..2 {
        x = g.layer(Dense::new(32, Relu), x)?;
    }
    let light = g.layer(Dense::new(3, Identity), x)?;
    g.build([("light", light)])
}

/// An image, with the sums of the samples of all its frames.
pub struct Image {
    /// The last frame, [height, width, 4]. The fourth number is 1.
    pub frame: wgpu::Buffer,
    /// Sums of the radiance, [height, width, 4]. The fourth number counts the samples.
    pub sums: wgpu::Buffer,
    /// Sums of the squared radiance.
    pub squares: wgpu::Buffer,
}

impl Image {
    fn new(gpu: &Gpu, pixels: u64) -> Self {
        let [frame, sums, squares] = [(); 3].map(|()| storage_buffer(gpu.device(), pixels * 16));
        Self { frame, sums, squares }
    }

    fn resources(&self) -> [(u32, wgpu::BindingResource<'_>); 3] {
        [(6, &self.frame), (7, &self.sums), (8, &self.squares)].map(|(i, buffer)| (i, buffer.as_entire_binding()))
    }

    pub fn record_clear(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&self.sums, 0, None);
        encoder.clear_buffer(&self.squares, 0, None);
    }
}

pub struct Cache {
    pub gpu: Gpu,
    pub module: wgpu::ShaderModule,
    pub size: u32,
    pub frame: wgpu::Buffer,
    /// The image with the network.
    pub cached: Image,
    /// The image without the network.
    pub plain: Image,
    pub training: Training,
    trainer: Trainer,
    forward: Forward,
    trace_pixels: Pass,
    trace_lessons: Pass,
    teach: Pass,
    shade: Pass,
    trace_plain: Pass,
}

impl Cache {
    pub fn new(gpu: Gpu, size: u32, seed: u64) -> Result<Self> {
        let network = network()?;
        println!("{}", network.summary());
        let config =
            TrainerConfig { batch: BATCH, seed, shuffle: false, ema: Some(Ema { decay: 0.99 }), ..Default::default() };
        let adam = Adam { learning_rate: 0.005, ..Adam::default() };
        let mut trainer = Trainer::new(&gpu, &network, Loss::RelativeL2 { epsilon: 0.01 }, adam, config)?;

        let pixels = size * size;
        let rows = |rows: u32, numbers: u64| storage_buffer(gpu.device(), u64::from(rows) * numbers * 4);
        let [lessons, targets] = [6, 3].map(|numbers| rows(ROWS, numbers));
        let [questions, known, answers] = [6, 8, 3].map(|numbers| rows(ROWS + pixels, numbers));
        let training = trainer.prepare_buffers(&lessons, &targets, ROWS)?;
        let forward = trainer.averaged_model()?.prepare_forward(&questions, &answers, ROWS + pixels)?;

        let source = concat!(
            include_str!("../common/random.wgsl"),
            include_str!("../common/room.wgsl"),
            include_str!("../common/screen.wgsl"),
            include_str!("radiance_cache.wgsl"),
        );
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module =
            gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("radiance_cache"), source });
        let frame = storage_buffer(gpu.device(), size_of::<Frame>() as u64);
        let [cached, plain] = [(); 2].map(|()| Image::new(&gpu, pixels.into()));
        let buffers = [&frame, &lessons, &questions, &known, &answers, &targets];
        let pass = |entry: &str, bindings: &[u32], image: Option<&Image>| {
            let own = bindings.iter().map(|&binding| (binding, buffers[binding as usize].as_entire_binding()));
            let resources: Vec<_> = own.chain(image.into_iter().flat_map(Image::resources)).collect();
            Pass::new(gpu.device(), &module, entry, &resources)
        };
        Ok(Self {
            trace_pixels: pass("trace_pixels", &[0, 2, 3], None),
            trace_lessons: pass("trace_lessons", &[0, 1, 2, 3], None),
            teach: pass("teach", &[0, 3, 4, 5], None),
            shade: pass("shade", &[0, 3, 4], Some(&cached)),
            trace_plain: pass("trace_plain", &[0], Some(&plain)),
            gpu: gpu.clone(),
            module: module.clone(),
            frame: frame.clone(),
            size,
            cached,
            plain,
            training,
            trainer,
            forward,
        })
    }

    /// Number of workgroups of a pass over the image.
    pub fn grid(&self) -> [u32; 3] {
        [self.size.div_ceil(8), self.size.div_ceil(8), 1]
    }

    /// Writes the uniforms for the next submission.
    pub fn write(&self, camera: Camera, frame: Frame) {
        let frame = Frame { eye: camera.eye(), lens: 2.2, size: [self.size; 2], training_rows: ROWS, ..frame };
        self.gpu.queue().write_buffer(&self.frame, 0, bytemuck::bytes_of(&frame));
    }

    /// Draws the image with the network, and makes the data of the next [`STEPS`] training steps.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        self.trace_pixels.record(encoder, self.grid());
        self.trace_lessons.record(encoder, [ROWS.div_ceil(64), 1, 1]);
        self.trainer.record_averaged(encoder);
        self.forward.record_forward(encoder);
        self.teach.record(encoder, [ROWS.div_ceil(64), 1, 1]);
        self.shade.record(encoder, self.grid());
    }

    /// Draws the image without the network.
    pub fn record_plain(&self, encoder: &mut wgpu::CommandEncoder) {
        self.trace_plain.record(encoder, self.grid());
    }
}

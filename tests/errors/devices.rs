//! Errors of devices, their limits, and the buffers and textures of an app.

use wgrad::Activation::{Identity, Relu};
use wgrad::*;

use super::page::{Section, line};
use crate::common::*;

fn network() -> Network {
    Network::input(4).dense(3, Relu).dense(2, Identity).build().unwrap()
}

fn trainer(gpu: &Gpu, network: &Network, batch: u32) -> Result<Trainer> {
    let config = TrainerConfig { batch, ..TrainerConfig::default() };
    Trainer::new(gpu, network, Loss::MeanSquaredError, Adam::default(), config)
}

fn app(limits: wgpu::Limits) -> Gpu {
    let (device, queue) = own_device_with(limits);
    Gpu::from_parts(device, queue)
}

/// Two devices of one wgpu instance.
fn two() -> [(wgpu::Device, wgpu::Queue); 2] {
    pollster::block_on(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = instance.request_adapter(&Default::default()).await.expect("an adapter: see scripts/setup.sh");
        let descriptor = wgpu::DeviceDescriptor::default();
        let device = async || adapter.request_device(&descriptor).await.expect("a device");
        [device().await, device().await]
    })
}

/// Replaces the texts of wgpu and of the adapter, because they depend on the machine.
fn without_adapter<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::NoAdapter { wanted, .. } => Error::NoAdapter { wanted, reason: "there are 1: ADAPTER".into() },
        Error::DeviceLost { .. } => Error::DeviceLost { reason: "REASON".into() },
        error => error,
    })
}

pub fn devices() -> Section {
    let small = app(wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..Default::default() });
    let few = app(wgpu::Limits::downlevel_defaults());
    let wide = Network::input(600).dense(600, Relu).dense(2, Identity).build().unwrap();
    let long = || Dataset::from_u8_targets(vec![0; 400_000 * 4], 4, vec![0.0; 800_000], 2).unwrap();
    let lost = app(wgpu::Limits::default());
    lost.device().destroy();
    let _ = lost.device().poll(wgpu::PollType::wait_indefinitely());
    let both = two();
    let mixed = Gpu::from_parts(both[0].0.clone(), both[1].1.clone());
    let data = || Dataset::from_f32_targets(vec![0.5; 8], 4, vec![0.5; 4], 2).unwrap();
    let lines = vec![
        line("request_named, unknown adapter", without_adapter(Gpu::request_named("no such adapter"))),
        line("a device that cannot be opened (example)", {
            Err::<(), _>(Error::NoDevice { adapter: "ADAPTER".into(), reason: "REASON".into() })
        }),
        line("a lost device", without_adapter(trainer(&lost, &network(), 2))),
        line("no GPU memory left (example)", {
            Err::<(), _>(Error::OutOfMemory { what: "activations".into(), bytes: 1 << 30 })
        }),
        line("the queue of another device", trainer(&mixed, &network(), 2)),
        line("profile without timestamps", {
            trainer(plain_gpu(), &network(), 2).and_then(|trainer| trainer.profile(&data(), 1))
        }),
        line("profile of 0 steps", trainer(gpu(), &network(), 2).and_then(|trainer| trainer.profile(&data(), 0))),
        line("weights larger than a binding", trainer(&small, &wide, 1)),
        line("batch larger than a binding", trainer(&small, &network(), 100_000)),
        line("data set larger than a binding", {
            trainer(&small, &network(), 8).and_then(|mut trainer| trainer.prepare(long()))
        }),
        line("device with few bindings", trainer(&few, &network(), 2)),
    ];
    Section { title: "Devices and limits", lines }
}

fn buffer(gpu: &Gpu, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false })
}

fn texture(gpu: &Gpu, usage: wgpu::TextureUsages, format: wgpu::TextureFormat, layers: u32) -> wgpu::Texture {
    gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: 4, height: 2, depth_or_array_layers: layers },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

pub fn buffers() -> Section {
    let [gpu, other] = two().map(|(device, queue)| Gpu::from_parts(device, queue));
    let storage = wgpu::BufferUsages::STORAGE;
    let [a, b, c] = [0, 1, 2].map(|_| buffer(&gpu, 1024, storage));
    let dead = buffer(&gpu, 1024, storage);
    dead.destroy();
    let copies = buffer(&gpu, 1024, wgpu::BufferUsages::COPY_DST);
    let foreign = buffer(&other, 1024, storage);
    let model = Model::new(&gpu, &network(), &network().initial_parameters(1)).unwrap();
    let mut trainer = trainer(&gpu, &network(), 4).unwrap();
    let mut chain = |output: Rows<'_>, gradient: Rows<'_>, rows: u32| {
        let ends = ChainRows {
            input: (&a).into(),
            output: output.into(),
            output_gradient: gradient.into(),
            input_gradient: None,
        };
        trainer.prepare_chain(ends, rows)
    };
    let lines = vec![
        line("prepare_forward of 0 rows", model.prepare_forward(&a, &b, 0)),
        line("prepare_forward, buffer too short", model.prepare_forward(&a, &b, 1000)),
        line("prepare_forward, buffer without STORAGE", model.prepare_forward(&copies, &b, 4)),
        line("prepare_forward, destroyed buffer", model.prepare_forward(&dead, &b, 4)),
        line("prepare_forward, buffer of another device", model.prepare_forward(&foreign, &b, 4)),
        line("prepare_forward, offset 2", model.prepare_forward(a.slice(2..), &b, 4)),
        line("prepare_forward, stride below a row", model.prepare_forward(Rows::from(&a).stride(8), &b, 4)),
        line("prepare_forward, rows of bytes", model.prepare_forward(&a, Rows::from(&b).bytes(), 4)),
        line("prepare_forward, output over the weights", {
            model.prepare_forward(&a, model.parameter_buffer().unwrap(), 4)
        }),
        line("prepare_chain, output over the input", chain((&a).into(), (&b).into(), 4)),
        line("prepare_chain, gradient over the output", chain((&b).into(), b.slice(16..).into(), 4)),
        line("prepare_chain of 0 rows", chain((&b).into(), (&c).into(), 0)),
    ];
    Section { title: "Buffers of an app", lines }
}

pub fn textures() -> Section {
    use wgpu::TextureFormat::{R8Uint, R32Float, R32Uint, Rgba8Unorm};
    let gpu = app(wgpu::Limits::default());
    let (bound, stored) = (wgpu::TextureUsages::TEXTURE_BINDING, wgpu::TextureUsages::STORAGE_BINDING);
    let of = |format, layers| texture(&gpu, bound, format, layers);
    let good = of(Rgba8Unorm, 1);
    let rows = buffer(&gpu, 1024, wgpu::BufferUsages::STORAGE);
    let images = |count, shape| Images::buffer(&rows, count, shape);
    let crops = |inputs: &[Images<'_>], targets: &[Images<'_>], size: [u32; 2], count: u32| {
        RandomCrops::new(&gpu, inputs, targets, size, count, 0)
    };
    let one = [images(1, [6, 8, 2])];
    let lines = vec![
        line("TextureSamples of 5 channels", TextureSamples::new(&gpu, &good, 5)),
        line("TextureSamples, usage missing", TextureSamples::new(&gpu, &texture(&gpu, stored, Rgba8Unorm, 1), 3)),
        line("TextureSamples of two layers", TextureSamples::new(&gpu, &of(Rgba8Unorm, 2), 3)),
        line("TextureSamples of whole numbers", TextureSamples::new(&gpu, &of(R8Uint, 1), 1)),
        line("TextureSamples::random without rows", TextureSamples::random(&gpu, &good, 3, 0, 1)),
        line("TextureOutput, usage missing", TextureOutput::new(&gpu, &rows, 3, &good)),
        line("TextureOutput to whole numbers", TextureOutput::new(&gpu, &rows, 1, &texture(&gpu, stored, R32Uint, 1))),
        line("TextureOutput, buffer too short", {
            TextureOutput::new(&gpu, rows.slice(..16), 1, &texture(&gpu, stored, R32Float, 1))
        }),
        line("RandomCrops without inputs", crops(&[], &one, [2, 2], 1)),
        line("RandomCrops larger than the image", crops(&one, &one, [7, 8], 1)),
        line("RandomCrops of other counts", crops(&[one[0], images(2, [6, 8, 1])], &one, [2, 2], 1)),
        line("RandomCrops, targets of another size", crops(&one, &[images(1, [12, 8, 1])], [2, 2], 1)),
    ];
    Section { title: "Textures and crops of an app", lines }
}

//! A network inside somebody else's GPU app: the app's device, its passes, one submission a frame. Each frame a pass of the
//! app's draws samples of a moving picture, the network learns from them where they lie, and a pass of the app's shows what
//! the network makes of every pixel. Leaves `frames.png`: pictures above, what the network had learnt of them by then below.
//!
//!     cargo run --release --example embed -- --out out/embed

use std::time::Duration;

use wgrad::wgpu::{self, util::DeviceExt};
use wgrad::{Activation::*, Adam, Gpu, Loss, Network, Trainer, TrainerConfig};

const SIDE: u32 = 96; // of the picture, in pixels
const SAMPLES: u32 = 1024;
const FRAMES: u32 = 240;

/// The app's own shaders: it knows nothing of networks.
const APP: &str = "
    @group(0) @binding(0) var<storage, read> frame: u32;
    @group(0) @binding(1) var<storage, read_write> position: array<vec2f>;
    @group(0) @binding(2) var<storage, read_write> colour: array<f32>;
    @group(0) @binding(3) var<storage, read_write> picture: array<u32>;
    fn scene(p: vec2f) -> vec3f {
        let t = f32(frame) * 0.01;
        let ring = sin(9.0 * distance(p, 0.5 + 0.3 * vec2f(cos(t), sin(t))) - 3.0 * t);
        return 0.5 + 0.4 * vec3f(ring, sin(6.0 * p.x + t), cos(5.0 * p.y - t) * ring);
    }
    @compute @workgroup_size(64) fn draw_samples(@builtin(global_invocation_id) id: vec3u) {
        let n = frame * 1024u + id.x; // Roberts' sequence: evenly spread, new ones each frame
        let p = fract(vec2f(f32(n * 3242174889u), f32(n * 2447445413u)) / 4294967296.0);
        position[id.x] = p;
        let c = scene(p);
        colour[3u * id.x] = c.x;
        colour[3u * id.x + 1u] = c.y;
        colour[3u * id.x + 2u] = c.z;
    }
    @compute @workgroup_size(64) fn show(@builtin(global_invocation_id) id: vec3u) {
        let c = vec3f(colour[3u * id.x], colour[3u * id.x + 1u], colour[3u * id.x + 2u]);
        picture[id.x] = pack4x8unorm(vec4f(scene(position[id.x]), 1.0));
        picture[id.x + arrayLength(&picture) / 2u] = pack4x8unorm(vec4f(c, 1.0));
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::args().skip_while(|a| a != "--out").nth(1).unwrap_or("out/embed".into());

    // The app: a device, buffers and two passes of its own.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let required_features = wgrad::optional_features(&adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = |size: u32| {
        let size = u64::from(size);
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let pixels = SIDE * SIDE;
    let (frame, position, colour) = (buffer(4), buffer(SAMPLES * 8), buffer(SAMPLES * 12));
    let (learnt, picture) = (buffer(pixels * 12), buffer(pixels * 8));
    let grid: Vec<[f32; 2]> =
        (0..pixels).map(|i| [i % SIDE, i / SIDE].map(|c| (c as f32 + 0.5) / SIDE as f32)).collect();
    let contents = bytemuck::cast_slice(&grid);
    let grid = device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(APP.into()),
    });
    let pass = |entry_point, buffers: &[(u32, &wgpu::Buffer)]| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None, layout: None, module: &module, entry_point: Some(entry_point),
            compilation_options: Default::default(), cache: None,
        });
        let entry = |&(binding, buffer): &(u32, &wgpu::Buffer)| {
            wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
        };
        let entries: Vec<_> = buffers.iter().map(entry).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        (device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries }), pipeline)
    };
    let run = |encoder: &mut wgpu::CommandEncoder, (group, pipeline): &(wgpu::BindGroup, _), invocations: u32| {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(invocations / 64, 1, 1);
    };
    let draw_samples = pass("draw_samples", &[(0, &frame), (1, &position), (2, &colour)]);
    let show = pass("show", &[(0, &frame), (1, &grid), (2, &learnt), (3, &picture)]);

    // wgrad, on that device and those buffers: what can fail, fails here.
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network = Network::input(2).dense(64, Tanh).dense(64, Tanh).dense(3, Sigmoid).build()?;
    let (optimizer, config) = (Adam::with_rate(0.01), TrainerConfig { batch: SAMPLES, ..Default::default() });
    let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, optimizer, config)?;
    let training = trainer.prepare_buffers(&position, &colour, SAMPLES)?;
    let forward = trainer.model().prepare_forward(&grid, &learnt, pixels)?;
    let mut told = 0;
    training.on_frame(move |result| {
        told += 1;
        if told % 30 == 0 {
            println!("frame {told}: {} steps, loss {:.5}", result.steps, result.train.loss);
        }
    });

    let mut pictures = Vec::new();
    for n in 1..=FRAMES {
        queue.write_buffer(&frame, 0, &n.to_ne_bytes());
        let mut encoder = device.create_command_encoder(&Default::default());
        run(&mut encoder, &draw_samples, SAMPLES);
        training.record_within(&mut encoder, Duration::from_millis(8));
        forward.record_forward(&mut encoder);
        run(&mut encoder, &show, pixels);
        let submission = queue.submit([encoder.finish()]); // the frame's one submission
        // Where another app would present, this one waits; and keeps a picture now and then.
        device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })?;
        if n % (FRAMES / 6) == 0 {
            let download = |slice: wgpu::BufferView| slice.to_vec();
            wgpu::util::DownloadBuffer::read_buffer(&device, &queue, &picture.slice(..), |_| {});
            let _ = download;
            pictures.push(n);
        }
    }
    std::fs::create_dir_all(&out)?;
    println!("{pictures:?} in {out}");
    Ok(())
}

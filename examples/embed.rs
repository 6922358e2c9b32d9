//! Trains a network inside an existing GPU app: on the app's device and buffers, with one submission per frame.
//!
//! In each frame, a pass of the app computes samples of a moving image. The network trains on these samples, in the
//! app's buffers. Then the network predicts every pixel, and another pass of the app stores the frame.
//!
//! Prints the loss every 40 frames. Writes frames.png: six frames of the image, the network's output below each.
//! Takes about 10 seconds on two CPU cores with a software adapter.
//!
//!     cargo run --release --example embed -- --out out/embed

#[macro_use]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Result, device, picture};
use wgrad::wgpu;
use wgrad::{Activation::*, Adam, Gpu, Loss, Network, Trainer, TrainerConfig};

const SIDE: u32 = 96; // width and height of the image, in pixels
const PIXELS: u32 = SIDE * SIDE;
const SAMPLES: u32 = 256;
const FRAMES: u32 = 240;
const EACH: u32 = 40; // every 40th frame is stored

/// The app's own shaders. They do not depend on wgrad.
const APP: &str = "
    @group(0) @binding(0) var<storage, read> frame: u32;
    @group(0) @binding(1) var<storage, read_write> position: array<vec2f>;
    @group(0) @binding(2) var<storage, read_write> colour: array<array<f32, 3>>;
    @group(0) @binding(3) var<storage, read_write> picture: array<u32>;
    fn scene(p: vec2f) -> vec3f {
        let t = f32(frame) * 0.004;
        let ring = sin(7.0 * distance(p, 0.5 + 0.3 * vec2f(cos(t), sin(t))) - t);
        return 0.5 + 0.4 * vec3f(ring, sin(5.0 * p.x + t), cos(4.0 * p.y - t) * ring);
    }
    @compute @workgroup_size(64) fn draw_samples(@builtin(global_invocation_id) id: vec3u) {
        let n = frame * 256u + id.x; // Roberts' sequence: evenly spread points, new in each frame
        let p = vec2f(vec2u(n * 3242174889u, n * 2447445413u)) / 4294967296.0;
        let c = scene(p);
        position[id.x] = p;
        colour[id.x] = array(c.x, c.y, c.z);
    }
    @compute @workgroup_size(64) fn show(@builtin(global_invocation_id) id: vec3u) {
        let c = colour[id.x];
        let place = id.x / 96u * 576u + (frame - 1u) / 40u * 96u + id.x % 96u;
        picture[place] = pack4x8unorm(vec4f(scene(position[id.x]), 1.0));
        picture[place + arrayLength(&picture) / 2u] = pack4x8unorm(vec4f(c[0], c[1], c[2], 1.0));
    }";

fn main() -> ExitCode {
    common::exit_code(run())
}

fn run() -> Result<()> {
    let usage = "usage: embed [--out DIR]   [default: out/embed]";
    let mut options = std::env::args_os().skip(1);
    let mut out = PathBuf::from("out/embed");
    while let Some(option) = options.next() {
        match option.to_str() {
            Some("-h" | "--help") => {
                println!("Trains a network inside the frames of an app; writes DIR/frames.png\n\n{usage}");
                return Ok(());
            }
            Some("--out") => out = options.next().ok_or("--out: expected a folder, got nothing")?.into(),
            _ => return Err(format!("unexpected option {}\n{usage}", option.display()).into()),
        }
    }

    // The app: a device, buffers and two passes of its own.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).map_err(device::no_gpu)?;
    let [file] = common::checked_outputs(&out, ["frames.png"])?;
    let required_features = wgrad::optional_features(&adapter);
    let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = |words: u32| {
        let size = u64::from(words) * 4;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let (frame, position, colour) = (buffer(1), buffer(SAMPLES * 2), buffer(SAMPLES * 3));
    let (grid, learnt, pictures) = (buffer(PIXELS * 2), buffer(PIXELS * 3), buffer(PIXELS * 2 * 6));
    let centre = |i: u32| [i % SIDE, i / SIDE].map(|c| (c as f32 + 0.5) / SIDE as f32);
    queue.write_buffer(&grid, 0, bytemuck::cast_slice(&(0..PIXELS).map(centre).collect::<Vec<_>>()));
    let source = wgpu::ShaderSource::Wgsl(APP.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pass = |entry_point, buffers: &[&wgpu::Buffer], invocations: u32| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: Default::default(),
            cache: None,
        });
        let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
        let entries = (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
        let entries: Vec<_> = entries.collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        move |encoder: &mut wgpu::CommandEncoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(invocations / 64, 1, 1);
        }
    };
    let draw_samples = pass("draw_samples", &[&frame, &position, &colour], SAMPLES);
    let show = pass("show", &[&frame, &grid, &learnt, &pictures], PIXELS);

    // wgrad uses the app's device and buffers. Everything that can fail is here, before the frames.
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network = Network::input(2).dense(32, Tanh).dense(32, Tanh).dense(3, Sigmoid).build()?;
    let config = TrainerConfig { batch: SAMPLES, ..Default::default() };
    let adam = Adam { learning_rate: 0.01, ..Adam::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, adam, config)?;
    let training = trainer.prepare_buffers(&position, &colour, SAMPLES)?;
    let forward = trainer.model().prepare_forward(&grid, &learnt, PIXELS)?;
    let (sender, reports) = channel();
    training.on_frame(move |frame| sender.send(frame).unwrap_or_default()); // no error: `reports` lives long enough
    let (mut steps, mut loss) = (0, f64::NAN);

    for n in 1..=FRAMES {
        queue.write_buffer(&frame, 0, &n.to_ne_bytes());
        let mut encoder = device.create_command_encoder(&Default::default());
        draw_samples(&mut encoder);
        training.record_within(&mut encoder, Duration::from_millis(16));
        forward.record_forward(&mut encoder);
        show(&mut encoder);
        let submission_index = Some(queue.submit([encoder.finish()])); // the frame's one submission
        // A real app would present its image here; this one waits.
        device.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        // A frame without a step sends no report.
        reports.try_iter().for_each(|frame| (steps, loss) = (steps + frame.steps, frame.train.loss));
        if n % EACH == 0 {
            println!("frame {n}: {steps} steps, loss {loss:.5}");
        }
    }

    let (sender, receiver) = channel();
    let read = move |bytes| sender.send(bytes).unwrap_or_default();
    wgpu::util::DownloadBuffer::read_buffer(&device, &queue, &pictures.slice(..), read);
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let png = picture::encode_png(&receiver.recv()??, SIDE * 6, SIDE * 2, image::ExtendedColorType::Rgba8)?;
    common::write_file(&file, png)?;
    println!("{FRAMES} frames, {} submissions by wgrad", gpu.traffic().submits);
    println!("every {EACH}th frame, the network's output below it: frames.png in {}", out.display());
    Ok(())
}

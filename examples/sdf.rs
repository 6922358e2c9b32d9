//! A signed distance field of a 3-D shape, learned while it is looked at: the app's own passes make the samples on the GPU and
//! march rays through what the network has learned so far, by calling it as a function of their own shader.
//!
//!     cargo run --release --example sdf

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use common::device::DeviceChoice;
use common::picture::{self, Tile};
use common::plot::{self, Curve, Panel};
use common::{Result, write_whole};
use image::ImageEncoder;
use wgpu::util::DeviceExt;
use wgrad::Activation::{Identity, Relu};
use wgrad::plan::RowMetrics;
use wgrad::{Adam, Device, Gpu, Loss, Network, Schedule, Trainer, TrainerConfig, wgpu};

/// Learns the distance to a shape, 3-32-32-32-32-1, and renders it at steps 1, 2, 4, 8 and so on.
#[derive(Parser)]
struct Args {
    /// Steps of training
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Width and height of a picture, in pixels
    #[arg(long, default_value_t = 192, value_parser = clap::value_parser!(u32).range(8..=4096))]
    size: u32,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "out/sdf")]
    out: PathBuf,
    /// auto or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&Args::parse()))
}

const BATCH: u32 = 1024;
/// Steps of a frame at most; it begins with as many batches of new samples.
const FRAME: u32 = 16;
const SHADER: &str = include_str!("sdf.wgsl");

fn run(args: &Args) -> Result<()> {
    let Device::Gpu(gpu) = args.device.open()? else { return Err("this example needs a GPU, real or software".into()) };
    let network =
        Network::input(3).dense(32, Relu).dense(32, Relu).dense(32, Relu).dense(32, Relu).dense(1, Identity).build()?;
    println!("{}", network.summary());
    let schedule = Schedule::cosine(args.steps, 0.02);
    let config = TrainerConfig { batch: BATCH, seed: args.seed, shuffle: false, schedule, ..TrainerConfig::default() };
    let adam = Adam { learning_rate: 0.005, ..Adam::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::MeanAbsoluteError, adam, config)?;

    let app = App::new(&gpu, args.size);
    let training = trainer.prepare_buffers(&app.points, &app.distances, BATCH * FRAME)?;
    let model = trainer.model();
    let samples = app.pass("samples", "fn field(p: vec3f) -> f32 { return 0.0; }", &[0, 1, 2], None);
    let truth = app.pass("render", "fn field(p: vec3f) -> f32 { return shape(p); }", &[0, 3], None);
    let call = format!("{}fn field(p: vec3f) -> f32 {{ return network(p); }}", model.wgsl("network")?.bound_at(1, 0));
    let learned = app.pass("render", &call, &[0, 3], Some(model.parameter_buffer()?));
    let tiles_across = args.size.div_ceil(8);

    let mut encoder = app.frame(0);
    truth.record(&mut encoder, [tiles_across, tiles_across]);
    let truth: Vec<u32> = app.read(encoder, &app.picture)?;

    let (mut frames, mut losses, mut overlap) = (Vec::new(), Vec::new(), 0.0);
    let (mut done, mut looked, mut next) = (0, 0, 1);
    while done < args.steps {
        // The app's frame: its own pass, the network's steps, its own pass, one submission.
        let mut encoder = app.frame(done);
        if done == looked {
            training.record_clear_metrics(&mut encoder);
        }
        let steps = FRAME.min(next - done);
        samples.record(&mut encoder, [BATCH * FRAME / 64, 1]);
        training.record_steps(&mut encoder, steps);
        done += steps;
        if done < next {
            gpu.queue().submit([encoder.finish()]);
            continue;
        }
        training.record_metrics(&mut encoder);
        learned.record(&mut encoder, [tiles_across, tiles_across]);
        let pixels: Vec<u32> = app.read(encoder, &app.picture)?;
        let metrics: RowMetrics = app.read(app.frame(done), training.metrics_buffer())?[0];

        let loss = f64::from(metrics.loss) / f64::from(metrics.rows);
        overlap = overlap_of(&pixels, &truth);
        println!("step {done:>5}: loss {loss:.6}, the outlines overlap to {:.1}%", overlap * 100.0);
        let frame = tile(&pixels, args.size, format!("step {done}\nloss {loss:.6}"));
        save(&args.out.join(format!("step_{done:06}.png")), &frame)?;
        losses.push((f64::from(done), loss));
        frames.push(frame);
        (looked, next) = (done, (next * 2).min(args.steps));
    }

    let mut tiles = vec![tile(&truth, args.size, "the shape".into())];
    save(&args.out.join("shape.png"), &tiles[0])?;
    tiles.extend(frames.pop().map(|frame| Tile { marked: true, ..frame }));
    tiles.extend(frames);
    picture::sheet(&args.out.join("sheet.svg"), "A shape, what was learned of its distance, and how", &tiles, 5)?;
    let curve = Curve { label: "loss".into(), points: losses };
    let (title, x_label, y_label) = ("Distance to a shape", "step", "mean error since the last picture");
    plot::curves(&args.out.join("loss.svg"), &[Panel { title, x_label, y_label, log_y: true, curves: vec![curve] }])?;
    println!("at the end, the outlines overlap to {:.1}%", overlap * 100.0);
    println!("see sheet.svg, loss.svg and the frames in {}", args.out.display());
    Ok(())
}

/// The pixels that both pictures hit, as a share of those that either does.
fn overlap_of(a: &[u32], b: &[u32]) -> f64 {
    let hits =
        |both: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| both(**a >> 24 > 0, **b >> 24 > 0)).count();
    hits(|a, b| a && b) as f64 / hits(|a, b| a || b).max(1) as f64
}

fn tile(pixels: &[u32], size: u32, caption: String) -> Tile {
    let pixels = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()[..3].to_vec()).collect();
    Tile { pixels, width: size, height: size, caption, marked: false }
}

fn save(path: &std::path::Path, tile: &Tile) -> Result<()> {
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    encoder.write_image(&tile.pixels, tile.width, tile.height, image::ExtendedColorType::Rgb8)?;
    write_whole(path, png)
}

/// A renderer in small: its device, its buffers, its shader.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    frame: wgpu::Buffer,
    points: wgpu::Buffer,
    distances: wgpu::Buffer,
    picture: wgpu::Buffer,
    size: u32,
}

struct Pass {
    pipeline: wgpu::ComputePipeline,
    groups: Vec<wgpu::BindGroup>,
}

impl App {
    fn new(gpu: &Gpu, size: u32) -> Self {
        let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
        let buffer = |words: u32| {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let contents = &vec![0; words as usize * 4];
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
        };
        let [frame, points, distances, picture] = [4, BATCH * FRAME * 3, BATCH * FRAME, size * size].map(buffer);
        Self { device, queue, frame, points, distances, picture, size }
    }

    /// A pass of the shader's entry point, with a `field` of its own, the buffers that it uses and the weights that the field
    /// reads.
    fn pass(&self, entry: &str, field: &str, used: &[u32], weights: Option<&wgpu::Buffer>) -> Pass {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(entry),
            source: wgpu::ShaderSource::Wgsl(format!("{SHADER}{field}").into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind = |(binding, resource)| wgpu::BindGroupEntry { binding, resource };
        let group = |index: u32, entries: Vec<wgpu::BindGroupEntry>| {
            let layout = &pipeline.get_bind_group_layout(index);
            self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let buffers = [&self.frame, &self.points, &self.distances, &self.picture].map(wgpu::Buffer::as_entire_binding);
        let own = (0..).zip(buffers).filter(|(binding, _)| used.contains(binding)).map(bind).collect();
        let weights = weights.map(|weights| group(1, vec![bind((0, weights.as_entire_binding()))]));
        let groups = [group(0, own)].into_iter().chain(weights).collect();
        Pass { pipeline, groups }
    }

    /// The encoder of a frame with this number.
    fn frame(&self, number: u32) -> wgpu::CommandEncoder {
        self.queue.write_buffer(&self.frame, 0, bytemuck::cast_slice(&[number, self.size]));
        self.device.create_command_encoder(&Default::default())
    }

    /// Submits, waits, and reads a buffer.
    fn read<T: bytemuck::Pod>(&self, mut encoder: wgpu::CommandEncoder, buffer: &wgpu::Buffer) -> Result<Vec<T>> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (size, mapped_at_creation) = (buffer.size(), false);
        let staging =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation });
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        Ok(bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..)?))
    }
}

impl Pass {
    fn record(&self, encoder: &mut wgpu::CommandEncoder, [x, y]: [u32; 2]) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        for (index, group) in (0..).zip(&self.groups) {
            pass.set_bind_group(index, group, &[]);
        }
        pass.dispatch_workgroups(x, y, 1);
    }
}

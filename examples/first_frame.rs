//! Measures the first frame of an app whose fragment shader evaluates a network, and the frames after it.
//!
//! The driver compiles the shader for the first frame. Drivers keep compiled shaders on disk, so switch that cache off.
//! For Mesa's drivers, such as lavapipe:
//!
//!     MESA_SHADER_CACHE_DISABLE=true cargo run --release --example first_frame
//!     MESA_SHADER_CACHE_DISABLE=true cargo run --release --example first_frame -- --gradient
//!     cargo run --release --example first_frame -- --print > shader.wgsl
//!
//! Takes about 10 seconds on two CPU cores with a software adapter.

#[macro_use]
mod common;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::Result;
use common::device::DeviceChoice;
use common::options::{self, integer};
use common::passes::{bind_group, draw_fullscreen, fullscreen_pipeline};
use wgrad::Activation::{Identity, Relu};
use wgrad::{Gpu, HashGrid, Model, Network, wgpu};

/// Draws an image with a fragment shader that evaluates a network for each pixel. Prints the time of the first frame,
/// with compilation, and the median time of the frames after it.
#[derive(Parser)]
struct Args {
    /// Levels of the hash grid before the layers; 0 for no grid
    #[arg(long, default_value_t = 8, value_parser = integer(0..=32))]
    levels: u32,
    /// Number of coordinates
    #[arg(long, default_value_t = 3, value_parser = integer(1..=4))]
    inputs: u32,
    /// Units of a hidden layer
    #[arg(long, default_value_t = 32, value_parser = integer(1..=64))]
    units: u32,
    /// Number of hidden layers
    #[arg(long, default_value_t = 2, value_parser = integer(1..=64))]
    layers: u32,
    /// Number of outputs
    #[arg(long, default_value_t = 3, value_parser = integer(1..=4))]
    outputs: u32,
    /// Also evaluates the gradient of the inputs
    #[arg(long)]
    gradient: bool,
    /// Width and height of the image, in pixels
    #[arg(long, default_value_t = 512, value_parser = integer(1..=4096))]
    size: u32,
    /// Number of frames after the first one
    #[arg(long, default_value_t = 9, value_parser = integer(1..=10_000))]
    frames: u32,
    /// Prints the shader instead, with the fragment entry point `pixel` and the compute entry point `row`
    #[arg(long)]
    print: bool,
    /// Device: auto (the fastest GPU) or part of a GPU's name
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

fn main() -> ExitCode {
    common::exit_code(run(&options::parse()))
}

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

fn run(args: &Args) -> Result<()> {
    let mut network = Network::input(args.inputs);
    if args.levels > 0 {
        network =
            network.encoding(HashGrid { levels: args.levels, log2_hashmap_size: 15, ..HashGrid::default() }.up_to(512));
    }
    let network = (0..args.layers).fold(network, |network, _| network.dense(args.units, Relu));
    let network = network.dense(args.outputs, Identity).build()?;
    if args.print {
        let model = Model::new(wgrad::Device::Cpu, &network, &network.initial_parameters(0))?;
        println!("{}", shader(args, &model)?);
        return Ok(());
    }
    let gpu = args.device.open_gpu()?;
    let model = Model::new(&gpu, &network, &network.initial_parameters(0))?;
    println!("{}", network.summary());

    let start = Instant::now();
    let source = wgpu::ShaderSource::Wgsl(shader(args, &model)?.into());
    let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = fullscreen_pipeline(gpu.device(), None, &module, "pixel", FORMAT);
    let weights = [(0, model.parameter_buffer()?.as_entire_binding())];
    let group = bind_group(gpu.device(), &pipeline.get_bind_group_layout(0), &weights);
    let shown = (pipeline, group);
    let view = target(&gpu, args.size);
    let made = start.elapsed();
    frame(&gpu, &shown, &view)?;
    println!("first frame {:.2} s, {:.2} s of it before the draw", start.elapsed().as_secs_f64(), made.as_secs_f64());

    let mut times = Vec::new();
    for _ in 0..args.frames {
        let start = Instant::now();
        frame(&gpu, &shown, &view)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("later frames {:.2} ms, the median of {}", times[times.len() / 2] * 1e3, times.len());
    Ok(())
}

/// The app's shader: the network's outputs at a pixel as its colour, or the gradient of the inputs.
fn shader(args: &Args, model: &Model) -> Result<String> {
    let (function, outputs) = (model.wgsl("network")?, args.outputs);
    let function = if args.gradient { function.with_gradient().to_string() } else { function.to_string() };
    let of = |numbers: u32| if numbers == 1 { "f32".to_owned() } else { format!("vec{numbers}f") };
    let point = ["at.x", "at.y", "at.x * at.y", "1.0 - at.x"][..args.inputs as usize].join(", ");
    let point = format!("{}({point})", of(args.inputs));
    let (call, numbers) = match (args.gradient, outputs) {
        (false, _) => (format!("network({point})"), outputs),
        (true, 1) => (format!("network_gradient({point})"), args.inputs),
        (true, _) => (format!("network_gradient({point}, {}(1.0))", of(outputs)), args.inputs),
    };
    let colour = match numbers {
        1 => "vec4f(y)",
        2 => "vec4f(y, 0.0, 1.0)",
        3 => "vec4f(y, 1.0)",
        _ => "y",
    };
    Ok(format!(
        "{function}
fn colour(at: vec2f) -> vec4f {{
    let y = {call};
    return {colour};
}}
@vertex fn corners(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {{
    return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}}
@fragment fn pixel(@builtin(position) at: vec4f) -> @location(0) vec4f {{
    return colour(at.xy / {}.0);
}}
@group(0) @binding(1) var<storage, read> points: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> colours: array<vec4f>;
@compute @workgroup_size(64) fn row(@builtin(global_invocation_id) id: vec3u) {{
    colours[id.x] = colour(points[id.x]);
}}",
        args.size
    ))
}

fn target(gpu: &Gpu, size: u32) -> wgpu::TextureView {
    let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: size, height: size, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    });
    texture.create_view(&Default::default())
}

/// Draws a frame and waits for it.
fn frame(gpu: &Gpu, shown: &(wgpu::RenderPipeline, wgpu::BindGroup), view: &wgpu::TextureView) -> Result<()> {
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    draw_fullscreen(&mut encoder, view, shown);
    gpu.queue().submit([encoder.finish()]);
    gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
    Ok(())
}

use std::time::Duration;

use wgrad::Activation::{Identity, Tanh};
use wgrad::wgpu::{self, util::DeviceExt};
use wgrad::{
    Adam, ChainRows, Dense, Gpu, Graph, Layer, Loss, Losses, Network, Plan, Rows, TextureOutput, TextureSamples,
    Trainer, TrainerConfig,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// A step trains on 256 rows.
fn config() -> TrainerConfig {
    TrainerConfig { batch: 256, ..TrainerConfig::default() }
}

impl App {
    fn open(network: &Network) -> Result<Self> {
        let plan = Plan::training(network, Loss::MeanSquaredError, &Adam::default().into(), &config())?;
        let mine = wgpu::Limits::default();
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
        let descriptor = wgpu::DeviceDescriptor {
            required_features: wgrad::optional_features(&adapter),
            required_limits: mine.or_better_values_from(&wgrad::required_limits(&plan)),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
        Ok(Self { device, queue })
    }

    fn buffer(&self, contents: &[f32]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let contents = bytemuck::cast_slice(contents);
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    }

    /// A compute pass with buffers at bindings 0, 1, and so on.
    fn pass(&self, source: &str, buffers: &[&wgpu::Buffer]) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
        let entries = (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
        let entries: Vec<_> = entries.collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let group = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
        let group = self.device.create_bind_group(&group);
        (pipeline, group)
    }

    /// A frame: one encoder, one submission. This app waits at the end; yours presents.
    fn frame(&self, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        Ok(())
    }
}

fn run(encoder: &mut wgpu::CommandEncoder, pass: &(wgpu::ComputePipeline, wgpu::BindGroup), workgroups: u32) {
    let mut compute = encoder.begin_compute_pass(&Default::default());
    compute.set_pipeline(&pass.0);
    compute.set_bind_group(0, &pass.1, &[]);
    compute.dispatch_workgroups(workgroups, 1, 1);
}

fn main() -> Result<()> {
    let network = Network::input(2).dense(32, Tanh).dense(32, Tanh).dense(1, Identity).build()?;
    let app = App::open(&network)?;
    let gpu = Gpu::from_parts(app.device.clone(), app.queue.clone());
    let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, Adam::default(), config())?;

    warm_up(&app, &mut trainer)?;
    train(&app, &mut trainer)?;
    loss_of_steps(&app, &mut trainer)?;
    infer(&app, &trainer)?;
    within_a_budget(&app, &mut trainer)?;
    a_large_network(&app, &trainer)?;
    interleaved(&app, &mut trainer)?;
    own_loss(&app, &mut trainer)?;
    several_ends(&app, &gpu)?;
    pictures(&app, &gpu)?;
    swap(&app, &trainer)?;
    inside_a_shader(&app, &trainer)?;
    in_a_fragment_shader(&app, &gpu)?;
    println!("wgrad submitted {} times by itself", gpu.traffic().submits);
    survive(&app, &mut trainer)?;
    Ok(())
}

const SAMPLES: &str = "
    @group(0) @binding(0) var<storage, read_write> x: array<vec2f>;
    @group(0) @binding(1) var<storage, read_write> t: array<f32>;
    @group(0) @binding(2) var<storage, read_write> frame: array<u32, 4>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        let n = frame[0] * 1024u + id.x;
        let p = vec2f(vec2u(n * 3242174889u, n * 2447445413u)) / 2147483648.0 - 1.0;
        x[id.x] = p;
        t[id.x] = sin(3.0 * p.x) * p.y;
    }";

fn train(app: &App, trainer: &mut Trainer) -> Result<()> {
    let (x, t, frame) = (app.buffer(&[0.0; 2048]), app.buffer(&[0.0; 1024]), app.buffer(&[0.0; 4]));
    let make_samples = app.pass(SAMPLES, &[&x, &t, &frame]);
    let training = trainer.prepare_buffers(&x, &t, 1024)?; // rows of 2 f32 and of 1 f32
    for n in 0..50u32 {
        app.queue.write_buffer(&frame, 0, &n.to_ne_bytes());
        app.frame(|encoder| {
            run(encoder, &make_samples, 1024 / 64);
            training.record_steps(encoder, 4);
        })?;
    }
    Ok(())
}

fn loss_of_steps(app: &App, trainer: &mut Trainer) -> Result<()> {
    let (x, t) = (app.buffer(&[0.5; 2048]), app.buffer(&[0.25; 1024]));
    let training = trainer.prepare_buffers(&x, &t, 1024)?;
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let staging = wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false };
    let staging = app.device.create_buffer(&staging);
    app.frame(|encoder| {
        training.record_clear_metrics(encoder); // otherwise the sums continue from the last frame
        training.record_steps(encoder, 4);
        training.record_metrics(encoder);
        encoder.copy_buffer_to_buffer(training.metrics_buffer(), 0, &staging, 0, 16);
        // Your submission maps the buffer. The closure runs some frames later, while you poll or submit.
        let mapped = staging.clone();
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., move |result| {
            if let (Ok(()), Ok(bytes)) = (result, mapped.get_mapped_range(..)) {
                let sums: wgrad::plan::RowMetrics = bytemuck::pod_read_unaligned(&bytes);
                println!("mean loss {} over {} rows", sums.loss / sums.rows as f32, sums.rows);
            }
            mapped.unmap(); // before the next copy into it
        });
    })
}

fn infer(app: &App, trainer: &Trainer) -> Result<()> {
    let input = app.buffer(&[0.25; 128]); // 64 rows of 2 f32
    let output = app.buffer(&[0.0; 128]);
    // The second 256 bytes: 64 rows of one f32.
    let forward = trainer.model().prepare_forward(&input, output.slice(256..512), 64)?;
    let double = "
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { y[64u + id.x] *= 2.0; }";
    let (pipeline, group) = app.pass(double, &[&output]);
    // 50 structs of five f32: x, y, an app value, the output, another app value.
    let structs = app.buffer(&[0.25; 250]);
    let x_and_y = Rows::from(&structs).stride(20);
    let z = Rows::from(structs.slice(12..)).stride(20);
    let in_structs = trainer.model().prepare_forward(x_and_y, z, 50)?;
    app.frame(|encoder| {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        in_structs.record_forward(&mut pass);
        forward.record_forward(&mut pass);
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    })
}

fn within_a_budget(app: &App, trainer: &mut Trainer) -> Result<()> {
    let (x, t, frame) = (app.buffer(&[0.0; 2048]), app.buffer(&[0.0; 1024]), app.buffer(&[0.0; 4]));
    let make_samples = app.pass(SAMPLES, &[&x, &t, &frame]);
    let training = trainer.prepare_buffers(&x, &t, 1024)?;
    training.on_frame(|told| println!("{} steps, loss {:.4}", told.steps, told.train.loss));
    for n in 0..10 {
        if n == 5 {
            training.pause(); // no steps until training.resume()
        }
        app.frame(|encoder| {
            run(encoder, &make_samples, 1024 / 64);
            training.record_within(encoder, Duration::from_millis(4));
        })?;
        // Or get the newest result when you draw your window.
        if let Some(frame) = training.last_frame() {
            let (loss, accuracy) = (frame.train.loss, frame.train.accuracy);
            println!("call {}: loss {loss:.4}, accuracy {accuracy:.2}", frame.call);
        }
    }
    Ok(())
}

fn a_large_network(app: &App, trainer: &Trainer) -> Result<()> {
    let (x, y) = (app.buffer(&[0.0; 2]), app.buffer(&[0.0; 4]));
    let forward = trainer.model().prepare_forward(&x, &y, 1)?;
    forward.warm_up()?; // otherwise the first measured times include compilation
    let mut is_whole = false;
    while !is_whole {
        // Leave the input and the weights unchanged until the pass ends.
        app.frame(|encoder| is_whole = forward.record_within(encoder, Duration::from_millis(4)))?;
    }
    Ok(())
}

fn interleaved(app: &App, trainer: &mut Trainer) -> Result<()> {
    // 300 structs of four f32: an app value, x, y, target.
    let samples: Vec<f32> = (0..300).flat_map(|i| [7.0, i as f32 / 300.0, 0.5, 0.25]).collect();
    let samples = app.buffer(&samples);
    let features = Rows::from(samples.slice(4..)).stride(16);
    let targets = Rows::from(samples.slice(12..)).stride(16);
    let training = trainer.prepare_buffers(features, targets, 300)?;
    app.frame(|encoder| training.record_steps(encoder, 2)) // batches of 256 and 44 rows
}

fn own_loss(app: &App, trainer: &mut Trainer) -> Result<()> {
    let (x, y) = (app.buffer(&[0.5; 128]), app.buffer(&[0.0; 64]));
    let (dy, dx) = (app.buffer(&[0.0; 64]), app.buffer(&[0.0; 128]));
    let rows = ChainRows {
        input: (&x).into(),
        output: (&y).into(),
        output_gradient: (&dy).into(),
        input_gradient: Some((&dx).into()),
    };
    let chain = trainer.prepare_chain(rows, 64)?;
    // The loss is the mean of (y - 1)^4 over 64 rows. This is its derivative.
    let quartic = "
        @group(0) @binding(0) var<storage, read> y: array<f32>;
        @group(0) @binding(1) var<storage, read_write> dy: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            let e = y[id.x] - 1.0;
            dy[id.x] = 4.0 * e * e * e / 64.0;
        }";
    let loss = app.pass(quartic, &[&y, &dy]);
    app.frame(|encoder| {
        chain.record_forward(encoder); // x -> y
        run(encoder, &loss, 1); // y -> dy
        chain.record_backward(encoder); // dy -> dx and the gradients of the weights
        chain.record_update(encoder);
    })
}

fn several_ends(app: &App, gpu: &Gpu) -> Result<()> {
    let mut graph = Graph::new();
    let (image, age) = (graph.input("image", [8, 8]), graph.input("age", 1));
    let pixels = graph.layer(Layer::Flatten, image)?;
    let both = graph.concat([pixels, age], -1)?;
    let hidden = graph.layer(Dense::new(32, Tanh), both)?;
    let kind = graph.layer(Dense::new(3, Identity), hidden)?;
    let size = graph.layer(Dense::new(1, Identity), hidden)?;
    let network = graph.build([("kind", kind), ("size", size)])?;
    let losses = Losses::new().output("kind", Loss::SoftmaxCrossEntropy).weighted("size", Loss::MeanSquaredError, 0.5);
    let mut trainer = Trainer::new(gpu, &network, losses, Adam::default(), config())?;

    // 256 images and ages; for each a class (u32) and a size.
    let (images, ages) = (app.buffer(&[0.5; 256 * 64]), app.buffer(&[0.3; 256]));
    let (kinds, sizes) = (app.buffer(&[f32::from_bits(2); 256]), app.buffer(&[1.5; 256]));
    let inputs = [("image", &images), ("age", &ages)];
    let training = trainer.prepare_buffers(inputs, [("kind", &kinds), ("size", &sizes)], 256)?;
    let (logits, guesses) = (app.buffer(&[0.0; 256 * 3]), app.buffer(&[0.0; 256]));
    let forward = trainer.model().prepare_forward(inputs, [("kind", &logits), ("size", &guesses)], 256)?;
    app.frame(|encoder| {
        training.record_steps(encoder, 1);
        forward.record_forward(encoder);
    })
}

fn pictures(app: &App, gpu: &Gpu) -> Result<()> {
    let texture = |usage| {
        app.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: 32, height: 32, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage,
            view_formats: &[],
        })
    };
    let picture = texture(wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST);
    let shown = texture(wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::STORAGE_BINDING);

    let network = Network::input(2).dense(32, Tanh).dense(3, Identity).build()?;
    let mut trainer = Trainer::new(gpu, &network, Loss::MeanSquaredError, Adam::default(), config())?;
    let samples = TextureSamples::random(gpu, &picture, 3, 4 * 256, 7)?; // red, green and blue; seed 7
    let training = trainer.prepare_buffers(samples.features(), samples.targets(), samples.rows())?;
    let texels = TextureSamples::new(gpu, &picture, 3)?;
    let colours = app.buffer(&[0.0; 32 * 32 * 3]);
    let forward = trainer.model().prepare_forward(texels.features(), &colours, texels.rows())?;
    let output = TextureOutput::new(gpu, &colours, 3, &shown)?;
    app.frame(|encoder| {
        samples.record(encoder); // in each frame: draws new points
        training.record_steps(encoder, 4);
        texels.record(encoder); // once, and again when the picture has changed
        forward.record_forward(encoder);
        output.record(encoder);
    })
}

fn swap(app: &App, trainer: &Trainer) -> Result<()> {
    let model = trainer.model();
    for parameter in model.network().parameters() {
        println!("{} {:?} at bytes {:?}", parameter.name, parameter.shape, parameter.bytes());
    }
    let weights = trainer.network().initial_parameters(0);
    let shown = wgrad::Model::new(trainer.device().clone(), trainer.network(), &weights)?;
    let (from, to) = (model.parameter_buffer()?, shown.parameter_buffer()?);
    app.frame(|encoder| encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size()))?;
    // Or from the host: takes effect before the next submission.
    shown.set_parameters(&trainer.network().initial_parameters(1))?;
    Ok(())
}

const DRAW: &str = "
    @group(0) @binding(1) var<storage, read_write> line: array<f32, 64>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        line[id.x] = network(vec2f(f32(id.x) / 64.0, 0.5));
    }";

fn inside_a_shader(app: &App, trainer: &Trainer) -> Result<()> {
    let model = trainer.model();
    let network = model.wgsl("network")?.bound_at(0, 0); // fn network(input: vec2f) -> f32
    let line = app.buffer(&[0.0; 64]);
    let draw = app.pass(&format!("{network}{DRAW}"), &[model.parameter_buffer()?, &line]);
    app.frame(|encoder| run(encoder, &draw, 1))
}

const MATERIAL: &str = "
    @group(0) @binding(0) var<storage, read> time: array<f32>;
    @vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
        return vec4f(vec2f(vec2u(i << 1u, i) & vec2u(2u)) * 2.0 - 1.0, 0.0, 1.0);
    }
    @fragment fn shade(@builtin(position) at: vec4f) -> @location(0) vec4f {
        let out = material(vec3f(at.xy / 32.0, time[0]));
        let light = max(out[5], 0.0); // z of the normal (out[3], out[4], out[5])
        return vec4f(vec3f(out[0], out[1], out[2]) * light, 1.0);
    }";

fn in_a_fragment_shader(app: &App, gpu: &Gpu) -> Result<()> {
    let network = Network::input(3).dense(16, Tanh).dense(16, Tanh).dense(6, Identity).build()?;
    let model = wgrad::Model::new(gpu, &network, &network.initial_parameters(0))?;
    let function = model.wgsl("material")?.bound_at(1, 0); // fn material(input: vec3f) -> array<f32, 6>

    let device = &app.device;
    let layout = |ty| {
        let visibility = wgpu::ShaderStages::FRAGMENT;
        let entries = &[wgpu::BindGroupLayoutEntry { binding: 0, visibility, ty, count: None }];
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries })
    };
    let storage = wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only: true },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let layouts = [layout(storage), layout(function.binding_type())];
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        bind_group_layouts: &[Some(&layouts[0]), Some(&layouts[1])],
        ..Default::default()
    });
    let source = wgpu::ShaderSource::Wgsl(format!("{function}{MATERIAL}").into());
    let module = &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let compilation_options = wgpu::PipelineCompilationOptions::default();
    let format = wgpu::TextureFormat::Rgba8Unorm;
    let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: None,
        layout: Some(&pipeline_layout),
        vertex: wgpu::VertexState {
            module,
            entry_point: None,
            compilation_options: compilation_options.clone(),
            buffers: &[],
        },
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        fragment: Some(wgpu::FragmentState {
            module,
            entry_point: None,
            compilation_options,
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    });
    let buffers = [&app.buffer(&[0.0; 4]), model.parameter_buffer()?];
    let groups = [0, 1].map(|i| {
        let entries = &[wgpu::BindGroupEntry { binding: 0, resource: buffers[i].as_entire_binding() }];
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layouts[i], entries })
    });
    let target = device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: 32, height: 32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    });
    let view = target.create_view(&Default::default());
    let draw = |pixels: u32| {
        app.frame(|encoder| {
            let attachment = wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: Default::default(),
            };
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                color_attachments: &[Some(attachment)],
                ..Default::default()
            });
            pass.set_scissor_rect(0, 0, pixels, pixels);
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &groups[0], &[]);
            pass.set_bind_group(1, &groups[1], &[]);
            pass.draw(0..3, 0..1);
        })
    };
    draw(1)?; // warm-up: see the next section
    draw(32)
}

fn warm_up(app: &App, trainer: &mut Trainer) -> Result<()> {
    let (x, t) = (app.buffer(&[0.0; 2048]), app.buffer(&[0.0; 1024]));
    let training = trainer.prepare_buffers(&x, &t, 1024)?;
    let forward = trainer.model().prepare_forward(&x, &t, 1024)?;
    app.frame(|encoder| {
        training.record_warm_up(encoder);
        forward.record_warm_up(encoder);
    })
}

fn survive(app: &App, trainer: &mut Trainer) -> Result<()> {
    let snapshots = trainer.prepare_snapshots()?;
    app.frame(|encoder| {
        snapshots.record_snapshot(encoder); // from time to time; false: one is still in flight
    })?;
    println!("the snapshot is of step {:?}", trainer.steps_at_snapshot());
    app.device.destroy(); // has the same effect as a driver crash
    assert!(matches!(trainer.prepare_snapshots(), Err(wgrad::Error::DeviceLost { .. })));

    let app = App::open(trainer.network())?;
    trainer.rebuild(Gpu::from_parts(app.device.clone(), app.queue.clone()))?;
    train(&app, trainer) // prepares again and continues
}

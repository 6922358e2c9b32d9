//! Tests what a step costs on the CPU side. Runs on wgpu's `noop` backend, whose GPU work costs nothing. wgrad must
//! add nothing to wgpu's own recording.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use allocations::allocations;
use common::{Random, pass::Pass};
use wgrad::Activation::{Identity, Relu, Sigmoid, Softmax};
use wgrad::{
    Adam, ChainRows, Dataset, Device, Error, Event, Fit, Gpu, Loss, NamedRows, Network, Plan, Rows, Sgd, TextureOutput,
    TextureSamples, Traffic, Trainer, TrainerConfig, Training, wgpu,
};

fn noop() -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let adapter = wgpu::Instance::new(descriptor).request_adapter(&Default::default());
    pollster::block_on(async { adapter.await.unwrap().request_device(&Default::default()).await.unwrap() })
}

/// The training steps of the MNIST network.
fn training(device: &wgpu::Device, queue: &wgpu::Queue) -> (Trainer, Training) {
    let network = Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Softmax);
    training_of(&network.build().unwrap(), device, queue)
}

fn training_of(network: &Network, device: &wgpu::Device, queue: &wgpu::Queue) -> (Trainer, Training) {
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let config = TrainerConfig { batch: 128, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&gpu, network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let (features, classes) = (network.inputs() as usize, network.outputs());
    let data = Dataset::from_u8(vec![0; features * 1000], features, vec![0; 1000], classes).unwrap();
    let training = trainer.prepare(&data).unwrap();
    (trainer, training)
}

/// The commands that a call records.
#[derive(Debug, Clone, Copy, Default)]
struct Commands {
    clears: usize,
    /// All in one pass.
    dispatches: usize,
    /// Copies to buffers that the host can read.
    copies: usize,
    /// Mappings of those buffers, requested when the app submits.
    maps: usize,
}

/// The least work that wgpu needs for the same commands: one pass, and a pipeline and a bind group for each dispatch.
struct Bare {
    dispatches: Vec<Pass>,
    commands: Commands,
    buffer: wgpu::Buffer,
    staging: Vec<wgpu::Buffer>,
    /// A value that the callback captures, since a real callback captures one too.
    held: Arc<()>,
}

impl Bare {
    fn new(device: &wgpu::Device, commands: Commands) -> Self {
        let source = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
            @compute @workgroup_size(64) fn main() { x[0] = 1.0; }";
        let buffer = |usage| {
            let descriptor = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
            device.create_buffer(&descriptor)
        };
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let staging = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self {
            dispatches: (0..commands.dispatches).map(|_| Pass::new(device, source, &[&buffer(storage)])).collect(),
            commands,
            buffer: buffer(storage),
            staging: (0..commands.copies).map(|_| buffer(staging)).collect(),
            held: Arc::default(),
        }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, times: u32) {
        (0..self.commands.clears).for_each(|_| encoder.clear_buffer(&self.buffer, 0, None));
        if !self.dispatches.is_empty() {
            let descriptor = wgpu::ComputePassDescriptor { label: Some("training"), timestamp_writes: None };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            for dispatch in (0..times).flat_map(|_| &self.dispatches) {
                dispatch.record(&mut pass, 1);
            }
        }
        for (i, staging) in self.staging.iter().enumerate() {
            encoder.copy_buffer_to_buffer(&self.buffer, 0, staging, 0, 256);
            if i < self.commands.maps {
                let held = self.held.clone();
                encoder.map_buffer_on_submit(staging, wgpu::MapMode::Read, .., move |_| drop(held));
            }
        }
    }
}

fn dispatches_of(dispatches: usize) -> Commands {
    Commands { dispatches, ..Commands::default() }
}

/// Counts the allocations of `record`, and those of wgpu when it finishes the encoder and submits.
fn allocations_of(device: &wgpu::Device, queue: &wgpu::Queue, record: impl Fn(&mut wgpu::CommandEncoder)) -> [u64; 2] {
    let mut encoder = device.create_command_encoder(&Default::default());
    let recording = allocations(|| record(&mut encoder));
    let submitting = allocations(|| {
        queue.submit([encoder.finish()]);
    });
    [recording, submitting]
}

/// Recording steps must allocate only what wgpu allocates for the same commands.
#[test]
fn recording_steps_allocates_nothing_that_wgpu_does_not() {
    let (device, queue) = noop();
    let (trainer, training) = training(&device, &queue);
    let bare = Bare::new(&device, dispatches_of(trainer.plan().step.len()));
    for steps in [1, 2, 16, 128] {
        let [expected, _] = allocations_of(&device, &queue, |encoder| bare.record(encoder, steps));
        let [actual, _] = allocations_of(&device, &queue, |encoder| training.record_steps(encoder, steps));
        assert_eq!(actual, expected, "{steps} steps");
        // The list of commands doubles when it is full.
        assert!(expected <= 8 + u64::from(steps.ilog2()), "{expected} allocations for {steps} steps");
    }
}

/// Every `record_*` call must allocate only what wgpu allocates for the same commands. It must not submit, poll or
/// map. Its only trace in the traffic counters is the mappings requested when the app submits.
#[test]
fn no_recording_allocates_what_wgpu_does_not_or_submits_polls_or_maps() {
    let (device, queue) = noop();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    // This network is too wide to run as one op.
    let network = Network::input(6).dense(70, Relu).layer_norm().dense(3, Identity).build().unwrap();
    let config = TrainerConfig { batch: 16, accumulate: 2, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::MeanSquaredError, Adam::default(), config.clone()).unwrap();
    let buffer = |words: u64| {
        let (usage, size) = (wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, words * 4);
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let [x, y, dy, dx] = [6, 3, 3, 6].map(|columns| buffer(16 * columns));
    let structs = buffer(16 * 20);
    let packed = [&x, &y, &dy, &dx].map(Rows::from);
    let interleaved = [1, 7, 10, 13].map(|first| Rows::from(structs.slice(first * 4..)).stride(80));
    let training = trainer.prepare_buffers(&x, &y, 16).unwrap();
    let forwards = [packed, interleaved].map(|[x, y, ..]| trainer.model().prepare_forward(x, y, 16).unwrap());
    let chains = [packed, interleaved].map(|rows| {
        let [input, output, output_gradient, dx] = rows.map(NamedRows::from);
        trainer.prepare_chain(ChainRows { input, output, output_gradient, input_gradient: Some(dx) }, 16).unwrap()
    });
    let snapshots = trainer.prepare_snapshots().unwrap();
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: 8, height: 8, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::STORAGE_BINDING,
        view_formats: &[],
    });
    let samples = TextureSamples::new(&gpu, &texture, 3).unwrap();
    let output = TextureOutput::new(&gpu, samples.targets(), 3, &texture).unwrap();

    let of_step = trainer.plan().step.len();
    let of_forward = Plan::forward(&network, 16).unwrap().step.len();
    let of_chain = Plan::chain(&network, &Adam::default().into(), &config, &[true]).unwrap().phases().map(|p| p.len());
    let of_all = of_chain.iter().sum();
    let [of_0, of_1, of_2] = of_chain.map(dispatches_of);
    // Each strided input or output needs one more dispatch for its copy. A chain has two such copies forward and two
    // backward.
    let more = |commands: Commands| dispatches_of(commands.dispatches + 2);
    let within = Commands { clears: 1, dispatches: of_step + 1, copies: 1, maps: 1 };
    // A snapshot copies weights, moments, accumulated gradients, cursor and metrics.
    let snapshot = Commands { copies: 5, maps: 5, ..Commands::default() };
    let budget = Duration::from_millis(1);
    type Record<'a> = Box<dyn Fn(&mut wgpu::CommandEncoder) + 'a>;
    let calls: [(&str, Commands, Record<'_>); 21] = [
        ("steps", dispatches_of(of_step), Box::new(|to| training.record_steps(to, 1))),
        ("metrics", dispatches_of(1), Box::new(|to| training.record_metrics(to))),
        (
            "clear_metrics",
            Commands { clears: 1, ..Commands::default() },
            Box::new(|to| training.record_clear_metrics(to)),
        ),
        ("within", within, Box::new(|to| assert_eq!(training.record_within(to, budget), 1))),
        (
            "a paused training",
            Commands::default(),
            Box::new(|to| {
                training.pause();
                assert_eq!(training.record_within(to, budget), 0);
                training.resume();
            }),
        ),
        ("forward", dispatches_of(of_forward), Box::new(|to| forwards[0].record_forward(to))),
        ("forward, strided", dispatches_of(of_forward + 2), Box::new(|to| forwards[1].record_forward(to))),
        ("chain, forward", of_0, Box::new(|to| chains[0].record_forward(to))),
        ("chain, backward", of_1, Box::new(|to| chains[0].record_backward(to))),
        ("chain, update", of_2, Box::new(|to| chains[0].record_update(to))),
        ("strided chain, forward", more(of_0), Box::new(|to| chains[1].record_forward(to))),
        ("strided chain, backward", more(of_1), Box::new(|to| chains[1].record_backward(to))),
        ("strided chain, update", of_2, Box::new(|to| chains[1].record_update(to))),
        ("snapshot", snapshot, Box::new(|to| assert!(snapshots.record_snapshot(to)))),
        ("samples of a texture", dispatches_of(1), Box::new(|to| samples.record(to))),
        ("rows to a texture", dispatches_of(1), Box::new(|to| output.record(to))),
        // A dispatch of a warm-up has a pipeline and a bind group, but zero workgroups.
        ("warm-up of steps", dispatches_of(of_step + 1), Box::new(|to| training.record_warm_up(to))),
        ("warm-up of a forward pass", dispatches_of(of_forward), Box::new(|to| forwards[0].record_warm_up(to))),
        ("warm-up of a chain", dispatches_of(of_all), Box::new(|to| chains[0].record_warm_up(to))),
        ("warm-up of samples", dispatches_of(1), Box::new(|to| samples.record_warm_up(to))),
        ("warm-up of an output", dispatches_of(1), Box::new(|to| output.record_warm_up(to))),
    ];
    for (call, commands, record) in calls {
        let bare = Bare::new(&device, commands);
        let before = gpu.traffic();
        let [expected, _] = allocations_of(&device, &queue, |encoder| bare.record(encoder, 1));
        let [actual, _] = allocations_of(&device, &queue, &record);
        assert_eq!(actual, expected, "{call}: {commands:?}");
        let maps_on_submit = before.maps_on_submit + commands.maps as u64;
        assert_eq!(gpu.traffic(), Traffic { maps_on_submit, ..Traffic::default() }, "{call}");
        device.poll(wgpu::PollType::Poll).unwrap();
    }
    // The counters do count: reading parameters takes one submission and one mapping, and polls until it is done.
    trainer.model().parameters().unwrap();
    let now = gpu.traffic();
    assert_eq!((now.submits, now.maps, now.polls > 0), (1, 1, true), "{now:?}");
}

/// A longer epoch must add only wgpu's own allocations for its commands.
#[test]
fn what_fit_allocates_for_a_longer_epoch_wgpu_does() {
    let (device, queue) = noop();
    let (mut trainer, _) = training(&device, &queue);
    let bare = Bare::new(&device, dispatches_of(trainer.plan().step.len()));
    // Epochs of equally many submissions. The argument sets the steps in each.
    const SUBMISSIONS: u32 = 24;
    let mut fit = |steps: u32| {
        let rows = (SUBMISSIONS * steps * trainer.config().batch) as usize;
        let data = Dataset::from_u8(vec![0; 784 * rows], 784, vec![0; rows], 10).unwrap();
        let mut fitted = None;
        let allocations = allocations(|| fitted = Some(trainer.fit(&data, Fit::default(), |_| {})));
        assert!(ran_nothing(fitted.unwrap()), "what has come to its end");
        allocations
    };
    fit(2);
    let (short, long) = (fit(2), fit(20));
    let alone = |steps| {
        let each = |_| allocations_of(&device, &queue, |encoder| bare.record(encoder, steps)).iter().sum::<u64>();
        (0..SUBMISSIONS).map(each).sum::<u64>()
    };
    alone(2);
    let (alone_short, alone_long) = (alone(2), alone(20));
    println!("epochs of 48 and 480 steps: {short} and {long} allocations; wgpu alone {alone_short} and {alone_long}");
    // Each list may double once earlier or later in a submission, in either run.
    let (more, alone) = (long - short, alone_long - alone_short);
    assert!(more.abs_diff(alone) <= 2 * u64::from(SUBMISSIONS), "{more} and {alone}, for {} steps", SUBMISSIONS * 18);
}

/// Whether the result reports that the GPU processed no steps. The noop backend processes none.
fn ran_nothing<T>(result: wgrad::Result<T>) -> bool {
    matches!(result, Err(Error::Gpu { reason, .. }) if reason.contains("processed 0 of"))
}

/// A browser drops invalid commands and reports them on its console only. Training must then return an error.
#[test]
fn what_a_device_has_not_run_has_no_loss() {
    let (device, queue) = noop();
    let (mut trainer, _) = training(&device, &queue);
    let data = Dataset::from_u8(vec![0; 784 * 3], 784, vec![0; 3], 10).unwrap();
    assert!(ran_nothing(trainer.fit(&data, Fit::default(), |_| {})));
    assert!(ran_nothing(trainer.evaluate(&data)));
    assert!(trainer.history().epochs.is_empty());
}

/// A submission must not hold too many dispatches, even if the cost model predicts almost no time. Each dispatch has
/// a fixed cost.
#[test]
fn a_submission_has_not_too_many_dispatches() {
    let (device, queue) = noop();
    let gpu = Gpu::from_parts(device, queue);
    let network = Network::input(2).dense(1, Sigmoid).build().unwrap();
    let config = TrainerConfig { batch: 1, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::BinaryCrossEntropy, Sgd::default(), config).unwrap();
    let rows = 100_000;
    let data = Dataset::from_u8(vec![0; 2 * rows], 2, vec![0; rows], 2).unwrap();
    assert!(ran_nothing(trainer.fit(&data, Fit { every: Some(rows as u32), ..Fit::default() }, |_| {})));
    let (ops, submits) = (trainer.plan().step.len() * rows, gpu.traffic().submits);
    assert!((ops / 16_384 + 1..ops / 16_384 + 6).contains(&(submits as usize)), "{ops} in {submits}");
}

/// A submission must not hold more work than a GPU may take at once, however rarely the app wants reports. An
/// operating system resets a GPU that needs seconds for one submission.
#[test]
fn a_submission_has_no_more_work_than_a_gpu_may_take_at_once() {
    let (device, queue) = noop();
    let (mut trainer, _) = training(&device, &queue);
    let work = trainer.plan().cost().total();
    let steps = 1000;
    let rows = 128 * steps as usize;
    let data = Dataset::from_u8(vec![0; 784 * rows], 784, vec![0; rows], 10).unwrap();
    let mut told = Vec::new();
    let note = |event| {
        if let Event::Steps { done, .. } = event {
            told.push(done);
        }
    };
    assert!(ran_nothing(trainer.fit(data, Fit { every: Some(steps), ..Fit::default() }, note)));
    assert_eq!(told, [1], "the first step, of which nothing is read");
    let Device::Gpu(gpu) = trainer.device() else { unreachable!() };
    let least = (u64::from(steps) * work.flops / 50_000_000_000).max(u64::from(steps) * work.bytes / 10_000_000_000);
    assert!(least > 2 && gpu.traffic().submits > least, "{} for {least} times the work of one", gpu.traffic().submits);
}

/// The project's limits: 3 µs of CPU time for each dispatch, and 60 µs for a step of the MNIST network. The test takes
/// the least of many measurements, because other programs may run meanwhile. On a busy machine the same dispatches by
/// wgpu alone may exceed the limits; then a step takes at most twice their time.
#[test]
fn a_step_costs_the_host_few_microseconds() {
    let (device, queue) = noop();
    let narrow = Network::input(32).dense(64, Relu).dense(64, Relu).dense(64, Relu).dense(3, Identity);
    let narrow = training_of(&narrow.build().unwrap(), &device, &queue);
    for (network, (trainer, training)) in [("MNIST", training(&device, &queue)), ("32-64-64-64-3", narrow)] {
        let Device::Gpu(gpu) = trainer.device() else { unreachable!() };
        let dispatches: usize = gpu.kernels(trainer.plan())[..trainer.plan().step.len()].iter().map(Vec::len).sum();
        let bare = Bare::new(&device, dispatches_of(dispatches));
        let time = |steps: u32, record: &dyn Fn(&mut wgpu::CommandEncoder)| {
            let mut least = Duration::MAX;
            for _ in 0..1000 {
                let start = Instant::now();
                let mut encoder = device.create_command_encoder(&Default::default());
                record(&mut encoder);
                queue.submit([encoder.finish()]);
                least = least.min(start.elapsed());
            }
            least / steps
        };
        for steps in [1, 20] {
            let step = time(steps, &|encoder| training.record_steps(encoder, steps));
            let least = time(steps, &|encoder| bare.record(encoder, steps));
            println!(
                "{network}, {steps} steps a submission: {step:?} a step of {dispatches} dispatches, {:?} a dispatch; wgpu alone {least:?}",
                step / dispatches as u32
            );
            let limit = Duration::from_micros(60).min(Duration::from_micros(3) * dispatches as u32);
            assert!(step <= limit.max(2 * least), "{step:?}, {least:?} by wgpu alone");
        }
    }
}

/// Recording must allocate nothing of its own. Only wgpu's list of commands allocates: it doubles when it is full.
#[test]
fn recording_allocates_nothing_per_step() {
    let (device, queue) = noop();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network = Network::input(64).dense(32, Relu).dropout(0.1).dense(32, Relu).dense(10, Identity).build().unwrap();
    let config = TrainerConfig { clip: Some(wgrad::Clip::Norm(1.0)), ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let mut random = Random(1);
    let data = Dataset::from_f32(random.f32s(100 * 64), 64, vec![1; 100], 10).unwrap();
    let training = trainer.prepare(&data).unwrap();
    let steps = |n: u32| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        training.record_steps(&mut pass, 1);
        let count = allocations(|| training.record_steps(&mut pass, n));
        drop(pass);
        queue.submit([encoder.finish()]);
        count
    };
    steps(10);
    let (few, many) = (steps(16), steps(16 * 64));
    // 64 times the commands: the list doubles six more times.
    println!("{few} allocations for 16 steps, {many} for 1024");
    assert!(many <= few + 8, "{few} allocations for 16 steps, {many} for 1024");

    // A frame of record_within must allocate the same number of times, however many frames came before.
    let frame = || {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut steps = 0;
        let count = allocations(|| {
            steps = training.record_within(&mut encoder, std::time::Duration::from_millis(1));
        });
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::Poll).unwrap();
        (count, steps)
    };
    let counts: Vec<(u64, u32)> = (0..50).map(|_| frame()).collect();
    let most = counts.iter().map(|(count, _)| count).max().unwrap();
    println!("at most {most} allocations a frame of record_within");
    // A later frame may exceed the first frame, which has one step, only by the list's doubling. A frame has no step
    // if the machine paused.
    let doubling = |steps: u32| u64::from(steps.max(1).ilog2()) + 1;
    assert!(counts.iter().all(|(count, steps)| *count <= counts[0].0 + doubling(*steps)), "{counts:?}");
    assert!(counts.iter().filter(|(_, steps)| *steps >= 1).count() >= 2, "{counts:?}");
    assert_eq!(gpu.traffic(), Traffic { maps_on_submit: 50, ..Traffic::default() });
}

//! What a step costs the host: nothing but wgpu's own recording. On wgpu's `noop` backend, where a GPU costs nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use common::{Random, pass::Pass};
use wgrad::Activation::{Identity, Relu, Softmax};
use wgrad::{Adam, Dataset, Fit, Gpu, Loss, Network, Trainer, TrainerConfig, Training, wgpu};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Threads allocate on their way out too, when their counter is gone.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: all is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn noop() -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let adapter = wgpu::Instance::new(descriptor).request_adapter(&Default::default());
    pollster::block_on(async { adapter.await.unwrap().request_device(&Default::default()).await.unwrap() })
}

/// The MNIST network's training steps.
fn training(device: &wgpu::Device, queue: &wgpu::Queue) -> (Trainer, Training) {
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network =
        Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Softmax).build().unwrap();
    let config = TrainerConfig { batch: 128, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(&gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let data = Dataset::from_u8(vec![0; 784 * 1000], 784, vec![0; 1000], 10).unwrap();
    let training = trainer.prepare(&data).unwrap();
    (trainer, training)
}

/// The least that wgpu can be asked to do for as many dispatches: one pass, each with a pipeline and a bind group.
struct Bare {
    dispatches: Vec<Pass>,
}

impl Bare {
    fn new(device: &wgpu::Device, dispatches: usize) -> Self {
        let source = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
            @compute @workgroup_size(64) fn main() { x[0] = 1.0; }";
        let make = |_| {
            let usage = wgpu::BufferUsages::STORAGE;
            let descriptor = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
            Pass::new(device, source, &[&device.create_buffer(&descriptor)])
        };
        Self { dispatches: (0..dispatches).map(make).collect() }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder, times: u32) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("training"), timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        for dispatch in (0..times).flat_map(|_| &self.dispatches) {
            dispatch.record(&mut pass, 1);
        }
    }
}

/// How often `record` allocates, and how often wgpu does as it finishes the encoder and submits.
fn allocations_of(device: &wgpu::Device, queue: &wgpu::Queue, record: impl Fn(&mut wgpu::CommandEncoder)) -> [u64; 2] {
    let mut encoder = device.create_command_encoder(&Default::default());
    let recording = allocations(|| record(&mut encoder));
    let submitting = allocations(|| {
        queue.submit([encoder.finish()]);
    });
    [recording, submitting]
}

#[test]
fn recording_steps_allocates_nothing_that_wgpu_does_not() {
    let (device, queue) = noop();
    let (trainer, training) = training(&device, &queue);
    let bare = Bare::new(&device, trainer.plan().step.len());
    for steps in [1, 2, 16, 128] {
        let [expected, _] = allocations_of(&device, &queue, |encoder| bare.record(encoder, steps));
        let [actual, _] = allocations_of(&device, &queue, |encoder| training.record_steps(encoder, steps));
        assert_eq!(actual, expected, "{steps} steps");
        // The list of commands grows by doubling.
        assert!(expected <= 8 + u64::from(steps.ilog2()), "{expected} allocations for {steps} steps");
    }
}

#[test]
fn what_fit_allocates_for_a_longer_epoch_wgpu_does() {
    let (device, queue) = noop();
    let (mut trainer, _) = training(&device, &queue);
    let bare = Bare::new(&device, trainer.plan().step.len());
    // Epochs of as many submissions, of so many steps each.
    const SUBMISSIONS: u32 = 24;
    let mut fit = |steps: u32| {
        let rows = (SUBMISSIONS * steps * trainer.config().batch) as usize;
        let data = Dataset::from_u8(vec![0; 784 * rows], 784, vec![0; rows], 10).unwrap();
        let before = trainer.history().epochs.len();
        let allocations = allocations(|| drop(trainer.fit(&data, Fit::default(), |_| {}).unwrap()));
        assert_eq!(trainer.history().epochs[before].steps, SUBMISSIONS * steps);
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
    // The lists' doubling may fall to either side, once or so in a submission.
    let (more, alone) = (long - short, alone_long - alone_short);
    assert!(more.abs_diff(alone) <= 2 * u64::from(SUBMISSIONS), "{more} and {alone}, for {} steps", SUBMISSIONS * 18);
}

/// The bar of the project, which the least of many measurements keeps even while other programs run: 60 µs for each step
/// of the MNIST network, 3 µs for each dispatch.
#[test]
fn a_step_costs_the_host_few_microseconds() {
    let (device, queue) = noop();
    let (trainer, training) = training(&device, &queue);
    let dispatches = trainer.plan().step.len() as u32;
    let bare = Bare::new(&device, dispatches as usize);
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
            "{steps} steps a submission: {step:?} a step, {:?} a dispatch; wgpu alone {least:?}",
            step / dispatches
        );
        assert!(step <= Duration::from_micros(60) && step / dispatches <= Duration::from_micros(3), "{step:?}");
    }
}

/// Recording allocates nothing of its own: what is left is wgpu's list of commands, which doubles as it grows.
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
    // 64 times as many commands: the list doubles six times more.
    println!("{few} allocations for 16 steps, {many} for 1024");
    assert!(many <= few + 8, "{few} allocations for 16 steps, {many} for 1024");

    // And a frame of record_within: as many whatever the number of frames before.
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
    assert!(counts.iter().all(|(_, steps)| *steps >= 1));
    assert_eq!(gpu.traffic(), wgrad::Traffic::default());
}

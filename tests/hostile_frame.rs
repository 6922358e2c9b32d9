//! An app with a hostile frame: its own passes write what wgrad reads and read what wgrad writes, in one encoder and one
//! submission, a thousand times.

mod common;

use common::{own_device, pass::Pass};
use wgrad::Activation::{Identity, Relu};
use wgrad::{Dataset, Device, Gpu, Loss, Network, Sgd, Trainer, TrainerConfig, wgpu};

const ROWS: u32 = 12;
const INPUTS: usize = 5;
const OUTPUTS: usize = 3;

fn network() -> Network {
    Network::input(INPUTS as u32).dense(16, Relu).dense(OUTPUTS as u32, Identity).build().unwrap()
}

/// Writes the frame's inputs and targets: numbers that the host can tell too, whole thirty-seconds from −1 to 1.
const BEFORE: &str = "
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> t: array<f32>;
    @group(0) @binding(2) var<storage, read_write> frame: u32;
    fn number(i: u32) -> f32 { return f32((i * 2654435761u + frame * 40503u) >> 26u) / 32.0 - 1.0; }
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < arrayLength(&x) { x[id.x] = number(id.x); }
        if id.x < arrayLength(&t) { t[id.x] = number(id.x + 1000u); }
    }";

fn number(i: u32, frame: u32) -> f32 {
    let hash = i.wrapping_mul(2_654_435_761).wrapping_add(frame.wrapping_mul(40_503));
    (hash >> 26) as f32 / 32.0 - 1.0
}

/// Reads the frame's outputs: into a log, and spoils them.
const AFTER: &str = "
    @group(0) @binding(0) var<storage, read_write> y: array<f32>;
    @group(0) @binding(1) var<storage, read_write> log: array<f32>;
    @group(0) @binding(2) var<storage, read_write> frame: u32;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < 36u {
            log[frame * 36u + id.x] = y[id.x];
            y[id.x] = 1e30;
        }
        storageBarrier();
        workgroupBarrier();
        if id.x == 0u { frame++; }
    }";

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

#[test]
fn a_thousand_hostile_frames() {
    const FRAMES: u32 = 1000;
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    // A small rate: the reference's rounding errors and the GPU's must not part in a thousand steps of training.
    let config = TrainerConfig { batch: ROWS, shuffle: false, ..TrainerConfig::default() };
    let sgd = Sgd { learning_rate: 0.01, ..Sgd::default() };
    let make = |on: Device| Trainer::new(on, &network(), Loss::MeanSquaredError, sgd, config.clone()).unwrap();
    let mut trainer = make(Device::from(&gpu));

    let buffer = |words: u64| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let size = words * 4;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let words = |of_row: usize| u64::from(ROWS) * of_row as u64;
    let (x, t, y) = (buffer(words(INPUTS)), buffer(words(OUTPUTS)), buffer(words(OUTPUTS)));
    let (log, frame) = (buffer(words(OUTPUTS) * u64::from(FRAMES)), buffer(1));
    let before = Pass::new(&device, BEFORE, &[&x, &t, &frame]);
    let after = Pass::new(&device, AFTER, &[&y, &log, &frame]);
    let training = trainer.prepare_buffers(&x, &t, ROWS).unwrap();
    let forward = trainer.model().prepare_forward(&x, &y, ROWS).unwrap();

    let (mut settled, mut at_start) = (None, None);
    for n in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        if n % 2 == 0 {
            // Passes of its own for everyone,
            before.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
            forward.record_forward(&mut encoder);
            training.record_steps(&mut encoder, 1);
            after.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        } else {
            // or one for all.
            let mut pass = encoder.begin_compute_pass(&Default::default());
            before.record(&mut pass, 1);
            forward.record_forward(&mut pass);
            training.record_steps(&mut pass, 1);
            after.record(&mut pass, 1);
        }
        let submission = queue.submit([encoder.finish()]);
        // The app paces itself: it waits for the frame before the last.
        if n % 8 == 7 {
            let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            device.poll(wait).unwrap();
        }
        if n == FRAMES / 2 {
            at_start = Some((device.get_internal_counters().hal, device.generate_allocator_report()));
            settled = resident();
        }
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let grown = settled.zip(resident()).map(|(before, after)| after.saturating_sub(before));
    assert_eq!(gpu.traffic(), wgrad::Traffic::default(), "no submission and no reading of wgrad's");
    // What a driver keeps of five hundred frames must not add up; a kilobyte each would be 512 KiB.
    assert!(grown.is_none_or(|grown| grown < 512 << 10), "{grown:?} bytes more after five hundred more frames");
    let (counters, report) = at_start.unwrap();
    let allocated = |report: Option<wgpu::AllocatorReport>| report.map(|r| r.total_allocated_bytes);
    assert_eq!(allocated(report), allocated(device.generate_allocator_report()));
    let now = device.get_internal_counters().hal;
    assert_eq!((counters.buffers.read(), counters.bind_groups.read()), (now.buffers.read(), now.bind_groups.read()));
    assert!(now.buffers.read() > 0, "wgpu counts");

    // The reference: the same frames on the CPU.
    let mut reference = make(Device::Cpu);
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: log.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&log, 0, &staging, 0, log.size());
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let log: Vec<f32> = bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap());
    let mut worst = 0f32;
    for (n, outputs) in (0..FRAMES).zip(log.chunks(ROWS as usize * OUTPUTS)) {
        let numbers = |n_of: usize, first: u32| (0..ROWS * n_of as u32).map(|i| number(i + first, n)).collect();
        let (features, targets): (Vec<f32>, Vec<f32>) = (numbers(INPUTS, 0), numbers(OUTPUTS, 1000));
        let expected = reference.model().forward(&features).unwrap();
        for (actual, expected) in outputs.iter().zip(expected) {
            let error = (actual - expected).abs();
            worst = worst.max(error);
            // Two layers' sums of up to 17 numbers up to about 2, on both sides; and n steps whose gradients, sums of 12 of
            // up to about 2, count a hundredth each.
            let bound = f32::EPSILON * (2.0 * 2.0 * 17.0 + 0.01 * 2.0 * 12.0 * n as f32);
            assert!(error <= bound, "frame {n}: {actual} is not {expected} by {error} of {bound}");
        }
        let data = Dataset::from_f32_targets(features, INPUTS, targets, OUTPUTS as u32).unwrap();
        reference.fit(&data, wgrad::Fit::default(), |_| {}).unwrap();
    }
    println!("{FRAMES} frames, largest error {worst:e}, memory grown by {grown:?} bytes over the last half");
}

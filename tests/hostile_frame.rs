//! Tests an app whose own passes write what wgrad reads, and read what wgrad writes. All passes share one encoder and
//! one submission, for a thousand frames. Other frames use every other `record_*` call.

mod common;
#[path = "hostile_frame/graph.rs"]
mod graph;
#[path = "hostile_frame/images.rs"]
mod images;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{own_device, pass::Pass};
use wgrad::Activation::{Elu, Identity, Relu};
use wgrad::{
    ChainRows, Dataset, Device, Fit, Forward, Gpu, Loss, Network, Rows, Sgd, TextureOutput, TextureSamples, Traffic,
    Trainer, TrainerConfig, Training, wgpu,
};

const ROWS: u32 = 12;
const INPUTS: usize = 5;
const OUTPUTS: usize = 3;

fn network() -> Network {
    Network::input(INPUTS as u32).dense(16, Relu).dense(OUTPUTS as u32, Identity).build().unwrap()
}

/// Writes the frame's inputs and targets. They are multiples of 1/32 from −1 to 1, so the host can compute the same
/// numbers.
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

/// Copies the frame's outputs into a log, then overwrites them.
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

/// Memory is measured for the whole process, so the tests run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// The memory in use at one frame.
struct Memory {
    resident: Option<u64>,
    counters: wgpu::HalCounters,
    allocated: Option<u64>,
}

impl Memory {
    fn of(device: &wgpu::Device) -> Self {
        let allocated = device.generate_allocator_report().map(|report| report.total_allocated_bytes);
        Self { resident: resident(), counters: device.get_internal_counters().hal, allocated }
    }

    /// Panics if more memory is allocated now. Returns by how much the process has grown, in bytes.
    fn assert_no_growth(&self, device: &wgpu::Device) -> Option<u64> {
        let now = Self::of(device);
        let grown = self.resident.zip(now.resident).map(|(before, after)| after.saturating_sub(before));
        // Memory that a driver keeps must not grow over hundreds of frames. One or two kilobytes for each frame would
        // be 512 KiB.
        assert!(grown.is_none_or(|grown| grown < 512 << 10), "{grown:?} bytes more after as many frames again");
        assert_eq!(self.allocated, now.allocated);
        let counted = |counters: &wgpu::HalCounters| (counters.buffers.read(), counters.bind_groups.read());
        assert_eq!(counted(&self.counters), counted(&now.counters));
        assert!(now.counters.buffers.read() > 0, "wgpu counts");
        grown
    }
}

/// Reads a buffer without wgrad, in the app's own way.
fn read(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Vec<f32> {
    let (size, usage) = (buffer.size(), wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let staging = device.create_buffer(&descriptor);
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
}

/// Runs frames of an app: its pass, a forward pass, a training step and its other pass. Returns by how much the process
/// has grown over the last half, in bytes. Panics if memory of the GPU has grown.
fn run_frames(
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    frames: u32,
    [before, after]: [&Pass; 2],
    workgroups_before: u32,
    training: &Training,
    forward: &Forward,
) -> Option<u64> {
    let mut memory = None;
    for n in 0..frames {
        let mut encoder = device.create_command_encoder(&Default::default());
        if n % 2 == 0 {
            // Uses one pass for each call.
            before.record(&mut encoder.begin_compute_pass(&Default::default()), workgroups_before);
            forward.record_forward(&mut encoder);
            training.record_steps(&mut encoder, 1);
            after.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        } else {
            // Uses one pass for all calls.
            let mut pass = encoder.begin_compute_pass(&Default::default());
            before.record(&mut pass, workgroups_before);
            forward.record_forward(&mut pass);
            training.record_steps(&mut pass, 1);
            after.record(&mut pass, 1);
        }
        let submission = queue.submit([encoder.finish()]);
        // The app paces itself: it waits for the GPU once in eight frames.
        if n % 8 == 7 {
            let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            device.poll(wait).unwrap();
        }
        if n == frames / 2 {
            memory = Some(Memory::of(device));
        }
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    memory.unwrap().assert_no_growth(device)
}

/// A thousand frames must have the right outputs, and wgrad must not submit, poll or map. Memory must not grow.
#[test]
fn a_thousand_hostile_frames() {
    let _alone = alone();
    const FRAMES: u32 = 1000;
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    // The learning rate is small. The rounding errors of GPU and CPU must not grow apart over a thousand steps.
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

    let grown = run_frames((&device, &queue), FRAMES, [&before, &after], 1, &training, &forward);
    assert_eq!(gpu.traffic(), Traffic::default(), "no submission, no poll and no mapping of wgrad's");

    // The reference: the same frames on the CPU.
    let mut reference = make(Device::Cpu);
    let log = read(&device, &queue, &log);
    let mut worst = 0f32;
    for (n, outputs) in (0..FRAMES).zip(log.chunks(ROWS as usize * OUTPUTS)) {
        let numbers = |n_of: usize, first: u32| (0..ROWS * n_of as u32).map(|i| number(i + first, n)).collect();
        let (features, targets): (Vec<f32>, Vec<f32>) = (numbers(INPUTS, 0), numbers(OUTPUTS, 1000));
        let expected = reference.model().forward(&features).unwrap();
        for (actual, expected) in outputs.iter().zip(expected) {
            let error = (actual - expected).abs();
            worst = worst.max(error);
            // Each of the two layers sums up to 17 terms of size up to 2. Both devices round, so u doubles to
            // f32::EPSILON. Each of the n steps adds 0.01 times a gradient's error. A gradient sums 12 terms of size
            // up to 2.
            let bound = f32::EPSILON * (2.0 * 2.0 * 17.0 + 0.01 * 2.0 * 12.0 * n as f32);
            assert!(error <= bound, "frame {n}: {actual} is not {expected} by {error} of {bound}");
        }
        let data = Dataset::from_f32_targets(features, INPUTS, targets, OUTPUTS as u32).unwrap();
        reference.fit(&data, Fit::default(), |_| {}).unwrap();
    }
    println!("{FRAMES} frames, largest error {worst:e}, memory grown by {grown:?} bytes over the last half");
}

/// The layout of the app's structs, in words. A struct holds x, the chain's output, its gradient, the gradient of x,
/// a forward pass's output and targets. One word of the app precedes these and one follows. The first struct begins
/// after three words. Five words follow the last one.
const STRIDE: usize = 24;
const FIRST: usize = 3;
const WORDS: usize = FIRST + ROWS as usize * STRIDE + 5;
const X: usize = 1;
const Y: usize = 6;
const DY: usize = 9;
const DX: usize = 12;
const F: usize = 17;
const T: usize = 20;
/// A picture whose lines are multiples of 256 bytes, as copies require.
const SIZE: wgpu::Extent3d = wgpu::Extent3d { width: 64, height: 2, depth_or_array_layers: 1 };
const TEXELS: usize = 128;

/// Writes all structs and a picture.
const BEFORE_ALL: &str = "
    @group(0) @binding(0) var<storage, read_write> structs: array<f32>;
    @group(0) @binding(1) var<storage, read_write> picture: array<u32>;
    @group(0) @binding(2) var<storage, read_write> frame: u32;
    fn hash(i: u32) -> u32 { return i * 2654435761u + frame * 40503u; }
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
        for (var i = lane; i < arrayLength(&structs); i += 64u) { structs[i] = f32(hash(i) >> 26u) / 32.0 - 1.0; }
        for (var i = lane; i < arrayLength(&picture); i += 64u) { picture[i] = hash(i + 500u); }
    }";

/// Writes the gradient of the mean squared error.
const LOSS: &str = "
    @group(0) @binding(0) var<storage, read_write> structs: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
        if lane < 36u {
            let first = 3u + lane / 3u * 24u + lane % 3u;
            structs[first + 9u] = 2.0 * (structs[first + 6u] - structs[first + 20u]) / 36.0;
        }
    }";

/// Copies the structs into a log, then overwrites them.
const AFTER_ALL: &str = "
    @group(0) @binding(0) var<storage, read_write> structs: array<f32>;
    @group(0) @binding(1) var<storage, read_write> log: array<f32>;
    @group(0) @binding(2) var<storage, read_write> frame: u32;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
        let words = arrayLength(&structs);
        for (var i = lane; i < words; i += 64u) {
            log[frame * words + i] = structs[i];
            structs[i] = 1e30;
        }
        storageBarrier();
        workgroupBarrier();
        if lane == 0u { frame++; }
    }";

/// The gradient of the input of a two-layer network, by the textbook formula. The first layer has ELU.
fn input_gradient(network: &Network, parameters: &[f32], x: &[f32], dy: &[f32]) -> Vec<f64> {
    let of = |i: usize| {
        let parameter = &network.parameters()[i];
        let range = parameter.offset as usize..(parameter.offset + parameter.len()) as usize;
        parameters[range].iter().map(|&w| f64::from(w)).collect::<Vec<_>>()
    };
    let (w1, b1, w2) = (of(0), of(1), of(2));
    let hidden = b1.len();
    let slope = |j: usize| {
        let z: f64 = b1[j] + x.iter().enumerate().map(|(i, &x)| f64::from(x) * w1[i * hidden + j]).sum::<f64>();
        if z > 0.0 { 1.0 } else { z.exp() }
    };
    let dz =
        |j: usize| slope(j) * dy.iter().enumerate().map(|(c, &dy)| f64::from(dy) * w2[j * OUTPUTS + c]).sum::<f64>();
    let dz: Vec<f64> = (0..hidden).map(dz).collect();
    x.iter().enumerate().map(|(i, _)| dz.iter().enumerate().map(|(j, dz)| dz * w1[i * hidden + j]).sum()).collect()
}

/// One frame must work with chains, snapshots, textures, strided rows and steps within a time budget.
#[test]
fn frames_with_everything_in_them() {
    let _alone = alone();
    const FRAMES: usize = 300;
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network = |inputs| Network::input(inputs).dense(16, Elu(1.0)).dense(OUTPUTS as u32, Identity).build().unwrap();
    let (network, of_picture) = (network(INPUTS as u32), network(2));
    let make = |on: Device, network: &Network, batch: u32| {
        let config = TrainerConfig { batch, shuffle: false, ..TrainerConfig::default() };
        let sgd = Sgd { learning_rate: 0.01, ..Sgd::default() };
        Trainer::new(on, network, Loss::MeanSquaredError, sgd, config).unwrap()
    };
    let mut trainer = make(Device::from(&gpu), &network, ROWS);
    let mut painter = make(Device::from(&gpu), &of_picture, TEXELS as u32);

    let buffer = |words: usize| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let size = words as u64 * 4;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let texture = |format, usage| {
        device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: SIZE,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        })
    };
    let (structs, texels, frame, log) = (buffer(WORDS), buffer(TEXELS), buffer(1), buffer(WORDS * FRAMES));
    let (colours, painted) = (buffer(TEXELS * 3), buffer(TEXELS * 4 * FRAMES));
    let usages = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
    let picture = texture(wgpu::TextureFormat::Rgba8Unorm, usages);
    let usages = wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC;
    let shown = texture(wgpu::TextureFormat::Rgba32Float, usages);
    let lines = |buffer, offset: usize, bytes_per_row| wgpu::TexelCopyBufferInfo {
        buffer,
        layout: wgpu::TexelCopyBufferLayout {
            offset: offset as u64,
            bytes_per_row: Some(bytes_per_row),
            rows_per_image: None,
        },
    };

    let before = Pass::new(&device, BEFORE_ALL, &[&structs, &texels, &frame]);
    let loss = Pass::new(&device, LOSS, &[&structs]);
    let after = Pass::new(&device, AFTER_ALL, &[&structs, &log, &frame]);
    let rows = |word: usize| Rows::from(structs.slice((FIRST + word) as u64 * 4..)).stride(STRIDE as u64 * 4);
    let forward = trainer.model().prepare_forward(rows(X), rows(F), ROWS).unwrap();
    let [x, y, dy, dx] = [X, Y, DY, DX].map(|word| rows(word).into());
    let ends = ChainRows { input: x, output: y, output_gradient: dy, input_gradient: Some(dx) };
    let chain = trainer.prepare_chain(ends, ROWS).unwrap();
    let snapshots = trainer.prepare_snapshots().unwrap();
    let samples = TextureSamples::new(&gpu, &picture, 3).unwrap();
    let training = painter.prepare_buffers(samples.features(), samples.targets(), samples.rows()).unwrap();
    let paint = painter.model().prepare_forward(samples.features(), &colours, samples.rows()).unwrap();
    let output = TextureOutput::new(&gpu, &colours, 3, &shown).unwrap();

    // A software adapter allocates memory only when it is first written, so this writes it.
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.clear_buffer(&painted, 0, None);
    queue.submit([encoder.finish()]);
    let mut memory = None;
    let mut steps = Vec::new();
    let mut last_snapshot = (0, 0);
    for n in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        before.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        encoder.copy_buffer_to_texture(lines(&texels, 0, 256), picture.as_image_copy(), SIZE);
        if n % 2 == 0 {
            samples.record(&mut encoder);
            forward.record_forward(&mut encoder);
            chain.record_forward(&mut encoder);
            loss.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
            chain.record_backward(&mut encoder);
            chain.record_update(&mut encoder);
        } else {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            samples.record(&mut pass);
            forward.record_forward(&mut pass);
            chain.record_forward(&mut pass);
            loss.record(&mut pass, 1);
            chain.record_backward(&mut pass);
            chain.record_update(&mut pass);
        }
        if n % 16 == 5 && snapshots.record_snapshot(&mut encoder) {
            last_snapshot = (n, last_snapshot.1 + 1);
        }
        steps.push(training.record_within(&mut encoder, Duration::from_millis(5)));
        paint.record_forward(&mut encoder);
        output.record(&mut encoder);
        let to = lines(&painted, n * TEXELS * 16, 64 * 16);
        encoder.copy_texture_to_buffer(shown.as_image_copy(), to, SIZE);
        after.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        let submission = queue.submit([encoder.finish()]);
        if n % 8 == 7 {
            let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            device.poll(wait).unwrap();
        }
        if n == FRAMES / 2 {
            memory = Some(Memory::of(&device));
        }
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let grown = memory.unwrap().assert_no_growth(&device);
    // Each call that recorded steps has one mapping. Each snapshot has three: weights, cursor and metrics.
    let calls = steps.iter().filter(|steps| **steps > 0).count() as u64;
    let maps_on_submit = calls + 3 * last_snapshot.1;
    assert_eq!(gpu.traffic(), Traffic { maps_on_submit, ..Traffic::default() });
    // Three calls always record steps. The load of the machine decides how many more do.
    assert!(last_snapshot.1 >= 2 && calls >= 3, "{calls} calls, {last_snapshot:?}");

    // The reference: the same frames on the CPU.
    let mut reference = make(Device::Cpu, &network, ROWS);
    let mut reference_painter = make(Device::Cpu, &of_picture, TEXELS as u32);
    let (log, painted) = (read(&device, &queue, &log), read(&device, &queue, &painted));
    let places: Vec<f32> =
        (0..TEXELS).flat_map(|i| [(i % 64) as f32 / 64.0 + 0.5 / 64.0, (i / 64) as f32 / 2.0 + 0.25]).collect();
    // Hidden sums have 6 terms of total size 3, and e^x errs by up to 9 units in the last place. Each device thus
    // errs by 70 u. The sum of 17 terms amplifies that ten times and adds the same again. Each step adds a hundredth
    // of that to the weights. The outputs amplify an error of the weights thirty times.
    let bound = |steps: usize| f32::EPSILON * 550.0 * (1.0 + 0.01 * 30.0 * steps as f32);
    let mut worst = 0f32;
    let mut near = |what: &str, n: usize, actual: &[f32], expected: &[f32], bound: f32| {
        assert_eq!(actual.len(), expected.len());
        for (actual, expected) in actual.iter().zip(expected) {
            let error = (actual - expected).abs();
            worst = worst.max(error);
            assert!(error <= bound, "frame {n}, {what}: {actual} is not {expected} by {error} of {bound}");
        }
    };
    let mut kept = Vec::new();
    let mut done = 0;
    for (n, words) in log.chunks(WORDS).enumerate() {
        let written: Vec<f32> = (0..WORDS as u32).map(|i| number(i, n as u32)).collect();
        let rows_of = |words: &[f32], first: usize, columns: usize| -> Vec<f32> {
            let row = |row: usize| words[FIRST + row * STRIDE + first..][..columns].to_vec();
            (0..ROWS as usize).flat_map(row).collect()
        };
        let (x, t) = (rows_of(&written, X, INPUTS), rows_of(&written, T, OUTPUTS));
        let expected = reference.model().forward(&x).unwrap();
        for (what, first) in [("the chain's output", Y), ("the output", F)] {
            near(what, n, &rows_of(words, first, OUTPUTS), &expected, bound(n));
        }
        let dy: Vec<f32> = expected.iter().zip(&t).map(|(y, t)| 2.0 * (y - t) / 36.0).collect();
        let parameters = reference.model().parameters().unwrap();
        let dx =
            x.chunks(INPUTS).zip(dy.chunks(OUTPUTS)).flat_map(|(x, dy)| input_gradient(&network, &parameters, x, dy));
        // An error of the output causes a twentieth of it in dy. dx sums about fifteen of those. Errors of the
        // activation's slopes and of the weights add to it, hence the factor 2.
        let dx: Vec<f32> = dx.map(|dx| dx as f32).collect();
        near("the input's gradient", n, &rows_of(words, DX, INPUTS), &dx, 2.0 * bound(n));
        // All other words must hold what the app wrote.
        let mut others = words.to_vec();
        for row in 0..ROWS as usize {
            let places = FIRST + row * STRIDE + Y..FIRST + row * STRIDE + T;
            others[places.clone()].copy_from_slice(&written[places]);
        }
        assert!(others == written, "frame {n}: what lies between the rows was touched");
        let data = Dataset::from_f32_targets(x, INPUTS, t, OUTPUTS as u32).unwrap();
        reference.fit(&data, Fit::default(), |_| {}).unwrap();
        if n == last_snapshot.0 {
            kept = reference.model().parameters().unwrap();
        }

        if steps[n] > 0 {
            let hash = |i: u32| (i + 500).wrapping_mul(2_654_435_761).wrapping_add((n as u32).wrapping_mul(40_503));
            let colours = (0..TEXELS as u32).flat_map(|i| hash(i).to_le_bytes()[..3].to_vec());
            let colours = colours.map(|byte| f32::from(byte) / 255.0).collect();
            let data = Dataset::from_f32_targets(places.clone(), 2, colours, 3).unwrap();
            let fit = Fit { epochs: steps[n], ..Fit::default() };
            reference_painter.fit(&data, fit, |_| {}).unwrap();
            done += steps[n] as usize;
        }
        let expected = reference_painter.model().forward(&places).unwrap();
        let texels = &painted[n * TEXELS * 4..][..TEXELS * 4];
        assert!(texels.iter().skip(3).step_by(4).all(|&alpha| alpha == 1.0));
        let colours: Vec<f32> = texels.chunks(4).flat_map(|texel| texel[..3].to_vec()).collect();
        near("the painting", n, &colours, &expected, bound(done));
    }
    // The last snapshot that arrived must hold its frame's weights.
    trainer.rebuild(Device::Cpu).unwrap();
    near("the snapshot", last_snapshot.0, &trainer.model().parameters().unwrap(), &kept, bound(last_snapshot.0));
    println!("{FRAMES} frames, {done} steps within budgets, largest error {worst:e}, grown by {grown:?} bytes");
}

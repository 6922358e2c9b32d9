//! Tests wgrad inside an app: the app's own device, encoder, submission and buffers.

mod common;

use std::time::Duration;

use common::pass::Pass;
use common::*;
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::plan::RowMetrics;
use wgrad::{Adam, Dataset, Device, Fit, Gpu, Loss, Network, Rows, Trainer, TrainerConfig, wgpu};

fn network() -> Network {
    Network::input(5).dense(12, Relu).dense(6, Tanh).dense(3, Identity).build().unwrap()
}

fn data() -> (Vec<f32>, Vec<u32>) {
    let mut random = Random(77);
    let features = random.f32s(20 * 5);
    let labels = features.chunks(5).map(|x| u32::from(x[0] > 0.0) + u32::from(x[1] > x[2])).collect();
    (features, labels)
}

fn dataset() -> Dataset {
    let (features, labels) = data();
    Dataset::from_f32(features, 5, labels, 3).unwrap()
}

fn config() -> TrainerConfig {
    TrainerConfig { batch: 8, seed: 5, ..TrainerConfig::default() }
}

fn trainer(gpu: &Gpu) -> Trainer {
    Trainer::new(gpu, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap()
}

fn storage(device: &wgpu::Device, bytes: &[u8]) -> wgpu::Buffer {
    use wgpu::util::DeviceExt;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents: bytes, usage })
}

/// Reads a buffer with the app's own code.
fn read<T: bytemuck::Pod>(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Vec<T> {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
}

/// The app's own pass over the network's output in the app's buffer: y ← 2y.
fn doubling(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Pass {
    let source = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x < arrayLength(&y) { y[id.x] *= 2.0; }
        }";
    Pass::new(device, source, &[buffer])
}

/// Steps of two trainers, a forward pass and the app's own pass run in one submission and match the reference.
#[test]
fn steps_and_a_forward_pass_in_the_apps_own_submission() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let mut trainer = trainer(&gpu);
    // A second trainer, for another network, on the same device.
    let other_network = Network::input(5).dense(3, Identity).build().unwrap();
    let mut other = Trainer::new(&gpu, &other_network, Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();

    let (features, _) = data();
    let input = storage(&device, bytemuck::cast_slice(&features));
    let output = storage(&device, bytemuck::cast_slice(&[f32::NAN; 20 * 3]));
    let training = trainer.prepare(dataset()).unwrap();
    let other_training = other.prepare(dataset()).unwrap();
    let forward = trainer.model().prepare_forward(&input, &output, 20).unwrap();
    let doubling = doubling(&device, &output);

    let mut encoder = device.create_command_encoder(&Default::default());
    training.record_clear_metrics(&mut encoder);
    training.record_steps(&mut encoder, 2);
    other_training.record_steps(&mut encoder, 3);
    forward.record_forward(&mut encoder);
    doubling.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
    training.record_metrics(&mut encoder);
    queue.submit([encoder.finish()]);
    assert_eq!(gpu.traffic(), wgrad::Traffic::default(), "wgrad itself has submitted and read nothing");
    let doubled: Vec<f32> = read(&device, &queue, &output);
    let metrics: RowMetrics = read(&device, &queue, training.metrics_buffer())[0];

    // The reference: the first two of an epoch's three batches, on the CPU.
    let mut reference = Reference::new(&network());
    reference.steps(2);
    for (i, (doubled, expected)) in doubled.iter().zip(reference.outputs(&features)).enumerate() {
        assert!((doubled - 2.0 * expected).abs() <= 1e-4, "output {i}: {doubled} is not 2 x {expected}");
    }
    assert_eq!((metrics.rows, metrics.non_finite_step), (16, 0));
    assert!((metrics.loss - reference.loss()).abs() <= 1e-4 * metrics.loss);
    let mut other_reference = Reference::new(&other_network);
    other_reference.steps(3);
    let expected = other_reference.outputs(&features);
    for (actual, expected) in other.model().forward(&features).unwrap().iter().zip(expected) {
        assert!((actual - expected).abs() <= 1e-4);
    }
}

/// Computes the same steps on the CPU, with the reference half of the lockstep.
struct Reference {
    lockstep: wgrad::lockstep::Lockstep,
    network: Network,
}

impl Reference {
    fn new(network: &Network) -> Self {
        use wgrad::plan::{DataInfo, Role};
        let plan =
            wgrad::Plan::training(network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &config()).unwrap();
        let mut lockstep = wgrad::lockstep::Lockstep::new(gpu(), plan).unwrap();
        let (features, labels) = data();
        let info = DataInfo {
            rows: 20,
            shuffle: 1,
            seed_low: config().seed as u32,
            feature_stride: network.inputs(),
            target_stride: 1,
            ..DataInfo::default()
        };
        let find = |role| lockstep.plan().find(role).unwrap();
        let (f, l, d, p) =
            (find(Role::Features(0)), find(Role::Targets(0)), find(Role::Data(0)), find(Role::Parameters));
        lockstep.set(f, &features).unwrap();
        lockstep.set(l, &labels).unwrap();
        lockstep.set(d, &[info]).unwrap();
        lockstep.set(p, &network.initial_parameters(config().seed)).unwrap();
        Self { lockstep, network: network.clone() }
    }

    fn steps(&mut self, steps: u32) {
        for _ in 0..steps {
            assert_agree(&mut self.lockstep, "reference");
        }
    }

    fn loss(&self) -> f32 {
        self.lockstep.get(self.lockstep.plan().find(wgrad::plan::Role::Totals).unwrap())[0]
    }

    fn outputs(&self, features: &[f32]) -> Vec<f32> {
        let weights = self.lockstep.get(self.lockstep.plan().find(wgrad::plan::Role::Parameters).unwrap());
        let mut x: Vec<Vec<f32>> = features.chunks(5).map(<[f32]>::to_vec).collect();
        for (pair, (_, layer)) in self.network.parameters().chunks(2).zip(self.network.layers()) {
            let (w, b) = (&weights[pair[0].range()], &weights[pair[1].range()]);
            let wgrad::Layer::Dense(dense) = layer else { unreachable!() };
            let unit = |x: &[f32], j: usize| {
                let z = b[j] + x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f32>();
                match dense.activation() {
                    Relu => z.max(0.0),
                    Tanh => z.tanh(),
                    _ => z,
                }
            };
            x = x.iter().map(|x| (0..b.len()).map(|j| unit(x, j)).collect()).collect();
        }
        x.concat()
    }
}

/// Data in the app's own buffers give the same weights as the same data in a data set.
#[test]
fn data_in_the_apps_own_buffers_train_like_a_data_set() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let (features, labels) = data();
    let mut from_buffers = trainer(&gpu);
    let mut from_dataset = trainer(&gpu);
    let features = storage(&device, bytemuck::cast_slice(&features));
    let labels = storage(&device, bytemuck::cast_slice(&labels));
    let a = from_buffers.prepare_buffers(&features, &labels, 20).unwrap();
    let b = from_dataset.prepare(dataset()).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    a.record_steps(&mut encoder, 7);
    b.record_steps(&mut encoder, 7);
    queue.submit([encoder.finish()]);
    let weights: Vec<f32> = read(&device, &queue, a.parameter_buffer());
    assert_eq!(weights, read::<f32>(&device, &queue, b.parameter_buffer()));
    assert_ne!(weights[..60], network().initial_parameters(config().seed)[..60]);
}

/// Rows of bytes train like a data set: with whole and partial words, packed and as parts of larger structs. The test
/// covers all variants of the kernel that copies them.
#[test]
fn bytes_in_the_apps_own_buffers_train_like_a_data_set() {
    for gpu in gpus() {
        let (device, queue) = (gpu.device(), gpu.queue());
        for (width, words, stride) in [(8, 2, 2), (12, 3, 5), (7, 2, 2), (5, 2, 6)] {
            let mut random = Random(9);
            let bytes: Vec<u8> = (0..20 * width).map(|_| random.below(256) as u8).collect();
            let labels: Vec<u32> = (0..20).map(|row| row % 3).collect();
            let mut structs = vec![0xa5; 20 * stride * 4];
            for (row, bytes) in bytes.chunks(width).enumerate() {
                structs[row * stride * 4..][..width].copy_from_slice(bytes);
            }
            let network = Network::input(width as u32).dense(6, Tanh).dense(3, Identity).build().unwrap();
            let trainer = || Trainer::new(gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();
            let (mut from_buffers, mut from_dataset) = (trainer(), trainer());
            let (features, targets) = (storage(device, &structs), storage(device, bytemuck::cast_slice(&labels)));
            let rows = Rows::from(&features).bytes();
            let rows = if stride == words { rows } else { rows.stride(stride as u64 * 4) };
            let a = from_buffers.prepare_buffers(rows, &targets, 20).unwrap();
            let b = from_dataset.prepare(Dataset::from_u8(bytes, width, labels, 3).unwrap()).unwrap();
            let mut encoder = device.create_command_encoder(&Default::default());
            a.record_steps(&mut encoder, 7);
            b.record_steps(&mut encoder, 7);
            queue.submit([encoder.finish()]);
            let weights: Vec<f32> = read(device, queue, a.parameter_buffer());
            assert_eq!(weights, read::<f32>(device, queue, b.parameter_buffer()), "{width} {stride}");
            assert_ne!(weights[..10], network.initial_parameters(config().seed)[..10]);

            // Rows are rounded up to whole words. Only features may be bytes.
            let short = storage(device, &structs[..20 * stride * 4 - stride * 4 + words * 4 - 4]);
            let error =
                from_buffers.prepare_buffers(Rows::from(&short).bytes().stride(stride as u64 * 4), &targets, 20);
            assert!(
                error.unwrap_err().to_string().contains("buffer of features for 20 rows: expected at least 1 row and")
            );
            let error = from_buffers.prepare_buffers(rows, Rows::from(&targets).bytes(), 20).unwrap_err().to_string();
            assert_eq!(error, "buffer of targets: expected rows of 32-bit numbers, got rows of bytes");
        }
    }
}

/// Targets are numbers if the loss has no classes. Schedule, dropout and accumulation run without the host.
#[test]
fn targets_in_the_apps_own_buffers_may_be_numbers() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let network = Network::input(5).dense(8, Tanh).dropout(0.2).dense(2, Identity).build().unwrap();
    let config = TrainerConfig {
        schedule: wgrad::Schedule::cosine(4, 0.1).warm_up(2),
        accumulate: 2,
        clip: Some(wgrad::Clip::Norm(0.5)),
        ..config()
    };
    let mut random = Random(4);
    let (features, targets) = (random.f32s(20 * 5), random.f32s(20 * 2));
    let make = || Trainer::new(&gpu, &network, Loss::MeanSquaredError, Adam::default(), config.clone()).unwrap();
    let mut from_data = make();
    let data = Dataset::from_f32_targets(features.clone(), 5, targets.clone(), 2).unwrap();
    from_data.fit(&data, Fit { epochs: 3, ..Fit::default() }, |_| {}).unwrap();

    let mut from_buffers = make();
    let features = storage(&device, bytemuck::cast_slice(&features));
    let targets = storage(&device, bytemuck::cast_slice(&targets));
    let training = from_buffers.prepare_buffers(&features, &targets, 20).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    // Three epochs of three batches.
    training.record_steps(&mut encoder, 9);
    queue.submit([encoder.finish()]);
    assert_eq!(from_data.model().parameters().unwrap(), from_buffers.model().parameters().unwrap());
}

/// A handle continues with the data it was prepared with, even after the trainer gets other data.
#[test]
fn a_handle_keeps_its_own_data() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let metrics = |training: &wgrad::Training| -> RowMetrics {
        let mut encoder = device.create_command_encoder(&Default::default());
        training.record_clear_metrics(&mut encoder);
        training.record_steps(&mut encoder, 3);
        training.record_metrics(&mut encoder);
        queue.submit([encoder.finish()]);
        read(&device, &queue, training.metrics_buffer())[0]
    };
    // With a learning rate of 0, each epoch of the same data has the same loss.
    let sgd = wgrad::Sgd { learning_rate: 0.0, ..Default::default() };
    let mut trainer = Trainer::new(&gpu, &network(), Loss::SoftmaxCrossEntropy, sgd, config()).unwrap();
    let small = trainer.prepare(dataset()).unwrap();
    let expected = metrics(&small);
    assert_eq!(expected.rows, 20);
    // Bytes, and far more rows. The cursor then stands far behind the end of the small set.
    let large = Dataset::from_u8(vec![7; 5 * 5000], 5, vec![1; 5000], 3).unwrap();
    let large = trainer.prepare(&large).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    large.record_steps(&mut encoder, 100);
    queue.submit([encoder.finish()]);
    let again = metrics(&small);
    assert_eq!((again.rows, again.correct), (20, expected.correct));
    assert!((again.loss - expected.loss).abs() <= 1e-5 * expected.loss, "{again:?} {expected:?}");
    // `fit` begins at the start of its data, wherever the cursor stands.
    let history = trainer.fit(dataset(), Fit::default(), |_| {}).unwrap();
    assert_eq!(history.epochs[0].train.rows, 20);
}

/// Recorded steps and `fit` give the same weights.
#[test]
fn recorded_steps_and_fit_are_the_same_training() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue.clone());
    let mut fitted = trainer(&gpu);
    fitted.fit(dataset(), Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    let mut recorded = trainer(&gpu);
    let training = recorded.prepare(dataset()).unwrap();
    // Two epochs have six steps. The cursor moves to the next epoch without help.
    for steps in [1, 4, 1] {
        let mut encoder = device.create_command_encoder(&Default::default());
        training.record_steps(&mut encoder, steps);
        queue.submit([encoder.finish()]);
    }
    assert_eq!(fitted.model().parameters().unwrap(), recorded.model().parameters().unwrap());
}

/// The async functions give the same outputs as the blocking ones while the app polls the device.
#[test]
fn async_forms_work_where_the_app_polls() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue);
    // The app's loop polls the device. wgrad only awaits.
    let polling = device.clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let poller = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = polling.poll(wgpu::PollType::Poll);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    let (features, _) = data();
    let mut trainer = trainer(&gpu);
    let outputs = pollster::block_on(async {
        trainer.fit_async(&dataset(), Fit { epochs: 3, ..Fit::default() }, |_| {}).await.unwrap();
        trainer.evaluate_async(&dataset()).await.unwrap();
        trainer.model().forward_async(&features).await.unwrap()
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    poller.join().unwrap();
    let mut blocking = self::trainer(&gpu);
    blocking.fit(dataset(), Fit { epochs: 3, ..Fit::default() }, |_| {}).unwrap();
    assert_eq!(outputs, blocking.model().forward(&features).unwrap());
}

/// A buffer that is too short or lacks the usage STORAGE is an error.
/// A pass in slices writes the same bits as a whole one. A slice whose encoder is dropped makes the pass start over.
#[test]
fn a_forward_pass_in_slices_over_several_submissions_equals_a_whole_one() {
    let gpu = gpu();
    let (device, queue) = (gpu.device(), gpu.queue());
    let mut network = Network::input([8, 8, 3]);
    for _ in 0..3 {
        network = network.conv(4, 3, Relu).batch_norm();
    }
    let network = network.flatten().dense(5, Identity).build().unwrap();
    let model = wgrad::Model::new(gpu, &network, &network.initial_parameters(3)).unwrap();
    let values = Random(4).f32s(2 * 8 * 8 * 3);
    let input = storage(device, bytemuck::cast_slice(&values));
    let output = storage(device, &[0; 40]);
    let forward = model.prepare_forward(&input, &output, 2).unwrap();
    let expected = model.forward(&values).unwrap();

    let slice = |budget: Duration| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let is_whole = forward.record_within(&mut encoder, budget);
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        is_whole
    };
    let calls = |budget: Duration| {
        // The outputs of the earlier pass must not be taken for those of this one.
        queue.write_buffer(&output, 0, &[0; 40]);
        let calls = 1 + (0..100).take_while(|_| !slice(budget)).count();
        assert_eq!(read::<f32>(device, queue, &output), expected);
        calls
    };
    assert!(!slice(Duration::ZERO));
    let ops = calls(Duration::from_secs(1));
    assert!(ops >= 6, "a call for each op that has not been measured, {ops}");
    assert_eq!(calls(Duration::from_secs(1000)), 1);
    assert_eq!(calls(Duration::from_nanos(1)), ops);

    assert!(!slice(Duration::from_nanos(1)) && !slice(Duration::from_nanos(1)));
    let mut dropped = device.create_command_encoder(&Default::default());
    assert!(!forward.record_within(&mut dropped, Duration::from_nanos(1)));
    drop(dropped);
    assert_eq!(calls(Duration::from_nanos(1)), ops);

    assert!(!slice(Duration::from_nanos(1)));
    let mut encoder = device.create_command_encoder(&Default::default());
    forward.record_forward(&mut encoder);
    queue.submit([encoder.finish()]);
    assert_eq!(calls(Duration::from_nanos(1)), ops);
}

#[test]
fn buffers_that_are_too_short_are_refused() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device.clone(), queue);
    let mut trainer = trainer(&gpu);
    let small = storage(&device, &[0; 64]);
    let large = storage(&device, &[0; 20 * 5 * 4]);
    let error = trainer.model().prepare_forward(&small, &large, 20).unwrap_err().to_string();
    assert!(
        error.starts_with("buffer of input for 20 rows: expected at least 1 row and 400 bytes")
            && error.ends_with("64 bytes"),
        "{error}"
    );
    let error = trainer.model().prepare_forward(&large, &small, 20).unwrap_err().to_string();
    assert!(error.starts_with("buffer of output for 20 rows: expected at least 1 row and 240 bytes"), "{error}");
    let error = trainer.model().prepare_forward(&large, &large, 0).unwrap_err().to_string();
    assert_eq!(error, "batch: expected at least 1 row, got 0");
    let error = trainer.prepare_buffers(&large, &small, 20).unwrap_err().to_string();
    assert!(error.starts_with("buffer of targets for 20 rows: expected at least 1 row and 80 bytes"), "{error}");
    let descriptor = wgpu::BufferDescriptor {
        label: None,
        size: 512,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    let no_storage = device.create_buffer(&descriptor);
    let error = trainer.model().prepare_forward(&no_storage, &large, 5).unwrap_err().to_string();
    assert_eq!(error, "buffer of input for 5 rows: expected the usage STORAGE, got BufferUsages(COPY_DST)");
    let error = trainer.prepare_buffers(&large, &no_storage, 20).unwrap_err().to_string();
    assert_eq!(error, "buffer of targets for 20 rows: expected the usage STORAGE, got BufferUsages(COPY_DST)");
    let mut on_cpu =
        Trainer::new(Device::Cpu, &network(), Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();
    let error = on_cpu.prepare(dataset()).unwrap_err().to_string();
    assert_eq!(error, "Trainer::prepare needs a GPU, but the device is Device::Cpu");
}

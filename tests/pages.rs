//! Tests what web pages need. A predictor repeats predictions of few rows, gives the numbers of `Model::predict`, and
//! creates nothing for a call. There is always a device. Kernels compile with a progress report.

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::future::Future;
use std::task::{Context, Poll, Waker};

use allocations::allocations;
use common::{Random, gpu};
use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Dataset, Device, Error, Fit, Forward, Gpu, Loss, Model, Network, Trainer, TrainerConfig, wgpu};

const INPUTS: usize = 5;
const OUTPUTS: usize = 3;
const ROWS: u32 = 4;

fn model(device: impl Into<Device>) -> Model {
    let network = Network::input(INPUTS as u32).dense(16, Relu).dense(OUTPUTS as u32, Identity).build().unwrap();
    let weights = Random(7).f32s(network.parameter_words() as usize);
    Model::new(device, &network, &weights).unwrap().for_loss(Loss::SoftmaxCrossEntropy)
}

/// One model on each device.
fn models() -> [Model; 2] {
    [model(gpu()), model(Device::Cpu)]
}

/// A predictor must give the same numbers as its model, for any number of rows up to its limit.
#[test]
fn a_predictor_gives_what_the_model_gives() {
    for model in models() {
        let mut predictor = model.predictor(ROWS).unwrap();
        assert_eq!(predictor.rows(), ROWS);
        // A smaller batch after a larger one must not show rows of the larger one.
        for rows in [4, 1, 3, 0, 2] {
            let features = Random(rows as u64 + 1).f32s(rows * INPUTS);
            let mut probabilities = vec![f32::NAN; rows * OUTPUTS];
            predictor.forward_into(&features, &mut probabilities).unwrap();
            assert_eq!(probabilities, model.predict_proba(&features).unwrap());
            assert_eq!(predictor.predict(&features).unwrap(), model.predict(&features).unwrap());
        }
    }
}

/// Drops futures at different moments, then destroys the device. Every later call must still end.
#[test]
fn a_predictor_goes_on_after_a_call_that_was_given_up() {
    let mut context = Context::from_waker(Waker::noop());
    let features = Random(5).f32s(ROWS as usize * INPUTS);
    for model in models() {
        let mut predictor = model.predictor(ROWS).unwrap();
        let expected = model.predict(&features).unwrap();
        for polls in 0..3 {
            {
                let mut given_up = std::pin::pin!(predictor.predict_async(&features));
                let _ = (0..polls).any(|_| given_up.as_mut().poll(&mut context).is_ready());
            }
            assert_eq!(predictor.predict(&features).unwrap(), expected, "given up after {polls}");
        }
    }
    let (device, queue) = common::own_device();
    let gpu = Gpu::from_parts(device.clone(), queue);
    let mut predictor = model(&gpu).predictor(ROWS).unwrap();
    for call in 0..3 {
        let mut asked = std::pin::pin!(predictor.predict_async(&features));
        let mut ended = asked.as_mut().poll(&mut context);
        device.destroy();
        for _ in 0..1000 {
            if ended.is_ready() {
                break;
            }
            let _ = device.poll(wgpu::PollType::Poll);
            std::thread::sleep(std::time::Duration::from_millis(1));
            ended = asked.as_mut().poll(&mut context);
        }
        assert!(matches!(ended, Poll::Ready(Err(Error::DeviceLost { .. }))), "call {call}: {ended:?}");
    }
}

/// A trainer and its model share weights. The predictor must use the current ones.
#[test]
fn a_predictor_sees_the_weights_of_the_moment() {
    for model in models() {
        let mut predictor = model.predictor(1).unwrap();
        let (row, mut before, mut after) = ([0.5; INPUTS], [0.0; OUTPUTS], [0.0; OUTPUTS]);
        predictor.forward_into(&row, &mut before).unwrap();
        let weights = Random(8).f32s(model.network().parameter_words() as usize);
        model.set_parameters(&weights).unwrap();
        predictor.forward_into(&row, &mut after).unwrap();
        assert_ne!(before, after);
        assert_eq!(after.as_slice(), model.predict_proba(&row).unwrap());
    }
}

/// Predicts one row as an app would without wgrad: its own buffers, one submission, one read.
struct Bare {
    device: wgpu::Device,
    queue: wgpu::Queue,
    up: wgpu::Buffer,
    down: wgpu::Buffer,
    ends: [wgpu::Buffer; 2],
    forward: Forward,
}

impl Bare {
    fn new(gpu: &Gpu, model: &Model) -> Self {
        let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
        let buffer = |usage, mapped_at_creation| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation })
        };
        use wgpu::BufferUsages as Usage;
        let up = buffer(Usage::MAP_WRITE | Usage::COPY_SRC, true);
        let down = buffer(Usage::MAP_READ | Usage::COPY_DST, false);
        let ends = [(); 2].map(|()| buffer(Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST, false));
        let forward = model.prepare_forward(&ends[0], &ends[1], 1).unwrap();
        Self { device, queue, up, down, ends, forward }
    }

    fn predict(&self, row: &[f32; INPUTS], outputs: &mut [f32; OUTPUTS]) {
        let bytes: &[u8] = bytemuck::cast_slice(row);
        self.up.get_mapped_range_mut(..).unwrap().slice(..bytes.len()).copy_from_slice(bytes);
        self.up.unmap();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.up, 0, &self.ends[0], 0, bytes.len() as u64);
        self.forward.record_forward(&mut encoder);
        encoder.copy_buffer_to_buffer(&self.ends[1], 0, &self.down, 0, size_of_val(outputs) as u64);
        self.queue.submit([encoder.finish()]);
        self.down.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        self.up.map_async(wgpu::MapMode::Write, .., |mapped| mapped.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let view = self.down.get_mapped_range(..size_of_val(outputs) as u64).unwrap();
        bytemuck::cast_slice_mut::<f32, u8>(outputs).copy_from_slice(&view);
        drop(view);
        self.down.unmap();
    }
}

/// A call must create no more than an app's own code would. Counters of live objects miss objects that are freed at
/// once. So the test counts host allocations, since wgpu allocates for every buffer, bind group and view.
#[test]
fn a_call_makes_nothing_that_an_apps_own_would_not() {
    let gpu = Gpu::request().unwrap_or_else(|e| panic!("{e}"));
    let network = Network::input(INPUTS as u32).dense(16, Relu).dense(OUTPUTS as u32, Identity).build().unwrap();
    let model = Model::new(&gpu, &network, &Random(7).f32s(network.parameter_words() as usize)).unwrap();
    let bare = Bare::new(&gpu, &model);
    let mut predictor = model.predictor(1).unwrap();
    let (row, mut own, mut given) = ([0.25; INPUTS], [0.0; OUTPUTS], [0.0; OUTPUTS]);
    let mut counted = [u64::MAX; 3];
    let traffic = gpu.traffic();
    // Takes the least of several runs, because wgpu's own lists grow now and then.
    for _ in 0..8 {
        let now = [
            allocations(|| bare.predict(&row, &mut own)),
            allocations(|| predictor.forward_into(&row, &mut given).unwrap()),
            allocations(|| drop(model.forward(&row).unwrap())),
        ];
        counted = std::array::from_fn(|i| counted[i].min(now[i]));
        assert_eq!(own, given);
    }
    let [own, of_predictor, of_model] = counted;
    // The predictor may allocate 4 more times than the app. Two mappings share data with their callbacks. The encoder
    // and the pass have labels. Error scopes of three wgpu calls add 4 each. Creating a buffer would add 4 for its
    // error scopes alone.
    assert!(of_predictor <= own + 4 + 3 * 4, "{of_predictor} allocations, an app's own {own}");
    assert!(of_model > own + 50, "this test can see what a prepared predictor spares: {of_model}, an app's own {own}");
    // Each call has one submission, one poll and one mapping for the read. The model's own calls have two
    // submissions.
    let after = gpu.traffic();
    assert_eq!((after.submits - traffic.submits, after.maps - traffic.maps), (8 + 16, 8 + 8));
}

/// A page may drop a prediction's future and predict again.
#[test]
fn a_call_whose_future_was_dropped_does_no_harm() {
    for model in models() {
        let mut predictor = model.predictor(2).unwrap();
        let rows = Random(3).f32s(2 * INPUTS);
        let mut left = [0.0; 2 * OUTPUTS];
        for _ in 0..3 {
            let mut future = Box::pin(predictor.forward_into_async(&rows, &mut left));
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let row = &rows[INPUTS..];
        let mut probabilities = [0.0; OUTPUTS];
        predictor.forward_into(row, &mut probabilities).unwrap();
        assert_eq!(probabilities.as_slice(), model.predict_proba(row).unwrap());
    }
}

/// Partial rows, too many rows and output slices of a wrong length must return an error.
#[test]
fn what_does_not_fit_a_predictor_is_refused() {
    for model in models() {
        let mut predictor = model.predictor(2).unwrap();
        let mut room = [0.0; 2 * OUTPUTS];
        let mut refused = |features: usize, room: &mut [f32], words: &str| {
            let error = predictor.forward_into(&vec![0.0; features], room).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(INPUTS + 1, &mut room, "whole rows of 5 numbers, at most 2 rows, got 6 numbers");
        refused(3 * INPUTS, &mut room, "whole rows of 5 numbers, at most 2 rows, got 15 numbers");
        refused(INPUTS, &mut room, "3 numbers (1 rows of 3), got 6 numbers");
        assert!(matches!(predictor.predict(&[0.0; 3 * INPUTS]), Err(Error::Shape { .. })));
        // The predictor must still work after the error.
        predictor.forward_into(&[0.0; INPUTS], &mut room[..OUTPUTS]).unwrap();
        assert!(matches!(model.predictor(0), Err(Error::Shape { .. })));
    }
}

/// `Gpu::request_or_cpu` must return the GPU if there is one, and no reason.
#[test]
fn there_is_a_device_in_any_case_and_a_reason() {
    let (device, why) = Gpu::request_or_cpu();
    // The test machine always has a GPU, real or software: see `common::gpu`.
    assert!(matches!(device, Device::Gpu(_)) && why.is_none(), "{why:?}");
}

/// Kernels compile in advance, with a progress report. The training result must be the same.
#[test]
fn a_trainer_made_with_progress_is_as_any_other() {
    let network = Network::input(INPUTS as u32).dense(16, Relu).dense(OUTPUTS as u32, Identity).build().unwrap();
    let rows = 12;
    let labels = (0..rows as u32).map(|row| row % OUTPUTS as u32).collect();
    let data = Dataset::from_f32(Random(5).f32s(rows * INPUTS), INPUTS, labels, OUTPUTS as u32).unwrap();
    for device in [Device::from(Gpu::request().unwrap_or_else(|e| panic!("{e}"))), Device::Cpu] {
        let config = TrainerConfig { batch: 5, ..TrainerConfig::default() };
        let loss = Loss::SoftmaxCrossEntropy;
        let mut told = Vec::new();
        let progress = |done, of| told.push((done, of));
        let made = Trainer::new_async(device.clone(), &network, loss, Adam::default(), config.clone(), progress);
        let mut made = device_block_on(&device, made);
        match &device {
            Device::Gpu(gpu) => {
                let all = told[0].1;
                assert!(all > 3 && told.last() == Some(&(all, all)), "{told:?}");
                assert!(told.iter().all(|(done, of)| done <= of) && told[0].0 == 0, "{told:?}");
                assert!(gpu.kernels_compiled() >= all);
                let compiled = gpu.kernels_compiled();
                let mut other = Trainer::new(device.clone(), &network, loss, Adam::default(), config.clone()).unwrap();
                assert_eq!(gpu.kernels_compiled(), compiled, "all were there");
                device_block_on(&device, other.warm_up_async(|_, _| ()));
                let compiled = gpu.kernels_compiled();
                other.evaluate(&data).unwrap();
                assert_eq!(gpu.kernels_compiled(), compiled, "those of evaluation too");
            }
            Device::Cpu => assert!(told.is_empty()),
        }
        let mut other = Trainer::new(device.clone(), &network, loss, Adam::default(), config).unwrap();
        let fit = Fit { epochs: 2, ..Fit::default() };
        assert_eq!(made.fit(&data, fit, |_| ()).unwrap().epochs.len(), 2);
        other.fit(&data, fit, |_| ()).unwrap();
        assert_eq!(made.model().parameters().unwrap(), other.model().parameters().unwrap());
    }
}

/// Blocks on a future as in an app that awaits: other code polls the device.
fn device_block_on<T>(device: &Device, future: impl Future<Output = wgrad::Result<T>>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(made) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return made.unwrap();
        }
        if let Device::Gpu(gpu) = device {
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
        }
    }
}

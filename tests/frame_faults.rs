//! Tests frames that fail at any moment: wgpu rejects the app's submission, or the device is destroyed. Such a frame
//! has no effect outside itself. The app's error handler is not called, no false result is reported, and no weight
//! changes.

mod common;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use common::{Random, own_device};
use wgrad::Activation::Identity;
use wgrad::{
    Adagrad, Adam, AdamW, Chain, ChainRows, Dataset, Error, Fit, Forward, Frame, Gpu, Lion, Loss, NamedRows, Network,
    Optimizer, RmsProp, Sgd, Snapshots, TextureOutput, TextureSamples, Trainer, TrainerConfig, Training, wgpu,
};

const ROWS: u32 = 8;
const INPUTS: u32 = 2;

/// Runs a test in its own thread, and fails if it takes longer than a minute.
fn watched(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        done.send(()).ok();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(60)) {
        panic!("it hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// An app whose error handler stores the errors it receives. Any such error fails the test.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
    errors: Arc<Mutex<Vec<String>>>,
}

impl App {
    fn open() -> Self {
        let (device, queue) = own_device();
        Self::on(device, queue)
    }

    /// Two devices of one adapter.
    fn two() -> [Self; 2] {
        let adapter = pollster::block_on(async {
            let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
            let power_preference = wgpu::PowerPreference::HighPerformance;
            let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
            instance.request_adapter(&options).await.expect("an adapter: see scripts/setup.sh")
        });
        [(); 2].map(|()| {
            let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a device");
            Self::on(device, queue)
        })
    }

    fn on(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let errors: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| heard.lock().unwrap().push(error.to_string())));
        let gpu = Gpu::from_parts(device.clone(), queue.clone());
        Self { device, queue, gpu, errors }
    }

    #[track_caller]
    fn assert_quiet(&self, when: &str) {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(errors.is_empty(), "{when}: the app's error handler was called with {errors:?}");
    }

    fn storage(&self, contents: &[f32]) -> wgpu::Buffer {
        use wgpu::util::DeviceExt;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let contents = bytemuck::cast_slice(contents);
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    }

    fn texture(&self) -> wgpu::Texture {
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: 4, height: 2, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::STORAGE_BINDING,
            view_formats: &[],
        })
    }

    /// Records, submits and awaits a frame. A rejected frame has an error of the app in its encoder, which the app
    /// catches.
    fn frame<R>(&self, refused: bool, record: impl FnOnce(&mut wgpu::CommandEncoder) -> R) -> R {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let recorded = record(&mut encoder);
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        if refused {
            let buffer = self.storage(&[0.0; 4]);
            encoder.clear_buffer(&buffer, 0, None);
            buffer.destroy();
        }
        self.queue.submit([encoder.finish()]);
        assert_eq!(pollster::block_on(scope.pop()).is_some(), refused, "whether wgpu refused the submission");
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        recorded
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let (size, usage) = (buffer.size(), wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
    }

    fn trainer(&self, optimizer: impl Into<Optimizer>, accumulate: u32) -> Trainer {
        let network = Network::input(INPUTS).dense(1, Identity).build().unwrap();
        let config = TrainerConfig { batch: ROWS, accumulate, shuffle: false, ..TrainerConfig::default() };
        Trainer::new(&self.gpu, &network, Loss::MeanSquaredError, optimizer, config).unwrap()
    }
}

/// An object of every type that records, prepared over an app's buffers.
struct Prepared {
    trainer: Trainer,
    x: wgpu::Buffer,
    y: wgpu::Buffer,
    dy: wgpu::Buffer,
    training: Training,
    forward: Forward,
    chain: Chain,
    snapshots: Snapshots,
    samples: TextureSamples,
    output: TextureOutput,
    texture: wgpu::Texture,
    told: Arc<Mutex<Vec<Frame>>>,
}

impl Prepared {
    fn new(app: &App) -> Self {
        let mut random = Random(5);
        let [x, t, y, dy] = [2, 1, 1, 1].map(|columns| app.storage(&random.f32s((ROWS * columns) as usize)));
        let (mut trainer, texture) = (app.trainer(Adam::default(), 1), app.texture());
        let training = trainer.prepare_buffers(&x, &t, ROWS).unwrap();
        let told: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let tell = told.clone();
        training.on_frame(move |frame| tell.lock().unwrap().push(frame));
        let forward = trainer.model().prepare_forward(&x, &y, ROWS).unwrap();
        let ends =
            ChainRows { input: (&x).into(), output: (&y).into(), output_gradient: (&dy).into(), input_gradient: None };
        let chain = trainer.prepare_chain(ends, ROWS).unwrap();
        let snapshots = trainer.prepare_snapshots().unwrap();
        let samples = TextureSamples::new(&app.gpu, &texture, 1).unwrap();
        let output = TextureOutput::new(&app.gpu, &y, 1, &texture).unwrap();
        Self { trainer, x, y, dy, training, forward, chain, snapshots, samples, output, texture, told }
    }

    /// Records the object with this number.
    fn record(&self, kind: usize, encoder: &mut wgpu::CommandEncoder) {
        match kind {
            0 => self.training.record_steps(encoder, 2),
            1 => drop(self.training.record_within(encoder, Duration::from_millis(2))),
            2 => self.training.record_metrics(encoder),
            3 => self.training.record_clear_metrics(encoder),
            4 => self.forward.record_forward(encoder),
            5 => {
                self.chain.record_forward(encoder);
                self.chain.record_backward(encoder);
                self.chain.record_update(encoder);
            }
            6 => drop(self.snapshots.record_snapshot(encoder)),
            7 => self.samples.record(encoder),
            _ => self.output.record(encoder),
        }
    }

    const KINDS: usize = 9;

    /// Checks that every call that prepares returns `DeviceLost` on a lost device.
    #[track_caller]
    fn all_say_lost(&mut self, app: &App) {
        let ends = ChainRows {
            input: (&self.x).into(),
            output: (&self.y).into(),
            output_gradient: (&self.dy).into(),
            input_gradient: None,
        };
        let model = self.trainer.model();
        let weights = vec![0.0; model.network().parameter_words() as usize];
        let results = [
            self.trainer.prepare_buffers(&self.x, &self.y, ROWS).map(drop),
            model.prepare_forward(&self.x, &self.y, ROWS).map(drop),
            self.trainer.prepare_chain(ends, ROWS).map(drop),
            self.trainer.prepare_snapshots().map(drop),
            TextureSamples::new(&app.gpu, &self.texture, 1).map(drop),
            TextureOutput::new(&app.gpu, &self.y, 1, &self.texture).map(drop),
            model.set_parameters(&weights),
            self.trainer.set_rate_scale(0.5),
            self.trainer.warm_up(),
            self.trainer.snapshot(),
            model.forward(&[0.0; 2]).map(drop),
            model.parameters().map(drop),
        ];
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Err(Error::DeviceLost { reason }) => {
                    assert!(!reason.is_empty() && reason.len() < 80 && !reason.contains('\n'), "call {i}: {reason:?}");
                }
                Err(other) => panic!("call {i}: {other}"),
                Ok(()) => panic!("call {i} went well"),
            }
        }
        self.trainer.reset();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Prepared,
    Recorded,
    Finished,
    Submitted,
    Polled,
}

/// A device destroyed at any moment does not call the app's error handler. Later calls return `DeviceLost`.
#[test]
fn a_device_destroyed_at_any_moment_is_no_news_to_the_apps_error_handler() {
    watched(|| {
        use Moment::*;
        for moment in [Prepared, Recorded, Finished, Submitted, Polled] {
            let app = App::open();
            let mut all = self::Prepared::new(&app);
            let dies = |now: Moment| {
                if now == moment {
                    app.device.destroy();
                }
            };
            dies(Prepared);
            let mut encoder = app.device.create_command_encoder(&Default::default());
            (0..self::Prepared::KINDS).for_each(|kind| all.record(kind, &mut encoder));
            dies(Recorded);
            let commands = encoder.finish();
            dies(Finished);
            app.queue.submit([commands]);
            dies(Submitted);
            let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
            app.assert_quiet(&format!("{moment:?}"));
            dies(Polled);
            let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
            // A frame that never ran has no result.
            let told = all.told.lock().unwrap().clone();
            if moment < Submitted {
                assert!(told.is_empty() && all.training.last_frame().is_none(), "{moment:?}: {told:?}");
                assert_eq!(all.trainer.steps_at_snapshot(), None, "{moment:?}");
            }
            if moment == Polled {
                assert_eq!(told.len(), 1);
                assert_eq!(all.trainer.steps_at_snapshot(), Some(2 + 1 + 1));
            }
            // Another frame is recorded and dropped, or submitted.
            for submitted in [false, true] {
                let mut encoder = app.device.create_command_encoder(&Default::default());
                (0..self::Prepared::KINDS).for_each(|kind| all.record(kind, &mut encoder));
                if submitted {
                    app.queue.submit([encoder.finish()]);
                }
                let _ = app.device.poll(wgpu::PollType::Poll);
            }
            assert_eq!(all.told.lock().unwrap().len(), told.len(), "{moment:?}");
            all.all_say_lost(&app);
            drop(all);
            let _ = app.device.poll(wgpu::PollType::Poll);
            app.assert_quiet(&format!("{moment:?}, and everything after it"));
        }
    });
}

/// A rejected submission changes no weight, reports nothing and makes no snapshot. The next frame works.
#[test]
fn a_refused_submission_changes_nothing_and_the_next_frame_goes_well() {
    watched(|| {
        let app = App::open();
        let all = Prepared::new(&app);
        let weights = || app.read(all.training.parameter_buffer());
        let start = weights();
        for kind in 0..Prepared::KINDS {
            for _ in 0..4 {
                app.frame(true, |encoder| all.record(kind, encoder));
            }
        }
        assert_eq!(weights(), start);
        assert!(all.told.lock().unwrap().is_empty() && all.training.last_frame().is_none());
        assert_eq!(all.trainer.steps_at_snapshot(), None, "a snapshot of a refused submission is none");
        assert_eq!(all.chain.out_of_order(), 0);
        // A snapshot arrives. The rejected snapshots after it do not replace it.
        app.frame(false, |encoder| {
            all.training.record_steps(encoder, 3);
            all.record(6, encoder);
        });
        assert_eq!(all.trainer.steps_at_snapshot(), Some(3));
        for _ in 0..3 {
            app.frame(false, |encoder| all.training.record_steps(encoder, 1));
            app.frame(true, |encoder| all.record(6, encoder));
            assert_eq!(all.trainer.steps_at_snapshot(), Some(3), "an older copy was taken for a new one");
        }
        app.frame(false, |encoder| all.record(6, encoder));
        assert_eq!(all.trainer.steps_at_snapshot(), Some(6));
        for kind in 0..Prepared::KINDS {
            app.frame(false, |encoder| all.record(kind, encoder));
        }
        assert_ne!(weights(), start);
        app.assert_quiet("refused submissions");
    });
}

/// Rejected frames are not measured. They do not make the next good frame longer.
#[test]
fn a_budget_learns_nothing_from_refused_frames() {
    watched(|| {
        let app = App::open();
        let all = Prepared::new(&app);
        let within = |refused, budget| app.frame(refused, |encoder| all.training.record_within(encoder, budget));
        let budget = Duration::from_secs(20);
        // Without a budget no step runs, also in the first frames.
        assert_eq!([(); 3].map(|()| within(false, Duration::ZERO)), [0; 3]);
        assert_eq!([(); 14].map(|()| within(true, budget)), [1; 14]);
        assert!(all.training.last_frame().is_none());
        assert_eq!([(); 4].map(|()| within(false, budget)), [1, 1, 2, 4]);
        let last = all.training.last_frame().unwrap();
        assert_eq!((last.call, last.steps, last.train.rows), (21, 4, 4 * ROWS));
        // The estimate is warm. The older result in a slot is not used for a rejected call.
        assert_eq!([(); 14].map(|()| within(true, budget)), [8; 14]);
        assert_eq!(all.training.last_frame(), Some(last));
        assert_eq!(within(false, budget), 8);
        assert_eq!(within(false, Duration::ZERO), 0);
        let told = all.told.lock().unwrap();
        let calls: Vec<(u64, u32)> = told.iter().map(|frame| (frame.call, frame.steps)).collect();
        assert_eq!(calls, [(18, 1), (19, 1), (20, 2), (21, 4), (36, 8)]);
        assert!(told.iter().all(|frame| frame.train.rows == frame.steps * ROWS && frame.train.loss > 0.0));
        assert_eq!(all.training.last_frame(), told.last().copied());
        app.assert_quiet("refused frames");
    });
}

/// If a submission is rejected, all calls in all its encoders are dropped.
#[test]
fn every_call_of_a_refused_submission_is_dropped() {
    watched(|| {
        let app = App::open();
        let all = Prepared::new(&app);
        let budget = Duration::from_millis(1);
        app.frame(false, |encoder| [(); 3].map(|()| all.training.record_within(encoder, budget)));
        let told = all.told.lock().unwrap().len();
        assert_eq!(told, 3);
        let mut first = app.device.create_command_encoder(&Default::default());
        all.training.record_within(&mut first, Duration::from_secs(1));
        let first = first.finish();
        let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = app.storage(&[0.0; 4]);
        let mut second = app.device.create_command_encoder(&Default::default());
        second.clear_buffer(&buffer, 0, None);
        all.training.record_within(&mut second, Duration::from_secs(1));
        buffer.destroy();
        app.queue.submit([first, second.finish()]);
        assert!(pollster::block_on(scope.pop()).is_some());
        app.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        assert_eq!(all.told.lock().unwrap().len(), told);
        app.assert_quiet("two encoders");
    });
}

/// A chain over an app's buffers. Its passes are recorded by letter: f forward, b backward, u update.
struct Batch<'a> {
    app: &'a App,
    trainer: Trainer,
    chain: Chain,
    x: wgpu::Buffer,
    dy: wgpu::Buffer,
}

impl<'a> Batch<'a> {
    fn new(app: &'a App, optimizer: Optimizer, accumulate: u32) -> Self {
        let mut trainer = app.trainer(optimizer, accumulate);
        let [x, y, dy] = [2, 1, 1].map(|columns| app.storage(&vec![0.0; (ROWS * columns) as usize]));
        let ends =
            ChainRows { input: (&x).into(), output: (&y).into(), output_gradient: (&dy).into(), input_gradient: None };
        let chain = trainer.prepare_chain(ends, ROWS).unwrap();
        Self { app, trainer, chain, x, dy }
    }

    /// Writes the inputs and output gradients of a batch.
    fn set(&self, batch: u64) {
        let mut random = Random(batch * 2 + 1);
        self.app.queue.write_buffer(&self.x, 0, bytemuck::cast_slice(&random.f32s((ROWS * 2) as usize)));
        self.app.queue.write_buffer(&self.dy, 0, bytemuck::cast_slice(&random.f32s(ROWS as usize)));
    }

    /// Runs frames, which are separated by spaces. Frames in upper case are rejected.
    fn run(&self, frames: &str) -> &Self {
        for frame in frames.split(' ') {
            let refused = frame.to_lowercase() != frame;
            self.app.frame(refused, |encoder| {
                for pass in frame.to_lowercase().chars() {
                    match pass {
                        'f' => self.chain.record_forward(encoder),
                        'b' => self.chain.record_backward(encoder),
                        _ => self.chain.record_update(encoder),
                    }
                }
            });
        }
        self
    }

    fn weights(&self) -> Vec<f32> {
        self.app.read(self.chain.parameter_buffer())
    }
}

fn optimizers() -> Vec<Optimizer> {
    vec![
        Sgd { momentum: 0.9, weight_decay: 0.1, ..Sgd::default() }.into(),
        RmsProp { momentum: 0.5, ..RmsProp::default() }.into(),
        Adagrad { initial_accumulator: 0.1, ..Adagrad::default() }.into(),
        Adam::default().into(),
        AdamW::default().into(),
        Lion::default().into(),
    ]
}

/// An update needs the forward and the backward pass of its batch. It changes nothing if a pass is out of order, or if
/// an earlier pass never ran.
#[test]
fn a_chains_update_is_made_only_of_a_batch_that_went_forward_and_back() {
    watched(|| {
        let app = App::open();
        for (optimizer, accumulate) in optimizers().into_iter().flat_map(|optimizer| [1, 2].map(|n| (optimizer, n))) {
            let what = format!("{optimizer:?}, updates of {accumulate}");
            let (clean, faulty) = (Batch::new(&app, optimizer, accumulate), Batch::new(&app, optimizer, accumulate));
            let start = faulty.weights();
            faulty.set(0);
            // First the faults that the order of the calls shows, then those that only the GPU can detect.
            assert_eq!(faulty.run("u b bu fu f u").weights(), start, "{what}");
            assert_eq!(faulty.chain.out_of_order(), 6, "{what}");
            assert_eq!(faulty.run("F bu f B u F B u FB u FBU").weights(), start, "{what}");
            // Two updates. More faults come before the second one.
            for batch in 0..2 * u64::from(accumulate) {
                clean.set(batch);
                faulty.set(batch);
                let before = faulty.weights();
                let due = batch % u64::from(accumulate) == u64::from(accumulate) - 1;
                clean.run("fbu");
                // In the first `run` the backward pass of the batch does not run, so the update changes nothing.
                // In the second `run` each pass of the batch runs once.
                faulty.run("F f B f fB u");
                assert_eq!(faulty.weights(), before, "{what}, batch {batch}");
                faulty.run("f bb u u F bu");
                let now = faulty.weights();
                assert_eq!(now, clean.weights(), "{what}, batch {batch}");
                assert_eq!(now != before, due, "{what}, batch {batch}");
                assert!(now.iter().all(|w| w.is_finite()), "{what}, batch {batch}");
            }
        }
        app.assert_quiet("chains");
    });
}

/// A rejected update is not counted. The next update has its number and its bias corrections.
#[test]
fn an_update_that_was_refused_has_no_number() {
    watched(|| {
        let app = App::open();
        for optimizer in optimizers() {
            let (clean, faulty) = (Batch::new(&app, optimizer, 1), Batch::new(&app, optimizer, 1));
            faulty.set(7);
            faulty.run("fb U fbU fb");
            for batch in 0..2 {
                clean.set(batch);
                faulty.set(batch);
                clean.run("fbu");
                faulty.run("fbu");
            }
            assert_eq!(faulty.weights(), clean.weights(), "{optimizer:?}");
        }
    });
}

/// Another chain or a training step in between discards the unfinished batch.
#[test]
fn a_chain_is_interrupted_by_other_chains_and_by_steps() {
    watched(|| {
        let app = App::open();
        let Batch { mut trainer, chain, x, dy, .. } = Batch::new(&app, Sgd::default().into(), 1);
        let y = app.storage(&[0.0; ROWS as usize]);
        let ends =
            ChainRows { input: (&x).into(), output: (&y).into(), output_gradient: (&dy).into(), input_gradient: None };
        let other = trainer.prepare_chain(ends, ROWS).unwrap();
        app.frame(false, |encoder| {
            chain.record_forward(encoder);
            other.record_forward(encoder);
            chain.record_backward(encoder);
            chain.record_update(encoder);
            other.record_backward(encoder);
            other.record_update(encoder);
        });
        assert_eq!((chain.out_of_order(), other.out_of_order()), (2, 2));
        let training = trainer.prepare_buffers(&x, &dy, ROWS).unwrap();
        app.frame(false, |encoder| {
            chain.record_forward(encoder);
            training.record_steps(encoder, 1);
            chain.record_backward(encoder);
            chain.record_forward(encoder);
            assert_eq!(training.record_within(encoder, Duration::from_millis(1)), 1);
            chain.record_backward(encoder);
            chain.record_update(encoder);
        });
        assert_eq!(chain.out_of_order(), 5);
        app.assert_quiet("two chains");
    });
}

/// A queue of another device is an error, and both devices still work.
#[test]
fn a_queue_of_another_device_is_refused() {
    watched(|| {
        let [app, other] = App::two();
        let mixed = Gpu::from_parts(app.device.clone(), other.queue.clone());
        let network = Network::input(INPUTS).dense(1, Identity).build().unwrap();
        let make = || {
            Trainer::new(&mixed, &network, Loss::MeanSquaredError, Adam::default(), TrainerConfig::default()).map(drop)
        };
        let start = std::time::Instant::now();
        for result in [make(), make(), wgrad::Model::new(&mixed, &network, &[0.0; 128]).map(drop)] {
            let error = result.unwrap_err().to_string();
            assert!(
                error.starts_with("GPU error in the queue given to Gpu::from_parts: ")
                    && error.contains("another device")
            );
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        for app in [&app, &other] {
            app.assert_quiet("another's queue");
            // Both devices still work.
            assert!(app.trainer(Adam::default(), 1).model().forward(&[0.0; 4]).is_ok());
        }
    });
}

/// While the device is busy, the wrong queue is not detected at once. A call that waits for a result returns the error,
/// also in its async form.
#[test]
fn a_queue_of_another_device_is_refused_while_the_device_is_busy() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    watched(|| {
        let [app, other] = App::two();
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: None, size: 16 << 20, usage, mapped_at_creation: false };
        let [from, to] = [(); 2].map(|()| app.device.create_buffer(&descriptor));
        let network = Network::input(INPUTS).dense(1, Identity).build().unwrap();
        let data = data();
        for asynchronous in [false, true] {
            let mut encoder = app.device.create_command_encoder(&Default::default());
            (0..100).for_each(|_| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, from.size()));
            app.queue.submit([encoder.finish()]);
            let mixed = Gpu::from_parts(app.device.clone(), other.queue.clone());
            let ended =
                Trainer::new(&mixed, &network, Loss::MeanSquaredError, Adam::default(), TrainerConfig::default())
                    .and_then(|mut trainer| {
                        if !asynchronous {
                            return trainer.fit(&data, Fit::default(), |_| {}).map(drop);
                        }
                        let model = trainer.model();
                        let mut asked = std::pin::pin!(model.forward_async(&[0.0; 2]));
                        let mut context = Context::from_waker(Waker::noop());
                        loop {
                            if let Poll::Ready(ended) = asked.as_mut().poll(&mut context) {
                                return ended.map(drop);
                            }
                            app.device.poll(wgpu::PollType::Poll).unwrap();
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    });
            let error = ended.unwrap_err().to_string();
            assert!(error.starts_with("GPU error in the queue given to Gpu::from_parts: "), "{error}");
        }
        app.assert_quiet("another's queue, a busy device");
    });
}

/// A buffer or texture that is destroyed or of another device is an error that names the argument.
#[test]
fn what_a_kernel_cannot_bind_is_named_by_its_argument() {
    watched(|| {
        let [app, other] = App::two();
        let mut trainer = app.trainer(Adam::default(), 1);
        let model = trainer.model();
        let (good, dead, foreign) = (app.storage(&[0.0; 16]), app.storage(&[0.0; 16]), other.storage(&[0.0; 16]));
        dead.destroy();
        let dead_foreign = other.storage(&[0.0; 16]);
        dead_foreign.destroy();
        for (bad, fault) in [(&dead, "destroyed"), (&foreign, "another device"), (&dead_foreign, "another device")] {
            let is = |error: Error, argument: &str| {
                let text = error.to_string();
                assert!(matches!(error, Error::Shape { .. }), "{text}");
                assert!(text.starts_with(argument) && text.contains("this Gpu's device"), "{text}");
                assert!(text.ends_with(&format!("got one of {fault}")) || text.contains(fault), "{text}");
            };
            is(trainer.prepare_buffers(bad, &good, ROWS).unwrap_err(), "buffer of features");
            is(trainer.prepare_buffers(&good, bad, ROWS).unwrap_err(), "buffer of targets");
            is(model.prepare_forward(bad, &good, ROWS).unwrap_err(), "buffer of input");
            is(model.prepare_forward(&good, bad, ROWS).unwrap_err(), "buffer of output");
            let names = ["input", "output", "output_gradient", "input_gradient"];
            for (i, name) in names.into_iter().enumerate() {
                let free = [0, 1, 2, 3].map(|_| app.storage(&[0.0; 16]));
                let rows = |j: usize| NamedRows::from(if i == j { bad } else { &free[j] });
                let (input, output, output_gradient, input_gradient) = (rows(0), rows(1), rows(2), Some(rows(3)));
                let ends = ChainRows { input, output, output_gradient, input_gradient };
                is(trainer.prepare_chain(ends, ROWS).unwrap_err(), &format!("buffer of {name} "));
            }
            is(TextureOutput::new(&app.gpu, bad, 1, &app.texture()).unwrap_err(), "buffer of texels");
        }
        let [dead, foreign, dead_foreign] = [app.texture(), other.texture(), other.texture()];
        dead.destroy();
        dead_foreign.destroy();
        for (bad, fault) in [(&dead, "destroyed"), (&foreign, "another device"), (&dead_foreign, "another device")] {
            let samples = TextureSamples::new(&app.gpu, bad, 1).unwrap_err().to_string();
            assert!(samples.starts_with("texture to take samples from: ") && samples.contains(fault), "{samples}");
            let output = TextureOutput::new(&app.gpu, &good, 1, bad).unwrap_err().to_string();
            assert!(output.starts_with("texture to write to: ") && output.contains(fault), "{output}");
        }
        for app in [&app, &other] {
            app.assert_quiet("bad arguments");
        }
    });
}

/// Weights that are not finite do not replace a snapshot of finite weights.
#[test]
fn a_snapshot_holds_no_weight_that_is_not_finite() {
    watched(|| {
        let app = App::open();
        let mut all = Prepared::new(&app);
        let weights = all.training.parameter_buffer().clone();
        let ruin = |w: f32| app.queue.write_buffer(&weights, 0, &w.to_ne_bytes());
        ruin(f32::NAN);
        app.frame(false, |encoder| all.record(6, encoder));
        assert_eq!(all.trainer.steps_at_snapshot(), None);
        ruin(0.5);
        app.frame(false, |encoder| {
            all.training.record_steps(encoder, 1);
            all.record(6, encoder);
        });
        assert_eq!(all.trainer.steps_at_snapshot(), Some(1));
        for w in [f32::INFINITY, f32::NAN] {
            ruin(w);
            app.frame(false, |encoder| {
                all.training.record_steps(encoder, 1);
                all.record(6, encoder);
            });
            assert_eq!(all.trainer.steps_at_snapshot(), Some(1));
            let error = all.trainer.snapshot().unwrap_err().to_string();
            assert!(error.starts_with("number 0 of dense_1.weight: "), "{error}");
            assert_eq!(all.trainer.steps_at_snapshot(), Some(1));
        }
        app.assert_quiet("snapshots");
    });
}

/// A buffer or grid above a device limit is an error that names the argument and the limit.
#[test]
fn limits_are_told_as_the_device_has_them() {
    watched(|| {
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: 16 << 10,
            max_compute_workgroups_per_dimension: 2,
            ..wgpu::Limits::default()
        };
        let (device, queue) = common::own_device_with(limits);
        let gpu = Gpu::from_parts(device, queue);
        let network = Network::input(1).dense(1, Identity).build().unwrap();
        let model = wgrad::Model::new(&gpu, &network, &[0.0; 128]).unwrap();
        let usage = wgpu::BufferUsages::STORAGE;
        let descriptor = wgpu::BufferDescriptor { label: None, size: 1 << 20, usage, mapped_at_creation: false };
        let [x, y] = [(); 2].map(|()| gpu.device().create_buffer(&descriptor));
        let error = model.prepare_forward(&x, &y, 1 << 16).unwrap_err().to_string();
        assert!(
            error.starts_with("GPU buffer for input for 65536 rows (max_storage_buffer_binding_size): "),
            "{error}"
        );
        let error = model.prepare_forward(&x, &y, 1 << 11).unwrap_err().to_string();
        assert!(error.contains("two dimensions of at most 2 (max_compute_workgroups_per_dimension)"), "{error}");
    });
}

/// If an app destroys a buffer of wgrad, each call that uses the buffer returns an error.
#[test]
fn a_buffer_of_wgrads_that_the_app_destroyed_is_an_error_of_the_call() {
    watched(|| {
        let app = App::open();
        let mut all = Prepared::new(&app);
        let data = data();
        all.trainer.fit(&data, Fit::default(), |_| {}).unwrap();
        let mut predictor = all.trainer.model().predictor(4).unwrap();
        all.trainer.model().parameter_buffer().unwrap().destroy();
        let model = all.trainer.model();
        let results = [
            all.trainer.fit(&data, Fit::default(), |_| {}).map(drop),
            all.trainer.evaluate(&data).map(drop),
            all.trainer.snapshot(),
            all.trainer.warm_up(),
            model.forward(&[0.0; 2]).map(drop),
            model.parameters().map(drop),
            model.set_parameters(&[0.0; 128]),
            predictor.predict(&[0.0; 2]).map(drop),
            predictor.predict(&[0.0; 2]).map(drop),
            model.prepare_forward(&all.x, &all.y, ROWS).map(drop),
            all.trainer.prepare_buffers(&all.x, &all.y, ROWS).map(drop),
        ];
        for (i, result) in results.into_iter().enumerate() {
            // A warm-up does not use this buffer. `prepare_buffers` prepares again without it.
            let error = match result {
                Err(error) => error.to_string(),
                Ok(()) if matches!(i, 3 | 10) => continue,
                Ok(()) => panic!("call {i} went well"),
            };
            assert!(error.contains("has been destroyed"), "call {i}: {error}");
        }
        all.trainer.reset();
        app.assert_quiet("a destroyed buffer of wgrad's");
    });
}

fn data() -> Dataset {
    let mut random = Random(3);
    Dataset::from_f32_targets(random.f32s(128), INPUTS as usize, random.f32s(64), 1).unwrap()
}

/// If the device is lost while a call waits, the call ends with an error.
#[test]
fn a_device_destroyed_under_a_call_ends_it() {
    watched(|| {
        let data = data();
        for steps in [0, 3, 8] {
            let app = App::open();
            let mut trainer = app.trainer(Adam::default(), 1);
            let mut told = 0;
            let fit = Fit { epochs: 3, every: Some(1), ..Fit::default() };
            let ended = trainer.fit(&data, fit, |_| {
                if told == steps {
                    app.device.destroy();
                }
                told += 1;
            });
            assert!(matches!(ended, Err(Error::DeviceLost { .. })), "after {steps}: {ended:?}");
            let model = trainer.model();
            let results = [
                trainer.evaluate(&data).map(drop),
                trainer.fit(&data, Fit::default(), |_| {}).map(drop),
                trainer.prepare(&data).map(drop),
                model.predict(&[0.0; 2]).map(drop),
                model.predictor(1).map(drop),
                trainer.snapshot(),
            ];
            for (i, result) in results.into_iter().enumerate() {
                assert!(matches!(result, Err(Error::DeviceLost { .. })), "call {i}: {result:?}");
            }
            app.assert_quiet("a device that died under fit");
        }
        let app = App::open();
        let mut predictor = app.trainer(Adam::default(), 1).model().predictor(2).unwrap();
        predictor.predict(&[0.0; 2]).unwrap();
        app.device.destroy();
        for _ in 0..2 {
            let result = predictor.predict(&[0.0; 2]);
            assert!(matches!(result, Err(Error::DeviceLost { .. })), "{result:?}");
        }
        app.assert_quiet("a predictor of a dead device");
    });
}

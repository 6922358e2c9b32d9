//! Data-parallel training: several ranks end with the same bits as one process that has the same slices. Here the
//! ranks are threads, each with its own device of one adapter. `mpi/` tests it with processes.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::Random;
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::*;

/// Divisible by 1, 2, 3 and 4 ranks.
const SLICES: u32 = 12;
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone)]
struct Job {
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    config: TrainerConfig,
    data: Dataset,
    validation: Option<Dataset>,
    epochs: u32,
    early_stopping: Option<EarlyStopping>,
}

/// What a training leaves: the weights, and the history without its times.
#[derive(Debug, PartialEq)]
struct End {
    weights: Vec<u32>,
    epochs: Vec<Epoch>,
    evaluation: Evaluation,
}

impl Job {
    fn fit<'a>(&'a self, ranks: Option<&'a dyn Ranks>) -> Fit<'a> {
        let Self { epochs, early_stopping, .. } = *self;
        Fit { epochs, early_stopping, ranks, validation: self.validation.as_ref(), ..Fit::default() }
    }

    fn trainer(&self, device: &Device) -> Result<Trainer> {
        Trainer::new(device, &self.network, self.loss, self.optimizer, self.config.clone())
    }

    fn run(&self, device: &Device, ranks: Option<&dyn Ranks>) -> Result<End> {
        let mut trainer = self.trainer(device)?;
        trainer.fit(&self.data, self.fit(ranks), |_| {})?;
        end(&mut trainer, &self.data)
    }

    fn alone(&self, device: &Device) -> End {
        self.run(device, None).unwrap()
    }

    /// The ends of all ranks.
    fn on_ranks(&self, devices: &[Device]) -> Vec<Result<End>> {
        on_ranks(devices, |device, ranks| self.run(device, Some(ranks)))
    }
}

fn end(trainer: &mut Trainer, data: &Dataset) -> Result<End> {
    let weights = trainer.model().parameters()?.into_iter().map(f32::to_bits).collect();
    let epochs = trainer.history().epochs.iter().map(|epoch| Epoch { seconds: None, ..*epoch }).collect();
    Ok(End { weights, epochs, evaluation: trainer.evaluate(data)? })
}

/// Runs a function on ranks in threads, one for each device.
fn on_ranks<T: Send>(devices: &[Device], run: impl Fn(&Device, &LocalRank) -> T + Sync) -> Vec<T> {
    let ranks = LocalRank::all(devices.len() as u32, TIMEOUT);
    std::thread::scope(|scope| {
        let run = &run;
        let threads = devices.iter().zip(ranks).map(|(device, rank)| scope.spawn(move || run(device, &rank)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// As many devices of one adapter.
fn devices(count: usize) -> Vec<Device> {
    (0..count as u32).map(|i| Gpu::request_number(i).unwrap().into()).collect()
}

fn config(batch: u32) -> TrainerConfig {
    TrainerConfig { batch, seed: 5, slices: Some(SLICES), ..TrainerConfig::default() }
}

/// Labelled rows. The last batch is partial, and its last slices are empty.
fn labelled<const N: usize>(rows: usize, shape: [u32; N]) -> Dataset {
    let mut random = Random(3);
    let len = shape.iter().product::<u32>() as usize;
    let labels: Vec<u32> = (0..rows).map(|_| random.below(3)).collect();
    Dataset::of_rows(rows).input("x", random.f32s(rows * len), shape).labels("y", labels, 3).build().unwrap()
}

/// A dense network with dropout; clipping, accumulation, a schedule and averages of the weights.
fn dense() -> Job {
    let network = Network::input(7).dense(20, Tanh).dropout(0.25).dense(80, Relu).dense(3, Identity).build().unwrap();
    let config = TrainerConfig {
        accumulate: 3,
        clip: Some(Clip::Norm(0.5)),
        schedule: Schedule::cosine(9, 0.1),
        ema: Some(Ema { decay: 0.5 }),
        ..config(24)
    };
    Job {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer: Adam { learning_rate: 0.01, ..Adam::default() }.into(),
        config,
        data: labelled(24 * 4 + 5, [7]),
        validation: Some(labelled(50, [7])),
        epochs: 3,
        early_stopping: None,
    }
}

/// A convolutional network with batch normalisation, on augmented images.
fn convolutional() -> Job {
    let network = Network::input([6, 6, 2])
        .layer(Conv::new(4, 3).same())
        .batch_norm()
        .activation(Relu)
        .layer(Conv::new(8, 3).activation(Relu))
        .flatten()
        .dropout(0.1)
        .dense(3, Identity)
        .build()
        .unwrap();
    let augmentation = Augmentation { shift: 1, flip: 0.5, ..Augmentation::default() };
    Job {
        network,
        optimizer: Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() }.into(),
        config: config(36),
        data: labelled(36 * 3 + 4, [6, 6, 2]).with_augmentation("x", augmentation).unwrap(),
        validation: Some(labelled(40, [6, 6, 2])),
        early_stopping: Some(EarlyStopping { patience: 1, ..EarlyStopping::default() }),
        epochs: 3,
        ..dense()
    }
}

/// A narrow network behind a hash grid, whose steps are fused, with a loss that is a sum.
fn narrow() -> Job {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 6, ..HashGrid::default() };
    let network = Network::input(2).encoding(grid).dense(16, Relu).dense(2, Identity).build().unwrap();
    let (mut random, rows) = (Random(9), 50);
    let data = Dataset::of_rows(rows).input("x", random.f32s(rows * 2), [2]);
    let data = data.targets("y", random.f32s(rows * 2), [2]).build().unwrap();
    Job {
        network,
        loss: Loss::SumOfSquares,
        optimizer: Adam::default().into(),
        config: config(24),
        data,
        validation: None,
        epochs: 2,
        early_stopping: Some(EarlyStopping::default()),
    }
}

fn assert_ends_alike(name: &str, job: &Job) {
    let devices = devices(4);
    let one = job.alone(&devices[0]);
    for count in 1..=4 {
        for (rank, end) in job.on_ranks(&devices[..count]).into_iter().enumerate() {
            assert_eq!(end.unwrap(), one, "{name}: rank {rank} of {count}");
        }
    }
}

#[test]
fn a_dense_network_ends_with_the_same_bits_on_any_number_of_ranks() {
    assert_ends_alike("dense", &dense());
}

#[test]
fn a_convolutional_network_ends_with_the_same_bits_on_any_number_of_ranks() {
    assert_ends_alike("convolutional", &convolutional());
}

#[test]
fn a_narrow_network_ends_with_the_same_bits_on_any_number_of_ranks() {
    assert_ends_alike("narrow", &narrow());
}

#[test]
fn windows_of_the_data_end_with_the_same_bits_too() {
    let mut job = dense();
    job.config.window = Some(72);
    assert_ends_alike("windows", &job);
}

#[test]
fn the_cpu_reference_trains_on_ranks_too() {
    for job in [dense(), convolutional(), narrow()] {
        let one = job.alone(&Device::Cpu);
        for end in job.on_ranks(&[Device::Cpu, Device::Cpu, Device::Cpu]) {
            assert_eq!(end.unwrap(), one);
        }
    }
}

/// Without batch normalisation and dropout, slices change only the order of sums. Each of the 5 · 3 updates of a weight
/// then differs by a few roundings of its gradient. Plain SGD carries them on almost unchanged.
#[test]
fn slices_train_like_whole_batches() {
    let network = Network::input(7).dense(20, Tanh).dense(3, Identity).build().unwrap();
    let sgd = Sgd { learning_rate: 0.05, ..Sgd::default() };
    let sliced = Job { network, optimizer: sgd.into(), ..dense() };
    let sliced = Job { config: TrainerConfig { schedule: Schedule::constant(), ema: None, ..sliced.config }, ..sliced };
    let whole = Job { config: TrainerConfig { slices: None, ..sliced.config.clone() }, ..sliced.clone() };
    for device in [Device::Cpu, devices(1)[0].clone()] {
        let [sliced, whole] = [&sliced, &whole].map(|job| job.alone(&device));
        let floats = |end: &End| end.weights.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>();
        for (a, b) in floats(&sliced).into_iter().zip(floats(&whole)) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(0.1), "{a} {b}");
        }
        assert_ne!(sliced.weights, whole.weights, "the sums have another order");
        assert_eq!(sliced.epochs.len(), whole.epochs.len());
        for (a, b) in sliced.epochs.iter().zip(&whole.epochs) {
            assert_eq!((a.steps, a.train.rows, a.learning_rate), (b.steps, b.train.rows, b.learning_rate));
            assert!((a.train.loss - b.train.loss).abs() < 1e-5, "{a:?} {b:?}");
        }
    }
}

/// A folder for the files of one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A run is cut short within an epoch, on every rank, and continues from rank 0's checkpoint on another number of ranks.
#[test]
fn a_checkpoint_resumes_on_another_number_of_ranks() {
    for (name, job) in [("dense", dense()), ("convolutional", convolutional())] {
        let job = Job { early_stopping: None, ..job };
        let folder = Folder::new(&format!("ranks_{name}"));
        let devices = devices(4);
        let one = job.alone(&devices[0]);
        for (before, after) in [(1, 2), (2, 3), (3, 1), (4, 4)] {
            let path = folder.0.join(format!("{before}_{after}"));
            let checkpoint = Checkpoint { path: &path, every: Some(1) };
            let first = on_ranks(&devices[..before], |device, ranks| {
                let mut trainer = job.trainer(device).unwrap();
                let fit = Fit { checkpoint: Some(checkpoint), epochs: 1, ..job.fit(Some(ranks)) };
                trainer.fit(&job.data, fit, |_| {}).unwrap();
                let mut reports = 0;
                // Only the last rank stops, in the middle of the second epoch.
                let stop = |event| {
                    reports += u32::from(matches!(event, Event::Steps { .. }));
                    let is_last = ranks.rank() + 1 == ranks.count();
                    if reports == 1 && is_last { Control::Stop } else { Control::Continue }
                };
                trainer.fit(&job.data, fit, stop).unwrap();
                trainer.epochs()
            });
            assert_eq!(first, vec![1; before], "{name}: stopped within the second epoch");
            let ends = on_ranks(&devices[..after], |device, ranks| {
                let mut trainer = Trainer::resume(device, &path).unwrap();
                let epochs = job.epochs - trainer.epochs();
                trainer.fit(&job.data, Fit { epochs, ..job.fit(Some(ranks)) }, |_| {}).unwrap();
                end(&mut trainer, &job.data).unwrap()
            });
            for end in ends {
                assert_eq!(end, one, "{name}: {before} ranks, then {after}");
            }
        }
    }
}

/// What follows a training with ranks sees whole batches again: here the next epoch, on every rank by itself.
#[test]
fn a_rank_goes_on_alone() {
    let job = Job { epochs: 2, early_stopping: None, ..convolutional() };
    let devices = devices(3);
    let one = job.alone(&devices[0]);
    let ends = on_ranks(&devices, |device, ranks| {
        let mut trainer = job.trainer(device).unwrap();
        trainer.fit(&job.data, Fit { epochs: 1, ..job.fit(Some(ranks)) }, |_| {}).unwrap();
        trainer.fit(&job.data, Fit { epochs: 1, ..job.fit(None) }, |_| {}).unwrap();
        end(&mut trainer, &job.data).unwrap()
    });
    for end in ends {
        assert_eq!(end, one);
    }
}

/// The first epoch, then a part of the second one, until the last rank stops. Returns the trainer.
fn stopped(job: &Job, device: &Device, ranks: &dyn Ranks) -> Trainer {
    let mut trainer = job.trainer(device).unwrap();
    let fit = Fit { epochs: 1, ..job.fit(Some(ranks)) };
    trainer.fit(&job.data, fit, |_| {}).unwrap();
    let is_last = ranks.rank() + 1 == ranks.count();
    let stop = |_| if is_last { Control::Stop } else { Control::Continue };
    trainer.fit(&job.data, fit, stop).unwrap();
    assert_eq!(trainer.epochs(), 1, "stopped within the second epoch");
    trainer
}

/// Without a checkpoint. The epoch goes on with the ranks, on one of them alone, and from a file.
#[test]
fn an_epoch_that_was_stopped_goes_on() {
    for job in [dense(), convolutional()] {
        let job = Job { early_stopping: None, ..job };
        let devices = devices(3);
        let one = job.alone(&devices[0]);
        let rest = |trainer: &mut Trainer, ranks: Option<&dyn Ranks>| {
            let epochs = job.epochs - trainer.epochs();
            trainer.fit(&job.data, Fit { epochs, ..job.fit(ranks) }, |_| {}).unwrap();
            assert_eq!(end(trainer, &job.data).unwrap(), one);
        };
        on_ranks(&devices, |device, ranks| rest(&mut stopped(&job, device, ranks), Some(ranks)));
        on_ranks(&devices, |device, ranks| rest(&mut stopped(&job, device, ranks), None));
        let bytes = on_ranks(&devices, |device, ranks| stopped(&job, device, ranks).to_bytes().unwrap());
        for bytes in bytes {
            rest(&mut Trainer::resume_from_bytes(&devices[0], &bytes).unwrap(), None);
        }
    }
}

/// Reports within epochs, a plateau, and a callback of one rank that changes the learning rate. Two outputs.
#[test]
fn reports_and_rates_are_agreed_on() {
    let mut graph = Graph::new();
    let x = graph.input("x", 7);
    let hidden = graph.layer(Dense::new(20, Tanh), [x]).unwrap();
    let kind = graph.layer(Dense::new(3, Identity), [hidden]).unwrap();
    let size = graph.layer(Dense::new(2, Identity), [hidden]).unwrap();
    let network = graph.build([("kind", kind), ("size", size)]).unwrap();
    let (mut random, rows) = (Random(4), 24 * 4 + 7);
    let labels: Vec<u32> = (0..rows).map(|_| random.below(3)).collect();
    let data = Dataset::of_rows(rows).input("x", random.f32s(rows * 7), 7).labels("kind", labels, 3);
    let data = data.targets("size", random.f32s(rows * 2), 2).build().unwrap();
    let schedule = Schedule::reduce_on_plateau(Plateau { patience: 1, factor: 0.5, ..Plateau::default() });
    let lookahead = Some(Lookahead { updates: 2, ..Lookahead::default() });
    let config = TrainerConfig { accumulate: 2, schedule, lookahead, ..config(24) };
    let losses = Losses::new().output("kind", Loss::SoftmaxCrossEntropy).output("size", Loss::MeanSquaredError);
    let run = |device: &Device, ranks: Option<&dyn Ranks>| {
        let mut trainer = Trainer::new(device, &network, losses.clone(), Adam::default(), config.clone()).unwrap();
        let fit = Fit { epochs: 4, live: true, every: Some(1), ranks, ..Fit::default() };
        let mut reports = Vec::new();
        let decides = ranks.is_none_or(|ranks| ranks.rank() == 1);
        let report = |event| match event {
            Event::Steps { epoch, done, steps, train } => {
                reports.push((epoch, done, steps, train));
                Control::Continue
            }
            Event::Epoch(epoch) if decides && epoch.epoch == 2 => Control::RateScale(0.25),
            _ => Control::Continue,
        };
        trainer.fit(&data, fit, report).unwrap();
        (reports, end(&mut trainer, &data).unwrap())
    };
    let devices = devices(3);
    let one = run(&devices[0], None);
    assert!(one.0.iter().all(|(.., train)| train.is_some()) && one.0.len() > 8, "{:?}", one.0);
    for other in on_ranks(&devices, |device, ranks| run(device, Some(ranks))) {
        assert_eq!(other, one);
    }
}

/// Another number of batches an update, from within an epoch on. Checkpoints go on.
#[test]
fn a_resumed_run_may_have_other_options() {
    let folder = Folder::new("ranks_resumed_with");
    let job = Job { early_stopping: None, ..dense() };
    let devices = devices(3);
    let bytes = on_ranks(&devices[..2], |device, ranks| stopped(&job, device, ranks).to_bytes().unwrap()).remove(0);
    let resume = Resume { accumulate: Some(2), ..Resume::default() };
    let rest = |device: &Device, path: PathBuf, ranks: Option<&dyn Ranks>| {
        let mut trainer = Trainer::resume_from_bytes_with(device, &bytes, &resume).unwrap();
        let checkpoint = Some(Checkpoint { path: &path, every: Some(1) });
        let mut saves = 0;
        let fit = Fit { epochs: 2, checkpoint, every: Some(1), ..job.fit(ranks) };
        let count = |event| saves += u32::from(matches!(event, Event::Steps { train: Some(_), .. }) && path.exists());
        trainer.fit(&job.data, fit, count).unwrap();
        (saves, end(&mut trainer, &job.data).unwrap())
    };
    let one = rest(&devices[0], folder.0.join("one"), None);
    assert!(one.0 > 2, "{} reports with a checkpoint", one.0);
    let all = on_ranks(&devices, |device, ranks| rest(device, folder.0.join("ranks"), Some(ranks)).1);
    for end in all {
        assert_eq!(end, one.1);
    }
}

/// Rank 0 cannot write. All ranks get its error.
#[test]
fn a_checkpoint_that_cannot_be_written_ends_all() {
    let folder = Folder::new("ranks_no_checkpoint");
    std::fs::write(folder.0.join("file"), "").unwrap();
    let path = folder.0.join("file").join("checkpoint");
    let job = dense();
    let errors = on_ranks(&[Device::Cpu, Device::Cpu], |device, ranks| {
        let fit = Fit { checkpoint: Some(Checkpoint { path: &path, every: None }), ..job.fit(Some(ranks)) };
        job.trainer(device).unwrap().fit(&job.data, fit, |_| {}).unwrap_err().to_string()
    });
    assert!(errors[0].contains("checkpoint"), "{}", errors[0]);
    assert_eq!(errors[1], format!("rank 0: {}", errors[0]));
}

/// An app records the same steps as `fit`, and a chain between them leaves the slices in order.
#[test]
fn an_app_records_steps_with_slices() {
    let gpu = common::gpu();
    let job = Job { early_stopping: None, epochs: 1, ..convolutional() };
    let one = job.alone(&gpu.into());
    let mut trainer = job.trainer(&gpu.into()).unwrap();
    let record = |trainer: &mut Trainer, steps: u32| {
        let training = trainer.prepare(&job.data).unwrap();
        assert!(training.gradient_buffer().is_none(), "the gradients of one slice");
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        training.record_steps(&mut encoder, steps);
        gpu.queue().submit([encoder.finish()]);
    };
    record(&mut trainer, 4);
    assert_eq!(end(&mut trainer, &job.data).unwrap().weights, one.weights);
    // A chain of other rows: 12 slices need not divide them.
    let buffer = |floats: u64| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: floats * 4, usage, mapped_at_creation: false };
        gpu.device().create_buffer(&descriptor)
    };
    let (input, output, gradient) = (buffer(5 * 72), buffer(16), buffer(16));
    let (input, output, output_gradient) = ((&input).into(), (&output).into(), (&gradient).into());
    let rows = ChainRows { input, output, output_gradient, input_gradient: None };
    let chain = trainer.prepare_chain(rows, 5).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    chain.record_forward(&mut encoder);
    chain.record_backward(&mut encoder);
    chain.record_update(&mut encoder);
    gpu.queue().submit([encoder.finish()]);
    let before = end(&mut trainer, &job.data).unwrap().weights;
    record(&mut trainer, 1);
    let after = end(&mut trainer, &job.data).unwrap().weights;
    assert_ne!(before, after, "a step after a chain updates the weights");
    assert!(after.iter().all(|bits| f32::from_bits(*bits).is_finite()));
}

/// The error of two ranks. `change` makes the job of rank 1 different.
fn refused(change: impl Fn(&mut Job) + Sync) -> String {
    let errors = on_ranks(&[Device::Cpu, Device::Cpu], |device, ranks| {
        let mut job = dense();
        if ranks.rank() == 1 {
            change(&mut job);
        }
        job.run(device, Some(ranks)).unwrap_err().to_string()
    });
    assert_eq!(errors[0], errors[1]);
    errors[0].clone()
}

#[test]
fn a_rank_that_differs_is_refused_with_what_differs() {
    let of_options = refused(|job| job.config.batch = 48);
    assert_eq!(of_options, "rank 1: training options: `batch: 48,`, but rank 0 has `batch: 24,`");
    let of_network = refused(|job| {
        job.network = Network::input(7).dense(21, Tanh).dense(3, Identity).build().unwrap();
    });
    assert!(of_network.starts_with("rank 1: network: "), "{of_network}");
    let of_data = refused(|job| job.data = labelled(24 * 4 + 6, [7]));
    assert!(of_data.starts_with("rank 1: training data: `102 rows, 7 features, fing"), "{of_data}");
    let of_numbers = refused(|job| job.data = job.data.shuffled(1));
    assert!(of_numbers.starts_with("rank 1: training data: `101 rows, 7 features, fing"), "{of_numbers}");
    let of_validation = refused(|job| job.validation = None);
    assert!(of_validation.starts_with("rank 1: validation data: `none`, but rank 0 has `50 rows"), "{of_validation}");
    let of_epochs = refused(|job| job.epochs = 4);
    assert_eq!(of_epochs, "rank 1: fit options: `epochs: 4`, but rank 0 has `epochs: 3`");
}

#[test]
fn slices_must_be_a_multiple_of_the_ranks_and_divide_the_batch() {
    let error = Trainer::new(
        Device::Cpu,
        &dense().network,
        Loss::SoftmaxCrossEntropy,
        Adam::default(),
        TrainerConfig { slices: Some(5), ..config(24) },
    );
    assert_eq!(error.unwrap_err().to_string(), "slices must be a divisor of the batch size, or None, got 5");
    for (slices, shown) in [(None, "None"), (Some(3), "Some(3)")] {
        let mut job = dense();
        job.config.slices = slices;
        for error in job.on_ranks(&[Device::Cpu, Device::Cpu]) {
            let error = error.unwrap_err().to_string();
            assert_eq!(error, format!("slices must be a multiple of the number of ranks, got {shown} for 2 ranks"));
        }
    }
}

/// One rank fails in its callback. The others get an error that names it.
#[test]
fn a_rank_that_ends_is_named_on_the_others() {
    let job = dense();
    let errors = on_ranks(&[Device::Cpu, Device::Cpu, Device::Cpu], |device, ranks| {
        let mut trainer = job.trainer(device).unwrap();
        let run = std::panic::AssertUnwindSafe(|| {
            let end = |event| {
                if ranks.rank() == 1 && matches!(event, Event::Epoch(_)) {
                    std::panic::resume_unwind(Box::new("out of the callback"));
                }
            };
            trainer.fit(&job.data, job.fit(Some(ranks)), end).map(|_| ())
        });
        std::panic::catch_unwind(run)
    });
    assert!(errors[1].is_err(), "it panicked");
    for rank in [0, 2] {
        let Ok(Err(error)) = &errors[rank] else { panic!("rank {rank} went on") };
        assert_eq!(error.to_string(), "rank 1: has ended");
    }
}

/// A loss that overflows is found by all ranks, in the same step.
#[test]
fn all_ranks_find_a_loss_that_is_not_finite() {
    let mut job = dense();
    job.config.clip = None;
    job.optimizer = Sgd { learning_rate: 1e30, ..Sgd::default() }.into();
    let devices = devices(3);
    let one = job.run(&devices[0], None).unwrap_err().to_string();
    assert!(one.contains("step"), "{one}");
    for error in job.on_ranks(&devices) {
        assert_eq!(error.unwrap_err().to_string(), one);
    }
}

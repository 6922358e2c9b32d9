//! Training runs that are saved and resumed give the same bits as uninterrupted runs.

use std::path::Path;

use super::*;

const EPOCHS: u32 = 30;
const EARLY_STOPPING: EarlyStopping =
    EarlyStopping { monitor: Monitor::Loss, patience: 3, min_delta: 0.0, restore_best: true };

/// Rows with noisy labels, so that training improves for some epochs only.
fn noisy(seed: u64, rows: usize) -> Dataset {
    let features = random(seed, rows * 6);
    let label = |(row, noise): (&[f32], f32)| (row[0] + 0.5 * noise + 1.5) as u32;
    let labels = features.chunks(6).zip(random(seed + 1, rows)).map(label).collect();
    Dataset::from_f32(features, 6, labels, 3).unwrap()
}

/// A trainer with all state that a checkpoint must hold: moments, accumulated gradients, dropout masks, a decreasing
/// learning rate, a partial update.
fn trainer(device: Device) -> Trainer {
    let network = Network::input(6).dense(16, Relu).dropout(0.3).layer_norm().dense(3, Identity).build().unwrap();
    let plateau = Plateau { patience: 0, factor: 0.5, ..Plateau::default() };
    let config = TrainerConfig {
        batch: 4,
        seed: 5,
        accumulate: 3,
        schedule: Schedule::reduce_on_plateau(plateau),
        clip: Some(Clip::Norm(1.0)),
        groups: vec![Group::layer("dense_4").rate(0.5)],
        ..TrainerConfig::default()
    };
    let adam = Adam { learning_rate: 0.03, ..Adam::default() };
    Trainer::new(device, &network, Loss::SoftmaxCrossEntropy, adam, config).unwrap()
}

/// Trains up to [`EPOCHS`], with a checkpoint after every 4 of the 10 steps of an epoch. Returns each distinct file.
fn train(trainer: &mut Trainer, path: &Path) -> Vec<Vec<u8>> {
    let (data, validation) = (noisy(1, 38), noisy(3, 20));
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut look = || {
        if let Ok(file) = std::fs::read(path)
            && files.last() != Some(&file)
        {
            files.push(file);
        }
    };
    let fit = Fit {
        epochs: EPOCHS - trainer.epochs(),
        validation: Some(&validation),
        early_stopping: Some(EARLY_STOPPING),
        checkpoint: Some(Checkpoint { path, every: Some(4) }),
        ..Fit::default()
    };
    trainer.fit(&data, fit, |_| look()).unwrap();
    look();
    files
}

/// The result of a run: its weights and its history, without the times.
fn result(trainer: &Trainer) -> (Vec<u32>, Vec<Epoch>) {
    let epochs = trainer.history().epochs.iter().map(|&epoch| Epoch { seconds: None, ..epoch });
    (bits(&trainer.model().parameters().unwrap()), epochs.collect())
}

fn resumed_equals_uninterrupted(device: Device, stride: usize) {
    let folder = folder(if matches!(device, Device::Cpu) { "resume-cpu" } else { "resume-gpu" });
    let mut whole = trainer(device.clone());
    let files = train(&mut whole, &folder.join("whole"));
    let whole = result(&whole);

    // Checks that the run has every event that a resumed run must repeat.
    let epochs = &whole.1;
    let stopped = epochs.len() as u32;
    assert!((5..EPOCHS).contains(&stopped), "it stops early, after {stopped} epochs: {epochs:?}");
    assert!(epochs[epochs.len() - 1].learning_rate < 0.03, "the rate has fallen");
    assert_eq!(files.len() as u32, 3 * stopped, "a file after steps 4, 8 and 10 of each epoch");
    let last = Model::from_bytes(Device::Cpu, files.last().unwrap()).unwrap();
    assert_ne!(bits(&last.parameters().unwrap()), whole.0, "the best weights are not the last");

    // This includes the last file, whose run only has to return to the best weights.
    for (i, file) in files.iter().enumerate().rev().step_by(stride) {
        let mut resumed = Trainer::resume_from_bytes(device.clone(), file).unwrap();
        assert_eq!(&resumed.to_bytes().unwrap(), file, "what was read is written again");
        assert_eq!(resumed.epochs() as usize, (i + 1) / 3);
        train(&mut resumed, &folder.join(i.to_string()));
        assert_eq!(result(&resumed), whole, "from file {i}");
    }
}

/// On the CPU, a run that resumes from any of its checkpoints gives the same bits.
#[test]
fn resumed_equals_uninterrupted_on_the_cpu() {
    resumed_equals_uninterrupted(Device::Cpu, 1);
}

/// On the GPU, a run that resumes from every fourth of its checkpoints gives the same bits.
#[test]
fn resumed_equals_uninterrupted_on_the_gpu() {
    resumed_equals_uninterrupted(gpu().into(), 4);
}

/// With each optimizer, a run that resumes in the middle of an accumulated update gives the same bits.
#[test]
fn every_optimizer_resumes_within_an_update() {
    let network = Network::input([2, 3, 1]).flatten().dense(4, Tanh).batch_norm().dense(1, Identity).build().unwrap();
    let rotation = 20.0;
    let augmentation = Augmentation { shift: 1, flip: 0.5, rotation, cutout: 1, contrast: 0.1, ..Default::default() };
    let data = Dataset::of_rows(30)
        .input("image", random(1, 30 * 6), [2, 3, 1])
        .augmented("image", augmentation)
        .targets("output", random(2, 30), 1)
        .build()
        .unwrap();
    let optimizers: [Optimizer; 8] = [
        Sgd::default().into(),
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        RmsProp { momentum: 0.5, ..RmsProp::default() }.into(),
        Adagrad { rate_decay: 0.1, initial_accumulator: 0.1, ..Adagrad::default() }.into(),
        Adam::default().into(),
        AdamW::default().into(),
        Lion::default().into(),
        AdaBound::default().into(),
    ];
    for device in devices() {
        for optimizer in optimizers {
            let config = TrainerConfig {
                batch: 4,
                accumulate: 2,
                schedule: Schedule::cosine(20, 0.1).warm_up(2),
                ..TrainerConfig::default()
            };
            let new = || {
                let (device, loss) = (device.clone(), Loss::Huber { delta: 0.3 });
                Trainer::new(device, &network, loss, optimizer, config.clone()).unwrap()
            };
            let go_on = |trainer: &mut Trainer| {
                trainer.fit(&data, Fit { epochs: 3 - trainer.epochs(), ..Fit::default() }, |_| ()).unwrap();
                result(trainer)
            };
            let mut cut = new();
            let stop = |event| match event {
                Event::Steps { epoch: 2, .. } => Control::Stop,
                _ => Control::Continue,
            };
            cut.fit(&data, Fit { epochs: 3, ..Fit::default() }, stop).unwrap();
            let mut resumed = Trainer::resume_from_bytes(device.clone(), &cut.to_bytes().unwrap()).unwrap();
            let whole = go_on(&mut new());
            assert_eq!(go_on(&mut resumed), whole, "{optimizer:?}");
            assert_eq!(go_on(&mut cut), whole, "{optimizer:?}, without a file");
        }
    }
}

/// Averages of the weights resume with the same bits. A model file can hold the averaged weights.
#[test]
fn averages_resume_within_an_update() {
    let data = noisy(1, 38);
    for device in devices() {
        let network = Network::input(6).dense(16, Relu).batch_norm().dense(3, Identity).build().unwrap();
        let (ema, lookahead) = (Some(Ema { decay: 0.9 }), Some(Lookahead { alpha: 0.4, updates: 2 }));
        let config = TrainerConfig { batch: 4, accumulate: 3, ema, lookahead, ..TrainerConfig::default() };
        let (loss, adam) = (Loss::SoftmaxCrossEntropy, Adam { learning_rate: 0.03, ..Adam::default() });
        let new = || Trainer::new(device.clone(), &network, loss, adam, config.clone()).unwrap();
        let go_on = |trainer: &mut Trainer| {
            trainer.fit(&data, Fit { epochs: 3 - trainer.epochs(), ..Fit::default() }, |_| ()).unwrap();
            (result(trainer), bits(&trainer.averaged_model().unwrap().parameters().unwrap()))
        };
        let whole = go_on(&mut new());
        assert_ne!(whole.0.0, whole.1);
        for stop_at in [1, 2, 5, 10] {
            let mut cut = new();
            let stop = |event| match event {
                Event::Steps { epoch: 2, done, .. } if done >= stop_at => Control::Stop,
                _ => Control::Continue,
            };
            cut.fit(&data, Fit { epochs: 3, every: Some(1), ..Fit::default() }, stop).unwrap();
            let file = cut.to_bytes().unwrap();
            let mut resumed = Trainer::resume_from_bytes(device.clone(), &file).unwrap();
            assert_eq!(resumed.to_bytes().unwrap(), file, "what was read is written again");
            let averaged = cut.averaged_model().unwrap();
            let model = Model::from_bytes(device.clone(), &averaged.to_bytes().unwrap()).unwrap();
            assert_eq!(bits(&model.parameters().unwrap()), bits(&averaged.parameters().unwrap()));
            let raw = Model::from_bytes(device.clone(), &file).unwrap();
            assert_eq!(bits(&raw.parameters().unwrap()), bits(&cut.model().parameters().unwrap()));
            assert_eq!(go_on(&mut resumed), whole, "stopped at {stop_at}");
        }
    }
}

/// A resumed run can begin, change and end averages. New ones start at the saved weights.
#[test]
fn averages_begin_and_end_with_a_resumed_run() {
    let data = noisy(1, 38);
    let mut plain = trainer(Device::Cpu);
    plain.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
    let file = plain.to_bytes().unwrap();
    let (ema, lookahead) = (Some(Some(Ema::default())), Some(Some(Lookahead { updates: 1, ..Lookahead::default() })));
    let weights = |model: Model| bits(&model.parameters().unwrap());
    for resume in [Resume { ema, ..Resume::default() }, Resume { ema, lookahead, ..Resume::default() }] {
        let mut with = Trainer::resume_from_bytes_with(Device::Cpu, &file, &resume).unwrap();
        assert_eq!(weights(with.averaged_model().unwrap()), weights(plain.model()));
        with.fit(&data, Fit::default(), |_| ()).unwrap();
        assert_ne!(weights(with.averaged_model().unwrap()), weights(with.model()));
        let file = with.to_bytes().unwrap();
        let resume = Resume { ema: Some(None), lookahead: Some(None), ..Resume::default() };
        let mut without = Trainer::resume_from_bytes_with(Device::Cpu, &file, &resume).unwrap();
        assert_eq!(weights(without.averaged_model().unwrap()), weights(with.model()));
        without.fit(&data, Fit::default(), |_| ()).unwrap();
    }
}

/// A checkpoint of the GPU resumes on the CPU with the same state. After another epoch, the weights agree within 1e-3.
#[test]
fn a_file_of_one_device_is_one_of_the_other() {
    let path = folder("devices").join("run");
    let mut on_gpu = trainer(gpu().into());
    let data = noisy(1, 38);
    on_gpu.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
    on_gpu.save(&path).unwrap();
    let mut on_cpu = Trainer::resume(Device::Cpu, &path).unwrap();
    assert_eq!(result(&on_cpu), result(&on_gpu));
    for trainer in [&mut on_cpu, &mut on_gpu] {
        trainer.fit(&data, Fit::default(), |_| ()).unwrap();
    }
    let (cpu, gpu) = (on_cpu.model().parameters().unwrap(), on_gpu.model().parameters().unwrap());
    assert!(cpu.iter().zip(&gpu).all(|(a, b)| (a - b).abs() < 1e-3));
}

/// A checkpoint of a run loads as a model. A model file cannot be resumed as a run.
#[test]
fn a_run_is_a_model_but_a_model_is_no_run() {
    let path = folder("kinds").join("run");
    let mut trainer = trainer(Device::Cpu);
    train(&mut trainer, &path);
    let model = Model::load(Device::Cpu, &path).unwrap();
    assert_eq!(model.network(), trainer.network());
    let features = random(9, 12);
    trainer.save(&path).unwrap();
    for model in [Model::load(Device::Cpu, &path), Model::load_weights(Device::Cpu, trainer.network(), &path)] {
        assert_eq!(model.unwrap().forward(&features).unwrap(), trainer.model().forward(&features).unwrap());
    }
    assert_eq!(
        reason(Trainer::resume_from_bytes(Device::Cpu, &model.to_bytes().unwrap())),
        "a model without a training run: load it with Model::load, or start a new run from its weights with \
         Trainer::from_parameters"
    );
}

/// If a checkpoint cannot be written, `fit` returns an error. The run can continue, and its result is the same.
#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_call_and_not_the_run() {
    let folder = folder("full");
    let path = folder.join("run");
    let data = noisy(1, 38);
    let mut whole = trainer(Device::Cpu);
    whole.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
    // A folder has the name of the file, so the file cannot be written.
    std::fs::create_dir_all(path.join("inside")).unwrap();
    let mut broken = trainer(Device::Cpu);
    let fit = Fit { epochs: 2, checkpoint: Some(Checkpoint { path: &path, every: Some(4) }), ..Fit::default() };
    assert!(reason(broken.fit(&data, fit, |_| ())).starts_with("cannot be written: "));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file stays");
    broken.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
    assert_eq!(result(&broken), result(&whole));
}

/// A cursor beyond its data is an error, because kernels without bounds checks rely on the cursor.
#[test]
fn a_cursor_beyond_its_data_is_refused() {
    let mut trainer = trainer(Device::Cpu);
    trainer.fit(noisy(1, 38), Fit::default(), |_| ()).unwrap();
    let mut file = trainer.to_bytes().unwrap();
    let position = {
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let cursor = tensors.tensor("trainer.step").unwrap().data().as_ptr();
        cursor as usize - file.as_ptr() as usize + std::mem::offset_of!(plan::StepState, position)
    };
    let reasons = [37u32, 38, u32::MAX].map(|beyond| {
        file[position..position + 4].copy_from_slice(&beyond.to_le_bytes());
        Trainer::resume_from_bytes(Device::Cpu, &file).map_err(|error| error.to_string())
    });
    assert!(reasons[0].is_ok(), "{:?}", reasons[0]);
    for reason in &reasons[1..] {
        let reason = reason.as_ref().unwrap_err();
        assert!(reason.contains("training run: impossible position"), "{reason}");
    }
}

/// If a run diverges, its last checkpoint is from before the step with the non-finite loss.
#[test]
fn a_run_that_diverged_leaves_the_checkpoint_of_when_it_had_not() {
    let path = folder("diverged").join("run");
    let data = noisy(1, 38);
    for device in devices() {
        let mut trainer = trainer(device.clone());
        let checkpoint = Some(Checkpoint { path: &path, every: Some(1) });
        let error = trainer.fit(&data, Fit { epochs: 3, checkpoint, ..Fit::default() }, |event| match event {
            Event::Epoch(epoch) if epoch.epoch == 1 => Control::RateScale(3e38),
            _ => Control::Continue,
        });
        let Err(wgrad::Error::NonFiniteLoss { epoch: 2, step }) = error else { panic!("{error:?}") };
        assert!((12..20).contains(&step), "not the last of the epoch's ten steps, but {step}");
        let mut saved = Trainer::resume(device, &path).unwrap();
        let mut next = None;
        let note = |event| {
            if let Event::Steps { done, .. } = event {
                next.get_or_insert(done);
            }
            Control::Stop
        };
        saved.fit(&data, Fit::default(), note).unwrap();
        assert_eq!(next.map(|done| done + 10), Some(step), "saved before the step whose loss was not finite");
    }
}

/// A partial epoch is discarded if the app prepares the data anew. A call of `fit` with 0 epochs keeps it.
#[test]
fn an_epoch_that_was_cut_is_given_up_where_the_app_has_moved_on() {
    let data = noisy(1, 38);
    let mut trainer = trainer(gpu().into());
    trainer.fit(&data, Fit::default(), |_| Control::Stop).unwrap();
    trainer.prepare(&data).unwrap();
    let history = trainer.fit(&data, Fit::default(), |_| ()).unwrap();
    assert_eq!(history.epochs[0].train.rows, 38, "a whole epoch, from its start");
    trainer.fit(&data, Fit::default(), |_| Control::Stop).unwrap();
    trainer.fit(&data, Fit { epochs: 0, ..Fit::default() }, |_| ()).unwrap();
    let mut steps = Vec::new();
    let note = |event| {
        if let Event::Steps { done, .. } = event {
            steps.push(done);
        }
    };
    let history = trainer.fit(&data, Fit::default(), note).unwrap();
    assert!(steps[0] > 1, "no epochs asked for leave it as it is: {steps:?}");
    assert_eq!(history.epochs[0].train.rows, 38);
}

/// A checkpoint of a run without shuffling, written in its second epoch after 4 batches of 4 rows.
fn cut_short(device: Device, optimizer: Optimizer, accumulate: u32) -> Vec<u8> {
    let network = Network::input(6).dense(4, Tanh).dense(3, Identity).build().unwrap();
    let config = TrainerConfig { batch: 4, shuffle: false, accumulate, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(device, &network, Loss::SoftmaxCrossEntropy, optimizer, config).unwrap();
    // Tests run at the same time, so each file has its own folder.
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let path = folder(&format!("cut-short-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))).join("run");
    let fit = Fit { epochs: 2, checkpoint: Some(Checkpoint { path: &path, every: Some(4) }), ..Fit::default() };
    let mut file = Vec::new();
    let note = |event| {
        if let Event::Steps { epoch: 2, done: 5, .. } = event {
            file = std::fs::read(&path).unwrap();
        }
    };
    trainer.fit(noisy(1, 38), Fit { every: Some(1), ..fit }, note).unwrap();
    file
}

/// The weights after a separate run over the rest of the epoch, from row 16, with these options.
fn by_itself(device: Device, file: &[u8], optimizer: Optimizer, config: TrainerConfig) -> Vec<u32> {
    let start = Model::from_bytes(Device::Cpu, file).unwrap();
    let (_, rest) = noisy(1, 38).split(16).unwrap();
    let (network, weights) = (start.network(), start.parameters().unwrap());
    let loss = Loss::SoftmaxCrossEntropy;
    let mut trainer = Trainer::from_parameters(device, network, loss, optimizer, config, &weights).unwrap();
    trainer.fit(rest, Fit::default(), |_| ()).unwrap();
    bits(&trainer.model().parameters().unwrap())
}

/// The number of updates at the end of an epoch, counted by the cursor and by the host.
fn updates(trainer: &Trainer) -> (u32, u64) {
    let file = trainer.to_bytes().unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let progress: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["progress"]).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let at = std::mem::offset_of!(plan::StepState, update);
    let cursor = tensors.tensor("trainer.step").unwrap().data()[at..at + 4].try_into().unwrap();
    (u32::from_le_bytes(cursor), progress["updates"].as_u64().unwrap())
}

/// Resumed with another batch size, an epoch continues at the same row.
#[test]
fn resumed_with_another_batch_an_epoch_goes_on_at_the_same_row() {
    let sgd: Optimizer = Sgd { learning_rate: 0.1, ..Sgd::default() }.into();
    for device in devices() {
        // With updates of 3 batches, the second update is partial and is discarded.
        for (saved, accumulate, batch) in [(1, 1, 5), (1, 1, 64), (3, 3, 5), (3, 1, 4), (1, 2, 5)] {
            let file = cut_short(device.clone(), sgd, saved);
            let resume = Resume { batch: Some(batch), accumulate: Some(accumulate), ..Resume::default() };
            let mut resumed = Trainer::resume_from_bytes_with(device.clone(), &file, &resume).unwrap();
            // A file that is saved before the end of the epoch resumes too.
            let again = resumed.to_bytes().unwrap();
            let mut again = Trainer::resume_from_bytes(device.clone(), &again).unwrap();
            let config = TrainerConfig { batch, shuffle: false, accumulate, ..TrainerConfig::default() };
            let expected = by_itself(device.clone(), &file, sgd, config);
            for trainer in [&mut resumed, &mut again] {
                let mut first = None;
                let note = |event| {
                    if let Event::Steps { done, .. } = event {
                        first.get_or_insert(done);
                    }
                };
                let history = trainer.fit(noisy(1, 38), Fit { every: Some(1), ..Fit::default() }, note).unwrap();
                let epoch = history.epochs[0];
                assert_eq!((epoch.epoch, epoch.train.rows, first), (2, 38, Some(5)));
                assert_eq!(epoch.steps, 4 + 22u32.div_ceil(batch));
                assert!(epoch.train.loss.is_finite() && epoch.train.loss > 0.0);
                assert_eq!(bits(&trainer.model().parameters().unwrap()), expected, "{saved} {accumulate} {batch}");
                // The updates of the first epoch's 10 batches, the complete updates of the second epoch's 4 batches,
                // and the updates of the remaining rows.
                let made = 10u32.div_ceil(saved) + 4 / saved + 22u32.div_ceil(batch).div_ceil(accumulate);
                assert_eq!(updates(trainer), (made, made.into()), "{saved} {accumulate} {batch}");
                // The next epoch has all rows.
                let epoch = trainer.fit(noisy(1, 38), Fit::default(), |_| ()).unwrap().epochs[0];
                assert_eq!((epoch.epoch, epoch.train.rows, epoch.steps), (3, 38, 38u32.div_ceil(batch)));
            }
        }
    }
}

/// Resumed with another kind of optimizer, a run starts with new moments.
#[test]
fn resumed_with_another_kind_of_optimizer_moments_start_anew() {
    let adam: Optimizer = Adam { learning_rate: 0.03, ..Adam::default() }.into();
    let schedule = Schedule::cosine(12, 0.1).warm_up(2);
    let others: [Optimizer; 3] = [
        Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() }.into(),
        Adagrad { initial_accumulator: 0.1, ..Adagrad::default() }.into(),
        AdamW { learning_rate: 0.02, ..AdamW::default() }.into(),
    ];
    for device in devices() {
        let file = cut_short(device.clone(), adam, 3);
        for optimizer in others {
            let resume = Resume { optimizer: Some(optimizer), schedule: Some(schedule), ..Resume::default() };
            let mut resumed = Trainer::resume_from_bytes_with(device.clone(), &file, &resume).unwrap();
            let config =
                TrainerConfig { batch: 4, shuffle: false, accumulate: 3, schedule, ..TrainerConfig::default() };
            let expected = by_itself(device.clone(), &file, optimizer, config);
            let history = resumed.fit(noisy(1, 38), Fit::default(), |_| ()).unwrap();
            assert_eq!(bits(&resumed.model().parameters().unwrap()), expected, "{optimizer:?}");
            // The rest of the epoch has two updates of 3 batches.
            let rate = optimizer.learning_rate() * schedule.factor(1);
            assert_eq!((history.epochs[0].learning_rate, history.epochs[0].train.rows), (rate, 38));
        }
    }
}

/// Resumed at another learning rate, a run keeps its moments.
#[test]
fn resumed_at_another_rate_moments_stay() {
    let adam = Adam { learning_rate: 0.03, ..Adam::default() };
    for device in devices() {
        let file = cut_short(device.clone(), adam.into(), 3);
        let go_on = |mut trainer: Trainer, scale: f32| {
            if scale != 1.0 {
                trainer.set_rate_scale(scale).unwrap();
            }
            trainer.fit(noisy(1, 38), Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
            result(&trainer)
        };
        let resume = |resume: Resume| Trainer::resume_from_bytes_with(device.clone(), &file, &resume).unwrap();
        let expected = go_on(resume(Resume::default()), 2.0);
        let twice = Resume { learning_rate: Some(0.06), ..Resume::default() };
        assert_eq!(go_on(resume(twice), 1.0), expected);
        let twice = Adam { learning_rate: 0.06, ..adam };
        let twice = Resume { optimizer: Some(twice.into()), ..Resume::default() };
        assert_eq!(go_on(resume(twice), 1.0), expected);
        // A plateau reduced the old rate. This does not apply to the new rate.
        let mut slowed = resume(Resume::default());
        slowed.set_rate_scale(0.25).unwrap();
        let slowed = slowed.to_bytes().unwrap();
        let faster = Resume { learning_rate: Some(0.06), ..Resume::default() };
        let faster = Trainer::resume_from_bytes_with(device.clone(), &slowed, &faster).unwrap();
        assert_eq!(go_on(faster, 1.0), expected);
    }
}

/// A run that is resumed with its own options does not change.
#[test]
fn resumed_with_what_it_had_nothing_changes() {
    let adam = Adam { learning_rate: 0.03, ..Adam::default() };
    let file = cut_short(Device::Cpu, adam.into(), 3);
    let same = Resume {
        batch: Some(4),
        accumulate: Some(3),
        optimizer: Some(adam.into()),
        learning_rate: Some(0.03),
        schedule: Some(Schedule::constant()),
        clip: Some(None),
        groups: Some(Vec::new()),
        ema: Some(None),
        lookahead: Some(None),
        allow_non_finite: false,
    };
    let resumed = Trainer::resume_from_bytes_with(Device::Cpu, &file, &same).unwrap();
    assert_eq!(resumed.to_bytes().unwrap(), file);
    // With a frozen layer and with clipping, the other weights continue to train.
    let groups = Some(vec![Group::layer("dense_1").frozen()]);
    let frozen = Resume { groups, clip: Some(Some(Clip::Norm(0.5))), ..Resume::default() };
    let mut frozen = Trainer::resume_from_bytes_with(Device::Cpu, &file, &frozen).unwrap();
    let before = frozen.model().parameters().unwrap();
    frozen.fit(noisy(1, 38), Fit::default(), |_| ()).unwrap();
    let after = frozen.model().parameters().unwrap();
    assert!(bits(&before)[..24] == bits(&after)[..24] && before != after);
    for (resume, name) in [
        (Resume { batch: Some(0), ..Resume::default() }, "batch"),
        (Resume { learning_rate: Some(-1.0), ..Resume::default() }, "learning_rate"),
        (Resume { accumulate: Some(0), ..Resume::default() }, "accumulate"),
    ] {
        let error = Trainer::resume_from_bytes_with(Device::Cpu, &file, &resume).unwrap_err();
        assert!(!matches!(error, Error::File { .. }) && error.to_string().contains(name), "{error}");
    }
}

/// The file with the history as JSON, which wgrad must still read.
fn earlier(file: &[u8], history: &History) -> Vec<u8> {
    let (_, header) = safetensors::SafeTensors::read_metadata(file).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut progress: serde_json::Value = serde_json::from_str(&metadata["progress"]).unwrap();
    progress["history"] = serde_json::from_str(&history.to_json()).unwrap();
    if let Some(cut) = progress["cut"].as_object_mut() {
        cut.remove("before");
    }
    metadata.insert("progress".into(), progress.to_string());
    let tensors = safetensors::SafeTensors::deserialize(file).unwrap();
    let kept = tensors.tensors().into_iter().filter(|(name, _)| !name.starts_with("trainer.history"));
    safetensors::serialize(kept, Some(metadata)).unwrap()
}

/// A checkpoint grows by at most 64 bytes for each epoch. A history in JSON loads to the same state.
#[test]
fn a_checkpoint_grows_by_what_its_history_needs() {
    let network = Network::input(1).dense(1, Identity).build().unwrap();
    let (loss, adam) = (Loss::MeanSquaredError, Adam::default());
    let mut trainer = Trainer::new(Device::Cpu, &network, loss, adam, TrainerConfig::default()).unwrap();
    let data = Dataset::from_f32_targets(vec![1.0], 1, vec![0.25], 1).unwrap();
    let mut size = |epochs| {
        let fit = Fit { epochs, validation: Some(&data), ..Fit::default() };
        trainer.fit(&data, fit, |_| ()).unwrap();
        trainer.to_bytes().unwrap()
    };
    let (few, many) = (size(100), size(1900));
    assert!(many.len() <= few.len() + 64 * 1900, "{} bytes, then {}", few.len(), many.len());
    for (file, epochs) in [(few, 100), (many, 2000)] {
        let resumed = Trainer::resume_from_bytes(Device::Cpu, &file).unwrap();
        assert_eq!(resumed.history().epochs[..], trainer.history().epochs[..epochs]);
        let old = Trainer::resume_from_bytes(Device::Cpu, &earlier(&file, resumed.history())).unwrap();
        assert_eq!(old.to_bytes().unwrap(), file);
    }
}

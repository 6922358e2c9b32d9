//! Tests training after the loss of the app's device.

use wgrad::Activation::{Identity, Relu};
use wgrad::{Adam, Control, Dataset, Device, Error, Event, Fit, Loss, Network, Trainer, TrainerConfig};

use super::{App, Random};

fn data() -> Dataset {
    let mut random = Random(12);
    let features = random.f32s(40 * 5);
    let labels = features.chunks(5).map(|x| u32::from(x[0] > x[1])).collect();
    Dataset::from_f32(features, 5, labels, 2).unwrap()
}

fn trainer(app: &App) -> Trainer {
    let network = Network::input(5).dense(16, Relu).dropout(0.2).dense(2, Identity).build().unwrap();
    let config = TrainerConfig { batch: 8, accumulate: 2, ..TrainerConfig::default() };
    Trainer::new(&app.gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap()
}

#[track_caller]
fn is_lost<T>(result: wgrad::Result<T>) {
    match result {
        Err(Error::DeviceLost { reason }) => assert!(!reason.is_empty()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a call on a lost device went well"),
    }
}

#[test]
fn every_call_on_a_lost_device_says_so() {
    let app = App::open();
    let mut trainer = trainer(&app);
    let training = trainer.prepare(data()).unwrap();
    let model = trainer.model();
    let (input, output) = (app.storage(&[0f32; 40]), app.storage(&[0f32; 16]));
    let forward = model.prepare_forward(&input, &output, 8).unwrap();
    app.device.destroy();
    // Recording has no errors, and works on a lost device too.
    let mut encoder = app.device.create_command_encoder(&Default::default());
    training.record_steps(&mut encoder, 2);
    training.record_within(&mut encoder, std::time::Duration::from_millis(1));
    forward.record_forward(&mut encoder);
    drop(encoder);
    is_lost(trainer.prepare(data()));
    is_lost(trainer.fit(data(), Fit::default(), |_| {}));
    is_lost(trainer.evaluate(&data()));
    is_lost(trainer.snapshot());
    is_lost(trainer.prepare_snapshots());
    is_lost(model.forward(&[0.0; 40]));
    is_lost(model.parameters());
    is_lost(model.prepare_forward(&input, &output, 8));
    is_lost(Trainer::new(
        &app.gpu,
        trainer.network(),
        Loss::SoftmaxCrossEntropy,
        Adam::default(),
        TrainerConfig::default(),
    ));
}

#[test]
fn training_goes_on_from_the_last_snapshot() {
    let uninterrupted = {
        let app = App::open();
        let mut trainer = trainer(&app);
        let training = trainer.prepare(data()).unwrap();
        app.frame(|encoder| training.record_steps(encoder, 20));
        app.read::<u32>(training.parameter_buffer())
    };
    let app = App::open();
    let mut trainer = trainer(&app);
    assert!(matches!(trainer.rebuild(&App::open().gpu), Err(Error::NoSnapshot)));
    let training = trainer.prepare(data()).unwrap();
    let snapshots = trainer.prepare_snapshots().unwrap();
    assert_eq!(trainer.steps_at_snapshot(), None);
    assert!(matches!(trainer.snapshot_to_bytes(), Err(Error::NoSnapshot)));
    // Step 7, with 5 steps an epoch: in the middle of an epoch, and of an update of two batches.
    app.frame(|encoder| {
        training.record_steps(encoder, 3);
        assert!(snapshots.record_snapshot(encoder));
        assert!(!snapshots.record_snapshot(encoder), "the one before is under way");
        training.record_steps(encoder, 4);
    });
    app.wait();
    assert_eq!(trainer.steps_at_snapshot(), Some(3));
    assert!(app.frame(|encoder| {
        let taken = snapshots.record_snapshot(encoder);
        training.record_steps(encoder, 9);
        taken
    }));
    app.wait();
    // A snapshot that never arrives changes nothing. An encoder that is not submitted changes nothing either.
    drop({
        let mut encoder = app.device.create_command_encoder(&Default::default());
        assert!(snapshots.record_snapshot(&mut encoder));
        encoder
    });
    // Three snapshots map weights, moments, accumulated gradients, cursor and metrics each.
    assert_eq!(app.gpu.traffic(), wgrad::Traffic { maps_on_submit: 15, ..Default::default() });
    app.device.destroy();

    assert_eq!(trainer.steps_at_snapshot(), Some(7));
    // Then training resumes from a file of the snapshot. Writing the file needs no device.
    let file = trainer.snapshot_to_bytes().unwrap();
    let next = App::open();
    let mut resumed = wgrad::Trainer::resume_from_bytes(&next.gpu, &file).unwrap();
    assert_eq!(resumed.to_bytes().unwrap(), file, "what is saved then is the same");
    let training = resumed.prepare(data()).unwrap();
    next.frame(|encoder| training.record_steps(encoder, 13));
    assert_eq!(next.read::<u32>(training.parameter_buffer()), uninterrupted);

    let new = App::open();
    trainer.rebuild(&new.gpu).unwrap();
    let training = trainer.prepare(data()).unwrap();
    new.frame(|encoder| training.record_steps(encoder, 13));
    assert_eq!(new.read::<u32>(training.parameter_buffer()), uninterrupted);
    // Training resumes a second time from the same snapshot.
    let newer = App::open();
    trainer.rebuild(&newer.gpu).unwrap();
    let training = trainer.prepare(data()).unwrap();
    newer.frame(|encoder| training.record_steps(encoder, 13));
    assert_eq!(newer.read::<u32>(training.parameter_buffer()), uninterrupted);
    // Several prepared trainings continue each other.
    let newest = App::open();
    trainer.rebuild(&newest.gpu).unwrap();
    let at_snapshot = trainer.model().parameters().unwrap();
    let (first, second) = (trainer.prepare(data()).unwrap(), trainer.prepare(data()).unwrap());
    newest.frame(|encoder| {
        first.record_steps(encoder, 6);
        second.record_steps(encoder, 7);
    });
    assert_eq!(newest.read::<u32>(second.parameter_buffer()), uninterrupted);
    // The CPU continues from the same weights.
    trainer.rebuild(Device::Cpu).unwrap();
    assert_eq!(trainer.model().parameters().unwrap(), at_snapshot);
    let history = trainer.fit(data(), Fit { epochs: 1, ..Fit::default() }, |_| {}).unwrap();
    assert!(history.epochs[0].train.loss.is_finite());
}

#[test]
fn a_snapshot_under_way_is_the_old_trainers_after_a_rebuild() {
    let app = App::open();
    let mut trainer = trainer(&app);
    let training = trainer.prepare(data()).unwrap();
    let snapshots = trainer.prepare_snapshots().unwrap();
    app.frame(|encoder| {
        training.record_steps(encoder, 2);
        assert!(snapshots.record_snapshot(encoder));
    });
    app.wait();
    let mut encoder = app.device.create_command_encoder(&Default::default());
    training.record_steps(&mut encoder, 3);
    assert!(snapshots.record_snapshot(&mut encoder));
    app.queue.submit([encoder.finish()]);
    // The trainer returns to step 2, on the same device.
    trainer.rebuild(&app.gpu).unwrap();
    app.wait();
    assert_eq!(trainer.steps_at_snapshot(), Some(2));
    // The buffers of unfinished snapshots are free again.
    app.frame(|encoder| assert!(snapshots.record_snapshot(encoder)));
    app.wait();
    assert_eq!(trainer.steps_at_snapshot(), Some(2));
}

/// Recorded steps move the cursor. `fit` then starts a new epoch and does not finish the interrupted one.
#[test]
fn what_is_prepared_after_a_snapshot_gives_up_an_epoch_cut_short() {
    let app = App::open();
    let mut trainer = trainer(&app);
    let first_told = |trainer: &mut Trainer, stops: bool| {
        let mut first = None;
        let told = |event| {
            if let Event::Steps { done, .. } = event {
                first.get_or_insert(done);
            }
            if stops { Control::Stop } else { Control::Continue }
        };
        trainer.fit(data(), Fit { epochs: 1, every: Some(1), ..Fit::default() }, told).unwrap();
        first
    };
    assert_eq!(first_told(&mut trainer, true), Some(1));
    trainer.snapshot().unwrap();
    trainer.rebuild(&app.gpu).unwrap();
    assert_eq!(first_told(&mut trainer, false), Some(2), "the epoch is finished");
    trainer.rebuild(&app.gpu).unwrap();
    let training = trainer.prepare(data()).unwrap();
    app.frame(|encoder| training.record_steps(encoder, 2));
    assert_eq!(first_told(&mut trainer, false), Some(1), "the epoch is a new one");
}

/// A snapshot between epochs of `fit` keeps the history. Without a GPU, the CPU reference continues.
#[test]
fn a_fit_goes_on_from_a_snapshot() {
    let app = App::open();
    let (mut whole, mut trainer) = (trainer(&app), trainer(&app));
    whole.fit(data(), Fit { epochs: 4, ..Fit::default() }, |_| {}).unwrap();
    trainer.fit(data(), Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    trainer.snapshot().unwrap();
    trainer.fit(data(), Fit { epochs: 1, ..Fit::default() }, |_| {}).unwrap();
    let new = App::open();
    trainer.rebuild(&new.gpu).unwrap();
    assert_eq!(trainer.epochs(), 2);
    trainer.fit(data(), Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    assert_eq!(trainer.model().parameters().unwrap(), whole.model().parameters().unwrap());
    let losses = |t: &Trainer| t.history().epochs.iter().map(|e| e.train.loss).collect::<Vec<_>>();
    assert_eq!(losses(&trainer), losses(&whole));
    trainer.rebuild(Device::Cpu).unwrap();
    trainer.fit(data(), Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
    let expected = losses(&whole);
    for (actual, expected) in losses(&trainer).iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-4, "{actual} {expected}");
    }
}

//! Tests training within the time budget of a frame. Also tests new weights, pauses and resets between frames.

use std::sync::mpsc;
use std::time::Duration;

use wgrad::Activation::{Identity, Tanh};
use wgrad::{Adam, Frame, Loss, Network, Trainer, TrainerConfig, Training, wgpu};

use super::{App, Random};

/// Apps with and without timestamps.
fn apps() -> [App; 2] {
    let timestamps = {
        let request = |adapter: &wgpu::Adapter| wgpu::DeviceDescriptor {
            required_features: wgrad::optional_features(adapter) & wgpu::Features::TIMESTAMP_QUERY,
            ..Default::default()
        };
        let (device, queue) = super::limits::device_of(request);
        assert!(device.features().contains(wgpu::Features::TIMESTAMP_QUERY), "this adapter has no timestamps");
        App::on(device, queue)
    };
    [timestamps, App::open()]
}

fn trainer(app: &App) -> Trainer {
    let network = Network::input(5).dense(32, Tanh).dense(2, Identity).build().unwrap();
    let config = TrainerConfig { batch: 16, ..TrainerConfig::default() };
    Trainer::new(&app.gpu, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap()
}

fn training(app: &App, trainer: &mut Trainer) -> Training {
    let mut random = Random(4);
    let (features, targets) = (app.storage(&random.f32s(64 * 5)), app.storage(&random.f32s(64 * 2)));
    trainer.prepare_buffers(&features, &targets, 64).unwrap()
}

/// Records a frame of the app without waiting. Finished steps are reported.
fn frame(app: &App, training: &Training, budget: Duration) -> u32 {
    let steps = app.frame(|encoder| training.record_within(encoder, budget));
    app.device.poll(wgpu::PollType::Poll).unwrap();
    steps
}

#[test]
fn a_budget_is_filled_with_steps_and_their_loss_arrives_some_frames_later() {
    for (app, timed) in apps().into_iter().zip([true, false]) {
        let mut trainer = trainer(&app);
        let training = training(&app, &mut trainer);
        let (send, receive) = mpsc::channel::<Frame>();
        training.on_frame(move |frame| send.send(frame).unwrap());
        // The GPU has finished nothing yet, so there is no step time. Each call records one step.
        let budget = Duration::from_secs(20);
        let mut recorded: Vec<u32> = Vec::new();
        for _ in 0..2 {
            recorded.push(frame(&app, &training, budget));
            app.wait();
        }
        assert_eq!(recorded, [1, 1]);
        // Each call then records up to twice the steps of the call before. The budget would allow far more.
        for _ in 0..5 {
            recorded.push(frame(&app, &training, budget));
            app.wait();
        }
        assert_eq!(recorded, [1, 1, 2, 4, 8, 16, 32]);
        assert_eq!(frame(&app, &training, Duration::ZERO), 0);
        let told: Vec<Frame> = receive.try_iter().collect();
        assert_eq!(told.iter().map(|frame| frame.steps).collect::<Vec<_>>(), recorded);
        assert!(told.iter().all(|frame| frame.train.rows == 16 * frame.steps && frame.train.loss.is_finite()));
        assert!(told.last().unwrap().train.loss < told[0].train.loss);
        assert!(told.iter().all(|frame| frame.step_time.is_some_and(|time| time > Duration::ZERO)));
        // The budget is 2.5 times the slowest step so far, so at least two steps fit. The exact number depends on the
        // load of the machine.
        let slowest = told[1..].iter().filter_map(|frame| frame.step_time).max().unwrap();
        recorded.push(frame(&app, &training, slowest * 5 / 2));
        assert!((2..=64).contains(recorded.last().unwrap()), "{recorded:?}");
        assert_eq!(timed, app.device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
        // The app's own submissions map the buffers that are read back.
        let calls = recorded.len() as u64;
        assert_eq!(app.gpu.traffic(), wgrad::Traffic { maps_on_submit: calls, ..Default::default() });
        let recorded: u32 = recorded.iter().sum();
        // `record_steps` records the same steps.
        let mut same = self::trainer(&app);
        let same_training = self::training(&app, &mut same);
        app.frame(|encoder| same_training.record_steps(encoder, recorded));
        assert_eq!(app.read::<u32>(training.parameter_buffer()), app.read::<u32>(same_training.parameter_buffer()));
    }
}

#[test]
fn no_more_than_three_calls_are_under_way_and_dropped_encoders_free_theirs() {
    let app = App::open();
    let mut trainer = trainer(&app);
    let training = training(&app, &mut trainer);
    let budget = Duration::from_millis(1);
    let mut encoder = app.device.create_command_encoder(&Default::default());
    let recorded: Vec<u32> = (0..5).map(|_| training.record_within(&mut encoder, budget)).collect();
    assert_eq!(recorded, [1, 1, 1, 0, 0]);
    drop(encoder);
    let recorded = app.frame(|encoder| [0; 5].map(|_| training.record_within(encoder, budget)));
    assert_eq!(recorded, [1, 1, 1, 0, 0]);
    app.wait();
    assert!(app.frame(|encoder| training.record_within(encoder, Duration::from_secs(1))) > 0);
}

#[test]
fn a_pause_records_nothing_and_a_reset_starts_anew() {
    let app = App::open();
    let mut trainer = trainer(&app);
    let training = training(&app, &mut trainer);
    let start: Vec<u32> = app.read(training.parameter_buffer());
    let run = |steps| {
        app.frame(|encoder| training.record_steps(encoder, steps));
        app.read::<u32>(training.parameter_buffer())
    };
    let first = run(6);
    assert_ne!(first, start);
    training.pause();
    assert_eq!(frame(&app, &training, Duration::from_secs(1)), 0);
    assert_eq!(app.read::<u32>(training.parameter_buffer()), first);
    training.resume();
    assert_eq!(frame(&app, &training, Duration::from_secs(1)), 1);
    trainer.reset();
    assert_eq!(app.read::<u32>(training.parameter_buffer()), start);
    assert_eq!(run(6), first, "the same steps from the same start: weights, moments and cursor");
    assert_eq!(app.gpu.traffic(), wgrad::Traffic { maps_on_submit: 1, ..Default::default() });
}

#[test]
fn weights_are_swapped_between_frames() {
    let app = App::open();
    let (mut a, b) = (trainer(&app), trainer(&app));
    let training = training(&app, &mut a);
    app.frame(|encoder| training.record_steps(encoder, 5));
    let input = app.storage(&[0.5f32; 5 * 16]);
    let output = app.storage(&[0f32; 2 * 16]);
    let (model, other) = (b.model(), a.model());
    let forward = model.prepare_forward(&input, &output, 16).unwrap();
    let run = || {
        app.frame(|encoder| forward.record_forward(encoder));
        app.read::<f32>(&output)
    };
    let before = run();
    // First the host sets the weights.
    let given: Vec<f32> = app.read(other.parameter_buffer().unwrap());
    model.set_parameters(&given).unwrap();
    let after = run();
    assert_eq!(after, other.forward(&[0.5; 5 * 16]).unwrap());
    assert_ne!(after, before);
    // Then the GPU copies the weights: from the network that trains in the background to the one that the app shows.
    let (from, to) = (training.parameter_buffer(), model.parameter_buffer().unwrap());
    app.frame(|encoder| {
        training.record_steps(encoder, 5);
        encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
        forward.record_forward(encoder);
    });
    assert_eq!(app.read::<f32>(&output), other.forward(&[0.5; 5 * 16]).unwrap());
    let error = model.set_parameters(&given[1..]).unwrap_err().to_string();
    assert!(error.starts_with("parameters: expected 384 numbers"), "{error}");
}

/// The app's own shaders find the parameters at the offsets of the parameter table.
#[test]
fn parameters_lie_where_the_table_says() {
    let app = App::open();
    let trainer = trainer(&app);
    let model = trainer.model();
    let table: Vec<(&str, u64, &[u32])> =
        model.network().parameters().iter().map(|p| (p.name.as_str(), p.bytes().start, p.shape.as_slice())).collect();
    let expected: [(&str, u64, &[u32]); 4] = [
        ("dense_1.weight", 0, &[5, 32]),
        ("dense_1.bias", 768, &[32]),
        ("dense_2.weight", 1024, &[32, 2]),
        ("dense_2.bias", 1280, &[2]),
    ];
    assert_eq!(table, expected);
    // A shader of the app doubles the weight of the second layer. It binds the range from the parameter table.
    let weight = model.network().parameters()[2].bytes();
    let buffer = model.parameter_buffer().unwrap();
    let before: Vec<f32> = app.read(buffer);
    let part = app.storage(&[0f32; 64]);
    app.frame(|encoder| encoder.copy_buffer_to_buffer(buffer, weight.start, &part, 0, 256));
    assert_eq!(app.read::<f32>(&part), before[weight.start as usize / 4..][..64]);
    assert_eq!(before, model.network().initial_parameters(0));
}

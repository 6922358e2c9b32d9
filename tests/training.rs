//! Tests training as a user sees it: it learns, it repeats bit by bit, and the GPU follows the CPU reference.

mod common;

use common::*;
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::{
    Activation, Adam, Dataset, Device, Error, Event, Fit, Gpu, History, Loss, Model, Network, Optimizer, Sgd, Trainer,
    TrainerConfig,
};

/// Three clouds of points in the plane, one class each.
fn clouds(rows: usize, seed: u64) -> Dataset {
    let mut random = Random(seed);
    let centres = [[1.5, 0.0], [-1.0, 1.2], [-0.8, -1.4]];
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..rows {
        let class = random.below(3);
        labels.push(class);
        features.extend(centres[class as usize].map(|c| c + 0.4 * (random.f32() + random.f32())));
    }
    Dataset::from_f32(features, 2, labels, 3).unwrap()
}

fn network() -> Network {
    Network::input(2).dense(16, Relu).dense(8, Tanh).dense(3, Identity).build().unwrap()
}

fn trainer(device: impl Into<Device>, optimizer: impl Into<Optimizer>, config: TrainerConfig) -> Trainer {
    Trainer::new(device, &network(), Loss::SoftmaxCrossEntropy, optimizer, config).unwrap()
}

fn config() -> TrainerConfig {
    TrainerConfig { batch: 16, seed: 3, ..TrainerConfig::default() }
}

fn fit(device: impl Into<Device>, config: TrainerConfig, epochs: u32) -> (History, Vec<u32>) {
    let mut trainer = trainer(device, Adam { learning_rate: 0.01, ..Adam::default() }, config);
    let (train, test) = (clouds(300, 1), clouds(100, 2));
    let fit = Fit { epochs, validation: Some(&test), ..Fit::default() };
    let history = trainer.fit(&train, fit, |_| {}).unwrap();
    let bits = trainer.model().parameters().unwrap().into_iter().map(f32::to_bits).collect();
    (history, bits)
}

/// Training must learn on every device.
#[test]
fn it_learns_on_every_device() {
    for device in [Device::from(gpu()), Device::from(plain_gpu()), Device::Cpu] {
        let (history, _) = fit(device, config(), 15);
        let (first, last) = (history.epochs[0], history.epochs[14]);
        assert!(last.train.loss < 0.3 * first.train.loss, "{history:?}");
        assert!(last.validation.unwrap().accuracy >= 0.95, "{history:?}");
        assert_eq!((last.train.rows, last.validation.unwrap().rows, last.steps), (300, 100, 19));
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    for gpu in gpus() {
        let (history, weights) = fit(gpu, config(), 3);
        let (again, weights_again) = fit(gpu, config(), 3);
        assert_eq!(weights, weights_again);
        let losses = |h: &History| h.epochs.iter().map(|e| e.train.loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(losses(&history), losses(&again));
        assert_ne!(weights, fit(gpu, TrainerConfig { seed: 4, ..config() }, 3).1);
    }
}

/// The number of steps in a submission must not change the bits of the weights.
#[test]
fn how_steps_are_submitted_does_not_change_the_bits() {
    let (_, weights) = fit(gpu(), config(), 2);
    let mut live = trainer(gpu(), Adam { learning_rate: 0.01, ..Adam::default() }, config());
    let (train, test) = (clouds(300, 1), clouds(100, 2));
    let options = Fit { epochs: 2, validation: Some(&test), live: true, ..Fit::default() };
    live.fit(&train, options, |_| {}).unwrap();
    let bits: Vec<u32> = live.model().parameters().unwrap().into_iter().map(f32::to_bits).collect();
    assert_eq!(weights, bits);
}

/// After each of 20 steps the batch losses of GPU and CPU must agree to 1e-4. So must the weights at the end.
#[test]
fn twenty_steps_follow_the_reference() {
    for gpu in gpus() {
        for optimizer in
            [Optimizer::from(Adam::default()), Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() }.into()]
        {
            let data = clouds(160, 5);
            // An epoch of one step reports that step's loss.
            let batches: Vec<Dataset> = (0..20)
                .map(|i| {
                    let rows = i * 8..(i + 1) * 8;
                    let labels = data.labels()[rows.clone()].to_vec();
                    Dataset::from_f32(data.features_of(rows), 2, labels, 3).unwrap()
                })
                .collect();
            let run = |device: Device| {
                let mut trainer = trainer(device, optimizer, TrainerConfig { batch: 8, ..config() });
                let losses: Vec<f64> = batches
                    .iter()
                    .map(|batch| trainer.fit(batch, Fit::default(), |_| {}).unwrap().epochs[0].train.loss)
                    .collect();
                (losses, trainer.model().parameters().unwrap())
            };
            let ((on_gpu, gpu_weights), (on_cpu, cpu_weights)) = (run(gpu.into()), run(Device::Cpu));
            for (step, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
                assert!((gpu - cpu).abs() <= 1e-4 * cpu.abs(), "step {step}: loss {gpu} on the GPU, {cpu} on the CPU");
            }
            let largest = cpu_weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
            for (gpu, cpu) in gpu_weights.iter().zip(&cpu_weights) {
                assert!((gpu - cpu).abs() <= 1e-4 * largest);
            }
        }
    }
}

/// A batch of 16 over 20 rows leaves a second batch of 4. Its mean must count only these 4 rows. So an SGD step from
/// it equals a step with a batch size of 4.
#[test]
fn a_partial_batch_counts_only_its_own_rows() {
    let config = TrainerConfig { shuffle: false, ..config() };
    let sgd = Sgd { learning_rate: 0.5, ..Sgd::default() };
    let data = clouds(20, 9);
    let part = |rows: std::ops::Range<usize>| {
        Dataset::from_f32(data.features_of(rows.clone()), 2, data.labels()[rows].to_vec(), 3).unwrap()
    };
    for device in [Device::from(gpu()), Device::Cpu] {
        let mut whole = trainer(device.clone(), sgd, config.clone());
        whole.fit(&data, Fit::default(), |_| {}).unwrap();
        let mut first = trainer(device.clone(), sgd, config.clone());
        first.fit(part(0..16), Fit::default(), |_| {}).unwrap();
        first.fit(part(16..20), Fit::default(), |_| {}).unwrap();
        assert_eq!(whole.model().parameters().unwrap(), first.model().parameters().unwrap());
    }
}

#[test]
fn evaluation_and_prediction_agree_with_a_count_by_hand() {
    for device in [Device::from(gpu()), Device::from(plain_gpu()), Device::Cpu] {
        let mut trainer = trainer(device, Adam::default(), config());
        // More rows than one batch of evaluation or of the forward pass.
        let data = clouds(5000, 11);
        let evaluation = trainer.evaluate(&data).unwrap();
        let features = data.features_of(0..5000);
        let classes = trainer.predict(&features).unwrap();
        let correct = classes.iter().zip(data.labels()).filter(|(a, b)| a == b).count();
        assert_eq!(evaluation.rows, 5000);
        assert_eq!((evaluation.accuracy * 5000.0).round() as usize, correct);
        let outputs = trainer.model().forward(&features).unwrap();
        let loss: f64 = outputs
            .chunks(3)
            .zip(data.labels())
            .map(|(z, &label)| {
                let z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label as usize]
            })
            .sum::<f64>()
            / 5000.0;
        // The rounding error of a sum of 5,000 f32 losses, in slots of ten.
        assert!((evaluation.loss - loss).abs() < 5000.0 / 16_777_216.0 * loss, "{} {loss}", evaluation.loss);
    }
}

/// Byte features must train like the same numbers as f32.
#[test]
fn bytes_and_the_same_numbers_as_floats_train_alike() {
    let mut random = Random(21);
    let bytes: Vec<u8> = (0..60 * 5).map(|_| random.word() as u8).collect();
    let labels: Vec<u32> = (0..60).map(|_| random.below(3)).collect();
    let as_bytes = Dataset::from_u8(bytes, 5, labels.clone(), 3).unwrap();
    let as_floats = Dataset::from_f32(as_bytes.features_of(0..60), 5, labels, 3).unwrap();
    let network = Network::input(5).dense(7, Relu).dense(3, Identity).build().unwrap();
    for device in [Device::from(gpu()), Device::Cpu] {
        let weights = |data: &Dataset| {
            let mut t =
                Trainer::new(device.clone(), &network, Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();
            t.fit(data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
            t.model().parameters().unwrap()
        };
        assert_eq!(weights(&as_bytes), weights(&as_floats));
    }
}

/// Data passed by value must train like data passed by reference, bit by bit.
#[test]
fn data_that_are_given_away_train_as_those_that_are_lent() {
    // Byte rows that do and do not fill whole words, and rows of f32.
    let mut random = Random(5);
    let labels: Vec<u32> = (0..61).map(|row| row % 3).collect();
    let mut sets = Vec::new();
    for width in [4, 7] {
        let bytes = (0..61 * width).map(|_| random.below(256) as u8).collect();
        sets.push(Dataset::from_u8(bytes, width, labels.clone(), 3).unwrap());
    }
    let numbers = (0..61 * 3).map(|_| random.f32()).collect();
    sets.push(Dataset::from_f32(numbers, 3, labels, 3).unwrap());
    for data in sets {
        let network = Network::input(data.features() as u32).dense(5, Tanh).dense(3, Identity).build().unwrap();
        for device in [Device::from(gpu()), Device::Cpu] {
            let bits = |given: bool| {
                let loss = Loss::SoftmaxCrossEntropy;
                let mut trainer = Trainer::new(device.clone(), &network, loss, Adam::default(), config()).unwrap();
                let fit = Fit { epochs: 2, ..Fit::default() };
                match given {
                    true => trainer.fit(data.clone(), fit, |_| {}).unwrap(),
                    false => trainer.fit(&data, fit, |_| {}).unwrap(),
                };
                trainer.model().parameters().unwrap().into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            };
            assert_eq!(bits(true), bits(false));
        }
    }
}

#[test]
fn initial_weights_are_the_same_on_every_device() {
    let (gpu, cpu) = (trainer(gpu(), Adam::default(), config()), trainer(Device::Cpu, Adam::default(), config()));
    assert_eq!(gpu.model().parameters().unwrap(), cpu.model().parameters().unwrap());
}

/// A diverging loss must return an error with the epoch and the step.
#[test]
fn a_loss_that_diverges_names_the_epoch_and_the_step() {
    for device in [Device::from(gpu()), Device::from(plain_gpu()), Device::Cpu] {
        let mut trainer = trainer(device, Sgd { learning_rate: 3e38, ..Sgd::default() }, config());
        let error = trainer.fit(clouds(300, 1), Fit { epochs: 3, ..Fit::default() }, |_| {}).unwrap_err();
        let Error::NonFiniteLoss { epoch: 1, step } = error else { panic!("{error}") };
        assert!((2..=19).contains(&step), "{error}");
    }
}

/// NaN in a weight of the first layer must reach the loss through every activation.
#[test]
fn nan_is_not_swallowed_on_the_way() {
    for (gpu, activation) in gpus().into_iter().flat_map(|gpu| Activation::ALL.map(|a| (gpu, a))) {
        let network = Network::input(2).dense(4, activation).dense(3, Identity).build().unwrap();
        let mut trainer = Trainer::new(gpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config()).unwrap();
        // Written as an app may write them. Data passed to wgrad's own functions are checked.
        let bias = network.parameters()[1].bytes();
        let nan = [f32::NAN.to_bits().to_ne_bytes(); 4].concat();
        gpu.queue().write_buffer(trainer.model().parameter_buffer().unwrap(), bias.start, &nan);
        let error = trainer.fit(clouds(20, 1), Fit::default(), |_| {}).unwrap_err();
        assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, step: 1 }), "{error}");
    }
}

/// The loss of the only step is finite, but the weights it leaves are not. The validation must show it.
#[test]
fn weights_ruined_by_the_last_step_show_in_the_validation() {
    let mut trainer =
        trainer(gpu(), Sgd { learning_rate: 3e38, ..Sgd::default() }, TrainerConfig { batch: 300, ..config() });
    let data = clouds(300, 1);
    let error = trainer.fit(&data, Fit { validation: Some(&data), ..Fit::default() }, |_| {}).unwrap_err();
    assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, step: 1 }), "{error}");
}

#[test]
fn weights_given_from_outside_run_without_a_trainer() {
    for device in [Device::from(gpu()), Device::Cpu] {
        let trainer = trainer(device.clone(), Adam::default(), config());
        let weights = trainer.model().parameters().unwrap();
        let model = Model::new(device.clone(), &network(), &weights).unwrap();
        let features = clouds(50, 4).features_of(0..50);
        assert_eq!(model.forward(&features).unwrap(), trainer.model().forward(&features).unwrap());
        let error = Model::new(device, &network(), &weights[1..]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "parameters: expected {0} numbers (with the alignment gaps), got {1}",
                weights.len(),
                weights.len() - 1
            )
        );
    }
}

#[test]
fn progress_comes_in_order_and_with_few_submissions() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device, queue);
    let mut trainer = trainer(&gpu, Adam::default(), TrainerConfig { batch: 1, ..config() });
    let data = clouds(1000, 1);
    let mut seen = Vec::new();
    trainer.fit(&data, Fit { epochs: 2, validation: Some(&data), ..Fit::default() }, |event| seen.push(event)).unwrap();
    let Event::Steps { epoch: 1, done: 1, steps: 1000, train: None } = seen[0] else { panic!("{:?}", seen[0]) };
    let mut last = (0, 0);
    for event in &seen {
        match *event {
            Event::Steps { epoch, done, train, .. } => {
                assert!((epoch, done) > last);
                assert_eq!(train.is_some(), done == 1000);
                last = (epoch, done);
            }
            Event::Epoch(epoch) => assert_eq!((epoch.epoch, 1000), last),
            _ => {}
        }
    }
    let traffic = gpu.traffic();
    assert!(traffic.submits <= 2 * 32, "{traffic:?}");
    // One read of 16 bytes for each epoch and for each validation.
    assert_eq!(traffic.readback_bytes, 4 * 16);
}

/// At most three submissions may be in flight.
#[test]
fn at_most_three_submissions_are_under_way() {
    let (device, queue) = own_device();
    let gpu = Gpu::from_parts(device, queue);
    let mut trainer = trainer(&gpu, Adam::default(), TrainerConfig { batch: 1, ..config() });
    let data = clouds(1000, 1);
    // The first call warms up. After it all submissions are of steps.
    trainer.fit(&data, Fit::default(), |_| {}).unwrap();
    let before = gpu.traffic().submits;
    let (mut ended, mut most) = (0, 0);
    trainer
        .fit(&data, Fit { epochs: 3, ..Fit::default() }, |event| {
            if let Event::Steps { .. } = event {
                // The submission of this event has just ended.
                most = most.max(gpu.traffic().submits - before - ended);
                ended += 1;
            }
        })
        .unwrap();
    assert_eq!(ended, gpu.traffic().submits - before);
    assert_eq!(most, 3);
}

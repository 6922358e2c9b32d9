//! Tests training options: accumulation, clipping, groups, schedules, callbacks, early stopping, dropout, sample
//! weights.

mod common;

use common::*;
use wgrad::Activation::{Identity, Relu, Sigmoid, Tanh};
use wgrad::{
    Adam, AdamW, Clip, Control, Dataset, Dense, Device, EarlyStopping, Error, Event, Fit, Group, Init, Loss, Monitor,
    Network, Optimizer, Plateau, Schedule, Sgd, Trainer, TrainerConfig,
};

/// Random points and the height of a noisy plane above them.
fn plane(rows: usize, seed: u64) -> Dataset {
    let mut random = Random(seed);
    let features = random.f32s(rows * 3);
    let targets = features.chunks(3).map(|x| 0.5 * x[0] - x[1] + 0.2 + 0.1 * random.f32()).collect();
    Dataset::from_f32_targets(features, 3, targets, 1).unwrap()
}

fn network() -> Network {
    Network::input(3).dense(8, Tanh).dense(1, Identity).build().unwrap()
}

fn config(batch: u32) -> TrainerConfig {
    TrainerConfig { batch, seed: 7, shuffle: false, ..TrainerConfig::default() }
}

fn trainer(device: impl Into<Device>, optimizer: impl Into<Optimizer>, config: TrainerConfig) -> Trainer {
    Trainer::new(device, &network(), Loss::MeanSquaredError, optimizer, config).unwrap()
}

fn devices() -> [Device; 2] {
    [gpu().into(), Device::Cpu]
}

/// The weights after some epochs.
fn trained(mut trainer: Trainer, data: &Dataset, epochs: u32) -> Vec<f32> {
    trainer.fit(data, Fit { epochs, ..Fit::default() }, |_| {}).unwrap();
    trainer.model().parameters().unwrap()
}

/// The largest difference relative to the largest weight.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let largest = b.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// The rounding error of about ten steps over sums of about ten terms each.
const ROUNDING: f32 = 200.0 / 16_777_216.0;

/// Accumulated batches must train like one large batch.
#[test]
fn accumulated_batches_train_as_one_large_batch_would() {
    // 22 rows. With accumulation three batches of 5 make an update, then 5 and 2 remain. Without it the batches are
    // 15 and 7.
    let data = plane(22, 1);
    for device in devices() {
        for loss in [Loss::MeanSquaredError, Loss::SumOfSquares] {
            let make = |config| {
                let sgd = Sgd { learning_rate: 0.01, momentum: 0.9, ..Sgd::default() };
                Trainer::new(device.clone(), &network(), loss, sgd, config).unwrap()
            };
            let several = trained(make(TrainerConfig { accumulate: 3, ..config(5) }), &data, 3);
            let one = trained(make(config(15)), &data, 3);
            assert!(apart(&several, &one) < ROUNDING, "{loss:?}: {}", apart(&several, &one));
        }
    }
}

/// A frozen layer must not change. A group's rate must multiply the learning rate.
#[test]
fn a_frozen_layer_stays_and_a_rate_multiplies() {
    let data = plane(20, 2);
    for device in devices() {
        let sgd = Sgd { learning_rate: 0.1, weight_decay: 0.1, ..Sgd::default() };
        let groups = vec![Group::layer("dense_1").frozen(), Group::layer("dense_2").rate(0.5)];
        let start = network().initial_parameters(7);
        let changed = trained(trainer(device.clone(), sgd, TrainerConfig { groups, ..config(20) }), &data, 1);
        let plain = trained(trainer(device, sgd, config(20)), &data, 1);
        for (p, frozen) in network().parameters().iter().zip([true, true, false, false]) {
            for i in p.range() {
                match frozen {
                    true => assert_eq!(changed[i], start[i], "{}", p.name),
                    false => {
                        let (half, whole) = (changed[i] - start[i], plain[i] - start[i]);
                        assert!((half - 0.5 * whole).abs() <= 1e-6, "{}: {half} of {whole}", p.name);
                        assert_ne!(whole, 0.0);
                    }
                }
            }
        }
    }
}

/// Weight decay must be able to exclude biases.
#[test]
fn decay_can_leave_biases_alone() {
    // The gradient is zero, so only weight decay changes the weights.
    let data = Dataset::from_f32_targets(vec![0.0; 6], 3, vec![0.0; 2], 1).unwrap();
    for device in devices() {
        for (decay_biases, share) in [(true, 0.9), (false, 1.0)] {
            let network =
                Network::input(3).layer(Dense::new(1, Identity).bias_init(Init::Constant(0.5))).build().unwrap();
            let adamw = AdamW { learning_rate: 1e-12, weight_decay: 1e11, ..AdamW::default() };
            let config = TrainerConfig { decay_biases, ..config(2) };
            let mut trainer = Trainer::new(device.clone(), &network, Loss::MeanSquaredError, adamw, config).unwrap();
            trainer.fit(&data, Fit::default(), |_| {}).unwrap();
            let (after, before) = (trainer.model().parameters().unwrap(), network.initial_parameters(7));
            let bias = network.parameters()[1].range().start;
            assert!((after[bias] - 0.5 * share).abs() < 1e-6, "{} at {decay_biases}", after[bias]);
            assert!((after[0] - 0.9 * before[0]).abs() < 1e-6);
        }
    }
}

/// Clipping by norm must scale all gradients by one factor. Clipping by value must clamp each gradient.
#[test]
fn a_limit_on_the_norm_scales_all_gradients_alike() {
    let data = plane(20, 3);
    for device in devices() {
        let sgd = Sgd { learning_rate: 1.0, ..Sgd::default() };
        let start = network().initial_parameters(7);
        let step = |clip| {
            let after = trained(trainer(device.clone(), sgd, TrainerConfig { clip, ..config(20) }), &data, 1);
            after.iter().zip(&start).map(|(a, s)| f64::from(a - s)).collect::<Vec<f64>>()
        };
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (free, held) = (step(None), step(Some(Clip::Norm(0.05))));
        assert!(norm(&free) > 0.1 && (norm(&held) - 0.05).abs() < 1e-4, "{} {}", norm(&free), norm(&held));
        for (free, held) in free.iter().zip(&held) {
            assert!((held * norm(&step(None)) / 0.05 - free).abs() < 1e-4);
        }
        let clipped = step(Some(Clip::Value(0.01)));
        assert!(clipped.iter().zip(&free).all(|(c, f)| (c - f.clamp(-0.01, 0.01)).abs() < 1e-6));
    }
}

/// A schedule must set the learning rate of each update.
#[test]
fn a_schedule_sets_the_rate_of_each_update() {
    // Two rows whose gradient is always 1, so the weight falls by the sum of the rates.
    let data = Dataset::from_f32_targets(vec![1.0; 2], 1, vec![-100.0; 2], 1).unwrap();
    let network = Network::input(1).layer(Dense::new(1, Identity).without_bias()).build().unwrap();
    let schedule = Schedule::cosine(6, 0.1).warm_up(2);
    for device in devices() {
        let sgd = Sgd { learning_rate: 0.1, ..Sgd::default() };
        let config = TrainerConfig { schedule, ..config(1) };
        let mut trainer = Trainer::new(device, &network, Loss::MeanAbsoluteError, sgd, config).unwrap();
        let history = trainer.fit(&data, Fit { epochs: 4, ..Fit::default() }, |_| {}).unwrap();
        let moved = network.initial_parameters(7)[0] - trainer.model().parameters().unwrap()[0];
        let expected: f32 = (0..8).map(|n| 0.1 * schedule.factor(n)).sum();
        assert!((moved - expected).abs() < 1e-6, "{moved} is not {expected}");
        assert_eq!(history.epochs[3].learning_rate, 0.1 * schedule.factor(7));
    }
}

/// A plateau schedule must lower the rate once its patience is exceeded.
#[test]
fn a_plateau_lowers_the_rate_after_its_patience() {
    let data = plane(8, 4);
    for device in devices() {
        // A rate of 0 never improves the loss.
        let plateau = Plateau { factor: 0.5, patience: 2, floor: 0.2, ..Plateau::default() };
        let schedule = Schedule::reduce_on_plateau(plateau);
        let frozen = vec![Group::layer("dense_1").frozen(), Group::layer("dense_2").frozen()];
        let config = TrainerConfig { schedule, groups: frozen, ..config(8) };
        let mut trainer = trainer(device, Sgd { learning_rate: 1.0, ..Sgd::default() }, config);
        let history = trainer.fit(&data, Fit { epochs: 13, ..Fit::default() }, |_| {}).unwrap();
        let rates: Vec<f32> = history.epochs.iter().map(|e| e.learning_rate).collect();
        // The first epoch is the best. With a patience of 2 the rate falls after three epochs without improvement.
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]);
    }
}

/// A plateau schedule must not raise a rate that a callback set below the floor.
#[test]
fn a_plateau_never_raises_the_rate() {
    let data = plane(8, 4);
    let plateau = Plateau { factor: 0.5, patience: 0, floor: 0.2, ..Plateau::default() };
    let frozen = vec![Group::layer("dense_1").frozen(), Group::layer("dense_2").frozen()];
    let config = TrainerConfig { schedule: Schedule::reduce_on_plateau(plateau), groups: frozen, ..config(8) };
    let mut trainer = trainer(gpu(), Sgd { learning_rate: 1.0, ..Sgd::default() }, config);
    let history = trainer.fit(&data, Fit { epochs: 4, ..Fit::default() }, |event| match event {
        Event::Epoch(epoch) if epoch.epoch == 1 => Control::RateScale(0.01),
        _ => Control::Continue,
    });
    let rates: Vec<f32> = history.unwrap().epochs.iter().map(|e| e.learning_rate).collect();
    assert_eq!(rates, [1.0, 0.01, 0.01, 0.01]);
}

/// An epoch must report the learning rate of its training.
#[test]
fn an_epoch_tells_the_rate_that_it_was_trained_at() {
    let data = plane(10, 6);
    for device in devices() {
        // The last event of the epoch's steps changes the rate. All steps are then done.
        let mut trainer = trainer(device, Sgd { learning_rate: 0.5, ..Sgd::default() }, config(10));
        let fit = Fit { epochs: 2, ..Fit::default() };
        let history = trainer.fit(&data, fit, |event| match event {
            Event::Steps { epoch: 1, .. } => Control::RateScale(0.5),
            _ => Control::Continue,
        });
        let rates: Vec<f32> = history.unwrap().epochs.iter().map(|e| e.learning_rate).collect();
        assert_eq!(rates, [0.5, 0.25]);
        // A stopped epoch keeps the updates that were done.
        let schedule = Schedule::step(3, 0.1);
        let sgd = Sgd { learning_rate: 1.0, ..Sgd::default() };
        let mut trainer = self::trainer(trainer.device().clone(), sgd, TrainerConfig { schedule, ..config(5) });
        trainer.fit(&data, Fit { every: Some(1), ..Fit::default() }, |_| Control::Stop).unwrap();
        let history = trainer.fit(plane(5, 1), Fit { epochs: 4, ..Fit::default() }, |_| {}).unwrap();
        let rates: Vec<f32> = history.epochs.iter().map(|e| (e.learning_rate * 10.0).round() / 10.0).collect();
        assert_eq!(rates, [1.0, 1.0, 0.1, 0.1], "the first was the second update");
        // An epoch that ends in an error keeps its updates too. It continues at the next step. If all steps were
        // done, only its report was missing.
        for refused_at in [1, 2] {
            let config = TrainerConfig { schedule, ..config(5) };
            let mut trainer = self::trainer(trainer.device().clone(), sgd, config);
            let refused = trainer.fit(&data, Fit { every: Some(1), ..Fit::default() }, |event| match event {
                Event::Steps { done, .. } if done == refused_at => Control::RateScale(f32::NAN),
                _ => Control::Continue,
            });
            assert!(matches!(refused, Err(Error::InvalidOption { .. })));
            let history = trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
            let rates: Vec<f32> = history.epochs.iter().map(|e| (e.learning_rate * 10.0).round() / 10.0).collect();
            assert_eq!(rates, if refused_at == 1 { [1.0, 0.1] } else { [0.1, 0.1] });
        }
    }
}

/// If training moves to other data during an accumulated update, the partial update must be discarded.
#[test]
fn an_update_that_was_left_half_done_does_not_count() {
    // Adam's first update equals the rate for any gradient, because its bias corrections count updates from 1.
    let (long, short) = (plane(12, 5), plane(6, 6));
    for device in devices() {
        let config = TrainerConfig { accumulate: 3, ..config(2) };
        let fresh = trained(trainer(device.clone(), Adam::default(), config.clone()), &short, 1);
        let mut left = trainer(device, Adam::default(), config);
        left.fit(&long, Fit { every: Some(1), ..Fit::default() }, |_| Control::Stop).unwrap();
        assert_eq!(trained(left, &short, 1), fresh);
    }
}

/// After divergence the weights must be the best ones, and training must be able to continue.
#[test]
fn a_diverging_loss_goes_back_to_the_best_weights_too() {
    let (data, held) = plane(60, 7).hold_out(0.25).unwrap();
    let optimizers: [Optimizer; 3] = [
        Sgd { learning_rate: 0.02, ..Sgd::default() }.into(),
        Sgd { learning_rate: 0.02, momentum: 0.9, ..Sgd::default() }.into(),
        Adam::default().into(),
    ];
    for (device, optimizer) in devices().into_iter().flat_map(|d| optimizers.map(|o| (d.clone(), o))) {
        let mut trainer = trainer(device, optimizer, config(45));
        let early_stopping = Some(EarlyStopping::default());
        let fit = |epochs| Fit { epochs, validation: Some(&held), early_stopping, ..Fit::default() };
        let error = trainer.fit(&data, fit(5), |event| match event {
            Event::Epoch(epoch) if epoch.epoch == 2 => Control::RateScale(3e38),
            _ => Control::Continue,
        });
        assert!(matches!(error, Err(Error::NonFiniteLoss { .. })), "{error:?}");
        let losses: Vec<f64> = trainer.history().epochs.iter().map(|e| e.validation.unwrap().loss).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!((losses.len(), trainer.evaluate(&held).unwrap().loss), (2, best));
        // The optimizer's moments must not keep the divergence.
        trainer.set_rate_scale(1.0).unwrap();
        assert_eq!(trainer.fit(&data, fit(3), |_| {}).unwrap().epochs.len(), 3);
    }
}

/// Non-finite or negative options must return an error, and the weights must stay finite.
#[test]
fn numbers_that_would_ruin_a_run_are_refused() {
    let data = plane(8, 4);
    let mut trainer = trainer(Device::Cpu, Adam::default(), config(8));
    let early_stopping = Some(EarlyStopping { min_delta: f64::NAN, ..EarlyStopping::default() });
    let error = trainer.fit(&data, Fit { early_stopping, ..Fit::default() }, |_| {}).unwrap_err().to_string();
    assert_eq!(error, "min_delta of EarlyStopping must be finite and at least 0, got NaN");
    let before = trainer.model().parameters().unwrap();
    assert!(
        self::trainer(Device::Cpu, Sgd { learning_rate: 1e20, ..Sgd::default() }, config(8))
            .set_rate_scale(1e20)
            .is_err()
    );
    for scale in [f32::NAN, f32::INFINITY, -1.0] {
        let error = trainer.set_rate_scale(scale).unwrap_err().to_string();
        let expected = "at least 0, and its product with the learning rate finite";
        assert_eq!(error, format!("scale of the learning rate must be {expected}, got {scale}"));
        let error = trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| Control::RateScale(scale)).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    }
    let after = trainer.model().parameters().unwrap();
    assert!(before != after && after.iter().all(|w| w.is_finite()));
}

/// A callback may stop within an epoch. The next fit must train the rest of it.
#[test]
fn a_callback_stops_within_an_epoch_and_the_rest_follows_later() {
    let data = plane(100, 5);
    for device in devices() {
        let uninterrupted = trained(trainer(device.clone(), Adam::default(), config(1)), &data, 2);
        let mut trainer = trainer(device, Adam::default(), config(1));
        let fit = Fit { epochs: 2, every: Some(20), ..Fit::default() };
        let mut told = Vec::new();
        let history = trainer.fit(&data, fit, |event| match event {
            Event::Steps { done, train: Some(train), .. } => {
                told.push((done, train.rows));
                if done >= 40 { Control::Stop } else { Control::Continue }
            }
            _ => Control::Continue,
        });
        assert!(history.unwrap().epochs.is_empty() && trainer.epochs() == 0);
        // Each event reports all rows of the epoch so far.
        assert!(told.len() >= 2 && told.iter().all(|&(done, rows)| done == rows && done % 20 == 0), "{told:?}");
        let history = trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
        assert_eq!(history.epochs.iter().map(|e| (e.epoch, e.train.rows)).collect::<Vec<_>>(), [(1, 100), (2, 100)]);
        assert_eq!(trainer.model().parameters().unwrap(), uninterrupted);
    }
}

#[test]
fn a_callback_changes_the_rate() {
    let data = plane(10, 6);
    for device in devices() {
        let mut trainer = trainer(device, Sgd::default(), config(10));
        let mut after_first = None;
        let fit = Fit { epochs: 3, ..Fit::default() };
        let model = trainer.model();
        trainer
            .fit(&data, fit, |event| match event {
                Event::Epoch(epoch) if epoch.epoch == 1 => {
                    after_first = Some(());
                    Control::RateScale(0.0)
                }
                _ => Control::Continue,
            })
            .unwrap();
        let frozen = model.parameters().unwrap();
        let once = trained(self::trainer(trainer.device().clone(), Sgd::default(), config(10)), &data, 1);
        assert_eq!(frozen, once);
        assert_eq!(trainer.history().epochs[2].learning_rate, 0.0);
    }
}

/// Early stopping must restore the best weights.
#[test]
fn early_stopping_goes_back_to_the_best_weights() {
    let (train, held) = plane(60, 7).shuffled(1).hold_out(0.25).unwrap();
    for device in devices() {
        // A rate that soon makes the loss worse, because it doubles with each update.
        let mut trainer = trainer(device, Sgd { learning_rate: 0.02, ..Sgd::default() }, config(45));
        let early_stopping = Some(EarlyStopping { patience: 3, ..EarlyStopping::default() });
        let fit = Fit { epochs: 100, validation: Some(&held), early_stopping, ..Fit::default() };
        let mut scale = 1.0;
        let history = trainer.fit(&train, fit, |event| match event {
            Event::Epoch(_) => {
                scale *= 2.0;
                Control::RateScale(scale)
            }
            _ => Control::Continue,
        });
        let losses: Vec<f64> = history.unwrap().epochs.iter().map(|e| e.validation.unwrap().loss).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(losses.len() < 100 && losses.len() > 4, "{losses:?}");
        assert_eq!(losses.iter().position(|&l| l == best), Some(losses.len() - 4), "{losses:?}");
        assert_eq!(trainer.evaluate(&held).unwrap().loss, best);
    }
}

/// Early stopping must be able to monitor accuracy.
#[test]
fn accuracy_can_be_watched_too() {
    let mut random = Random(3);
    let features = random.f32s(80);
    let labels = features.chunks(2).map(|x| u32::from(x[0] > x[1])).collect();
    let data = Dataset::from_f32(features, 2, labels, 2).unwrap();
    let network = Network::input(2).dense(1, Sigmoid).build().unwrap();
    for device in devices() {
        let adam = Adam { learning_rate: 0.1, ..Adam::default() };
        let mut trainer = Trainer::new(device, &network, Loss::BinaryCrossEntropy, adam, config(40)).unwrap();
        let early_stopping =
            Some(EarlyStopping { monitor: Monitor::Accuracy, patience: 10, ..EarlyStopping::default() });
        let fit = Fit { epochs: 300, validation: Some(&data), early_stopping, ..Fit::default() };
        let history = trainer.fit(&data, fit, |_| {}).unwrap();
        let best = history.epochs.iter().map(|e| e.validation.unwrap().accuracy).fold(0.0, f64::max);
        assert!(best >= 0.95 && history.epochs.len() < 300, "{best} after {}", history.epochs.len());
        let scores = trainer.model().score(&data).unwrap();
        assert_eq!(scores.accuracy(), best);
        assert_eq!(scores.binary_accuracy(0.5), best);
        let confusion = scores.confusion_matrix();
        assert_eq!(confusion.iter().flatten().sum::<u32>(), 40);
        assert_eq!(f64::from(confusion[0][0] + confusion[1][1]) / 40.0, best);
    }
}

/// Dropout must act in training only, at its rate.
#[test]
fn dropout_acts_in_training_only_and_drops_its_share() {
    let network = Network::input(400)
        .dropout(0.25)
        .layer(Dense::new(1, Identity).weight_init(Init::Constant(1.0)).without_bias());
    let network = network.build().unwrap();
    let rows = 50;
    let data = Dataset::from_f32_targets(vec![1.0; rows * 400], 400, vec![400.0; rows], 1).unwrap();
    for device in devices() {
        let sgd = Sgd { learning_rate: 0.0, ..Sgd::default() };
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, sgd, config(50)).unwrap();
        assert_eq!(trainer.evaluate(&data).unwrap().loss, 0.0);
        let history = trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| {}).unwrap();
        // A sum of 400 numbers, each 0 or 4/3, has variance 400 · (1/4)(3/4)(4/3)² = 133.3. The standard error of the
        // mean over 50 rows is 133.3 · √(2/50). The bound is five standard errors.
        for epoch in &history.epochs {
            assert!((epoch.train.loss - 133.3).abs() < 5.0 * 133.3 * (2.0f64 / 50.0).sqrt(), "{}", epoch.train.loss);
        }
        assert_ne!(history.epochs[0].train.loss, history.epochs[1].train.loss, "each step has a mask of its own");
    }
}

/// A sample of weight 2 must count twice, and a sample of weight 0 not at all.
#[test]
fn a_row_of_weight_two_counts_as_two_and_of_weight_zero_not() {
    let data = plane(6, 8);
    let (features, targets) = (data.features_of(0..6), data.targets().clone());
    let wgrad::Targets::Values { values, .. } = targets else { panic!("values") };
    for device in devices() {
        let sgd = Sgd { learning_rate: 0.1, ..Sgd::default() };
        let weights = vec![2.0, 1.0, 0.0, 1.0, 0.0, 2.0];
        let weighted = data.clone().with_weights(weights.clone()).unwrap();
        let (mut rows, mut repeated) = (Vec::new(), Vec::new());
        for (i, &weight) in weights.iter().enumerate() {
            for _ in 0..weight as usize {
                rows.extend_from_slice(&features[3 * i..3 * i + 3]);
                repeated.push(values[i]);
            }
        }
        let repeated = Dataset::from_f32_targets(rows, 3, repeated, 1).unwrap();
        assert_eq!(repeated.rows(), 6);
        let a = trained(trainer(device.clone(), sgd, config(6)), &weighted, 3);
        let b = trained(trainer(device, sgd, config(6)), &repeated, 3);
        assert!(apart(&a, &b) < ROUNDING, "{}", apart(&a, &b));
    }
}

/// Class weights must apply to each loss and to the accuracy of scores.
#[test]
fn class_weights_weigh_each_loss_and_the_accuracy_of_scores() {
    // The outputs are the features, two logits a row. Computed by hand, softmax cross-entropy is ln(1 + e^-d), where
    // d is the right logit minus the other. d = 2, 1, -1, 3 for labels 0, 0, 1, 1.
    let (features, labels) = (vec![2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 3.0], vec![0, 0, 1, 1]);
    let data = Dataset::from_f32(features, 2, labels, 2).unwrap();
    let weighted = data.clone().with_class_weights(&[0.5, 3.0]).unwrap();
    let network = Network::input(2).layer(Dense::new(2, Identity).without_bias()).build().unwrap();
    let mut identity = vec![0.0; network.parameter_words() as usize];
    identity[..4].copy_from_slice(&[1.0, 0.0, 0.0, 1.0]);
    let losses = [2.0, 1.0, -1.0, 3.0].map(|d: f64| (-d).exp().ln_1p());
    let by_hand = (0.5 * (losses[0] + losses[1]) + 3.0 * (losses[2] + losses[3])) / 4.0;
    // The derivative of the loss by the weight from feature 0 to logit 0: the mean of w (p0 - t0) x0.
    let p0 = [2.0, 1.0, 1.0, -3.0].map(|d: f64| 1.0 / (1.0 + (-d).exp()));
    let slope = (0.5 * ((p0[0] - 1.0) * 2.0 + (p0[1] - 1.0)) + 3.0 * p0[2]) / 4.0;
    for device in devices() {
        let sgd = Sgd { learning_rate: 1.0, ..Sgd::default() };
        let loss = Loss::SoftmaxCrossEntropy;
        let mut trainer = Trainer::from_parameters(device, &network, loss, sgd, config(4), &identity).unwrap();
        let evaluation = trainer.evaluate(&weighted).unwrap();
        assert!((evaluation.loss - by_hand).abs() < ROUNDING.into(), "{} {by_hand}", evaluation.loss);
        assert_eq!(evaluation.accuracy, 0.75, "the weights take no part");
        let scores = trainer.model().score(&weighted).unwrap();
        assert_eq!((scores.accuracy(), scores.weighted_accuracy()), (0.75, 4.0 / 7.0));
        assert_eq!(trainer.model().score(&data).unwrap().weighted_accuracy(), 0.75);
        let history = trainer.fit(&weighted, Fit { epochs: 1, ..Fit::default() }, |_| {}).unwrap();
        assert!((history.epochs[0].train.loss - by_hand).abs() < ROUNDING.into());
        let weight = f64::from(trainer.model().parameters().unwrap()[0]);
        assert!((weight - (1.0 - slope)).abs() < ROUNDING.into(), "{weight} {slope}");
    }
}

/// Labels and their one-hot rows must train alike.
#[test]
fn labels_and_their_one_hot_rows_train_alike() {
    let mut random = Random(9);
    let features = random.f32s(90);
    let labels: Vec<u32> = (0..30).map(|_| random.below(3)).collect();
    let one_hot = labels.iter().flat_map(|&l| (0..3).map(move |c| f32::from(u8::from(c == l)))).collect();
    let by_label = Dataset::from_f32(features.clone(), 3, labels, 3).unwrap();
    let by_value = Dataset::from_f32_targets(features, 3, one_hot, 3).unwrap();
    let network = Network::input(3).dense(5, Relu).dense(3, Identity).build().unwrap();
    for device in devices() {
        for loss in [Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError] {
            let make = || Trainer::new(device.clone(), &network, loss, Adam::default(), config(7)).unwrap();
            assert_eq!(trained(make(), &by_label, 2), trained(make(), &by_value, 2), "{loss:?}");
        }
    }
}

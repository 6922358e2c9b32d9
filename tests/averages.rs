//! Averages of the weights: the exponential moving average and lookahead, against plain formulas in f64, and their use
//! in evaluations, models and an app's encoders. `tests/files/resuming.rs` tests that they are saved.

mod common;

use common::{Random, gpu};
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::*;

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;
const ROWS: usize = 8;

fn devices() -> [Device; 2] {
    [Device::Cpu, gpu().into()]
}

fn network() -> Network {
    Network::input(6).dense(9, Tanh).dense(3, Identity).build().unwrap()
}

/// Rows with random labels. An epoch is one update if the batch has as many rows.
fn data(rows: usize) -> Dataset {
    let mut random = Random(5);
    let labels = (0..rows).map(|_| random.below(3)).collect();
    Dataset::from_f32(random.f32s(rows * 6), 6, labels, 3).unwrap()
}

fn config() -> TrainerConfig {
    TrainerConfig { batch: ROWS as u32, seed: 3, shuffle: false, ..TrainerConfig::default() }
}

fn trainer(device: Device, optimizer: impl Into<Optimizer>, config: TrainerConfig) -> Trainer {
    Trainer::new(device, &network(), Loss::SoftmaxCrossEntropy, optimizer, config).unwrap()
}

fn fit(trainer: &mut Trainer, data: &Dataset, epochs: u32) {
    trainer.fit(data, Fit { epochs, ..Fit::default() }, |_| {}).unwrap();
}

fn weights(model: &Model) -> Vec<f32> {
    model.parameters().unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|n| n.to_bits()).collect()
}

/// After each update, the average is Σ decay^(t−i) · wᵢ · (1 − decay) / (1 − decay^t), from the definition.
#[test]
fn the_ema_is_the_mean_of_the_weights_after_all_updates() {
    for decay in [0.0f32, 0.5, 0.99] {
        for device in devices() {
            let ema = Some(Ema { decay });
            let mut trainer =
                trainer(device, Adam { learning_rate: 0.05, ..Adam::default() }, TrainerConfig { ema, ..config() });
            assert_eq!(
                weights(&trainer.averaged_model().unwrap()),
                weights(&trainer.model()),
                "before the first update"
            );
            let (data, d) = (data(ROWS), f64::from(decay));
            let mut sums = vec![0.0; network().parameter_words() as usize];
            let mut largest = 0f64;
            for update in 1..=20 {
                fit(&mut trainer, &data, 1);
                for (sum, w) in sums.iter_mut().zip(weights(&trainer.model())) {
                    *sum = *sum * d + f64::from(w) * (1.0 - d);
                    largest = largest.max(f64::from(w).abs());
                }
                // In each update: the difference, its product with the rate (which has an error of 64 roundings by
                // src/ops/update/formulas.rs) and the sum. Errors decay with the average.
                let off = f64::from(update) * 2.0 * 64.0 * U * largest;
                for (sum, average) in sums.iter().zip(weights(&trainer.averaged_model().unwrap())) {
                    let exact = sum / (1.0 - d.powi(update));
                    assert!(
                        (f64::from(average) - exact).abs() <= off,
                        "decay {decay}, update {update}: {average}, {exact}"
                    );
                }
            }
        }
    }
}

/// The EMA does not change the training. It needs no dispatch of its own.
#[test]
fn the_ema_only_watches() {
    let kept = TrainerConfig { keep_gradients: true, ..config() };
    let with = TrainerConfig { ema: Some(Ema::default()), evaluate_averaged: false, ..config() };
    let ops = |config: &TrainerConfig| {
        let plan = Plan::training(&network(), Loss::SoftmaxCrossEntropy, &Adam::default().into(), config).unwrap();
        plan.step.iter().map(|op| op.kernel()).collect::<Vec<_>>()
    };
    assert_eq!(ops(&kept), ops(&with));
    let [plain, watched] = [kept, with].map(|config| {
        let mut trainer = trainer(Device::Cpu, Adam::default(), config);
        fit(&mut trainer, &data(20), 5);
        (bits(&weights(&trainer.model())), trainer.evaluate(&data(20)).unwrap().loss)
    });
    assert_eq!(plain, watched);
}

/// Each update is that of SGD from the weights before it. At every third update, the slow weights make a step and
/// replace the weights.
#[test]
fn lookahead_follows_the_optimizer_with_slow_weights() {
    let (alpha, updates) = (0.3f32, 3);
    let sgd = Sgd { learning_rate: 0.5, ..Sgd::default() };
    for device in devices() {
        let lookahead = Some(Lookahead { alpha, updates });
        let mut ahead = trainer(device.clone(), sgd, TrainerConfig { lookahead, ..config() });
        let data = data(ROWS);
        let mut slow = weights(&ahead.model());
        for update in 1..=9 {
            let before = weights(&ahead.model());
            fit(&mut ahead, &data, 1);
            let plain = TrainerConfig { keep_gradients: true, ..config() };
            let loss = Loss::SoftmaxCrossEntropy;
            let mut one = Trainer::from_parameters(device.clone(), &network(), loss, sgd, plain, &before).unwrap();
            fit(&mut one, &data, 1);
            let (fast, now) = (weights(&one.model()), weights(&ahead.model()));
            let steps = update % updates == 0;
            for i in 0..fast.len() {
                let [f, s] = [fast[i], slow[i]].map(f64::from);
                let exact = if steps { s + f64::from(alpha) * (f - s) } else { f };
                // The step of SGD and the step of the slow weights have at most four roundings each, on both sides.
                let off = 16.0 * U * (f.abs() + s.abs() + f64::from(before[i]).abs());
                assert!((f64::from(now[i]) - exact).abs() <= off, "update {update}: {}, {exact}", now[i]);
            }
            if steps {
                slow = now;
            }
            assert_eq!(weights(&ahead.averaged_model().unwrap()), slow, "update {update}");
        }
    }
}

/// Evaluations and predictions use the averaged weights, unless the trainer is told otherwise.
#[test]
fn evaluations_use_the_weights_that_the_option_says() {
    let data = data(50);
    for device in devices() {
        for evaluate_averaged in [true, false] {
            let config = TrainerConfig { ema: Some(Ema { decay: 0.9 }), evaluate_averaged, ..config() };
            let mut trainer = trainer(device.clone(), Sgd { learning_rate: 1.0, ..Sgd::default() }, config);
            let fit = Fit { epochs: 3, validation: Some(&data), ..Fit::default() };
            let history = trainer.fit(&data, fit, |_| {}).unwrap();
            let validated = history.epochs[2].validation.unwrap();
            let [raw, averaged] = [trainer.model(), trainer.averaged_model().unwrap()].map(|model| weights(&model));
            assert_ne!(raw, averaged);
            let of = |weights: &[f32]| {
                let (loss, sgd, config) = (Loss::SoftmaxCrossEntropy, Sgd::default(), TrainerConfig::default());
                let trainer = Trainer::from_parameters(device.clone(), &network(), loss, sgd, config, weights);
                trainer.unwrap().evaluate(&data).unwrap()
            };
            let expected = if evaluate_averaged { of(&averaged) } else { of(&raw) };
            assert_ne!(of(&averaged), of(&raw));
            assert_eq!(trainer.evaluate(&data).unwrap(), expected);
            assert_eq!(validated, expected, "the validation of the last epoch");
            let model = if evaluate_averaged { trainer.averaged_model().unwrap() } else { trainer.model() };
            let features = data.features_of(0..50);
            assert_eq!(trainer.predict(&features).unwrap(), model.predict(&features).unwrap());
        }
    }
}

/// `fit` restores the weights that it has evaluated, and the averages restart there.
#[test]
fn the_best_weights_are_the_evaluated_ones() {
    let (train, validation) = (data(24), data(50));
    for device in devices() {
        let config = TrainerConfig { ema: Some(Ema { decay: 0.8 }), lookahead: Some(Lookahead::default()), ..config() };
        let mut trainer = trainer(device, Adam { learning_rate: 0.3, ..Adam::default() }, config);
        let stopping = EarlyStopping { patience: 3, restore_best: true, ..EarlyStopping::default() };
        let fit = Fit { epochs: 20, validation: Some(&validation), early_stopping: Some(stopping), ..Fit::default() };
        trainer.fit(&train, fit, |_| {}).unwrap();
        let best = trainer.best().unwrap().evaluation;
        assert!(trainer.best().unwrap().epoch < trainer.epochs(), "the best weights are not the last");
        assert_eq!(trainer.evaluate(&validation).unwrap(), best);
        assert_eq!(weights(&trainer.averaged_model().unwrap()), weights(&trainer.model()));
    }
}

/// Running statistics are those of the last step. Frozen weights are their own average.
#[test]
fn statistics_are_not_averaged_and_frozen_weights_stay() {
    let network = Network::input(6).dense(8, Relu).batch_norm().dense(3, Identity).build().unwrap();
    let states: Vec<_> = network.states().iter().map(|state| state.range()).collect();
    assert_eq!(states.len(), 2);
    for device in devices() {
        let groups = vec![Group::layer("dense_1").frozen()];
        let config = TrainerConfig { ema: Some(Ema::default()), groups, ..config() };
        let mut trainer =
            Trainer::new(device, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config.clone()).unwrap();
        fit(&mut trainer, &data(40), 3);
        let [raw, averaged] = [trainer.model(), trainer.averaged_model().unwrap()].map(|model| weights(&model));
        for range in &states {
            assert_eq!(raw[range.clone()], averaged[range.clone()]);
        }
        for parameter in network.parameters() {
            let same = raw[parameter.range()] == averaged[parameter.range()];
            // Equal weights differ from their average by nothing.
            assert_eq!(same, parameter.layer() == "dense_1", "{}", parameter.name);
        }
    }
}

/// An app's encoder holds training steps and the copy of the averaged weights to the model's buffer.
#[test]
fn an_encoder_updates_the_averaged_model() {
    let gpu = gpu();
    let config = TrainerConfig { ema: Some(Ema::default()), ..config() };
    let mut trainer = trainer(gpu.into(), Adam::default(), config);
    let training = trainer.prepare(data(40)).unwrap();
    let model = trainer.averaged_model().unwrap();
    let start = weights(&model);
    let steps = |record: bool| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        training.record_steps(&mut encoder, 3);
        if record {
            trainer.record_averaged(&mut encoder);
        }
        gpu.queue().submit([encoder.finish()]);
        weights(&model)
    };
    assert_eq!(steps(false), start, "steps do not change the model");
    let recorded = steps(true);
    assert_ne!(recorded, start);
    assert_eq!(weights(&trainer.averaged_model().unwrap()), recorded);
}

#[test]
fn a_reset_restarts_the_averages() {
    for device in devices() {
        let config = TrainerConfig { ema: Some(Ema::default()), lookahead: Some(Lookahead::default()), ..config() };
        let mut trainer = trainer(device, Adam::default(), config);
        let run = |trainer: &mut Trainer| {
            fit(trainer, &data(40), 7);
            [trainer.model(), trainer.averaged_model().unwrap()].map(|model| bits(&weights(&model)))
        };
        let first = run(&mut trainer);
        trainer.reset();
        assert_eq!(weights(&trainer.averaged_model().unwrap()), weights(&trainer.model()));
        assert_eq!(run(&mut trainer), first);
    }
}

/// A snapshot has the averages.
#[test]
fn a_rebuilt_trainer_goes_on_with_the_averages() {
    for device in devices() {
        let config = TrainerConfig { ema: Some(Ema::default()), lookahead: Some(Lookahead::default()), ..config() };
        let mut trainer = trainer(device.clone(), Adam::default(), config);
        let data = data(40);
        fit(&mut trainer, &data, 3);
        trainer.snapshot().unwrap();
        let go_on = |trainer: &mut Trainer| {
            fit(trainer, &data, 3);
            [trainer.model(), trainer.averaged_model().unwrap()].map(|model| bits(&weights(&model)))
        };
        let whole = go_on(&mut trainer);
        trainer.rebuild(device.clone()).unwrap();
        assert_eq!(go_on(&mut trainer), whole);
    }
}

//! Tests that returned weights are the weights that were measured, that equal questions have equal answers, and that
//! inputs are checked.

mod common;

use std::path::PathBuf;

use common::*;
use wgrad::Activation::{Identity, Relu, Sigmoid, Softmax};
use wgrad::{
    Activation, Adam, Checkpoint, Control, Dataset, Dense, Device, EarlyStopping, Error, Event, Fit, History, Loss,
    Model, Monitor, Network, Scores, Sgd, Targets, Trainer,
};

fn devices() -> [Device; 2] {
    [gpu().into(), Device::Cpu]
}

/// A network of one weight.
fn one() -> Network {
    Network::input(1).layer(Dense::new(1, Identity).without_bias()).build().unwrap()
}

/// The parameters of a network. Each tensor begins with the given numbers.
fn weights(network: &Network, tensors: &[&[f32]]) -> Vec<f32> {
    let mut all = vec![0.0; network.parameter_words() as usize];
    for (tensor, parameter) in tensors.iter().zip(network.parameters()) {
        all[parameter.range()][..tensor.len()].copy_from_slice(tensor);
    }
    all
}

fn sgd(learning_rate: f32) -> Sgd {
    Sgd { learning_rate, ..Sgd::default() }
}

/// w = 1, one row x = 1, t = 0, mean squared error.
fn trainer_of_one(device: &Device, rate: f32) -> Trainer {
    let (network, loss) = (one(), Loss::MeanSquaredError);
    let start = weights(&network, &[&[1.0]]);
    Trainer::from_parameters(device.clone(), &network, loss, sgd(rate), batches_of(1), &start).unwrap()
}

fn row_of_one() -> Dataset {
    Dataset::from_f32_targets(vec![1.0], 1, vec![0.0], 1).unwrap()
}

fn weight(trainer: &Trainer) -> f32 {
    trainer.model().parameters().unwrap()[0]
}

fn file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wgrad-results-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn early_stopping(patience: u32) -> Option<EarlyStopping> {
    Some(EarlyStopping { patience, ..EarlyStopping::default() })
}

/// An epoch's training loss belongs to the weights before its step: 1 for w = 1, then 4, 16 and 64. The best weights
/// must be those that were measured.
#[test]
fn without_a_validation_set_the_best_weights_are_those_measured() {
    for device in devices() {
        let mut trainer = trainer_of_one(&device, 1.5);
        let fit = Fit { epochs: 8, early_stopping: early_stopping(3), ..Fit::default() };
        let history = trainer.fit(row_of_one(), fit, |_| {}).unwrap();
        let told: Vec<f64> = history.epochs.iter().map(|epoch| epoch.train.loss).collect();
        let measured: Vec<f64> = history.epochs.iter().map(|epoch| epoch.measured.unwrap().loss).collect();
        assert_eq!((told, measured), (vec![1.0, 4.0, 16.0, 64.0], vec![4.0, 16.0, 64.0, 256.0]));
        let best = trainer.best().unwrap();
        assert_eq!((weight(&trainer), best.epoch, best.evaluation.loss, best.validation), (1.0, 0, 1.0, false));
        assert_eq!(trainer.evaluate(&row_of_one()).unwrap(), best.evaluation);
        // This rate reaches the optimum at once. The weights of the first epoch win, although its training loss is
        // not the best.
        let mut trainer = trainer_of_one(&device, 0.5);
        trainer.fit(row_of_one(), fit, |_| {}).unwrap();
        assert_eq!((weight(&trainer), trainer.best().unwrap().epoch), (0.0, 1));
        // Without restore_best the last weights stay.
        let mut trainer = trainer_of_one(&device, 1.5);
        let restore_best = false;
        let early_stopping = early_stopping(3).map(|stopping| EarlyStopping { restore_best, ..stopping });
        let history = trainer.fit(row_of_one(), Fit { early_stopping, ..fit }, |_| {}).unwrap();
        assert_eq!((weight(&trainer), history.epochs[0].measured, trainer.best()), (16.0, None, None));
    }
}

/// The returned weights must have the best measured loss.
#[test]
fn what_is_handed_back_is_as_good_as_the_best_that_was_measured() {
    let mut random = Random(5);
    let features = random.f32s(128);
    let targets = features.chunks(2).map(|x| (3.0 * x[0]).sin() + x[1] * x[1]).collect();
    let data = Dataset::from_f32_targets(features, 2, targets, 1).unwrap();
    let network = Network::input(2).dense(32, Relu).dense(1, Identity).build().unwrap();
    for device in devices() {
        let adam = Adam { learning_rate: 0.3, ..Adam::default() };
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, adam, batches_of(64)).unwrap();
        let before = trainer.evaluate(&data).unwrap().loss;
        let fit = Fit { epochs: 30, early_stopping: early_stopping(3), ..Fit::default() };
        let history = trainer.fit(&data, fit, |_| {}).unwrap();
        let measured = history.epochs.iter().map(|epoch| epoch.measured.unwrap().loss);
        let best = measured.chain([before]).fold(f64::INFINITY, f64::min);
        let told = history.epochs.iter().map(|epoch| epoch.train.loss).fold(f64::INFINITY, f64::min);
        let after = trainer.evaluate(&data).unwrap();
        assert_eq!((after.loss, trainer.best().unwrap().evaluation), (best, after));
        // With full batches the weights of each reported loss were measured too. The sums of 64 losses may be rounded
        // differently.
        assert!(after.loss <= told * (1.0 + 64.0 / 16_777_216.0), "{} {told}", after.loss);
    }
}

/// The best weights must be measured if early stopping monitors accuracy.
#[test]
fn accuracy_measures_the_best_weights_too() {
    // One row of class 1. w = 1 classifies it correctly, and this rate overshoots.
    let (network, data) = (one(), Dataset::from_f32(vec![1.0], 1, vec![1], 2).unwrap());
    for device in devices() {
        let (start, loss) = (weights(&network, &[&[0.75]]), Loss::MeanSquaredError);
        let mut trainer = Trainer::from_parameters(device, &network, loss, sgd(2.0), batches_of(1), &start).unwrap();
        let early_stopping = early_stopping(2).map(|s| EarlyStopping { monitor: Monitor::Accuracy, ..s });
        // Each step multiplies w - 1 by -3: 0.75, 1.75, -1.25.
        trainer.fit(&data, Fit { epochs: 9, early_stopping, ..Fit::default() }, |_| {}).unwrap();
        assert_eq!((weight(&trainer), trainer.best().unwrap().epoch), (0.75, 0), "of equal ones the first");
    }
}

/// A stop within an epoch must measure the weights too.
#[test]
fn a_stop_within_an_epoch_measures_too() {
    // Two equal rows: an epoch of two steps, stopped after the first.
    let data = Dataset::from_f32_targets(vec![1.0; 2], 1, vec![0.0; 2], 1).unwrap();
    for device in devices() {
        for (rate, handed_back) in [(0.25, 0.5), (1.5, 1.0)] {
            let mut trainer = trainer_of_one(&device, rate);
            let fit = Fit { epochs: 2, every: Some(1), early_stopping: early_stopping(3), ..Fit::default() };
            let history = trainer.fit(&data, fit, |_| Control::Stop).unwrap();
            assert_eq!((history.epochs.len(), weight(&trainer)), (0, handed_back));
            // Better weights stay, and the epoch continues.
            let mut first = None;
            let note = |event| {
                if let Event::Steps { done, .. } = event {
                    first.get_or_insert(done);
                }
            };
            trainer.fit(&data, Fit { early_stopping: early_stopping(3), ..Fit::default() }, note).unwrap();
            assert_eq!(first, Some(if rate < 1.0 { 2 } else { 1 }));
        }
    }
}

/// A resumed run must measure the same numbers as an uninterrupted run.
#[test]
fn a_resumed_run_measures_as_one_that_was_never_interrupted() {
    let mut random = Random(8);
    let data = Dataset::from_f32(random.f32s(60), 3, (0..20).map(|i| i % 3).collect(), 3).unwrap();
    let network = Network::input(3).dense(8, Relu).dense(3, Identity).build().unwrap();
    for device in devices() {
        let path = file("resumed");
        let new = || {
            let adam = Adam { learning_rate: 0.2, ..Adam::default() };
            Trainer::new(device.clone(), &network, Loss::SoftmaxCrossEntropy, adam, batches_of(5)).unwrap()
        };
        let checkpoint = Some(Checkpoint { path: &path, every: Some(3) });
        let fit = |epochs| Fit { epochs, early_stopping: early_stopping(4), checkpoint, ..Fit::default() };
        let mut files: Vec<Vec<u8>> = Vec::new();
        let mut whole = new();
        let mut look = || files.extend(std::fs::read(&path).ok());
        whole.fit(&data, fit(20), |_| look()).unwrap();
        let result = |trainer: &Trainer| {
            let measured = trainer.history().epochs.iter().map(|e| (e.train.loss, e.measured)).collect::<Vec<_>>();
            (trainer.model().parameters().unwrap(), measured, trainer.best())
        };
        files.dedup();
        assert!(files.len() > 6, "{}", files.len());
        for file in files.iter().step_by(3) {
            let mut resumed = Trainer::resume_from_bytes(device.clone(), file).unwrap();
            assert_eq!(&resumed.to_bytes().unwrap(), file);
            resumed.fit(&data, fit(20 - resumed.epochs()), |_| {}).unwrap();
            assert_eq!(result(&resumed), result(&whole));
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// The loss of the last step is finite, but its weights are not. The run must end with an error.
#[test]
fn weights_that_are_not_finite_end_a_run_with_an_error() {
    for device in devices() {
        let mut trainer = trainer_of_one(&device, 3e38);
        let error = trainer.fit(row_of_one(), Fit::default(), |_| {}).unwrap_err();
        assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, step: 1 }), "{error}");
        assert!(error.to_string().contains("a weight"), "{error}");
        // Early stopping restores the earlier weights.
        let mut trainer = trainer_of_one(&device, 3e38);
        let fit = Fit { early_stopping: early_stopping(3), ..Fit::default() };
        assert!(trainer.fit(row_of_one(), fit, |_| {}).is_err());
        assert_eq!((weight(&trainer), trainer.best().unwrap().epoch), (1.0, 0));
        // A stop within an epoch must check the weights too.
        let data = Dataset::from_f32_targets(vec![1.0; 9], 1, vec![0.0; 9], 1).unwrap();
        let mut trainer = trainer_of_one(&device, 3e38);
        let error = trainer.fit(data, Fit::default(), |_| Control::Stop).unwrap_err();
        assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, .. }), "{error}");
    }
}

/// The weights stay finite, but the moment does not. The square of the gradient is infinite, and Adam divides by its
/// root. The run must end with an error, or the moment must be finite after all.
#[test]
fn a_moment_that_is_not_finite_ends_a_run_with_an_error() {
    let adam = Adam { epsilon: 1e-8, ..Adam::default() };
    for device in devices() {
        let (network, loss) = (one(), Loss::MeanAbsoluteError);
        let start = weights(&network, &[&[1e-3]]);
        let mut trainer = Trainer::from_parameters(device, &network, loss, adam, batches_of(1), &start).unwrap();
        let data = Dataset::from_f32_targets(vec![1e25], 1, vec![0.0], 1).unwrap();
        match trainer.fit(data, Fit::default(), |_| {}) {
            Err(error) => assert!(matches!(error, Error::NonFiniteLoss { epoch: 1, step: 1 }), "{error}"),
            // An optimizer that tolerates this has finite moments, so a checkpoint can hold them.
            Ok(_) => assert!(trainer.to_bytes().is_ok()),
        }
    }
}

/// A diverging run must not overwrite the last good checkpoint.
#[test]
fn a_run_that_diverges_keeps_the_checkpoint_of_before() {
    for device in devices() {
        let path = file("diverged");
        let checkpoint = Some(Checkpoint { path: &path, every: None });
        let fit = Fit { epochs: 3, checkpoint, ..Fit::default() };
        assert!(trainer_of_one(&device, 3e38).fit(row_of_one(), fit, |_| {}).is_err());
        assert!(!path.exists(), "nothing was finite after the first epoch");
        // The weights are 1, -5 and 25. Then a rate of 3e38 multiplies a gradient of 50.
        let mut trainer = trainer_of_one(&device, 3.0);
        let error = trainer.fit(row_of_one(), fit, |event| match event {
            Event::Epoch(epoch) if epoch.epoch == 2 => Control::RateScale(1e38),
            _ => Control::Continue,
        });
        assert!(matches!(error, Err(Error::NonFiniteLoss { epoch: 3, .. })), "{error:?}");
        let saved = Trainer::resume(device, &path).unwrap();
        assert_eq!((saved.epochs(), weight(&saved)), (2, 25.0));
        std::fs::remove_file(&path).unwrap();
    }
}

/// Asks for classes in every way: by the trainer, the model, a model file and scores. All must agree. Returns the
/// classes and the accuracy.
fn classes(trainer: &mut Trainer, data: &Dataset) -> (Vec<u32>, f64) {
    let features = data.features_of(0..data.rows());
    let model = trainer.model();
    let read = Model::from_bytes(trainer.device().clone(), &model.to_bytes().unwrap()).unwrap();
    let scores = model.score(data).unwrap();
    let classes = trainer.predict(&features).unwrap();
    assert_eq!((&read.predict(&features).unwrap(), &scores.predictions()), (&classes, &classes));
    assert_eq!(read.score(data).unwrap(), scores);
    let mut predictor = read.predictor(data.rows() as u32).unwrap();
    assert_eq!(predictor.predict(&features).unwrap(), classes);
    let accuracy = trainer.evaluate(data).unwrap().accuracy;
    let right = classes.iter().zip(scores.expected()).filter(|(a, b)| *a == b).count();
    let matrix = scores.confusion_matrix();
    let diagonal: u32 = (0..matrix.len()).map(|i| matrix[i][i]).sum();
    assert_eq!((scores.accuracy(), scores.top_k_accuracy(1)), (accuracy, accuracy));
    assert_eq!((right as f64 / data.rows() as f64, diagonal as usize), (accuracy, right));
    (classes, accuracy)
}

/// A network whose outputs are its inputs, with the activation `last`.
fn copy(device: &Device, width: u32, last: Activation, loss: Loss) -> Trainer {
    let network = Network::input(width).layer(Dense::new(width, last).without_bias()).build().unwrap();
    let mut parameters = vec![0.0; network.parameter_words() as usize];
    (0..width as usize).for_each(|i| parameters[i * (width as usize + 1)] = 1.0);
    Trainer::from_parameters(device.clone(), &network, loss, sgd(0.0), batches_of(4), &parameters).unwrap()
}

/// Classes must come from logits, because different logits may round to equal probabilities.
#[test]
fn classes_come_from_logits_where_probabilities_are_rounded_to_be_alike() {
    let several = vec![20.0, 30.0, -5.0, 18.0, 17.0, 19.0, -3.0, 25.0, 40.0];
    let several = Dataset::from_f32(several, 3, vec![1, 2, 2], 3).unwrap();
    // Softmax gives equal probabilities for logits that differ by one rounding. The sigmoid of a tiny logit is
    // exactly 1/2.
    let next = f32::from_bits(1.0f32.to_bits() + 1);
    let close = Dataset::from_f32(vec![1.0, next, next, 1.0, 50.0, 50.0], 2, vec![1, 0, 0], 2).unwrap();
    let tiny = Dataset::from_f32(vec![1e-9, -1e-9, 0.0, 3.0], 1, vec![1, 0, 0, 1], 2).unwrap();
    for device in devices() {
        for (last, loss) in [(Identity, Loss::BinaryCrossEntropy), (Sigmoid, Loss::BinaryCrossEntropy)] {
            let mut trainer = copy(&device, 3, last, loss);
            assert_eq!(classes(&mut trainer, &several), (vec![1, 2, 2], 1.0));
            let scores = trainer.model().score(&several).unwrap();
            assert_eq!(scores.outputs(), trainer.model().predict_proba(&several.features_of(0..3)).unwrap());
            let mut trainer = copy(&device, 1, last, loss);
            assert_eq!(classes(&mut trainer, &tiny), (vec![1, 0, 0, 1], 1.0));
            assert_eq!(trainer.model().score(&tiny).unwrap().binary_accuracy(0.5), 1.0);
        }
        for last in [Identity, Softmax] {
            let mut trainer = copy(&device, 2, last, Loss::SoftmaxCrossEntropy);
            assert_eq!(classes(&mut trainer, &close), (vec![1, 0, 0], 1.0));
        }
        // This loss reads the outputs themselves, so they decide the class. Of equal outputs the first wins.
        let mut trainer = copy(&device, 3, Sigmoid, Loss::MeanSquaredError);
        assert_eq!(classes(&mut trainer, &several).0, [0, 0, 1]);
    }
}

/// Evaluation, scores and predictions must agree. One network runs forward as one op, others have a layer too wide
/// for that. The rows exceed a batch.
#[test]
fn evaluation_scores_and_predictions_count_alike() {
    let mut random = Random(12);
    let rows = 1100;
    let features = random.f32s(rows * 5);
    let labels = |random: &mut Random| (0..rows).map(|_| random.below(4)).collect();
    let data = Dataset::from_f32(features.clone(), 5, labels(&mut random), 4).unwrap();
    let soft = random.f32s(rows * 4).into_iter().map(f32::abs).collect();
    let soft = Dataset::from_f32_targets(features, 5, soft, 4).unwrap();
    for device in devices() {
        let losses =
            [Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 }, Loss::BinaryCrossEntropy, Loss::MeanSquaredError];
        for (loss, width) in losses.into_iter().zip([16, 70, 33]) {
            // Two equal columns cause ties, whatever the rounding.
            let network = Network::input(5).dense(width, Relu).dense(4, Identity).build().unwrap();
            let mut parameters = network.initial_parameters(7);
            parameters[network.parameters()[2].range()].chunks_mut(4).for_each(|row| row[3] = row[1]);
            let mut trainer =
                Trainer::from_parameters(device.clone(), &network, loss, sgd(0.0), batches_of(64), &parameters)
                    .unwrap();
            let (found, accuracy) = classes(&mut trainer, &data);
            assert!(accuracy > 0.0 && !found.contains(&3), "the first of equal ones");
            classes(&mut trainer, &soft);
        }
    }
}

/// A row with NaN outputs has no class. It must count as wrong everywhere, and an error must name it. 3e38 times 10
/// is infinite, and infinity minus infinity is NaN, for every row but the first.
#[test]
fn a_row_without_a_class_is_wrong_everywhere_and_named() {
    for device in devices() {
        for (outputs, loss) in [
            (2, Loss::SoftmaxCrossEntropy),
            (2, Loss::BinaryCrossEntropy),
            (2, Loss::MeanSquaredError),
            (1, Loss::BinaryCrossEntropy),
            (1, Loss::MeanSquaredError),
            (66, Loss::SoftmaxCrossEntropy),
            (66, Loss::SumOfSquares),
        ] {
            let network = Network::input(1).dense(2, Identity).dense(outputs, Identity).build().unwrap();
            // If there are several outputs, only the last is NaN.
            let mut second = vec![1.0; 2 * outputs as usize];
            (1..outputs as usize).for_each(|i| second[outputs as usize + i - 1] = -1.0);
            let parameters = weights(&network, &[&[3e38, -3e38], &[], &second]);
            let mut trainer =
                Trainer::from_parameters(device.clone(), &network, loss, sgd(0.0), batches_of(4), &parameters).unwrap();
            let classes = if outputs == 1 { 2 } else { outputs };
            let data = Dataset::from_f32(vec![0.1, 10.0, 10.0, -10.0], 1, vec![0, 0, 1, 1], classes).unwrap();
            let what = format!("{outputs} outputs, {loss:?}");
            let scores = trainer.model().score(&data).unwrap();
            let none = Scores::NO_CLASS;
            assert_eq!(scores.predictions(), [0, none, none, none], "{what}");
            assert_eq!((scores.accuracy(), scores.top_k_accuracy(outputs as usize)), (0.25, 0.25), "{what}");
            assert_eq!(scores.confusion_matrix().iter().flatten().sum::<u32>(), 1, "{what}");
            assert_eq!(trainer.evaluate(&data).unwrap().accuracy, 0.25, "{what}");
            let error = trainer.predict(&[0.1, 10.0]).unwrap_err();
            let last = outputs as usize - 1;
            assert!(matches!(error, Error::NoClass { row: 1, column } if column == last), "{what}: {error}");
            let error = trainer.model().predictor(2).unwrap().predict(&[0.1, 10.0]).unwrap_err();
            assert!(matches!(error, Error::NoClass { row: 1, .. }), "{what}: {error}");
            assert!(trainer.model().predict_proba(&[10.0]).unwrap().last().unwrap().is_nan());
        }
    }
}

/// Targets outside the range of a loss must return an error.
#[test]
fn targets_outside_the_range_of_a_loss_are_refused() {
    let network = Network::input(1).dense(2, Identity).build().unwrap();
    let data = |targets: Vec<f32>| Dataset::from_f32_targets(vec![0.5; targets.len() / 2], 1, targets, 2).unwrap();
    let wrong = data(vec![0.0, 1.0, 0.5, 3.0]);
    for device in devices() {
        for (loss, name) in [
            (Loss::BinaryCrossEntropy, "binary cross-entropy"),
            (Loss::SoftmaxCrossEntropy, "softmax cross-entropy"),
            (Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 }, "softmax cross-entropy"),
        ] {
            let mut trainer = Trainer::new(device.clone(), &network, loss, sgd(0.1), batches_of(2)).unwrap();
            let good = data(vec![0.0, 1.0, 0.25, 0.5]);
            trainer.fit(&good, Fit::default(), |_| {}).unwrap();
            let mut faults = vec![
                trainer.fit(&wrong, Fit::default(), |_| {}).map(drop),
                trainer.fit(&good, Fit { validation: Some(&wrong), ..Fit::default() }, |_| {}).map(drop),
                trainer.evaluate(&wrong).map(drop),
                trainer.model().score(&wrong).map(drop),
            ];
            if let Device::Gpu(_) = device {
                faults.push(trainer.prepare(&wrong).map(drop));
            }
            for fault in faults {
                let message = fault.unwrap_err().to_string();
                assert_eq!(message, format!("target 1 of row 1: expected 0 to 1 for {name}, got 3"));
            }
            assert!(trainer.evaluate(&data(vec![-1e-9, 0.0])).unwrap_err().to_string().contains("target 0 of row 0"));
        }
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, sgd(0.1), batches_of(2)).unwrap();
        trainer.fit(&wrong, Fit::default(), |_| {}).unwrap();
    }
}

/// Features and weights that are not finite must return an error.
#[test]
fn features_and_weights_that_are_not_finite_are_refused() {
    let network = Network::input(2).dense(3, Relu).dense(2, Identity).build().unwrap();
    let good = network.initial_parameters(1);
    let mut bad = good.clone();
    bad[network.parameters()[2].range()][3] = f32::INFINITY;
    let named = "number 3 of dense_2.weight: expected a finite number, got inf";
    for device in devices() {
        let model = Model::new(device.clone(), &network, &good).unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let features = [0.0, 1.0, 2.0, value];
            let faults = [
                model.predict(&features).map(drop),
                model.predict_proba(&features).map(drop),
                model.forward(&features).map(drop),
                model.clone().for_loss(Loss::SoftmaxCrossEntropy).predict_proba(&features).map(drop),
                pollster::block_on(model.predict_async(&features)).map(drop),
                pollster::block_on(model.forward_async(&features)).map(drop),
                model.predictor(2).unwrap().predict(&features).map(drop),
                model.predictor(2).unwrap().forward_into(&features, &mut [0.0; 4]),
            ];
            for fault in faults {
                let expected = format!("feature 1 of row 1: expected a finite number, got {value}");
                assert_eq!(fault.unwrap_err().to_string(), expected);
            }
        }
        assert_eq!(model.set_parameters(&bad).unwrap_err().to_string(), named);
        assert_eq!(model.parameters().unwrap(), good, "they stay as they were");
        assert_eq!(Model::new(device.clone(), &network, &bad).unwrap_err().to_string(), named);
        let loss = Loss::MeanSquaredError;
        let trainer = Trainer::from_parameters(device, &network, loss, sgd(0.1), batches_of(2), &bad);
        assert_eq!(trainer.unwrap_err().to_string(), named);
    }
}

/// An interval of 0 steps for reports or checkpoints must return an error.
#[test]
fn reports_and_files_of_every_0_steps_are_refused() {
    let path = file("never");
    let mut trainer = trainer_of_one(&Device::Cpu, 0.1);
    let mut fault = |fit: Fit<'_>| trainer.fit(row_of_one(), fit, |_| {}).unwrap_err().to_string();
    let expected = "at least 1 step, or None (at the end of an epoch only), got Some(0)";
    assert_eq!(fault(Fit { every: Some(0), ..Fit::default() }), format!("every of Fit must be {expected}"));
    let checkpoint = Some(Checkpoint { path: &path, every: Some(0) });
    assert_eq!(fault(Fit { checkpoint, ..Fit::default() }), format!("every of Checkpoint must be {expected}"));
    assert!(!path.exists());
}

/// A stored history without measurements must be readable.
#[test]
fn a_history_without_measurements_can_still_be_read() {
    let text = r#"{"epochs":[{"epoch":1,"train":{"loss":0.5,"accuracy":0.75,"rows":8},"validation":null,"steps":2,
        "learning_rate":0.25,"seconds":null}]}"#;
    let history: History = serde_json::from_str(text).unwrap();
    assert_eq!(history.epochs[0].measured, None);
    let targets = Targets::Labels { labels: vec![0], classes: 2 };
    assert_eq!(Scores::new(vec![f32::NAN; 2], 2, &targets).unwrap().predictions(), [Scores::NO_CLASS]);
}

//! Tests batch normalisation: gradients and running statistics against formulas in f64, training with both, and the
//! storage of the running statistics, which no optimizer trains.

mod common;

use std::path::PathBuf;

use common::*;
use wgrad::Activation::{Identity, Relu, Tanh};
use wgrad::plan::{DataInfo, Role};
use wgrad::{
    Adam, BatchNorm, Checkpoint, Conv, Dataset, Dense, Device, EarlyStopping, Error, Event, Fit, Graph, Group, Init,
    Layer, Loss, Model, Naming, Network, Optimizer, Parameter, Plan, Sgd, Tied, Trainer, TrainerConfig,
};

fn devices() -> [Device; 2] {
    [gpu().into(), Device::Cpu]
}

/// The forward pass of a batch, by the textbook's formulas.
#[derive(Default)]
struct Forward {
    /// The outputs of each sample.
    outputs: Vec<Vec<f64>>,
    /// For each normalisation and each channel: mean, unbiased variance.
    statistics: Vec<Vec<[f64; 2]>>,
    /// The product over the normalisations of the largest 1 / √(variance + epsilon). Each factor is at least 1.
    steepest: f64,
}

/// Computes in f64 a network of dense layers (identity or tanh), batch normalisations and flattening, in training.
/// `fixed` selects the running statistics instead of the batch's.
fn forward(network: &Network, weights: &[f64], samples: &[Vec<f64>], fixed: bool) -> Forward {
    let (mut parameters, mut states) = (network.parameters().iter(), network.states().iter());
    let mut next = || parameters.next().map(|p| weights[p.range()].to_vec()).unwrap();
    let mut state = || states.next().map(|p| weights[p.range()].to_vec()).unwrap();
    let mut found = Forward { outputs: samples.to_vec(), steepest: 1.0, ..Forward::default() };
    let mut channels = network.input_specs()[0].shape.last().copied().unwrap() as usize;
    for (_, layer) in network.layers() {
        match layer {
            Layer::Dense(dense) => {
                let (weight, bias, units) = (next(), next(), dense.units() as usize);
                let sum = |row: &[f64], j: usize| {
                    row.iter().enumerate().map(|(i, x)| x * weight[i * units + j]).sum::<f64>() + bias[j]
                };
                let activate = |z: f64| if dense.activation() == Tanh { z.tanh() } else { z };
                for sample in &mut found.outputs {
                    let rows = sample.chunks(channels);
                    *sample =
                        rows.flat_map(|row| (0..units).map(|j| activate(sum(row, j))).collect::<Vec<_>>()).collect();
                }
                channels = units;
            }
            Layer::BatchNorm(norm) => {
                let (scale, shift, running) = (next(), next(), [state(), state()]);
                let mut statistics = Vec::new();
                let mut steepest: f64 = 0.0;
                for c in 0..channels {
                    let of_channel: Vec<f64> =
                        found.outputs.iter().flat_map(|s| s[c..].iter().step_by(channels).copied()).collect();
                    let n = of_channel.len() as f64;
                    let mean = if fixed { running[0][c] } else { of_channel.iter().sum::<f64>() / n };
                    let squares = of_channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                    let squares = if fixed { running[1][c] * n } else { squares };
                    let inverse = 1.0 / (squares / n + f64::from(norm.epsilon)).sqrt();
                    for x in found.outputs.iter_mut().flat_map(|s| s[c..].iter_mut().step_by(channels)) {
                        *x = (*x - mean) * inverse * scale[c] + shift[c];
                    }
                    statistics.push([mean, squares / (n - 1.0)]);
                    steepest = steepest.max(inverse);
                }
                found.statistics.push(statistics);
                found.steepest *= steepest.max(1.0);
            }
            Layer::Flatten => channels = found.outputs[0].len(),
            other => panic!("{other:?} has no formula here"),
        }
    }
    found
}

fn cross_entropy(outputs: &[Vec<f64>], labels: &[u32]) -> f64 {
    let rows = outputs.iter().zip(labels);
    let of_row = |(z, &label): (&Vec<f64>, &u32)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label as usize];
    rows.map(of_row).sum::<f64>() / outputs.len() as f64
}

fn random_bias(units: u32, activation: wgrad::Activation) -> Dense {
    Dense::new(units, activation).bias_init(Init::Normal { std: 0.3 })
}

/// A network with batch normalisations over positions and over samples only.
fn network() -> Network {
    Network::input([3, 4])
        .layer(random_bias(5, Tanh))
        .batch_norm()
        .layer(random_bias(6, Tanh))
        .layer(BatchNorm { epsilon: 1e-3, momentum: 0.25 })
        .flatten()
        .layer(random_bias(4, Tanh))
        .batch_norm()
        .layer(random_bias(3, Identity))
        .build()
        .unwrap()
}

/// Weights and states that differ from the initial ones.
fn random_weights(network: &Network, seed: u64) -> Vec<f32> {
    let (mut weights, mut random) = (network.initial_parameters(seed), Random(seed | 1));
    let is_own = |p: &&Parameter| p.layer().starts_with("batch_norm");
    for p in network.parameters().iter().chain(network.states()).filter(is_own) {
        weights[p.range()].iter_mut().for_each(|w| *w = 1.0 + 0.5 * random.f32());
    }
    weights
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// Gradients and running statistics match the formulas. The missing rows of a partial batch count in neither.
#[test]
fn gradients_and_running_statistics_are_the_textbooks_also_of_partial_batches() {
    let network = network();
    let names = ["batch_norm_2", "batch_norm_4", "batch_norm_7"];
    for (seed, rows, batch, fixed) in [(1, 7, 7, false), (2, 7, 10, false), (3, 40, 64, false), (4, 7, 10, true)] {
        let groups = if fixed { names.map(|name| Group::layer(name).fixed_statistics()).to_vec() } else { Vec::new() };
        let config = TrainerConfig { keep_gradients: true, groups, ..batches_of(batch) };
        let (loss, optimizer) = (Loss::SoftmaxCrossEntropy, Optimizer::from(Adam::default()));
        let plan = Plan::training(&network, loss, &optimizer, &config).unwrap();
        let mut lockstep = lockstep_with_data(gpu(), &network, plan, rows, seed);
        let find = |role| lockstep.plan().find(role).unwrap();
        let [parameters, features, targets, gradients] =
            [Role::Parameters, Role::Features(0), Role::Targets(0), Role::Gradients].map(find);
        let start = random_weights(&network, seed);
        lockstep.set(parameters, &start).unwrap();
        let data: Vec<Vec<f64>> = lockstep.get(features).chunks(12).map(f64s).collect();
        let labels: Vec<u32> = lockstep.get(targets).into_iter().map(f32::to_bits).collect();
        assert_agree(&mut lockstep, "batch normalisation");

        let weights = f64s(&start);
        let textbook = forward(&network, &weights, &data, fixed);
        let u = 1.0 / 16_777_216.0;
        // As in `gradients.rs`: the length of each sum times u, twice for forward and backward. A normalisation adds a
        // sum over its rows. It multiplies the error of its input by at most 1 / √(variance + epsilon).
        let lengths: u32 = network.parameters().iter().map(|p| p.shape[0]).sum::<u32>() + rows * (1 + 3 + 3 + 1);
        let relative = 2.0 * f64::from(lengths) * u * textbook.steepest;

        let after = lockstep.get(parameters);
        let momenta = if fixed { [0.0; 3] } else { [0.1, 0.25, 0.1] };
        for ((momentum, name), statistics) in momenta.into_iter().zip(names).zip(&textbook.statistics) {
            for (k, role) in ["mean", "variance"].into_iter().enumerate() {
                let state = network.states().iter().find(|s| s.name == format!("{name}.{role}")).unwrap();
                for (i, of_batch) in state.range().zip(statistics) {
                    let expected = (1.0 - momentum) * weights[i] + momentum * of_batch[k];
                    let error = (f64::from(after[i]) - expected).abs();
                    assert!(
                        error <= if fixed { 0.0 } else { relative },
                        "{name}.{role}: {} is not {expected}",
                        after[i]
                    );
                }
            }
        }

        let gradient = lockstep.get(gradients);
        let inside: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
        let largest = f64::from(inside.iter().map(|&i| gradient[i].abs()).fold(0.0, f32::max));
        // Central differences have an error of h² times a third derivative. Each normalisation increases this
        // derivative.
        let h = 1e-5;
        let bound = relative * largest + 10.0 * (h * textbook.steepest).powi(2) + 1e-10;
        for i in inside {
            let at = |by: f64| {
                let mut moved = weights.clone();
                moved[i] += by;
                cross_entropy(&forward(&network, &moved, &data, fixed).outputs, &labels)
            };
            let expected = (at(h) - at(-h)) / (2.0 * h);
            let error = (f64::from(gradient[i]) - expected).abs();
            assert!(error <= bound, "weight {i}: {} is not {expected}, off by {error:e} of {bound:e}", gradient[i]);
        }
    }
}

/// The forward pass of a chain is in training mode: it uses the batch's statistics and updates the running ones.
#[test]
fn the_input_gradient_of_a_chain_is_the_textbooks() {
    let network = Network::input(4).batch_norm().layer(random_bias(3, Tanh)).batch_norm().build().unwrap();
    let (rows, seed) = (9, 5);
    let plan = Plan::chain(&network, &Sgd::default().into(), &batches_of(rows), &[true]).unwrap();
    let mut lockstep = lockstep(gpu(), plan);
    let find = |role| lockstep.plan().find(role).unwrap();
    let [input, given, data, parameters, dx] =
        [Role::Input(0), Role::OutputGradient(0), Role::Data(0), Role::Parameters, Role::InputGradient(0)].map(find);
    let mut random = Random(seed);
    let (x, g) = (random.f32s((rows * 4) as usize), random.f32s((rows * 3) as usize));
    let start = random_weights(&network, seed);
    lockstep.set(input, &x).unwrap();
    lockstep.set(given, &g).unwrap();
    lockstep.set(parameters, &start).unwrap();
    lockstep.set(data, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, "chain");
    let states = network.states()[0].range().start..;
    assert_ne!(lockstep.get(parameters)[states.clone()], start[states]);

    let (weights, gradient) = (f64s(&start), lockstep.get(dx));
    let scalar = |x: &[f64]| -> f64 {
        let rows: Vec<Vec<f64>> = x.chunks(4).map(<[f64]>::to_vec).collect();
        let y = forward(&network, &weights, &rows, false).outputs.concat();
        y.iter().zip(&g).map(|(y, &g)| y * f64::from(g)).sum()
    };
    let x = f64s(&x);
    let rows_of: Vec<Vec<f64>> = x.chunks(4).map(<[f64]>::to_vec).collect();
    let steepest = forward(&network, &weights, &rows_of, false).steepest;
    let largest = f64::from(gradient.iter().fold(0.0f32, |largest, g| largest.max(g.abs())));
    let (h, u) = (1e-5, 1.0 / 16_777_216.0);
    let lengths = 2.0 * f64::from(2 * rows + 4 + 3);
    let bound = 2.0 * lengths * u * steepest * largest + 100.0 * (h * steepest).powi(2);
    for i in 0..x.len() {
        let at = |by: f64| {
            let mut moved = x.clone();
            moved[i] += by;
            scalar(&moved)
        };
        let expected = (at(h) - at(-h)) / (2.0 * h);
        let error = (f64::from(gradient[i]) - expected).abs();
        assert!(error <= bound, "input {i}: {} is not {expected}, off by {error:e} of {bound:e}", gradient[i]);
    }
}

/// A batch of one row has no variance. No value becomes NaN, and the running variance stays unchanged.
#[test]
fn a_batch_of_one_row_is_no_fault() {
    let network = Network::input(3).dense(4, Tanh).batch_norm().dense(2, Identity).build().unwrap();
    let optimizer = Sgd::default().into();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &optimizer, &batches_of(8)).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 1, 3);
    assert_agree(&mut lockstep, "one row");
    let after = lockstep.get(lockstep.plan().find(Role::Parameters).unwrap());
    assert!(after.iter().all(|w| w.is_finite()));
    let [mean, variance] = [0, 1].map(|i| &after[network.states()[i].range()]);
    assert_eq!(variance, [1.0; 4]);
    assert_ne!(mean, [0.0; 4]);
}

/// Layers with shared weights also share running statistics. Both layers update them.
#[test]
fn a_tied_normalisation_trains_in_lockstep() {
    let mut g = Graph::new();
    let x = g.input("x", [2, 3]);
    let first = g.layer(BatchNorm::default(), x).unwrap();
    let first = g.name("norm", first).unwrap();
    let hidden = g.layer(Dense::new(3, Tanh), first).unwrap();
    let second = g.layer(Tied::to("norm"), hidden).unwrap();
    let flat = g.layer(Layer::Flatten, second).unwrap();
    let network = g.build([("y", flat)]).unwrap();
    let names: Vec<&str> = network.states().iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["norm.mean", "norm.variance"]);
    let optimizer = Adam::default().into();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &optimizer, &batches_of(6)).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 11, 4);
    for _ in 0..3 {
        assert_agree(&mut lockstep, "tied");
    }
}

/// Outside training, the outputs of a row do not depend on the other rows of its batch.
#[test]
fn outside_of_training_rows_do_not_know_of_each_other() {
    let network = Network::input([2, 3]).batch_norm().activation(Relu).batch_norm().build().unwrap();
    let weights = random_weights(&network, 8);
    let x = Random(3).f32s(6 * 700);
    for device in devices() {
        let model = Model::new(device.clone(), &network, &weights).unwrap();
        let all = model.forward(&x).unwrap();
        for rows in [1, 3, 699] {
            assert_eq!(model.forward(&x[..6 * rows]).unwrap(), all[..6 * rows]);
        }
        assert_eq!(model.parameters().unwrap(), weights, "and nothing has changed");
    }
}

/// Features far from zero and of very different sizes. A network without normalisation does not learn from them.
fn data(seed: u64, rows: usize) -> Dataset {
    let mut random = Random(seed);
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let row = random.f32s(4);
        labels.push(u32::from(row[0] + row[3] > 0.0) + u32::from(row[1] > 0.3));
        features.extend([row[0] * 0.01 + 3.0, row[1] * 100.0 - 500.0, row[2], row[3] * 0.01 - 1.0]);
    }
    Dataset::from_f32(features, 4, labels, 3).unwrap()
}

fn classifier() -> Network {
    Network::input(4).batch_norm().dense(16, Identity).batch_norm().activation(Relu).dense(3, Identity).build().unwrap()
}

/// A network that reshapes the same rows to images.
fn of_images() -> Network {
    Network::input(4)
        .layer(Layer::Reshape([2, 2, 1].into()))
        .layer(Conv::new(6, 2).same().without_bias())
        .batch_norm()
        .activation(Relu)
        .layer(Layer::SpatialDropout(0.25))
        .flatten()
        .dense(3, Identity)
        .build()
        .unwrap()
}

/// A trainer with batches of 16: the last batch of 90 rows has 10.
fn trainer(device: Device) -> Trainer {
    trainer_of(device, &classifier())
}

fn trainer_of(device: Device, network: &Network) -> Trainer {
    let adam = Adam { learning_rate: 0.02, ..Adam::default() };
    let config = TrainerConfig { batch: 16, seed: 3, accumulate: 2, ..TrainerConfig::default() };
    Trainer::new(device, network, Loss::SoftmaxCrossEntropy, adam, config).unwrap()
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|w| w.to_bits()).collect()
}

fn of(trainer: &Trainer) -> Vec<u32> {
    bits(&trainer.model().parameters().unwrap())
}

fn epochs(epochs: u32) -> Fit<'static> {
    Fit { epochs, ..Fit::default() }
}

fn file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wgrad-batch-norm-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// A classifier learns, and its running means approach the means of the features.
#[test]
fn training_learns_and_moves_the_running_statistics() {
    let (data, others) = (data(1, 300), data(2, 200));
    let network = classifier();
    for device in devices() {
        let mut trainer = trainer(device.clone());
        trainer.fit(&data, epochs(25), |_| {}).unwrap();
        let evaluation = trainer.evaluate(&others).unwrap();
        assert!(evaluation.accuracy > 0.9, "{evaluation:?}");
        let weights = trainer.model().parameters().unwrap();
        let mean = &weights[network.states()[0].range()];
        // The first batches no longer count: 0.9⁴⁵⁰ is almost 0. The means come from the last tens of batches.
        let expected = [3.0, -500.0, 0.0, -1.0];
        let deviations = [0.01, 100.0, 1.0, 0.01];
        for c in 0..4 {
            assert!((mean[c] - expected[c]).abs() < 0.5 * deviations[c], "{mean:?}");
        }
        // The evaluation uses the same statistics as the model, for any batch size.
        assert_eq!(trainer.model().score(&others).unwrap().accuracy(), evaluation.accuracy);
    }
}

/// A run resumed from any checkpoint ends with the same bits, running statistics included.
#[test]
fn a_resumed_run_equals_one_that_was_never_interrupted() {
    let all = devices().into_iter().flat_map(|device| [(device.clone(), classifier()), (device, of_images())]);
    for (device, network) in all {
        let path = file(if matches!(device, Device::Cpu) { "resumed-cpu" } else { "resumed-gpu" });
        let data = data(4, 90);
        let checkpoint = Some(Checkpoint { path: &path, every: Some(4) });
        let fit = |epochs| Fit { epochs, checkpoint, ..Fit::default() };
        let mut files: Vec<Vec<u8>> = Vec::new();
        let mut whole = trainer_of(device.clone(), &network);
        whole.fit(&data, fit(3), |_| files.extend(std::fs::read(&path).ok())).unwrap();
        files.dedup();
        assert!(files.len() >= 5, "{}", files.len());
        for file in &files {
            let mut resumed = Trainer::resume_from_bytes(device.clone(), file).unwrap();
            assert_eq!(&resumed.to_bytes().unwrap(), file);
            resumed.fit(&data, fit(3 - resumed.epochs()), |_| {}).unwrap();
            assert_eq!(of(&resumed), of(&whole));
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// A snapshot contains the running statistics, and `reset` restores their initial values.
#[test]
fn a_snapshot_has_them() {
    let data = data(5, 90);
    for (device, other) in [(Device::Cpu, Device::Cpu), (gpu().into(), plain_gpu().into())] {
        let mut trainer = trainer(device);
        trainer.fit(&data, epochs(2), |_| {}).unwrap();
        let at_snapshot = of(&trainer);
        trainer.snapshot().unwrap();
        trainer.fit(&data, epochs(1), |_| {}).unwrap();
        let later = of(&trainer);
        let states = classifier().states()[0].range().start..;
        assert_ne!(later[states.clone()], at_snapshot[states]);
        trainer.rebuild(other).unwrap();
        assert_eq!(of(&trainer), at_snapshot);
        trainer.reset();
        assert_eq!(of(&trainer), bits(&classifier().initial_parameters(3)));
    }
}

/// Early stopping restores the running statistics with the best weights. An evaluation then gives the loss that was
/// measured at the best epoch.
#[test]
fn the_best_weights_come_with_their_statistics() {
    let (data, validation) = (data(6, 60), data(7, 50));
    for device in devices() {
        let mut trainer = trainer(device);
        let early_stopping = Some(EarlyStopping { patience: 4, ..EarlyStopping::default() });
        let fit = Fit { epochs: 60, validation: Some(&validation), early_stopping, ..Fit::default() };
        let mut measured = Vec::new();
        let note = |event: Event| {
            if let Event::Epoch(epoch) = event {
                measured.extend(epoch.validation.map(|v| v.loss));
            }
        };
        trainer.fit(&data, fit, note).unwrap();
        let best = trainer.best().unwrap();
        assert!((best.epoch as usize) < measured.len(), "it has gone on after epoch {}", best.epoch);
        assert_eq!(trainer.evaluate(&validation).unwrap().loss, measured[best.epoch as usize - 1]);
    }
}

/// A model file has one tensor for each running statistic. An error names the missing tensor.
#[test]
fn models_files_have_a_tensor_for_each_and_name_one_that_is_missing() {
    let network = classifier();
    let weights = random_weights(&network, 2);
    let model = Model::new(Device::Cpu, &network, &weights).unwrap();
    let file = model.to_bytes().unwrap();
    let read = Model::from_bytes(Device::Cpu, &file).unwrap();
    assert_eq!(read.network(), &network);
    assert_eq!(bits(&read.parameters().unwrap()), bits(&weights));

    let name = b"\"batch_norm_3.variance\"";
    let at = file.windows(name.len()).position(|bytes| bytes == name).expect("its name is in the header");
    let mut other = file.clone();
    other[at + 1..at + 6].copy_from_slice(b"patch");
    let message = Model::from_bytes(Device::Cpu, &other).unwrap_err().to_string();
    assert!(message.contains("batch_norm_3.variance"), "{message}");
}

/// Weight files use the names of PyTorch and Keras, also beside dense layers and layer normalisations.
#[test]
fn weights_go_out_and_come_back_in_every_naming() {
    let network = Network::input(4).batch_norm().dense(5, Relu).layer_norm().batch_norm().dense(3, Identity);
    let network = network.build().unwrap();
    let weights = random_weights(&network, 3);
    let model = Model::new(Device::Cpu, &network, &weights).unwrap();
    for (naming, name) in [
        (Naming::Wgrad, "batch_norm_4.variance"),
        (Naming::PyTorch, "4.running_var"),
        (Naming::Keras, "batch_normalization_1/moving_variance"),
    ] {
        let file = model.weights_to_bytes(naming).unwrap();
        assert!(file.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{naming:?}");
        let read = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
        assert_eq!(bits(&read.parameters().unwrap()), bits(&weights), "{naming:?}");
    }
    // A file without running statistics does not fit the network.
    let file = model.weights_to_bytes(Naming::PyTorch).unwrap();
    let at = file.windows(13).position(|bytes| bytes == b"4.running_var").unwrap();
    let mut other = file.clone();
    other[at..at + 13].copy_from_slice(b"4.running_vat");
    let message = Model::weights_from_bytes(Device::Cpu, &network, &other).unwrap_err().to_string();
    assert!(message.contains("4.running_var"), "{message}");
}

/// A frozen group keeps its weights. Its running statistics are still updated, because no optimizer trains them.
#[test]
fn a_frozen_normalisation_still_measures() {
    let network = classifier();
    for device in devices() {
        let groups = vec![Group::layer("batch_norm_1").frozen(), Group::layer("batch_norm_3").frozen()];
        let config = TrainerConfig { batch: 16, groups, ..TrainerConfig::default() };
        let start = random_weights(&network, 6);
        let (loss, adam) = (Loss::SoftmaxCrossEntropy, Adam::default());
        let mut trainer = Trainer::from_parameters(device, &network, loss, adam, config, &start).unwrap();
        trainer.fit(data(1, 90), epochs(1), |_| {}).unwrap();
        let after = trainer.model().parameters().unwrap();
        for p in network.parameters().iter().chain(network.states()) {
            let stays =
                p.layer().starts_with("batch_norm") && !p.name.ends_with("mean") && !p.name.ends_with("variance");
            assert_eq!(after[p.range()] == start[p.range()], stays, "{}", p.name);
        }
    }
}

/// Running statistics are stored after the weights and counted separately in the summary.
#[test]
fn states_are_laid_out_behind_weights_and_told_apart() {
    let network = classifier();
    let named = |all: &[Parameter]| all.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let states = ["batch_norm_1.mean", "batch_norm_1.variance", "batch_norm_3.mean", "batch_norm_3.variance"];
    assert_eq!(named(network.states()), states);
    assert!(named(network.parameters()).iter().all(|name| !states.contains(&&**name)));
    let weights_end = network.parameters().iter().map(|p| p.range().end).max().unwrap();
    assert!(network.states().iter().all(|state| state.range().start >= weights_end));
    let last = network.states()[3].range().end as u32;
    assert_eq!(network.parameter_words(), last.next_multiple_of(wgrad::PARAMETER_ALIGNMENT));
    let (trained, others) = (4 * 2 + 4 * 16 + 16 + 16 * 2 + 16 * 3 + 3, 2 * (4 + 16));
    assert_eq!((network.parameter_count(), network.state_count()), (trained, others));
    let summary = network.summary().to_string();
    let totals = format!("Total params: {}\nTrained: {trained}\nNon-trained: {others}", trained + others);
    assert!(summary.ends_with(&totals), "{summary}");
    let start = network.initial_parameters(1);
    assert_eq!(
        (start[network.states()[2].range()].to_vec(), &start[network.states()[3].range()]),
        (vec![0.0; 16], &[1.0; 16][..])
    );

    let mut bad = start;
    bad[network.states()[3].range()][5] = f32::NAN;
    let error = Model::new(Device::Cpu, &network, &bad).unwrap_err();
    assert!(matches!(&error, Error::NonFiniteParameter { tensor, index: 5, .. } if tensor == states[3]), "{error}");
}

/// The activation after a normalisation is its epilogue. Evaluation and forward passes use the same op.
#[test]
fn a_convolution_a_normalisation_and_an_activation_are_two_ops_outside_of_training() {
    let network = of_images();
    let kernels = |plan: Plan| plan.step.iter().map(ToString::to_string).collect::<Vec<_>>();
    let forward = kernels(Plan::forward(&network, 8).unwrap());
    assert!(forward[0].starts_with("matmul") && forward[1] == "batch_norm relu", "{forward:?}");
    assert!(forward[2].starts_with("matmul") && forward.len() == 3, "{forward:?}");
    let evaluation = kernels(Plan::evaluation(&network, Loss::SoftmaxCrossEntropy, 8).unwrap());
    assert!(evaluation.windows(3).any(|ops| ops == forward), "{evaluation:?}");
}

/// An option out of range is an error that names the option.
#[test]
fn options_out_of_range_are_errors() {
    let fault = |norm: BatchNorm| Network::input(3).layer(norm).build().unwrap_err().to_string();
    let (epsilon, momentum) = (0.0, 1.5);
    assert!(fault(BatchNorm { epsilon, ..BatchNorm::default() }).starts_with("epsilon of batch_norm must be"));
    let message = fault(BatchNorm { momentum, ..BatchNorm::default() });
    assert!(message.starts_with("momentum of batch_norm must be from 0 to 1, got 1.5"), "{message}");
    let groups = vec![Group::layer("dense_2").fixed_statistics()];
    let config = TrainerConfig { groups, ..batches_of(4) };
    let message = Plan::training(&classifier(), Loss::SoftmaxCrossEntropy, &Sgd::default().into(), &config);
    let message = message.unwrap_err().to_string();
    assert!(message.ends_with("expected a layer with running statistics, got dense_2"), "{message}");
}

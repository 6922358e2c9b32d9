//! Tests data sets with several inputs and targets, and training on them.

mod common;

use common::Random;
use wgrad::{Activation::*, *};

fn devices() -> [Device; 2] {
    [Device::Cpu, common::gpu().into()]
}

const ROWS: usize = 90;
const STEPS: usize = 3;

/// The inputs are an image of bytes and a level. The outputs are the bright quarter of the image, whether the level
/// exceeds each of three bars, and twice the level.
fn network() -> Network {
    let mut graph = Graph::new();
    let image = graph.input("image", [4, 4, 1]);
    let level = graph.input("level", 1);
    let flat = graph.layer(Layer::Flatten, [image]).unwrap();
    let seen = graph.layer(Dense::new(16, Relu), [flat]).unwrap();
    let both = graph.concat([seen, level], -1).unwrap();
    let hidden = graph.layer(Dense::new(24, Tanh), [both]).unwrap();
    let size = graph.layer(Dense::new(1, Identity), [hidden]).unwrap();
    let quarter = graph.layer(Dense::new(4, Softmax), [hidden]).unwrap();
    let steps = graph.layer(Dense::new(6, Identity), [hidden]).unwrap();
    let steps = graph.reshape(steps, [STEPS as u32, 2]).unwrap();
    graph.build([("size", size), ("quarter", quarter), ("above", steps)]).unwrap()
}

fn losses() -> Losses {
    Losses::new().output("quarter", Loss::SoftmaxCrossEntropy).weighted("size", Loss::MeanSquaredError, 0.5).weighted(
        "above",
        Loss::SoftmaxCrossEntropy,
        2.0,
    )
}

/// A data set whose inputs and targets have another order than the network's. Every 7th label of `above` is ignored.
fn data(seed: u64, rows: usize) -> Dataset {
    let mut random = Random(2 * seed + 1);
    let (mut pixels, mut quarters, mut levels, mut above, mut sizes) = (vec![], vec![], vec![], vec![], vec![]);
    for row in 0..rows {
        let (quarter, level) = (random.below(4), random.f32());
        let at = |i: u32| i / 8 * 2 + i % 4 / 2;
        pixels.extend(
            (0..16).map(|i| if at(i) == quarter { 200 + random.below(56) as u8 } else { random.below(99) as u8 }),
        );
        quarters.push(quarter);
        levels.push(level);
        sizes.push(2.0 * level);
        for (step, bar) in [-0.5, 0.0, 0.5].into_iter().enumerate() {
            let ignored = (row * STEPS + step) % 7 == 3;
            above.push(if ignored { 255 } else { u32::from(level > bar) });
        }
    }
    Dataset::of_rows(rows)
        .labels("quarter", quarters, 4)
        .positions("above", above, [STEPS as u32], 2)
        .ignoring("above", 255)
        .input("level", levels, 1)
        .input("image", pixels, [4, 4])
        .normalised("image", &[0.35], &[0.3])
        .targets("size", sizes, 1)
        .build()
        .unwrap()
}

fn trainer(device: Device) -> Trainer {
    trainer_with(device, TrainerConfig::default())
}

fn trainer_with(device: Device, config: TrainerConfig) -> Trainer {
    let config = TrainerConfig { batch: 8, seed: 3, accumulate: 2, ..config };
    let adam = Adam { learning_rate: 0.01, ..Adam::default() };
    Trainer::new(device, &network(), losses(), adam, config).unwrap()
}

/// A network with several inputs and outputs learns all outputs. The history and the evaluation report each one.
#[test]
fn a_network_with_several_inputs_and_outputs_learns_them_all() {
    let (train, test) = (data(1, ROWS), data(2, 40));
    for device in devices() {
        let mut trainer = trainer(device);
        let before = trainer.evaluate(&test).unwrap();
        let fit = Fit { epochs: 100, validation: Some(&test), ..Fit::default() };
        let history = trainer.fit(&train, fit, |_| ()).unwrap();
        let after = trainer.evaluate(&test).unwrap();
        assert!(after.loss < 0.2 * before.loss, "{before:?} {after:?}");
        let last = history.epochs.last().unwrap();
        assert_eq!((last.train.rows, last.validation, after.rows), (90, Some(after), 40));

        let outputs = trainer.evaluate_outputs(&test).unwrap();
        let names: Vec<&str> = outputs.iter().map(|output| &*output.name).collect();
        assert_eq!(names, ["size", "quarter", "above"]);
        let [size, quarter, above] = [0, 1, 2].map(|i| outputs[i].evaluation);
        assert_eq!(after.loss, 0.5 * size.loss + quarter.loss + 2.0 * above.loss);
        assert_eq!(after.accuracy, quarter.accuracy, "the first one with labels");
        assert!(quarter.accuracy > 0.9 && above.accuracy > 0.85 && size.loss < 0.05, "{outputs:?}");
        let ignored = (0..120).filter(|i| i % 7 == 3).count() as u32;
        assert_eq!((size.rows, quarter.rows, above.rows), (40, 40, 120 - ignored));

        assert_eq!(history.outputs.len(), 3);
        for (output, measured) in history.outputs.iter().zip(&outputs) {
            assert_eq!((&output.name, output.epochs.len()), (&measured.name, 100));
            assert_eq!(output.epochs[99].validation, Some(measured.evaluation));
            assert!(output.epochs[99].train.loss < output.epochs[0].train.loss);
        }
        assert_eq!(&history, trainer.history());
    }
}

/// The scores of each output match its evaluation. The target is found by the output's name, and ignored labels do not
/// count.
#[test]
fn scores_are_of_the_output_that_was_chosen() {
    let (train, test) = (data(1, ROWS), data(2, 40));
    let test = test.with_weights((0..40).map(|row| row as f32).collect()).unwrap();
    for device in devices() {
        let mut trainer = trainer(device);
        trainer.fit(&train, Fit { epochs: 5, ..Fit::default() }, |_| ()).unwrap();
        let model = trainer.model();
        let features = [("image", test.input_features("image", 0..40)), ("level", test.input_features("level", 0..40))];
        let features = features.map(|(name, numbers)| (name, numbers.unwrap()));
        let inputs = || features.each_ref().map(|(name, numbers)| (*name, numbers));
        for output in trainer.evaluate_outputs(&test).unwrap() {
            let of_output = model.output(&output.name).unwrap();
            let scores = of_output.score(&test).unwrap();
            let classes = scores.predictions();
            assert_eq!(classes.len(), output.evaluation.rows as usize, "{output:?}");
            assert_eq!(scores.accuracy(), output.evaluation.accuracy, "{output:?}");
            let predicted = of_output.predict(inputs()).unwrap();
            let is_counted = |(i, _): &(usize, u32)| output.name != "above" || i % 7 != 3;
            let counted = predicted.into_iter().enumerate().filter(is_counted);
            assert!(counted.clone().map(|(_, class)| class).eq(classes), "{}", output.name);
            let positions = if output.name == "above" { STEPS } else { 1 };
            let weights: Vec<f32> = counted.map(|(i, _)| (i / positions) as f32).collect();
            assert_eq!(scores.weights(), Some(&weights[..]), "{}", output.name);
        }
        // The default is the first output.
        let squares = model.score(&test).unwrap();
        assert_eq!(squares.outputs(), model.forward(inputs()).unwrap());
        let other = Dataset::of_rows(1).input("image", vec![0u8; 16], 16).input("level", vec![0.0], 1);
        let other = other.targets("length", vec![1.0], 1).build().unwrap();
        let error = model.score(&other).unwrap_err().to_string();
        let expected = "targets of the data set: expected one named \"size\", like the network's output, got length";
        assert_eq!(error, expected);
    }
}

/// Each of five positions has a label and a prediction. A position with an ignored label counts neither in the gradient
/// nor in the accuracy.
#[test]
fn positions_whose_label_is_ignored_are_left_out() {
    let network = Network::input([5, 3]).dense(4, Identity).build().unwrap();
    let mut random = Random(7);
    let features = random.f32s(12 * 5 * 3);
    let labels: Vec<u32> = (0..12 * 5).map(|_| random.below(4)).collect();
    let with = |ignored: u32| -> Vec<u32> {
        labels.iter().enumerate().map(|(i, label)| if i % 4 == 1 { ignored } else { *label }).collect()
    };
    let of = |ignored: u32| {
        let data = Dataset::of_rows(12).input("x", features.clone(), [5, 3]);
        data.labels("y", with(ignored), 4).ignoring("y", ignored).build().unwrap()
    };
    for device in devices() {
        let mut results = Vec::new();
        for ignored in [255, u32::MAX] {
            let config = TrainerConfig { batch: 5, seed: 1, ..TrainerConfig::default() };
            let adam = Adam { learning_rate: 0.1, ..Adam::default() };
            let mut trainer = Trainer::new(device.clone(), &network, Loss::SoftmaxCrossEntropy, adam, config).unwrap();
            let history = trainer.fit(of(ignored), Fit { epochs: 3, ..Fit::default() }, |_| ()).unwrap();
            let measured = trainer.evaluate(&of(ignored)).unwrap();
            let outputs = trainer.model().forward(&features).unwrap();

            // The expected values in f64: the mean loss over all positions, and the accuracy over the positions that
            // count.
            let (mut loss, mut right, mut counted) = (0.0, 0, 0);
            for (z, label) in outputs.chunks(4).zip(with(ignored)).filter(|(_, label)| *label != ignored) {
                let z: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
                let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = z.iter().map(|z| (z - largest).exp()).sum();
                loss += sum.ln() + largest - z[label as usize];
                right += u32::from(z[label as usize] == largest);
                counted += 1;
            }
            // Each of 60 losses has an error of some roundings of exponentials and of its logits, which are below 8.
            // The sum adds some roundings.
            let bound = 64.0 * f64::from(f32::EPSILON) * 8.0;
            assert!((measured.loss - loss / 60.0).abs() < bound, "{measured:?} {}", loss / 60.0);
            assert_eq!(measured.accuracy, f64::from(right) / f64::from(counted));
            assert_eq!((measured.rows, history.epochs[2].train.rows), (12, 12));
            let outputs = trainer.evaluate_outputs(&of(ignored)).unwrap();
            assert_eq!((&*outputs[0].name, outputs[0].evaluation.rows), ("output", counted));
            let losses: Vec<f64> = history.epochs.iter().map(|epoch| epoch.train.loss).collect();
            results.push((losses, trainer.model().parameters().unwrap()));
        }
        assert_eq!(results[0], results[1], "whatever label stands for none");
    }
}

/// Bytes and numbers that are normalised when a batch is gathered train like data that were normalised before.
#[test]
fn channels_are_normalised_as_batches_are_gathered() {
    let network = Network::input([2, 3]).flatten().dense(3, Identity).build().unwrap();
    let (means, deviations) = ([0.1, 0.5, 0.7], [0.2, 0.4, 0.3]);
    let mut random = Random(3);
    let bytes: Vec<u8> = (0..20 * 6).map(|_| random.below(256) as u8).collect();
    let numbers = random.f32s(20 * 6);
    let labels: Vec<u32> = (0..20).map(|_| random.below(3)).collect();
    let trained = |data: &Dataset| {
        let config = TrainerConfig { batch: 6, seed: 2, ..TrainerConfig::default() };
        let mut trainer =
            Trainer::new(Device::Cpu, &network, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
        trainer.fit(data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
        trainer.model().parameters().unwrap()
    };
    let of = |features: Features| {
        let data = Dataset::of_rows(20).input("x", features, [2, 3]).normalised("x", &means, &deviations);
        data.labels("y", labels.clone(), 3).build().unwrap()
    };
    for data in [of(bytes.into()), of(numbers.into())] {
        let before = Dataset::from_f32(data.features_of(0..20), 6, labels.clone(), 3).unwrap();
        let value = |i: usize| (before.features_of(0..20)[i] * deviations[i % 3] + means[i % 3]).abs();
        assert!((0..120).all(|i| value(i) < 1.0 + 1e-6));
        assert_eq!(trained(&data), trained(&before));
        let other = Dataset::from_f32(data.features_of(0..20).iter().map(|x| 2.0 * x).collect(), 6, labels.clone(), 3);
        assert_ne!(trained(&data), trained(&other.unwrap()));
    }
}

/// An augmentation changes the images in training only, and differently in each epoch. It depends on the row and not on
/// the batch.
#[test]
fn images_change_in_training_alone_and_with_every_epoch() {
    let network = Network::input([5, 6, 2]).flatten().dense(3, Identity).build().unwrap();
    let mut random = Random(4);
    let bytes: Vec<u8> = (0..20 * 60).map(|_| random.below(256) as u8).collect();
    let labels: Vec<u32> = (0..20).map(|_| random.below(3)).collect();
    let plain = Dataset::of_rows(20).input("x", bytes, [5, 6, 2]).normalised("x", &[0.5, 0.4], &[0.2, 0.3]);
    let plain = plain.labels("y", labels, 3).build().unwrap();
    let moves = Augmentation { shift: 2, flip: 0.5, flip_vertical: 0.5, ..Augmentation::default() };
    let turns = Augmentation { rotation: 30.0, scale: [0.8, 1.25], ..moves };
    let all = Augmentation { cutout: 3, brightness: 0.2, contrast: 0.3, ..turns };
    // The learning rate is 0, so the losses of an epoch depend only on its images.
    let losses = |device: &Device, data: &Dataset, batch: u32, window: Option<usize>| {
        let config = TrainerConfig { batch, window: window.map(|w| w as u32), seed: 3, ..TrainerConfig::default() };
        let still = Sgd { learning_rate: 0.0, ..Sgd::default() };
        let mut trainer = Trainer::new(device.clone(), &network, Loss::SoftmaxCrossEntropy, still, config).unwrap();
        let fit = Fit { epochs: 2, validation: Some(data), ..Fit::default() };
        let history = trainer.fit(data, fit, |_| ()).unwrap();
        assert_eq!(trainer.evaluate(data).unwrap(), trainer.evaluate(&plain).unwrap());
        history.epochs.iter().map(|epoch| [epoch.train.loss, epoch.validation.unwrap().loss]).collect::<Vec<_>>()
    };
    // Positions differ by up to 12 pixels · 360u. Values of up to 5 standard deviations therefore differ by up to 20
    // times that error: see the bounds of `gather`.
    let same = |a: f64, b: f64| (a - b).abs() < 5e-3 * b;
    let unchanged = losses(&Device::Cpu, &plain, 4, None);
    assert!(same(unchanged[0][0], unchanged[1][0]) && same(unchanged[0][0], unchanged[0][1]));
    for augmentation in [moves, turns, all] {
        let data = plain.clone().with_augmentation("x", augmentation).unwrap();
        let (head, tail) = data.clone().split(15).unwrap();
        assert!(head != plain.clone().split(15).unwrap().0 && tail != plain.clone().split(15).unwrap().1);
        let changed = losses(&Device::Cpu, &data, 4, None);
        assert!(!same(changed[0][0], unchanged[0][0]) && !same(changed[1][0], changed[0][0]), "{changed:?}");
        assert_eq!([changed[0][1], changed[1][1]], [unchanged[0][1]; 2], "validation");
        for device in devices() {
            for batch in [4, 7] {
                // The sums have another order, and a GPU interpolates the images.
                for (epoch, other) in changed.iter().zip(losses(&device, &data, batch, None)) {
                    assert!(same(epoch[0], other[0]), "batch {batch} on {device:?}: {changed:?} {other:?}");
                }
            }
            let in_windows = losses(&device, &data, 4, Some(8));
            assert!(!same(in_windows[0][0], unchanged[0][0]), "{in_windows:?}");
        }
        assert_eq!(plain.clone().with_augmentation("x", Augmentation::default()).unwrap(), plain);
    }
}

/// An augmentation out of range is an error that names the option and the input.
#[test]
fn augmentations_out_of_range_are_refused() {
    let data = Dataset::of_rows(1).input("x", vec![0u8; 24], [3, 4, 2]).input("age", vec![0.0], 1);
    let data = data.labels("y", vec![0], 2).build().unwrap();
    let fault = |name: &str, augmentation| data.clone().with_augmentation(name, augmentation).unwrap_err().to_string();
    let none = Augmentation::default();
    assert_eq!(
        fault("age", none),
        r#"augmentation of input "age": expected images of shape [height, width, channels], got [1]"#
    );
    assert!(fault("y", none).starts_with("input of the data set: expected one of x, age"));
    let bad = [
        ("shift", Augmentation { shift: 3, ..none }),
        ("flip", Augmentation { flip: 1.5, ..none }),
        ("flip_vertical", Augmentation { flip_vertical: f32::NAN, ..none }),
        ("rotation", Augmentation { rotation: 181.0, ..none }),
        ("scale", Augmentation { scale: [1.1, 0.9], ..none }),
        ("scale", Augmentation { scale: [0.01, 1.0], ..none }),
        ("cutout", Augmentation { cutout: 1 << 20, ..none }),
        ("brightness", Augmentation { brightness: -1.0, ..none }),
        ("contrast", Augmentation { contrast: f32::INFINITY, ..none }),
    ];
    for (name, augmentation) in bad {
        let fault = fault("x", augmentation);
        assert!(fault.contains(name) && fault.contains(r#"in the augmentation of input "x""#), "{fault}");
    }
    let flat = Network::input(24).dense(2, Identity).build().unwrap();
    let mut trainer =
        Trainer::new(Device::Cpu, &flat, Loss::SoftmaxCrossEntropy, Adam::default(), TrainerConfig::default()).unwrap();
    let sole = Dataset::of_rows(1).input("x", vec![0u8; 24], [3, 4, 2]).labels("y", vec![0], 2);
    let sole = sole.augmented("x", Augmentation { shift: 1, ..none }).build().unwrap();
    assert_eq!(
        trainer.fit(&sole, Fit::default(), |_| ()).unwrap_err().to_string(),
        r#"shape of the data set's input "x" after augmentation and crops: expected [24] (the network's input), got [3, 4, 2]"#
    );
}

/// Data that do not fit the network are an error that names the input or target.
#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut trainer = trainer(Device::Cpu);
    let mut fault = |data: DatasetBuilder| trainer.evaluate(&data.build().unwrap()).unwrap_err().to_string();
    let inputs = || Dataset::of_rows(2).input("image", vec![0u8; 32], 16).input("level", vec![0.0; 2], 1);
    let targets = |data: DatasetBuilder| data.targets("size", vec![0.0; 2], 1).labels("quarter", vec![0, 1], 4);
    let above = |data: DatasetBuilder| data.labels("above", vec![0; 6], 2);
    let cases = [
        (
            above(targets(Dataset::of_rows(2).input("picture", vec![0u8; 32], 16).input("level", vec![0.0; 2], 1))),
            r#"inputs of the data set: expected one named "image", like the network's input, got picture, level"#,
        ),
        (
            above(targets(Dataset::of_rows(2).input("image", vec![0u8; 30], 15).input("level", vec![0.0; 2], 1))),
            r#"features of the data set's input "image": expected 16 (the network's input [4, 4, 1]), got 15"#,
        ),
        (
            above(targets(Dataset::of_rows(2).input("image", vec![0u8; 32], [2, 8]).input("level", vec![0.0; 2], 1))),
            r#"shape of the data set's input "image": expected [4, 4, 1] (the network's input), or one dimension, got [2, 8]"#,
        ),
        (
            targets(inputs()),
            r#"targets of the data set: expected one named "above", like the network's output, got size, quarter"#,
        ),
        (
            targets(inputs()).labels("above", vec![0, 1], 2),
            "labels of the data set's target \"above\": expected 3 per row, one per position (the network's output \
             \"above\" has shape [3, 2]), got 1 per row; for one label per row, add a flatten before the last dense layer \
             of output \"above\"",
        ),
        (
            targets(inputs()).labels("above", vec![0; 8], 2),
            "labels of the data set's target \"above\": expected 3 per row, one per position (the network's output \
             \"above\" has shape [3, 2]), got 4 per row, of shape [4]",
        ),
        (
            targets(inputs()).labels("above", vec![0; 6], 3),
            r#"classes of the data set's target "above": expected at most 2 (the network's output "above"), got 3"#,
        ),
        (
            above(inputs().targets("size", vec![0.0; 4], 2).labels("quarter", vec![0, 1], 4)),
            r#"numbers of the data set's target "size": expected 1 (the network's output "size"), got 2"#,
        ),
        (
            above(inputs().targets("size", vec![0.0; 2], 1).targets(
                "quarter",
                vec![0.5; 7].into_iter().chain([1.5]).collect(),
                4,
            )),
            r#"target 3 of row 1 of target "quarter": expected 0 to 1 for softmax cross-entropy, got 1.5"#,
        ),
    ];
    for (data, message) in cases {
        assert_eq!(fault(data), message);
    }
    // Inputs and targets that the network does not have are ignored.
    let more = above(targets(inputs())).input("more", vec![0u8; 2], 1).targets("other", vec![0.0; 2], 1);
    assert!(trainer.evaluate(&more.build().unwrap()).is_ok());

    // With one input and one target, names do not matter. The number of positions does.
    let pixels = Network::input([28, 28, 1]).dense(10, Identity).build().unwrap();
    let config = TrainerConfig::default();
    let mut trainer = Trainer::new(Device::Cpu, &pixels, Loss::SoftmaxCrossEntropy, Adam::default(), config).unwrap();
    let data = Dataset::from_u8(vec![0; 784], 784, vec![3], 10).unwrap();
    assert_eq!(
        trainer.fit(&data, Fit::default(), |_| ()).unwrap_err().to_string(),
        "labels of the data set: expected 784 per row, one per position (the network's output has shape [28, 28, 10]), \
         got 1 per row; for one label per row, add a flatten before the last dense layer of output \"output\""
    );
}

/// Saves a checkpoint every `every` steps, and checks that the run resumed from each ends with the same weights and
/// history. Returns the checkpoints.
#[cfg(feature = "files")]
fn resumed_to_the_same_bytes(name: &str, device: &Device, config: TrainerConfig, every: u32) -> Vec<Vec<u8>> {
    let data = data(1, ROWS);
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("datasets-resume");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let run = |trainer: &mut Trainer, epochs| {
        let mut files: Vec<Vec<u8>> = Vec::new();
        let checkpoint = Some(Checkpoint { path: &path, every: Some(every) });
        let mut look = || {
            let file = std::fs::read(&path).unwrap_or_default();
            if files.last() != Some(&file) && !file.is_empty() {
                files.push(file);
            }
        };
        let _ = std::fs::remove_file(&path);
        trainer.fit(&data, Fit { epochs, checkpoint, ..Fit::default() }, |_| look()).unwrap();
        look();
        files
    };
    // The history without times, and the weights.
    let result = |trainer: &Trainer| {
        let mut history = trainer.history().clone();
        history.epochs.iter_mut().for_each(|epoch| epoch.seconds = None);
        (history, trainer.model().parameters().unwrap())
    };
    let mut whole = trainer_with(device.clone(), config);
    let files = run(&mut whole, 2);
    assert_eq!(files.len() as u32, 2 * 12u32.div_ceil(every), "of 12 steps an epoch");
    for (i, file) in files.iter().enumerate() {
        let mut resumed = Trainer::resume_from_bytes(device.clone(), file).unwrap();
        assert_eq!(&resumed.to_bytes().unwrap(), file, "what was read is written again");
        let left = 2 - resumed.epochs();
        run(&mut resumed, left);
        assert_eq!(result(&resumed), result(&whole), "from file {i}");
    }
    let json = whole.history().to_json();
    assert_eq!(json.matches("\"above\"").count(), 1, "{json}");
    files
}

/// A resumed run ends with the same weights. Some checkpoints fall inside an accumulated update. Some labels are
/// ignored.
#[cfg(feature = "files")]
#[test]
fn a_run_with_several_outputs_is_resumed_to_the_same_bytes() {
    let data = data(1, ROWS);
    for (name, device) in ["cpu", "gpu"].into_iter().zip(devices()) {
        let files = resumed_to_the_same_bytes(name, &device, TrainerConfig::default(), 5);
        // With another batch size, the interrupted epoch is continued. Its metrics are in other slots.
        let mut resumed = Trainer::resume_from_bytes_with(
            device.clone(),
            &files[0],
            &Resume { batch: Some(25), ..Resume::default() },
        )
        .unwrap();
        let history = resumed.fit(&data, Fit::default(), |_| ()).unwrap();
        // 40 rows are done. The other 50 rows are two batches.
        assert_eq!((history.epochs[0].epoch, history.epochs[0].steps, history.epochs[0].train.rows), (1, 7, 90));
        let ignored = (0..270).filter(|i| i % 7 == 3).count() as u32;
        assert_eq!(history.outputs[2].epochs[0].train.rows, 270 - ignored);
    }
}

/// A run continued from a snapshot gives the same history and weights.
#[test]
fn a_run_with_several_outputs_goes_on_from_a_snapshot() {
    let data = data(1, ROWS);
    let device = devices()[1].clone();
    let mut trainer = trainer(device.clone());
    let fit = |trainer: &mut Trainer| trainer.fit(&data, Fit::default(), |_| ()).unwrap();
    fit(&mut trainer);
    trainer.snapshot().unwrap();
    let once = (fit(&mut trainer).outputs, trainer.model().parameters().unwrap());
    trainer.rebuild(device).unwrap();
    let again = (fit(&mut trainer).outputs, trainer.model().parameters().unwrap());
    assert_eq!(once, again);
}

/// The loss of `record_within` is the weighted sum over all outputs.
#[test]
fn frames_tell_the_weighted_sum_of_the_losses() {
    let gpu = common::gpu();
    let data = data(1, 16);
    let config = TrainerConfig { batch: 16, shuffle: false, ..TrainerConfig::default() };
    let mut trainer = Trainer::new(gpu, &network(), losses(), Adam::default(), config).unwrap();
    let before = trainer.evaluate(&data).unwrap();
    let training = trainer.prepare(&data).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    assert_eq!(training.record_within(&mut encoder, std::time::Duration::from_millis(1)), 1);
    gpu.queue().submit([encoder.finish()]);
    while training.last_frame().is_none() {
        gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
    let told = training.last_frame().unwrap().train;
    // Sums of 48 losses, each of which may be rounded differently.
    let bound = 64.0 * f64::from(f32::EPSILON) * before.loss;
    assert!((told.loss - before.loss).abs() < bound, "{told:?} {before:?}");
    assert_eq!((told.accuracy, told.rows), (before.accuracy, before.rows));
}

/// 32 of 90 rows are on the device at a time, which is four steps. Checkpoints fall at the ends of windows and inside
/// them.
#[cfg(feature = "files")]
#[test]
fn a_run_over_windows_is_resumed_to_the_same_bytes() {
    for (name, device) in ["windows-cpu", "windows-gpu"].into_iter().zip(devices()) {
        let windows = TrainerConfig { window: Some(40), ..TrainerConfig::default() };
        let files = resumed_to_the_same_bytes(name, &device, windows, 2);
        // With another batch size, the interrupted epoch starts again.
        let resume = Resume { batch: Some(16), ..Resume::default() };
        let mut resumed = Trainer::resume_from_bytes_with(device, &files[2], &resume).unwrap();
        let history = resumed.fit(data(1, ROWS), Fit::default(), |_| ()).unwrap();
        assert_eq!((history.epochs[0].steps, history.epochs[0].train.rows), (6, 90));
    }
}

/// Without shuffling, windows change nothing. With shuffling, the epochs differ and the network learns all the data.
#[test]
fn data_train_and_are_evaluated_window_by_window() {
    let (train, many) = (data(1, ROWS), data(5, 600));
    for device in devices() {
        let trained = |window, shuffle| {
            let mut trainer =
                trainer_with(device.clone(), TrainerConfig { window, shuffle, ..TrainerConfig::default() });
            let fit = Fit { epochs: 2, validation: Some(&many), ..Fit::default() };
            let history = trainer.fit(&train, fit, |_| ()).unwrap();
            let losses: Vec<_> = history.epochs.iter().map(|epoch| (epoch.train, epoch.validation)).collect();
            (losses, trainer.model().parameters().unwrap())
        };
        assert_eq!(trained(Some(40), false), trained(None, false));
        assert_ne!(trained(Some(40), true), trained(None, true), "another shuffle");
        let mut trainer = trainer_with(device.clone(), TrainerConfig { window: Some(16), ..TrainerConfig::default() });
        let before = trainer.evaluate(&many).unwrap();
        let stopping = EarlyStopping { patience: 100, ..EarlyStopping::default() };
        let fit = Fit { epochs: 60, early_stopping: Some(stopping), ..Fit::default() };
        let history = trainer.fit(&train, fit, |_| ()).unwrap();
        assert!(history.epochs.iter().all(|epoch| (epoch.steps, epoch.train.rows) == (12, 90)));
        assert!(trainer.evaluate(&many).unwrap().loss < 0.3 * before.loss);
    }
}

/// Row weights apply to the loss of every output. Class weights apply only to the loss of their own output.
#[test]
fn weights_of_rows_and_of_classes_are_in_the_losses_that_they_are_of() {
    let data = data(1, 40);
    let heavy = data.clone().with_weights(vec![2.0; 40]).unwrap();
    let by_class = heavy.clone().with_class_weights_of("quarter", &[4.0; 4]).unwrap();
    for device in devices() {
        let mut trainer = trainer(device);
        let mut losses = |data: &Dataset| {
            let outputs = trainer.evaluate_outputs(data).unwrap();
            [0, 1, 2].map(|i| outputs[i].evaluation.loss)
        };
        // Multiplication by a power of two is exact.
        let [size, quarter, above] = losses(&data);
        assert_eq!(losses(&heavy), [2.0 * size, 2.0 * quarter, 2.0 * above]);
        assert_eq!(losses(&by_class), [2.0 * size, 8.0 * quarter, 2.0 * above]);
    }
}

/// A loss that is not finite is an error with its epoch and step, whichever output it comes from.
#[test]
fn a_loss_that_is_not_finite_is_found_in_any_output() {
    let mut graph = Graph::new();
    let x = graph.input("x", 1);
    let kind = graph.layer(Dense::new(2, Softmax), [x]).unwrap();
    let size = graph.layer(Dense::new(1, Identity), [x]).unwrap();
    let network = graph.build([("kind", kind), ("size", size)]).unwrap();
    let with = |size: f32| {
        let data = Dataset::of_rows(4).input("x", vec![0.5f32; 4], 1).labels("kind", vec![0, 1, 0, 1], 2);
        data.targets("size", vec![0.0, 0.0, size, 0.0], 1).build().unwrap()
    };
    for device in devices() {
        // An output of weight 0 is not trained, but its loss is measured.
        for weight in [0.0, 1.0] {
            let losses = Losses::new().output("kind", Loss::SoftmaxCrossEntropy);
            let losses = losses.weighted("size", Loss::MeanSquaredError, weight);
            let config = TrainerConfig { batch: 2, shuffle: false, ..TrainerConfig::default() };
            let mut trainer = Trainer::new(device.clone(), &network, losses, Adam::default(), config).unwrap();
            trainer.fit(with(1.0), Fit::default(), |_| ()).unwrap();
            // (10²⁰)² exceeds f32. The third row is in the second batch, which is the fourth step of the run.
            let fault = trainer.fit(with(1e20), Fit::default(), |_| ()).unwrap_err();
            assert!(matches!(fault, Error::NonFiniteLoss { epoch: 2, step: 4 }), "{fault:?}");
        }
    }
}

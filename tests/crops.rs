//! Tests training on random crops of a data set's images.

mod common;

use std::collections::BTreeMap;

use wgrad::{Activation::*, *};

fn devices() -> [Device; 2] {
    [Device::Cpu, common::gpu().into()]
}

const ROWS: usize = 6;

/// A trainer with a learning rate of 0. Its losses depend only on its data.
fn still(device: Device, network: &Network, loss: Loss, batch: u32) -> Trainer {
    let sgd = Sgd { learning_rate: 0.0, ..Sgd::default() };
    let config = TrainerConfig { batch, seed: 3, ..TrainerConfig::default() };
    Trainer::from_parameters(device, network, loss, sgd, config, &vec![1.0; network.parameter_words() as usize])
        .unwrap()
}

fn losses(trainer: &mut Trainer, data: &Dataset, epochs: u32) -> Vec<f64> {
    let history = trainer.fit(data, Fit { epochs, ..Fit::default() }, |_| ()).unwrap();
    history.epochs.iter().map(|epoch| epoch.train.loss).collect()
}

/// Integers without a pattern, as images of shape [5, 7, 2].
fn numbers() -> Vec<f32> {
    let mut random = common::Random(5);
    (0..ROWS * 70).map(|_| random.below(100) as f32).collect()
}

/// Inputs and targets are cropped at the same place. The network's output equals its input, so the loss is then 0.
/// Targets have the size of the image or twice that size. In the second case the network repeats each pixel.
#[test]
fn inputs_and_targets_are_of_the_same_place() {
    let images = numbers();
    let repeated: Vec<f32> = (0..ROWS * 10 * 14 * 2)
        .map(|i| {
            let (row, y, x, channel) = (i / 280, i / 28 % 10, i / 2 % 14, i % 2);
            images[row * 70 + (y / 2 * 7 + x / 2) * 2 + channel]
        })
        .collect();
    let same = Network::input([3, 4, 2]).activation(Relu).build().unwrap();
    // One channel only: a transposed convolution with weights of 1 would add several channels.
    let doubled = Network::input([3, 4, 1]).layer(Conv::transposed(1, 2).stride(2).without_bias()).build().unwrap();
    let first = |numbers: &[f32]| numbers.iter().copied().step_by(2).collect::<Vec<_>>();
    let of = |channels: u32, input: Vec<f32>, size: [u32; 2], target: Vec<f32>| {
        let data = Dataset::of_rows(ROWS).input("image", input, [5, 7, channels]);
        let data = data.targets("target", target, [size[0], size[1], channels]).build().unwrap();
        data.with_weights(vec![2.0; ROWS]).unwrap().with_crops([3, 4]).unwrap()
    };
    let cases = [
        (&same, of(2, images.clone(), [5, 7], images.clone()), of(2, images.clone(), [5, 7], vec![0.0; ROWS * 70])),
        (
            &doubled,
            of(1, first(&images), [10, 14], first(&repeated)),
            of(1, first(&images), [10, 14], vec![0.0; ROWS * 140]),
        ),
    ];
    for device in devices() {
        for (network, right, zeros) in &cases {
            let trainer = |batch| still(device.clone(), network, Loss::MeanSquaredError, batch);
            assert_eq!(losses(&mut trainer(4), right, 3), [0.0; 3]);
            assert_eq!(trainer(4).evaluate(right).unwrap().loss, 0.0);
            // Crops change with the epoch and not with the batch size. The tolerance is for f32 sums in another order.
            let seen = losses(&mut trainer(4), zeros, 3);
            assert!(seen[0] > 0.0 && seen[0] != seen[1] && seen[1] != seen[2], "{seen:?}");
            for (a, b) in seen.iter().zip(losses(&mut trainer(5), zeros, 3)) {
                assert!((a - b).abs() < 1e-5 * a, "{a} {b}");
            }
        }
        // Evaluation uses the crop in the middle: 3 · 4 of 5 · 7 pixels, from row 1 and column 1.
        // Each row of the data has weight 2.
        let squares: f32 = (0..ROWS * 3 * 4 * 2)
            .map(|i| images[i / 24 * 70 + ((1 + i / 8 % 3) * 7 + 1 + i / 2 % 4) * 2 + i % 2].powi(2))
            .sum();
        let expected = f64::from(2.0 * squares) / (ROWS * 24) as f64;
        let loss = still(device.clone(), &same, Loss::MeanSquaredError, 4).evaluate(&cases[0].2).unwrap().loss;
        assert!((loss - expected).abs() < 1e-5 * expected, "{loss} {expected}");
    }
}

/// Labels of pixels are cropped with the image. A single label per row is not cropped. Ignored labels do not count.
#[test]
fn labels_are_of_the_same_place() {
    let mut random = common::Random(8);
    let labels: Vec<u32> = (0..ROWS * 35).map(|_| random.below(3)).collect();
    let logits = labels.iter().flat_map(|label| (0..3).map(move |class| if class == *label { 40.0 } else { 0.0 }));
    let data = |labels: Vec<u32>| {
        let data = Dataset::of_rows(ROWS).input("image", logits.clone().collect::<Vec<f32>>(), [5, 7, 3]);
        let data = data.positions("mask", labels, [5, 7], 3).ignoring("mask", 255).build().unwrap();
        data.with_crops([2, 6]).unwrap()
    };
    let network = Network::input([2, 6, 3]).activation(Identity).build().unwrap();
    for device in devices() {
        let mut trainer = still(device.clone(), &network, Loss::SoftmaxCrossEntropy, 4);
        let history = trainer.fit(data(labels.clone()), Fit { epochs: 3, ..Fit::default() }, |_| ()).unwrap();
        // In f32, 1 + e^-40 is 1.
        assert!(history.epochs.iter().all(|epoch| epoch.train.accuracy == 1.0 && epoch.train.loss < 1e-6));
        let others = labels.iter().enumerate().map(|(i, label)| if i % 2 == 0 { 255 } else { (label + 1) % 3 });
        let evaluation = trainer.evaluate_outputs(&data(others.collect())).unwrap()[0].evaluation;
        assert_eq!((evaluation.accuracy, evaluation.rows), (0.0, ROWS as u32 * 6));
        let one = Dataset::of_rows(ROWS).input("image", logits.clone().collect::<Vec<f32>>(), [5, 7, 3]);
        let one = one.labels("kind", vec![1; ROWS], 3).build().unwrap().with_crops([2, 6]).unwrap();
        let flat = Network::input([2, 6, 3]).flatten().dense(3, Identity).build().unwrap();
        let evaluation = still(device, &flat, Loss::SoftmaxCrossEntropy, 4).evaluate(&one).unwrap();
        assert_eq!(evaluation.rows, ROWS as u32);
    }
}

/// All places of a crop are equally frequent. The crops are single pixels of one image. The loss is the pixel's square
/// and identifies the place.
#[test]
fn every_place_comes() {
    let image: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    let data = Dataset::of_rows(1).input("image", image, [3, 4, 1]).targets("zero", vec![0.0; 12], [3, 4, 1]);
    let data = data.build().unwrap().with_crops([1, 1]).unwrap();
    let network = Network::input([1, 1, 1]).activation(Relu).build().unwrap();
    let mut seen = BTreeMap::new();
    for loss in losses(&mut still(Device::Cpu, &network, Loss::MeanSquaredError, 1), &data, 1200) {
        *seen.entry(loss.sqrt().round() as u32).or_insert(0u32) += 1;
    }
    // Each place occurs 100 times on average. Five standard deviations are 48.
    assert!(seen.len() == 12 && seen.values().all(|count| count.abs_diff(100) < 48), "{seen:?}");
}

/// A crop that does not fit is an error that names the input or target.
#[test]
fn crops_that_do_not_fit_are_refused_by_name() {
    let of = |shape: [u32; 3]| {
        let numbers = shape.iter().product::<u32>() as usize;
        Dataset::of_rows(1).input("image", vec![0u8; 70], [5, 7, 2]).input("other", vec![0u8; numbers], shape)
    };
    let crops = |data: DatasetBuilder, size| data.labels("kind", vec![0], 2).build().unwrap().with_crops(size);
    let fault = |data, size| crops(data, size).unwrap_err().to_string();
    assert_eq!(
        fault(of([5, 6, 1]), [2, 2]),
        r#"size of input "other" to crop: expected [5, 7] (the size of the other images), got [5, 6]"#
    );
    assert_eq!(
        fault(of([5, 7, 1]), [6, 2]),
        r#"crop of input "image": expected a size from [1, 1] to [5, 7] (the image), got [6, 2]"#
    );
    let none = Dataset::of_rows(1).input("age", vec![0.0], 1);
    assert_eq!(fault(none, [1, 1]), "inputs to crop: expected an image of shape [height, width, channels], got none");
    let sole = || Dataset::of_rows(1).input("image", vec![0u8; 70], [5, 7, 2]);
    let network = Network::input([3, 3, 2]).flatten().dense(18, Identity).build().unwrap();
    let evaluate = |data: &Dataset, loss| still(Device::Cpu, &network, loss, 1).evaluate(data).unwrap_err().to_string();
    assert_eq!(
        evaluate(&crops(sole(), [2, 2]).unwrap(), Loss::SoftmaxCrossEntropy),
        "features of the data set: expected 18 (the network's input), got 8"
    );
    let dense = sole().targets("image", vec![0.0; 70], [5, 7, 2]).build().unwrap().with_crops([3, 3]).unwrap();
    assert_eq!(
        evaluate(&dense, Loss::MeanSquaredError),
        r#"crop of the data set's target "image": expected the positions of [18] (the network's output), got [3, 3, 2]"#
    );
    let model = still(Device::Cpu, &network, Loss::SoftmaxCrossEntropy, 1).model();
    let fault = model.score(&crops(sole(), [3, 3]).unwrap()).unwrap_err().to_string();
    assert_eq!(fault, "data set to score: expected whole images, got crops; score the data set without crops");
}

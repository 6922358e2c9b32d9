//! Errors of data sets, crops and augmentation, and of data that does not fit a network.

use wgrad::Activation::{Identity, Relu};
use wgrad::*;

use super::page::{Section, line};

/// Two rows with an image of 1 x 2 pixels in two channels, an age, a kind, a mask and a size.
fn several() -> DatasetBuilder {
    Dataset::of_rows(2)
        .input("image", vec![0u8, 51, 102, 153, 204, 255, 0, 255], [1, 2, 2])
        .input("age", vec![0.5, -0.5], 1)
        .labels("kind", vec![1, 0], 3)
        .positions("mask", vec![0, 1, 1, 255], [1, 2], 2)
        .ignoring("mask", 255)
        .targets("size", vec![1.0, 2.0, 3.0, 4.0], 2)
}

fn labels(classes: u32) -> Dataset {
    Dataset::from_f32(vec![0.5; 12], 4, vec![classes - 1; 3], classes).unwrap()
}

pub fn building() -> Section {
    let values = |values: Vec<f32>| Dataset::from_f32_targets(vec![0.0; 2], 1, values, 2);
    let data = || several().build().unwrap();
    let lines = vec![
        line("from_u8 without features", Dataset::from_u8(vec![], 0, vec![], 1)),
        line("from_u8 without rows", Dataset::from_u8(vec![], 3, vec![], 1)),
        line("from_u8 with a feature too few", Dataset::from_u8(vec![1; 5], 3, vec![0, 0], 1)),
        line("from_u8 with a label too large", Dataset::from_u8(vec![1; 6], 3, vec![0, 10], 10)),
        line("from_f32 with NaN", Dataset::from_f32(vec![0.0, f32::NAN], 2, vec![0], 1)),
        line("from_f32_targets without outputs", Dataset::from_f32_targets(vec![0.0; 2], 1, vec![], 0)),
        line("from_f32_targets with a target too few", values(vec![0.0; 3])),
        line("from_f32_targets with an infinite target", values(vec![0.0, 0.0, 0.0, f32::INFINITY])),
        line("of_rows(0)", Dataset::of_rows(0).input("a", vec![0u8], 1).build()),
        line("no inputs", Dataset::of_rows(2).build()),
        line("no targets", Dataset::of_rows(2).input("a", vec![0u8; 2], 1).build()),
        line("input of another length", several().input("b", vec![0u8; 8], [3, 1]).build()),
        line("input without features", several().input("b", vec![0u8; 8], 0).build()),
        line("two inputs of one name", several().input("age", vec![0.0; 2], 1).build()),
        line("input with NaN", several().input("b", vec![0.0, f32::NAN], 1).build()),
        line("3 labels for 2 rows", several().labels("b", vec![0; 3], 3).build()),
        line("label too large", several().labels("b", vec![0, 3], 3).build()),
        line("positions of another length", several().positions("b", vec![0; 3], [1, 2], 2).build()),
        line("infinite target", several().targets("b", vec![0.0, f32::INFINITY], 1).build()),
        line("ignoring of an unknown target", several().ignoring("masks", 0).build()),
        line("ignoring of numbers", several().ignoring("size", 0).build()),
        line("normalised, 3 means of 2 channels", several().normalised("image", &[0.0; 3], &[1.0; 3]).build()),
        line("normalised with a mean that is NaN", several().normalised("age", &[f32::NAN], &[1.0]).build()),
        line("normalised by 0", several().normalised("age", &[0.0], &[0.0]).build()),
        line("normalised, unknown input", several().normalised("ages", &[0.0], &[1.0]).build()),
        line("input_features beyond the rows", data().input_features("age", 1..3)),
        line("split at the last row", labels(2).split(3)),
        line("hold_out of a small share", labels(2).hold_out(0.1)),
        line("with_weights of another length", labels(2).with_weights(vec![1.0])),
        line("with_weights, one is NaN", labels(2).with_weights(vec![1.0, f32::NAN, 1.0])),
        line("with_class_weights of another length", labels(2).with_class_weights(&[1.0])),
        line("with_class_weights, one negative", labels(2).with_class_weights(&[1.0, -1.0])),
        line("with_class_weights of several targets", data().with_class_weights(&[1.0; 3])),
        line("with_class_weights_of numbers", data().with_class_weights_of("size", &[1.0; 2])),
        line("with_class_weights_of positions", data().with_class_weights_of("mask", &[1.0; 2])),
    ];
    Section { title: "Data sets", lines }
}

pub fn images() -> Section {
    let augmented = |augmentation: Augmentation| several().augmented("image", augmentation).build();
    let wide = Dataset::of_rows(1)
        .input("a", vec![0u8; 24], [4, 6, 1])
        .input("b", vec![0u8; 16], [4, 4, 1])
        .labels("kind", vec![0], 2)
        .build()
        .unwrap();
    let plain = Augmentation::default();
    let lines = vec![
        line("augmented, no image", several().augmented("age", plain).build()),
        line("shift of the whole image", augmented(Augmentation { shift: 1, ..plain })),
        line("flip, probability above 1", augmented(Augmentation { flip: 1.5, ..plain })),
        line("rotation above 180°", augmented(Augmentation { rotation: 200.0, ..plain })),
        line("scale, larger factor first", augmented(Augmentation { scale: [1.2, 0.8], ..plain })),
        line("cutout of very many pixels", augmented(Augmentation { cutout: 1 << 20, ..plain })),
        line("brightness that is NaN", augmented(Augmentation { brightness: f32::NAN, ..plain })),
        line("with_crops larger than the image", several().build().unwrap().with_crops([2, 2])),
        line("with_crops of images of two sizes", wide.with_crops([2, 2])),
        line("with_crops without an image", labels(2).with_crops([2, 2])),
        line("psnr of other lengths", psnr(&[0.0; 3], &[0.0; 4], 1.0)),
        line("psnr, peak 0", psnr(&[0.0; 3], &[0.0; 3], 0.0)),
        line("ssim of a small image", ssim(&[0.0; 16], &[0.0; 16], [4, 4, 1], 1.0)),
    ];
    Section { title: "Images", lines }
}

/// Errors of data that does not fit the network.
pub fn matching() -> Section {
    let (adam, config) = (Adam::default(), TrainerConfig { batch: 2, ..TrainerConfig::default() });
    let fit = |network: &Network, loss: Loss, data: Dataset| {
        let mut trainer = Trainer::new(Device::Cpu, network, loss, adam, config.clone()).unwrap();
        trainer.fit(data, Fit::default(), |_| {})
    };
    let row = Network::input(4).dense(2, Identity).build().unwrap();
    let regression = |outputs: u32, value: f32| {
        Dataset::from_f32_targets(vec![0.5; 8], 4, vec![value; 2 * outputs as usize], outputs).unwrap()
    };
    let mask = Network::input([1, 2, 2]).dense(2, Identity).build().unwrap();
    let image = || Dataset::of_rows(2).input("input", vec![0u8; 8], [1, 2, 2]);
    let two = {
        let mut graph = Graph::new();
        let (a, b) = (graph.input("image", [1, 2, 2]), graph.input("age", 1));
        let a = graph.layer(Layer::Flatten, a).unwrap();
        let both = graph.concat([a, b], -1).unwrap();
        let kind = graph.layer(Dense::new(3, Identity), both).unwrap();
        let size = graph.layer(Dense::new(2, Identity), both).unwrap();
        graph.build([("kind", kind), ("size", size)]).unwrap()
    };
    let losses = || Losses::new().output("kind", Loss::SoftmaxCrossEntropy).output("size", Loss::MeanSquaredError);
    let fit_two = |data: Dataset| {
        let mut trainer = Trainer::new(Device::Cpu, &two, losses(), adam, config.clone()).unwrap();
        trainer.fit(data, Fit::default(), |_| {})
    };
    let (cross_entropy, squares) = (Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError);
    let wide = |shape: [u32; 3]| {
        let data = Dataset::of_rows(2).input("input", vec![0u8; 48], shape).labels("output", vec![0, 1], 2);
        data.build().unwrap()
    };
    let conv = Network::input([4, 6, 1]).conv(2, 3, Relu).flatten().dense(2, Identity).build().unwrap();
    let model = Model::new(Device::Cpu, &row, &row.initial_parameters(1)).unwrap();
    let convolutional = Model::new(Device::Cpu, &conv, &conv.initial_parameters(1)).unwrap();
    let age = |columns: u32| {
        Dataset::of_rows(2)
            .input("image", vec![0u8; 8], [1, 2, 2])
            .input("age", vec![0.0; 2 * columns as usize], columns)
            .labels("kind", vec![1, 0], 3)
    };
    let score = |width: u32, outputs: usize, targets: &Targets| Scores::new(vec![0.5; outputs], width, targets);
    let three = Targets::Labels { labels: vec![0, 2], classes: 3 };
    let lines = vec![
        line(
            "fit, 5 features for 4 inputs",
            fit(&row, cross_entropy, Dataset::from_f32(vec![0.5; 10], 5, vec![0, 1], 2).unwrap()),
        ),
        line("fit, 3 classes for 2 outputs", fit(&row, cross_entropy, labels(3))),
        line("fit, 3 targets for 2 outputs", fit(&row, squares, regression(3, 0.5))),
        line("fit, probability above 1", fit(&row, cross_entropy, regression(2, 1.5))),
        line("fit, images on their side", fit(&conv, cross_entropy, wide([6, 4, 1]))),
        line(
            "fit, one label a row for 2 positions",
            fit(&mask, cross_entropy, image().labels("output", vec![0, 1], 2).build().unwrap()),
        ),
        line(
            "fit, 3 labels a row for 2 positions",
            fit(&mask, cross_entropy, image().positions("output", vec![0; 6], 3, 2).build().unwrap()),
        ),
        line("fit, crops for whole images", fit(&conv, cross_entropy, wide([4, 6, 1]).with_crops([2, 2]).unwrap())),
        line("fit, a target is missing", fit_two(age(1).build().unwrap())),
        line(
            "fit, an input is missing",
            fit_two({
                Dataset::of_rows(2).input("age", vec![0.0; 2], 1).labels("kind", vec![0, 1], 3).build().unwrap()
            }),
        ),
        line("fit, 2 features for an input of 1", fit_two(age(2).targets("size", vec![0.0; 4], 2).build().unwrap())),
        line("fit, 3 numbers for an output of 2", fit_two(age(1).targets("size", vec![0.0; 6], 3).build().unwrap())),
        line("evaluate, 3 classes for 2 outputs", {
            let mut trainer = Trainer::new(Device::Cpu, &row, cross_entropy, adam, config.clone()).unwrap();
            trainer.evaluate(&labels(3))
        }),
        line("warm_up_evaluation without rows", {
            let mut trainer = Trainer::new(Device::Cpu, &row, cross_entropy, adam, config.clone()).unwrap();
            trainer.warm_up_evaluation(0)
        }),
        line("score, 5 features for 4 inputs", {
            model.score(&Dataset::from_f32(vec![0.5; 10], 5, vec![0, 1], 2).unwrap())
        }),
        line("score of crops", convolutional.score(&wide([4, 6, 1]).with_crops([4, 6]).unwrap())),
        line("Scores::new, 2 outputs for 3 classes", score(2, 4, &three)),
        line("Scores::new, an output too few", score(3, 5, &three)),
        line("Scores::new, 1 output for 2 targets", {
            score(1, 2, &Targets::Values { values: vec![0.0; 4], outputs: 2 })
        }),
        line("Scores::with_weights of another length", {
            score(3, 6, &three).and_then(|scores| scores.with_weights(vec![1.0]))
        }),
    ];
    Section { title: "Data that do not fit the network", lines }
}

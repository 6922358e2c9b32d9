//! Tests chains with several named inputs and outputs, on an app's own buffers and with its own loss.

use wgrad::{ChainRows, Dataset, Loss, Losses, Rows, Sgd, Trainer, TrainerConfig};

use super::named::*;
use super::{App, Random};

/// The gradients of the loss kind² / 2 + (size − 1)² / 2.
const LOSS: &str = "
    @group(0) @binding(0) var<storage, read> kind: array<f32>;
    @group(0) @binding(1) var<storage, read> size: array<f32>;
    @group(0) @binding(2) var<storage, read_write> of_kind: array<f32>;
    @group(0) @binding(3) var<storage, read_write> of_size: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        if id.x < arrayLength(&of_kind) { of_kind[id.x] = kind[id.x]; }
        if id.x < arrayLength(&of_size) { of_size[id.x] = size[id.x] - 1.0; }
    }";

fn loss(outputs: [Vec<f64>; 2]) -> f64 {
    let [kind, size] = outputs;
    kind.iter().map(|y| y * y / 2.0).chain(size.iter().map(|y| (y - 1.0) * (y - 1.0) / 2.0)).sum()
}

/// The derivative with respect to each number, by central differences.
fn differences(numbers: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut moved = numbers.to_vec();
    let mut at = |i: usize, by: f64| {
        moved[i] = numbers[i] + by;
        let loss = loss(&moved);
        moved[i] = numbers[i];
        loss
    };
    (0..numbers.len()).map(|i| (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP)).collect()
}

/// The app's own loss reads both outputs. The chain gives the gradient of one input.
#[test]
fn chains_bind_each_end_by_its_name() {
    let app = App::open();
    let network = network();
    let rate = 0.125;
    let sgd = Sgd { learning_rate: rate, ..Sgd::default() };
    let losses = Losses::new().output("kind", Loss::MeanSquaredError).output("size", Loss::MeanSquaredError);
    let mut trainer = Trainer::new(&app.gpu, &network, losses, sgd, TrainerConfig::default()).unwrap();
    let parameters = trainer.model().parameters().unwrap();
    let mut random = Random(17);
    let (image, age) = (random.f32s(ROWS * IMAGE), random.f32s(ROWS * AGE));
    let [x, a] = [&image, &age].map(|numbers| app.storage(numbers));
    let [kind, size, of_kind, of_size, of_age] =
        [KIND, SIZE, KIND, SIZE, AGE].map(|columns| app.storage(&vec![f32::NAN; ROWS * columns]));
    let ends = ChainRows {
        input: [("image", &x), ("age", &a)].into(),
        output: [("size", &size), ("kind", &kind)].into(),
        output_gradient: [("kind", &of_kind), ("size", &of_size)].into(),
        input_gradient: Some([("age", &of_age)].into()),
    };
    let chain = trainer.prepare_chain(ends.clone(), ROWS as u32).unwrap();
    let pass = app.pass(LOSS, &[&kind, &size, &of_kind, &of_size]);
    app.frame(|encoder| {
        chain.record_forward(encoder);
        pass.record(&mut encoder.begin_compute_pass(&Default::default()), 1);
        chain.record_backward(encoder);
        chain.record_update(encoder);
    });

    let (weights, image, age) = (wide(&parameters), wide(&image), wide(&age));
    let expected = references(&network, &weights, &image, &age);
    assert_near("kind", &app.read(&kind), &expected[0], BOUND);
    assert_near("size", &app.read(&size), &expected[1], BOUND);
    // The gradients pass back through the same layers with the errors of the outputs, then are summed over the rows.
    // The error of a central difference is a sixth of the third derivative times the squared step: negligible here.
    let bound = 4.0 * ROWS as f64 * BOUND;
    let of_age_expected = differences(&age, |age| loss(references(&network, &weights, &image, age)));
    assert_near("the gradient of age", &app.read(&of_age), &of_age_expected, bound);
    let gradients = differences(&weights, |weights| loss(references(&network, weights, &image, &age)));
    assert!(gradients.iter().any(|gradient| gradient.abs() > 0.1));
    let actual: Vec<f32> = app.read(chain.gradient_buffer());
    let trained = trainer.model().parameters().unwrap();
    for parameter in network.parameters() {
        let range = parameter.range();
        assert_near(&parameter.name, &actual[range.clone()], &gradients[range.clone()], bound);
        for i in range {
            let expected = weights[i] - f64::from(rate) * f64::from(actual[i]);
            let bound = f64::from(f32::EPSILON) * (weights[i].abs() + f64::from(rate * actual[i]).abs());
            assert_near(&parameter.name, &[trained[i]], &[expected], bound);
        }
    }

    let mut refused = |ends: ChainRows| trainer.prepare_chain(ends, ROWS as u32).unwrap_err().to_string();
    let error = refused(ChainRows { output_gradient: [("kind", &of_kind)].into(), ..ends.clone() });
    assert_eq!(error, "output gradients: expected one for each of kind, size, got none for size");
    let error = refused(ChainRows { input_gradient: Some((&of_age).into()), ..ends.clone() });
    assert_eq!(error, "input gradients: expected one for each name (image, age), got one without a name");
    let error = refused(ChainRows { input_gradient: Some([("age", &a)].into()), ..ends.clone() });
    assert!(error.starts_with("rows given as age_gradient: expected a range"), "{error}");
    assert!(error.ends_with("an overlap with age"), "{error}");
    let error = refused(ChainRows { input: [("age", &a), ("age", &a)].into(), ..ends });
    assert_eq!(error, "input \"age\": expected one of this name, got two");
}

/// All inputs, outputs and gradients lie in one buffer of structs. The results have the same bits as with separate
/// buffers.
#[test]
fn chains_of_structs_train_as_those_of_buffers() {
    let app = App::open();
    let network = network();
    let losses = || Losses::new().output("kind", Loss::MeanSquaredError).output("size", Loss::MeanSquaredError);
    let config = TrainerConfig { accumulate: 2, ..TrainerConfig::default() };
    let make = || Trainer::new(&app.gpu, &network, losses(), Sgd::default(), config.clone()).unwrap();
    // First the rows that the chain reads: inputs and output gradients. Then the rows that it writes: outputs and input
    // gradients.
    let columns = [IMAGE, AGE, KIND, SIZE, KIND, SIZE, IMAGE, AGE];
    let firsts: Vec<usize> = (0..8).map(|i| 1 + columns[..i].iter().sum::<usize>()).collect();
    let stride = columns.iter().sum::<usize>() + 2;
    let mut random = Random(29);
    let mut expected = random.f32s(ROWS * stride);
    let of = |structs: &[f32], i: usize| -> Vec<f32> {
        structs.chunks(stride).flat_map(|row| row[firsts[i]..][..columns[i]].to_vec()).collect()
    };
    let apart: Vec<_> = (0..8).map(|i| app.storage(&of(&expected, i))).collect();
    let structs = app.storage(&expected);
    let rows = |i: usize| Rows::from(structs.slice(firsts[i] as u64 * 4..)).stride(stride as u64 * 4);
    let chain_of = |trainer: &mut Trainer, at: [Rows; 8]| {
        let ends = ChainRows {
            input: [("image", at[0]), ("age", at[1])].into(),
            output_gradient: [("kind", at[2]), ("size", at[3])].into(),
            output: [("kind", at[4]), ("size", at[5])].into(),
            input_gradient: Some([("image", at[6]), ("age", at[7])].into()),
        };
        trainer.prepare_chain(ends, ROWS as u32).unwrap()
    };
    let (mut a, mut b) = (make(), make());
    let of_buffers = chain_of(&mut a, std::array::from_fn(|i| Rows::from(&apart[i])));
    let of_structs = chain_of(&mut b, std::array::from_fn(rows));
    for _ in 0..4 {
        app.frame(|encoder| {
            for chain in [&of_buffers, &of_structs] {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                chain.record_forward(&mut pass);
                chain.record_backward(&mut pass);
                chain.record_update(&mut pass);
            }
        });
    }
    let [weights, initial] = [a.model().parameters().unwrap(), network.initial_parameters(0)];
    assert_eq!(weights, b.model().parameters().unwrap());
    assert_ne!(weights, initial);
    for i in 4..8 {
        let written: Vec<f32> = app.read(&apart[i]);
        for (row, written) in expected.chunks_mut(stride).zip(written.chunks(columns[i])) {
            row[firsts[i]..][..columns[i]].copy_from_slice(written);
        }
    }
    assert_eq!(app.read::<f32>(&structs), expected, "all but the rows that are written is as it was");
    assert!(of(&expected, 6).iter().any(|gradient| gradient.abs() > 0.01));
}

/// Training on rows in the app's buffers, with gaps or as bytes, gives the same bits as training on an equal data set.
#[test]
fn data_on_the_gpu_are_bound_by_their_names() {
    let app = App::open();
    let network = network();
    let losses =
        || Losses::new().output("kind", Loss::SoftmaxCrossEntropy).weighted("size", Loss::MeanSquaredError, 0.5);
    let config = TrainerConfig { batch: 4, ..TrainerConfig::default() };
    let make = || Trainer::new(&app.gpu, &network, losses(), Sgd::default(), config.clone()).unwrap();
    const ALL: usize = 11;
    let mut random = Random(23);
    let bytes: Vec<u8> = (0..ALL * IMAGE).map(|_| random.below(256) as u8).collect();
    let (ages, sizes) = (random.f32s(ALL * AGE), random.f32s(ALL * SIZE));
    let kinds: Vec<u32> = (0..ALL).map(|_| random.below(KIND as u32)).collect();

    // Each row of bytes is padded to whole words.
    let padded: Vec<u8> = bytes.chunks(IMAGE).flat_map(|row| [row, &[9, 9]].concat()).collect();
    let images = app.storage(&padded);
    // The structs hold an age, a size, a kind and an unrelated word of the app.
    let structs: Vec<u32> = (0..ALL)
        .flat_map(|row| {
            let numbers = [&ages[row * AGE..][..AGE], &sizes[row * SIZE..][..SIZE]].concat();
            let words: Vec<u32> = numbers.into_iter().map(f32::to_bits).collect();
            [&words[..], &[kinds[row], 77]].concat()
        })
        .collect();
    let structs = app.storage(&structs);
    let rows = |word: usize| Rows::from(structs.slice(word as u64 * 4..)).stride((AGE + SIZE + 2) as u64 * 4);
    let features = [("age", rows(0)), ("image", Rows::from(&images).bytes())];
    let targets = [("size", rows(AGE)), ("kind", rows(AGE + SIZE))];
    let mut on_gpu = make();
    let training = on_gpu.prepare_buffers(features, targets, ALL as u32).unwrap();

    let data = Dataset::of_rows(ALL)
        .input("image", bytes, [3, 2])
        .input("age", ages, AGE as u32)
        .labels("kind", kinds, KIND as u32)
        .targets("size", sizes, SIZE as u32)
        .build()
        .unwrap();
    let mut uploaded = make();
    let expected = uploaded.prepare(&data).unwrap();
    // An epoch has three steps. Training runs two epochs and the first step of a third.
    for training in [&training, &expected] {
        app.frame(|encoder| training.record_steps(encoder, 7));
        app.frame(|encoder| training.record_metrics(encoder));
    }
    let metrics: Vec<u32> = app.read(training.metrics_buffer());
    assert_eq!(metrics, app.read::<u32>(expected.metrics_buffer()));
    assert_eq!((metrics.len(), metrics[64..].len()), (64 + 4, 4), "a part for each output");
    let weights = on_gpu.model().parameters().unwrap();
    assert_eq!(weights, uploaded.model().parameters().unwrap());
    assert_ne!(weights, network.initial_parameters(0));
    // A model knows the losses of its trainer.
    let model = on_gpu.model();
    let inputs = [("image", &[0.5; IMAGE][..]), ("age", &[0.5; AGE])];
    let (logits, probabilities) = (model.forward(inputs).unwrap(), model.predict_proba(inputs).unwrap());
    assert!((probabilities.iter().sum::<f32>() - 1.0).abs() <= 4.0 * f32::EPSILON, "{logits:?} {probabilities:?}");
    let sizes = model.output("size").unwrap();
    assert_eq!(sizes.predict_proba(inputs).unwrap(), sizes.forward(inputs).unwrap());

    let short = Rows::from(structs.slice(..40));
    let mut refused = |features: Vec<(&str, Rows)>, targets: Vec<(&str, Rows)>| {
        on_gpu.prepare_buffers(features, targets, ALL as u32).map(drop).unwrap_err().to_string()
    };
    let error = refused(features.to_vec(), vec![("size", rows(AGE))]);
    assert_eq!(error, "targets: expected one for each of kind, size, got none for kind");
    let error = refused(vec![("image", rows(0)), ("agee", rows(0))], targets.to_vec());
    assert_eq!(error, "input: expected one of image, age, got \"agee\"");
    let error = refused(vec![("age", short), ("image", rows(0))], targets.to_vec());
    let age = "buffer of features of \"age\" for 11 rows: expected at least 1 row and 88 bytes, got 40 bytes";
    assert_eq!(error, age);
    let error = refused(features.to_vec(), vec![("kind", short), ("size", rows(AGE))]);
    let kind = "buffer of targets of \"kind\" for 11 rows: expected at least 1 row and 44 bytes, got 40 bytes";
    assert_eq!(error, kind);
    let error = refused(features.to_vec(), vec![("kind", rows(0)), ("size", Rows::from(&images).bytes())]);
    assert_eq!(error, "buffer of targets of \"size\": expected rows of 32-bit numbers, got rows of bytes");
}

//! Tests networks with several named inputs and outputs, on buffers of an app and on numbers from the host.

use wgrad::Activation::{Identity, Relu, Sigmoid, Silu, Softmax, Tanh};
use wgrad::{Dense, Device, Graph, Inputs, Layer, Loss, Losses, Model, Network, Rows};

use super::{App, Random};

pub const ROWS: usize = 5;
pub const IMAGE: usize = 6;
pub const AGE: usize = 2;
pub const KIND: usize = 3;
pub const SIZE: usize = 2;

/// A network with two inputs that join, and two outputs after the join.
pub fn network() -> Network {
    let build = || {
        let mut graph = Graph::new();
        let (image, age) = (graph.input("image", [3, 2]), graph.input("age", AGE as u32));
        let flat = graph.layer(Layer::Flatten, image)?;
        let a = graph.layer(Dense::new(8, Tanh), flat)?;
        let a = graph.name("of_image", a)?;
        let b = graph.layer(Dense::new(4, Silu), age)?;
        let b = graph.name("of_age", b)?;
        let both = graph.concat([a, b], -1)?;
        let both = graph.layer(Dense::new(6, Tanh), both)?;
        let both = graph.name("both", both)?;
        let kind = graph.layer(Dense::new(KIND as u32, Identity), both)?;
        let kind = graph.name("to_kind", kind)?;
        let size = graph.layer(Dense::new(SIZE as u32, Identity), both)?;
        let size = graph.name("to_size", size)?;
        graph.build([("kind", kind), ("size", size)])
    };
    build().unwrap()
}

/// Computes a dense layer for one row with the textbook formula.
fn dense(network: &Network, parameters: &[f64], layer: &str, x: &[f64], activation: fn(f64) -> f64) -> Vec<f64> {
    let of = |role: &str| {
        let name = format!("{layer}.{role}");
        &parameters[network.parameters().iter().find(|p| p.name == name).unwrap().range()]
    };
    let (weights, bias) = (of("weight"), of("bias"));
    let sum =
        |(j, b): (usize, &f64)| b + x.iter().enumerate().map(|(i, x)| x * weights[i * bias.len() + j]).sum::<f64>();
    bias.iter().enumerate().map(sum).map(activation).collect()
}

/// Computes the outputs of one row in f64.
fn reference(network: &Network, parameters: &[f64], image: &[f64], age: &[f64]) -> [Vec<f64>; 2] {
    let mut both = dense(network, parameters, "of_image", image, f64::tanh);
    both.extend(dense(network, parameters, "of_age", age, |z| z / (1.0 + (-z).exp())));
    let both = dense(network, parameters, "both", &both, f64::tanh);
    ["to_kind", "to_size"].map(|layer| dense(network, parameters, layer, &both, |z| z))
}

/// Computes the outputs of every row in f64.
pub fn references(network: &Network, parameters: &[f64], image: &[f64], age: &[f64]) -> [Vec<f64>; 2] {
    let rows = image.chunks(IMAGE).zip(age.chunks(AGE));
    let rows: Vec<_> = rows.map(|(image, age)| reference(network, parameters, image, age)).collect();
    [0, 1].map(|output| rows.iter().flat_map(|row| row[output].clone()).collect())
}

pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| x.into()).collect()
}

/// Bound of the errors. Inputs and activations lie between −1 and 1, and initial weights below 1.3. Each of the three
/// layers sums up to 13 numbers, with up to 13 roundings. An activation adds up to 9 roundings. Each layer multiplies
/// the error of its input by at most 13 · 1.3 / 3.
pub const BOUND: f64 = 40.0 * 22.0 * f32::EPSILON as f64;

pub fn assert_near(what: &str, actual: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs();
        assert!(error <= bound, "{what}, number {i}: {actual} is not {expected} by {error} of {bound}");
    }
}

#[test]
fn a_model_takes_and_gives_each_end_by_its_name() {
    let app = App::open();
    let network = network();
    let parameters = network.initial_parameters(3);
    let mut random = Random(11);
    let (image, age) = (random.f32s(ROWS * IMAGE), random.f32s(ROWS * AGE));
    let [kind, size] = references(&network, &wide(&parameters), &wide(&image), &wide(&age));
    for device in [Device::Cpu, Device::from(&app.gpu)] {
        let model = Model::new(device, &network, &parameters).unwrap();
        let named = [("age", &age[..]), ("image", &image[..])];
        let all = model.forward_all(named).unwrap();
        assert_near("kind", &all[0], &kind, BOUND);
        assert_near("size", &all[1], &size, BOUND);
        // The inputs may come in any order, borrowed or owned.
        assert_eq!(model.forward_all([("image", &image), ("age", &age)]).unwrap(), all);
        assert_eq!(model.forward_all(Inputs::from(&named[..])).unwrap(), all);
        assert_eq!(model.forward_all(named.to_vec()).unwrap(), all);
        // The first output is the default.
        assert_eq!(model.forward(named).unwrap(), all[0]);
        let of_size = model.output("size").unwrap();
        assert_eq!(of_size.forward(named).unwrap(), all[1]);
        let losses = Losses::new().output("size", Loss::BinaryCrossEntropy).output("kind", Loss::SoftmaxCrossEntropy);
        let trained = model.clone().for_losses(losses).unwrap();
        let of_size = of_size.for_loss(Loss::BinaryCrossEntropy);
        let probabilities = trained.output("size").unwrap().predict_proba(named).unwrap();
        assert_eq!(probabilities, of_size.predict_proba(named).unwrap());
        // The slope of a sigmoid is at most a quarter.
        let expected: Vec<f64> = size.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
        assert_near("probabilities of size", &probabilities, &expected, BOUND);
        assert_eq!(trained.forward_all(named).unwrap(), all);
        let kinds = trained.predict_proba(named).unwrap();
        for row in kinds.chunks(KIND) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() <= 4.0 * f32::EPSILON, "{row:?}");
        }
        let largest = |row: &[f32]| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap() as u32;
        let classes: Vec<u32> = all[0].chunks(KIND).map(largest).collect();
        assert_eq!(trained.predict(named).unwrap(), classes);
        // A predictor of the chosen output gives the same numbers.
        let (mut of_kind, mut of_size) =
            (trained.predictor(8).unwrap(), trained.output("size").unwrap().predictor(8).unwrap());
        assert_eq!(of_kind.predict(named).unwrap(), classes);
        let mut room = [0.0; ROWS * KIND];
        of_kind.forward_into(named, &mut room).unwrap();
        assert_eq!(room.as_slice(), kinds);
        let mut room = [0.0; ROWS * SIZE];
        of_size.forward_into(&named[..], &mut room).unwrap();
        assert_eq!(room.as_slice(), probabilities);
        // A batch of one row, after a call with more rows.
        let mut room = [0.0; SIZE];
        of_size.forward_into([("image", &image[IMAGE..2 * IMAGE]), ("age", &age[AGE..2 * AGE])], &mut room).unwrap();
        assert_near("a row alone", &room, &expected[SIZE..2 * SIZE], BOUND);
    }
}

#[test]
fn what_an_input_lacks_is_said_by_its_name() {
    let network = network();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(3)).unwrap();
    let mut predictor = model.predictor(2).unwrap();
    let (image, age) = ([0.5; 2 * IMAGE], [0.5; 2 * AGE]);
    let mut refused = |inputs: &[(&str, &[f32])], words: &str| {
        assert_eq!(model.forward(inputs).unwrap_err().to_string(), words);
        let of_predictor = predictor.predict(inputs).unwrap_err().to_string();
        assert_eq!(of_predictor.replace(", at most 2 rows", ""), words);
    };
    refused(&[("image", &image)], "inputs: expected one for each of image, age, got none for age");
    refused(&[("image", &image), ("agee", &age)], "input: expected one of image, age, got \"agee\"");
    refused(&[("age", &age), ("image", &image), ("age", &age)], "input \"age\": expected one of this name, got two");
    let ragged = "input \"age\": expected whole rows of 2 numbers, got 3 numbers";
    refused(&[("age", &age[..3]), ("image", &image)], ragged);
    refused(
        &[("age", &age[..2]), ("image", &image)],
        "input \"age\": expected 2 rows (the number of input \"image\"), got 1",
    );
    let mut wrong = age;
    wrong[3] = f32::NAN;
    let not_finite = "feature 1 of row 1 of input \"age\": expected a finite number, got NaN";
    refused(&[("age", &wrong), ("image", &image)], not_finite);
    let error = model.predict_proba(&image).unwrap_err().to_string();
    assert_eq!(error, "inputs: expected one for each name (image, age), got one without a name");
    let error = model.output("sizes").unwrap_err().to_string();
    assert_eq!(error, "output: expected one of kind, size, got \"sizes\"");
    let error = model.clone().for_losses(Loss::MeanSquaredError).unwrap_err().to_string();
    assert_eq!(error, "losses: expected one for each of kind, size (see Losses::output), got one without a name");
    let error = model.wgsl("network").unwrap_err().to_string();
    assert!(error.contains("expected a chain (one input, one output") && error.ends_with("got a graph"), "{error}");
    // A network with one input also takes it by its name.
    let chain = Network::input(2).dense(2, Sigmoid).build().unwrap();
    let model = Model::new(Device::Cpu, &chain, &chain.initial_parameters(1)).unwrap();
    assert_eq!(model.forward([("input", &age)]).unwrap(), model.forward(&age).unwrap());
    let error = model.forward([("age", &age)]).unwrap_err().to_string();
    assert_eq!(error, "input: expected one of input, got \"age\"");
}

/// Each input and output is bound by its name. First each has its own buffer. Then all lie in structs of the app:
/// image, age, kind, size and an unrelated word.
#[test]
fn forward_passes_bind_each_end_by_its_name() {
    let app = App::open();
    let network = network();
    let model = Model::new(&app.gpu, &network, &network.initial_parameters(3)).unwrap();
    let mut random = Random(11);
    let (image, age) = (random.f32s(ROWS * IMAGE), random.f32s(ROWS * AGE));
    let all = model.forward_all([("image", &image), ("age", &age)]).unwrap();

    let [x, y] = [&image, &age].map(|numbers| app.storage(numbers));
    let (kind, size) = (app.storage(&[f32::NAN; 16]), app.storage(&[f32::NAN; 12]));
    let apart = model.prepare_forward([("age", &y), ("image", &x)], [("size", &size), ("kind", &kind)], ROWS as u32);
    let apart = apart.unwrap();

    let stride = IMAGE + AGE + KIND + SIZE + 1;
    let mut expected = vec![9.0; ROWS * stride];
    let write = |to: &mut [f32], first: usize, columns: usize, from: &[f32]| {
        for (row, from) in from.chunks(columns).enumerate() {
            to[row * stride + first..][..columns].copy_from_slice(from);
        }
    };
    write(&mut expected, 0, IMAGE, &image);
    write(&mut expected, IMAGE, AGE, &age);
    let structs = app.storage(&expected);
    let rows = |word: usize| Rows::from(structs.slice(word as u64 * 4..)).stride(stride as u64 * 4);
    let (of_kind, of_size) = (IMAGE + AGE, IMAGE + AGE + KIND);
    let together = model.prepare_forward(
        [("image", rows(0)), ("age", rows(IMAGE))],
        vec![("kind", rows(of_kind)), ("size", rows(of_size))],
        ROWS as u32,
    );
    let together = together.unwrap();
    app.frame(|encoder| {
        apart.record_forward(encoder);
        together.record_forward(encoder);
    });
    assert_eq!(app.read::<f32>(&kind)[..ROWS * KIND], all[0]);
    assert_eq!(app.read::<f32>(&size)[..ROWS * SIZE], all[1]);
    write(&mut expected, of_kind, KIND, &all[0]);
    write(&mut expected, of_size, SIZE, &all[1]);
    assert_eq!(app.read::<f32>(&structs), expected);

    let refused = |inputs: Vec<(&str, Rows)>, outputs: Vec<(&str, Rows)>| {
        model.prepare_forward(inputs, outputs, ROWS as u32).unwrap_err().to_string()
    };
    let inputs = vec![("image", rows(0)), ("age", rows(IMAGE))];
    let error = refused(inputs.clone(), vec![("kind", rows(of_kind))]);
    assert_eq!(error, "outputs: expected one for each of kind, size, got none for size");
    let error = refused(vec![("image", rows(0)), ("years", rows(IMAGE))], vec![]);
    assert_eq!(error, "input: expected one of image, age, got \"years\"");
    let error = refused(inputs.clone(), vec![("kind", rows(of_kind)), ("size", rows(of_kind + 2))]);
    let apart = "expected a range that no other rows use, because it is written, got an overlap with size";
    assert_eq!(error, format!("rows given as kind: {apart}"));
    let short = Rows::from(structs.slice(..8));
    let error = refused(inputs, vec![("kind", rows(of_kind)), ("size", short)]);
    assert_eq!(error, "buffer of size for 5 rows: expected at least 1 row and 40 bytes, got 8 bytes");
    let error = model.prepare_forward(&x, &kind, ROWS as u32).unwrap_err().to_string();
    assert_eq!(error, "inputs: expected one for each name (image, age), got one without a name");
}

/// The second output reads the second input. The first output, which is computed earlier, overwrites that input only
/// after this read.
#[test]
fn every_input_is_read_before_any_output_is_written() {
    let app = App::open();
    let build = || {
        let mut graph = Graph::new();
        let (a, b) = (graph.input("a", 4), graph.input("b", 4));
        let of_a = graph.layer(Dense::new(4, Softmax), a)?;
        let of_b = graph.layer(Dense::new(4, Relu), b)?;
        let last = graph.add([of_b, a])?;
        graph.build([("first", of_a), ("last", last)])
    };
    let network = build().unwrap();
    let model = Model::new(&app.gpu, &network, &network.initial_parameters(5)).unwrap();
    let mut random = Random(5);
    let (a, b) = (random.f32s(64), random.f32s(64));
    let all = model.forward_all([("a", &a), ("b", &b)]).unwrap();
    let both = app.storage(&[&a[..], &b[..]].concat());
    let [head, tail] = [both.slice(..256), both.slice(256..)];
    let forward = model.prepare_forward([("a", head), ("b", tail)], [("first", tail), ("last", head)], 16).unwrap();
    app.frame(|encoder| forward.record_forward(encoder));
    assert_eq!(app.read::<f32>(&both), [&all[1][..], &all[0][..]].concat());
}

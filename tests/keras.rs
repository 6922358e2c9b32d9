//! Keras files. `tests/keras/generate.py` wrote the stored ones, and what the models give.

mod common;
#[path = "common/damage.rs"]
mod damage;

use std::path::PathBuf;

use common::gpu;
use safetensors::SafeTensors;
use wgrad::{Activation::*, BatchNorm, Conv, Device, Error, Keras, Model, Naming, Network, WeightFormat};

fn stored(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keras").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The arrays `<name>.<kind>.0`, `<name>.<kind>.1` and so on.
fn expected(name: &str, kind: &str) -> Vec<Vec<f32>> {
    let bytes = stored("expected.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let array = |i: usize| {
        let tensor = file.tensor(&format!("{name}.{kind}.{i}")).ok()?;
        Some(tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    };
    (0..).map_while(array).collect()
}

/// Both sides compute in f32. A result has at most a few hundred roundings of numbers up to the largest one.
fn compare(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    let bound = 256.0 * f32::EPSILON * largest;
    for (i, (y, expected)) in got.iter().zip(expected).enumerate() {
        assert!((y - expected).abs() <= bound, "{what}: number {i}: {y}, expected {expected}, bound {bound}");
    }
}

/// The results of a model, one for each output.
fn run(model: &Model, name: &str) -> Vec<Vec<f32>> {
    let inputs = expected(name, "input");
    match &inputs[..] {
        [input] => model.forward_all(input).unwrap(),
        _ => {
            let names = model.network().input_specs().iter().map(|spec| &*spec.name);
            model.forward_all(names.zip(&inputs).collect::<Vec<_>>()).unwrap()
        }
    }
}

#[test]
fn models_give_what_keras_gives() {
    let files = [
        ("digits.keras", "digits"),
        ("digits.h5", "digits"),
        ("cnn.keras", "cnn"),
        ("cnn.h5", "cnn"),
        ("unet.keras", "unet"),
        ("mobile.keras", "mobile"),
        ("mobile.h5", "mobile"),
        ("sequence.keras", "sequence"),
        ("merged.keras", "merged"),
        ("merged.h5", "merged"),
        ("activations.keras", "activations"),
        ("keras_2.h5", "keras_2"),
        ("keras_2.keras", "keras_2"),
    ];
    for device in [Device::Cpu, gpu().into()] {
        for (file, name) in files {
            let model = Model::from_keras(device.clone(), &stored(file));
            let model = model.unwrap_or_else(|error| panic!("{file}: {error}"));
            let (got, known) = (run(&model, name), expected(name, "output"));
            assert_eq!(got.len(), known.len(), "{file}");
            for (i, (got, known)) in got.iter().zip(&known).enumerate() {
                compare(&format!("{file}, output {i}"), got, known);
            }
        }
    }
}

#[test]
fn layers_keep_their_names_and_options() {
    let (network, _) = Network::from_keras(&stored("cnn.keras")).unwrap();
    let layer = |name: &str| network.layers().find(|(own, _)| *own == name).map(|(_, layer)| layer.clone());
    assert_eq!(layer("batch_normalization_1"), Some(BatchNorm { epsilon: 0.01, momentum: 1.0 - 0.99 }.into()));
    assert!(network.parameters().iter().any(|parameter| parameter.name == "conv2d.weight"));
    let (network, _) = Network::from_keras(&stored("merged.keras")).unwrap();
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    assert!(["shared", "shared_2", "chain/one", "graph/one"].iter().all(|name| names.contains(name)), "{names:?}");
    let named = |specs: &[wgrad::TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
    assert_eq!(named(network.input_specs()), ["left", "right"]);
    assert_eq!(named(network.output_specs()), ["first", "activation"]);
}

#[test]
fn one_error_lists_everything_that_is_not_supported() {
    let error = Network::from_keras(&stored("refused.keras")).unwrap_err().to_string();
    let expected = "the Keras model: 3 layers are not supported:\n  ReLU \"above\": attribute threshold: only 0 is \
                    supported\n  LSTM \"memory\": the class is not supported\n  GaussianNoise \"noise\": the class is \
                    not supported";
    assert_eq!(error, expected);
    let error = Network::from_keras(&stored("digits.weights.h5")).unwrap_err().to_string();
    assert!(error.contains("no model_config") && error.contains("Model::load_weights"), "{error}");
    for bytes in [&b""[..], b"PK\x03\x04", b"{}"] {
        assert!(matches!(Network::from_keras(bytes), Err(Error::File { .. })));
    }
}

#[test]
fn open_dimensions_are_set_by_the_caller() {
    let error = Network::from_keras(&stored("open.keras")).unwrap_err().to_string();
    assert!(
        error.contains("has the shape [null, null, 3], with open dimensions: set it with Keras::input_shape"),
        "{error}"
    );
    let (network, _) = Keras::read(&stored("open.keras")).unwrap().input_shape("image", &[5, 7, 3]).network().unwrap();
    assert_eq!(network.output_specs()[0].shape[..], [5, 7, 2]);
}

/// The network of the case `digits`, built by hand.
fn digits() -> Network {
    Network::input(64).dense(24, Relu).dense(16, Relu).dense(12, Relu).dense(10, Softmax).build().unwrap()
}

#[test]
fn weights_alone_are_read_and_written() {
    let known = &expected("digits", "output")[0];
    let input = &expected("digits", "input")[0];
    for file in ["digits.weights.h5", "digits.h5", "digits.keras"] {
        let model = Model::weights_from_bytes(Device::Cpu, &digits(), &stored(file)).unwrap();
        compare(file, &model.forward(input).unwrap(), known);
        for format in [WeightFormat::KerasWeights, WeightFormat::KerasH5, Naming::Keras.into()] {
            let bytes = model.weights_to_bytes(format).unwrap();
            let copy = Model::weights_from_bytes(Device::Cpu, &digits(), &bytes).unwrap();
            assert_eq!(copy.parameters().unwrap(), model.parameters().unwrap(), "{format:?}");
        }
    }
    // Kinds of layers with other orders of weights, and running statistics.
    let network = Network::input([8, 8, 2])
        .conv(3, 3, Relu)
        .batch_norm()
        .layer(Conv::transposed(4, 3).stride(2))
        .batch_norm()
        .flatten()
        .layer_norm()
        .dense(3, Identity)
        .build()
        .unwrap();
    let mut parameters = network.initial_parameters(3);
    parameters.iter_mut().enumerate().for_each(|(i, value)| *value += i as f32 / 1024.0);
    let model = Model::new(Device::Cpu, &network, &parameters).unwrap();
    for format in [WeightFormat::KerasWeights, WeightFormat::KerasH5] {
        let bytes = model.weights_to_bytes(format).unwrap();
        let copy = Model::weights_from_bytes(Device::Cpu, &network, &bytes).unwrap();
        let [copy, own] = [copy, model.clone()].map(|model| model.weights_to_bytes(Naming::Wgrad).unwrap());
        assert!(copy == own, "{format:?}");
    }
    // Written where KERAS_OUT names a folder, for `generate.py FILE NAME`.
    if let Ok(folder) = std::env::var("KERAS_OUT") {
        for name in ["digits", "unet", "sequence", "activations"] {
            let model = Model::from_keras(Device::Cpu, &stored(&format!("{name}.keras"))).unwrap();
            for (end, format) in [("weights.h5", WeightFormat::KerasWeights), ("h5", WeightFormat::KerasH5)] {
                model.save_weights(PathBuf::from(&folder).join(format!("{name}.{end}")), format).unwrap();
            }
        }
    }
}

#[test]
fn damaged_files_give_an_error_or_a_model() {
    let copies = std::env::var("KERAS_CASES").ok().and_then(|copies| copies.parse().ok()).unwrap_or(4000);
    let files = ["digits.h5", "merged.h5", "keras_2.h5", "cnn.keras", "merged.keras", "refused.keras"].map(stored);
    let refused = damage::each(&files, copies, |bytes| Network::from_keras(bytes).is_ok());
    assert!(refused > copies / 8, "{refused}");
    let network = digits();
    let model = Model::weights_from_bytes(Device::Cpu, &network, &stored("digits.h5")).unwrap();
    let own = [WeightFormat::KerasWeights, WeightFormat::KerasH5].map(|format| model.weights_to_bytes(format).unwrap());
    let files = [own[0].clone(), own[1].clone(), stored("digits.weights.h5"), stored("digits.keras")];
    let read = |bytes: &[u8]| Model::weights_from_bytes(Device::Cpu, &network, bytes).is_ok();
    let refused = damage::each(&files, copies, read);
    assert!(refused > copies / 8, "{refused}");
}

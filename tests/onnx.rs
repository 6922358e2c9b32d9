//! Compares networks from ONNX files with onnxruntime, on GPU and CPU. `tests/onnx/generate.py` makes the files with
//! PyTorch's exporter. Damaged files give errors.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use wgrad::{Device, Error, Gpu, Model, Onnx};

const CASES: [&str; 16] = [
    "mlp",
    "mlp_opset_9",
    "lenet",
    "lenet_opset_11",
    "resnet",
    "resnet_static",
    "shuffle",
    "shuffle_opset_13",
    "unet",
    "resizing",
    "encoder",
    "encoder_opset_14",
    "sequence",
    "sequence_opset_17",
    "squeeze",
    "elementary",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.onnx"))).unwrap()
}

/// The shape and the numbers of a tensor.
fn stored(tensors: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = tensors.tensor(name).unwrap();
    let (chunks, _) = tensor.data().as_chunks::<4>();
    (tensor.shape().to_vec(), chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

/// Images or sequences with the channels last.
fn channels_last(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let (channels, positions) = (shape[1], shape[2..].iter().product::<usize>());
    let place = |i: usize| {
        let (row, position, channel) = (i / channels / positions, i / channels % positions, i % channels);
        (row * channels + channel) * positions + position
    };
    (0..values.len()).map(|i| values[place(i)]).collect()
}

/// Both sides compute in f32. A result has at most a few hundred roundings of numbers up to `largest`. WGSL's `asin` and
/// others may be off by 1e-3.
fn assert_close(what: &str, given: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    let bound = if what == "elementary" { 1e-3 } else { 256.0 * f32::EPSILON * largest };
    assert_eq!(given.len(), expected.len(), "{what}");
    for (i, (y, expected)) in given.iter().zip(expected).enumerate() {
        assert!((y - expected).abs() <= bound, "{what}: number {i}: {y}, expected {expected}, bound {bound}");
    }
}

#[test]
fn files_of_pytorch_give_the_results_of_onnxruntime() {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let gpu = Gpu::request().unwrap();
    let mut faults = Vec::new();
    for name in CASES {
        let (shape, x) = stored(&expected, &format!("{name}.input"));
        let (_, y) = stored(&expected, &format!("{name}.output"));
        for device in [Device::Cpu, Device::from(&gpu)] {
            match Onnx::read(&file(name)).unwrap().channels_first().model(device) {
                Ok(model) => assert_close(name, &model.forward(&x).unwrap(), &y),
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        // The default order of images. Outputs that are images are compared above.
        if name != "unet" && name != "resizing" && faults.is_empty() {
            let model = Model::from_onnx(Device::Cpu, &file(name)).unwrap();
            let x = if name.starts_with("encoder") { x } else { channels_last(&shape, &x) };
            assert_close(name, &model.forward(&x).unwrap(), &y);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn images_are_not_transposed_and_layers_are_named_like_modules() {
    let (network, _) = Onnx::read(&file("resnet")).unwrap().network().unwrap();
    assert_eq!(network.input_specs()[0].shape[..], [9, 8, 3]);
    assert!(network.layers().all(|(_, layer)| !matches!(layer, wgrad::Layer::Transpose(_))), "{}", network.summary());
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    for name in ["0/conv1", "1/conv2", "1/skip"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn folded_batch_normalisation_gives_the_same_results() {
    let read = || Onnx::read(&file("resnet_static")).unwrap();
    let model = |onnx: Onnx| onnx.model(Device::Cpu).unwrap();
    let (plain, folded) = (model(read()), model(read().fold_batch_norm()));
    assert_eq!((plain.network().states().len(), folded.network().states().len()), (8, 0));
    let x: Vec<f32> = (0..plain.network().inputs()).map(|i| (i as f32 * 0.37).sin()).collect();
    assert_close("resnet_static", &folded.forward(&x).unwrap(), &plain.forward(&x).unwrap());
}

fn reads(bytes: &[u8]) -> Result<(), Error> {
    Onnx::read(bytes)?.network().map(|_| ())
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error() {
    let whole = file("lenet_opset_11");
    for length in (0..whole.len()).step_by(7) {
        assert!(reads(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn damaged_files_do_not_panic() {
    // xorshift64
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let cases = std::env::var("ONNX_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1500);
    let files: Vec<Vec<u8>> = ["mlp_opset_9", "sequence_opset_17", "unet", "encoder_opset_14"].map(file).to_vec();
    for case in 0..cases {
        let mut bytes = files[case % files.len()].clone();
        for _ in 0..1 + random() % 4 {
            let at = random() % bytes.len();
            match random() % 4 {
                0 => bytes[at] = random() as u8,
                1 => bytes[at] ^= 1 << (random() % 8),
                2 => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, random() as u8),
            }
        }
        let _ = reads(&bytes);
    }
}

/// y = x + c with x = 0 and the target 3: the gradient of the mean square of two numbers is y - 3.
#[test]
fn a_constant_is_trained_by_the_sum_over_the_samples() {
    use wgrad::{Dataset, Fit, Graph, Layer, Loss, Sgd, Trainer, TrainerConfig};
    for device in [Device::Cpu, Device::from(&Gpu::request().unwrap())] {
        let mut g = Graph::new();
        let x = g.input("input", 2);
        let constant = g.layer(Layer::Constant { shape: 2.into(), trained: true }, []).unwrap();
        let fixed = g.layer(Layer::Constant { shape: 2.into(), trained: false }, []).unwrap();
        let y = g.add([x, constant, fixed]).unwrap();
        let network = g.build([("output", y)]).unwrap();
        let data = Dataset::from_f32_targets(vec![0.0; 8], 2, vec![3.0; 8], 2).unwrap();
        let config = TrainerConfig { batch: 4, ..TrainerConfig::default() };
        let sgd = Sgd { learning_rate: 0.5, ..Sgd::default() };
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, sgd, config).unwrap();
        trainer.fit(&data, Fit { epochs: 2, ..Fit::default() }, |_| ()).unwrap();
        // Each step halves the distance to 3.
        let parameters = trainer.model().parameters().unwrap();
        assert_eq!(parameters[network.parameters()[0].range()], [2.25; 2]);
        assert_eq!(parameters[network.states()[0].range()], [0.0; 2]);
    }
}

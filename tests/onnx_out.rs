//! Networks written as ONNX files and read again compute the same. `scripts/onnx_out.sh` runs the same files by
//! onnxruntime.

#[path = "onnx_out/cases.rs"]
mod cases;

use std::path::Path;

use cases::Case;
use safetensors::tensor::{Dtype, TensorView};
use wgrad::Activation::*;
use wgrad::{
    Conv, CustomActivation, Dense, Device, Encoding, Error, Graph, HashGrid, Layer, Model, Network, TensorSpec,
    WriteOnnx,
};

/// The number of samples.
const ROWS: usize = 3;

/// Numbers from -1 to 1.
fn random(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Random weights. Variances are positive.
fn parameters(network: &Network) -> Vec<f32> {
    let mut parameters = network.initial_parameters(1);
    let mut random = random(7);
    for tensor in network.parameters().iter().chain(network.states()) {
        for value in &mut parameters[tensor.range()] {
            *value = if tensor.name.ends_with(".variance") { 1.2 + 0.7 * random() } else { 0.6 * random() };
        }
    }
    parameters
}

fn inputs(network: &Network) -> Vec<(String, Vec<f32>)> {
    let mut random = random(3);
    let mut values = |spec: &TensorSpec| (0..ROWS * spec.features() as usize).map(|_| random()).collect();
    network.input_specs().iter().map(|spec| (spec.name.clone(), values(spec))).collect()
}

fn outputs(network: &Network, parameters: &[f32]) -> Vec<Vec<f32>> {
    let inputs = inputs(network);
    let inputs: Vec<(&str, &[f32])> = inputs.iter().map(|(name, values)| (&**name, &**values)).collect();
    Model::new(Device::Cpu, network, parameters).unwrap().forward_all(&inputs[..]).unwrap()
}

fn kinds(network: &Network) -> Vec<String> {
    network.layers().map(|(_, layer)| format!("{layer:?}").split(['(', ' ']).next().unwrap().to_owned()).collect()
}

/// Both sides compute in f32. A result has at most a few hundred roundings of numbers up to `largest`.
fn assert_close(what: &str, given: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    let bound = 256.0 * f32::EPSILON * largest;
    assert_eq!(given.len(), expected.len(), "{what}");
    for (i, (y, expected)) in given.iter().zip(expected).enumerate() {
        assert!((y - expected).abs() <= bound, "{what}: number {i}: {y}, expected {expected}, bound {bound}");
    }
}

#[test]
fn a_copy_from_its_file_computes_the_same() {
    for Case { name, network, is_exact } in cases::all() {
        let parameters = parameters(&network);
        let expected = outputs(&network, &parameters);
        for options in [WriteOnnx::new(), WriteOnnx::new().channels_first()] {
            let bytes = options.write(&network, &parameters).unwrap();
            let (copy, weights) = Network::from_onnx(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let sizes = |network: &Network| [network.input_specs().to_vec(), network.output_specs().to_vec()];
            assert_eq!(sizes(&copy), sizes(&network), "{name}");
            let given = outputs(&copy, &weights);
            for ((given, expected), spec) in given.iter().zip(&expected).zip(network.output_specs()) {
                let what = format!("{name}, {}", spec.name);
                if is_exact {
                    assert!(given.iter().zip(expected).all(|(y, x)| y.to_bits() == x.to_bits()), "{what}");
                }
                assert_close(&what, given, expected);
            }
            // A second copy has the layers of the first one.
            let (again, _) = Network::from_onnx(&options.write(&copy, &weights).unwrap()).unwrap();
            assert_eq!(kinds(&again), kinds(&copy), "{name}");
        }
    }
}

#[test]
fn layers_and_weights_keep_their_names_and_kinds() {
    for Case { name, network, .. } in cases::all().into_iter().filter(|case| ["mlp", "cnn"].contains(&&*case.name)) {
        let (copy, weights) = Network::from_onnx(&network.to_onnx(&parameters(&network)).unwrap()).unwrap();
        let names = |network: &Network| network.parameters().iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&copy), names(&network), "{name}");
        assert_eq!(weights, parameters(&network), "{name}");
        let left_out = |kind: &String| !["Activation", "SpatialDropout", "Reshape", "Flatten"].contains(&kind.as_str());
        let kinds = |network| kinds(network).into_iter().filter(left_out).collect::<Vec<_>>();
        assert_eq!(kinds(&copy), kinds(&network), "{name}");
    }
}

#[test]
fn what_onnx_cannot_express_is_told_at_once() {
    static SNAKE: CustomActivation = CustomActivation::new("snake", "z + sin(z) * sin(z)", "1.0 + sin(2.0 * z)");
    let network = Network::input(2)
        .encoding(HashGrid::default())
        .dense(4, Custom(&SNAKE))
        .layer(Layer::CompositeEncoding(vec![(2, HashGrid::default().into()), (2, Encoding::OneBlob { bins: 4 })]))
        .dense(3, Relu)
        .build()
        .unwrap();
    let error = network.to_onnx(&network.initial_parameters(1)).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines,
        [
            "the ONNX model: the network cannot be written:",
            "  layer hash_grid_1: ONNX has no operators for a hash grid",
            "  layer dense_2: snake is a custom activation",
            "  layer composite_3: ONNX has no operators for a hash grid",
        ]
    );
    let mut g = Graph::new();
    let x = g.input("x", 2);
    let y = g.layer(Dense::new(2, Relu), x).unwrap();
    let network = g.build([("x", y)]).unwrap();
    let error = network.to_onnx(&network.initial_parameters(1)).unwrap_err().to_string();
    assert!(error.ends_with("an input and an output have the name \"x\"; rename one"), "{error}");
}

#[test]
fn wrong_weights_are_refused() {
    let network = Network::input(2).dense(1, Relu).build().unwrap();
    let mut weights = network.initial_parameters(1);
    assert!(matches!(network.to_onnx(&weights[1..]), Err(Error::Shape { .. })));
    weights[0] = f32::NAN;
    assert!(matches!(network.to_onnx(&weights), Err(Error::NonFiniteParameter { .. })));
}

/// Convolutions in a row are not transposed between: only the input and the output are.
#[test]
fn a_chain_of_convolutions_has_transposes_at_its_ends_only() {
    let network = Network::input([8, 8, 3])
        .layer(Conv::new(4, 3).activation(Relu))
        .batch_norm()
        .max_pool(2)
        .layer(Conv::new(2, 1).activation(Tanh))
        .build()
        .unwrap();
    let parameters = parameters(&network);
    let count = |bytes: &[u8]| bytes.windows(9).filter(|window| window == b"Transpose").count();
    assert_eq!(count(&network.to_onnx(&parameters).unwrap()), 2);
    assert_eq!(count(&WriteOnnx::new().channels_first().write(&network, &parameters).unwrap()), 0);
}

/// Writes the files of all cases with inputs and outputs to the folder that `WGRAD_WRITE_ONNX` names.
#[test]
fn files_are_written_for_other_programs() {
    let Some(folder) = std::env::var_os("WGRAD_WRITE_ONNX") else { return };
    let folder = Path::new(&folder);
    for Case { name, network, .. } in cases::all() {
        let parameters = parameters(&network);
        for (end, options) in [("", WriteOnnx::new()), (".channels_first", WriteOnnx::new().channels_first())] {
            let bytes = options.write(&network, &parameters).unwrap();
            std::fs::write(folder.join(format!("{name}{end}.onnx")), bytes).unwrap();
        }
        let results = outputs(&network, &parameters);
        let given = inputs(&network);
        let given = network.input_specs().iter().zip(given.iter().map(|(_, values)| values));
        let tensors = given.map(|pair| ("input", pair));
        let tensors = tensors.chain(network.output_specs().iter().zip(&results).map(|pair| ("output", pair)));
        let views = tensors.map(|(side, (spec, values))| {
            let shape = std::iter::once(ROWS).chain(spec.shape.iter().map(|&length| length as usize)).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (format!("{side}.{}", spec.name), shape, bytes)
        });
        let views: Vec<(String, Vec<usize>, Vec<u8>)> = views.collect();
        let views = views
            .iter()
            .map(|(name, shape, bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        safetensors::serialize_to_file(views, None, &folder.join(format!("{name}.safetensors"))).unwrap();
    }
}

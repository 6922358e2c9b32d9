//! Weights by and for other programs.

use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors};

use super::*;

fn oracle(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(name)
}

/// PyTorch's `Linear(7, 9), ReLU, LayerNorm(9), Linear(9, 5, bias=False), Tanh, Linear(5, 3)`.
fn sequential() -> Network {
    Network::input(7)
        .dense(9, Relu)
        .layer_norm()
        .layer(Dense::new(5, Tanh).without_bias())
        .dense(3, Identity)
        .build()
        .unwrap()
}

#[test]
fn a_network_of_pytorch_puts_out_here_what_it_does_there() {
    let file = std::fs::read(oracle("sequential_io.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let (words, _) = file.tensor(name).unwrap().data().as_chunks();
        words.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    for device in devices() {
        let model = Model::load_weights(device, &sequential(), oracle("sequential.safetensors")).unwrap();
        let got = model.forward(&numbers("input")).unwrap();
        for (got, expected) in got.iter().zip(numbers("output")) {
            // Sums of at most 10 terms, three layers deep, of numbers around 1: below 100 roundings.
            assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{got} {expected}");
        }
        // The other way: the very tensors that came.
        let theirs = std::fs::read(oracle("sequential.safetensors")).unwrap();
        let ours = model.weights_to_bytes(Naming::PyTorch).unwrap();
        let (theirs, ours) = (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
        let sorted = |file: &SafeTensors| {
            let mut names: Vec<String> = file.names().into_iter().map(String::from).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&ours), sorted(&theirs));
        for name in theirs.names() {
            let (theirs, ours) = (theirs.tensor(name).unwrap(), ours.tensor(name).unwrap());
            assert_eq!((theirs.shape(), theirs.data()), (ours.shape(), ours.data()), "{name}");
        }
    }
}

fn names(bytes: &[u8]) -> Vec<(String, Vec<usize>)> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let of = |name: String| (name.clone(), header.info(&name).unwrap().shape.clone());
    header.offset_keys().into_iter().map(of).collect()
}

#[test]
fn weights_go_out_and_come_back_in_every_naming() {
    let own = [
        "dense_2.weight",
        "dense_2.bias",
        "layer_norm_4.scale",
        "layer_norm_4.shift",
        "dense_5.weight",
        "layer_norm_7.scale",
        "layer_norm_7.shift",
        "dense_8.weight",
        "dense_8.bias",
    ];
    // Flatten, Linear and LeakyReLU, Dropout, LayerNorm, Linear, Tanh, LayerNorm, Linear.
    let pytorch = ["1.weight", "1.bias", "4.weight", "4.bias", "5.weight", "7.weight", "7.bias", "8.weight", "8.bias"];
    let keras = [
        "dense/kernel",
        "dense/bias",
        "layer_normalization/gamma",
        "layer_normalization/beta",
        "dense_1/kernel",
        "layer_normalization_1/gamma",
        "layer_normalization_1/beta",
        "dense_2/kernel",
        "dense_2/bias",
    ];
    let shapes: [&[usize]; 9] = [&[6, 7], &[7], &[7], &[7], &[7, 5], &[5], &[5], &[5, 3], &[3]];
    let folder = folder("naming");
    for device in devices() {
        let model = model(device.clone());
        for (naming, expected) in [(Naming::Wgrad, own), (Naming::PyTorch, pytorch), (Naming::Keras, keras)] {
            let path = folder.join(format!("{naming:?}.safetensors"));
            model.save_weights(&path, naming).unwrap();
            let mut shapes = shapes.map(Vec::from);
            if naming == Naming::PyTorch {
                shapes.iter_mut().for_each(|shape| shape.reverse());
            }
            let expected: Vec<_> = expected.map(String::from).into_iter().zip(shapes).collect();
            assert_eq!(names(&std::fs::read(&path).unwrap()), expected);
            let read = Model::load_weights(device.clone(), &network(), &path).unwrap();
            assert_eq!(bits(&read.parameters().unwrap()), bits(&model.parameters().unwrap()), "{naming:?}");
            assert!(reason(Model::load(device.clone(), &path)).starts_with("has no network description"));
        }
    }
}

/// Twelve dense layers, each of one weight, and a layer norm before each.
fn deep() -> Network {
    let builder = (0..12).fold(Network::input(1), |b, _| b.layer_norm().layer(Dense::new(1, Relu).without_bias()));
    builder.build().unwrap()
}

/// Reads a file whose dense layers have these names and the weights 0, 1, 2 and so on, in the order of the names
/// given, and returns the weights in the network's order.
fn order(dense: impl Fn(usize) -> String, norm: impl Fn(usize) -> [String; 2]) -> Result<Vec<f32>> {
    let mut tensors = Vec::new();
    for i in 0..12 {
        let [scale, shift] = norm(i);
        tensors.push((dense(i), vec![1, 1], i as f32));
        tensors.push((scale, vec![1], 100.0));
        tensors.push((shift, vec![1], 200.0));
    }
    let tensors: Vec<(&str, Dtype, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape, value)| (name.as_str(), Dtype::F32, shape.as_slice(), f32s(&[*value])))
        .collect();
    let network = deep();
    let model = Model::weights_from_bytes(Device::Cpu, &network, &foreign(&tensors))?;
    let parameters = model.parameters()?;
    let dense = network.parameters().iter().filter(|p| p.shape.len() == 2);
    Ok(dense.map(|p| parameters[p.range()][0]).collect())
}

#[test]
fn layers_are_numbered_in_the_ways_that_programs_number_them() {
    let expected: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let or_none = |i: usize| if i == 0 { String::new() } else { format!("_{i}") };
    let keras = |separator: &str, before: &str, after: &str| {
        let name = |stem: &str, i, role| format!("{before}{stem}{}{separator}{role}{after}", or_none(i));
        order(|i| name("dense", i, "kernel"), |i| ["gamma", "beta"].map(|role| name("layer_normalization", i, role)))
    };
    assert_eq!(keras("/", "", "").unwrap(), expected);
    assert_eq!(keras("/", "", ":0").unwrap(), expected);
    assert_eq!(keras(".", "", "").unwrap(), expected);
    assert_eq!(keras("/", "sequential_3/", ":0").unwrap(), expected);
    let later = order(
        |i| format!("dense_{}/kernel", i + 5),
        |i| ["gamma", "beta"].map(|role| format!("layer_normalization_{}/{role}", i + 90)),
    );
    assert_eq!(later.unwrap(), expected);
    for before in ["", "net.", "model.layers."] {
        let pytorch = order(
            |i| format!("{before}{}.weight", 3 * i + 1),
            |i| ["weight", "bias"].map(|role| format!("{before}{}.{role}", 3 * i)),
        );
        assert_eq!(pytorch.unwrap(), expected);
    }
    let nested = order(
        |i| format!("{}.1.0.weight", i / 2 * 5 + i),
        |i| ["weight", "bias"].map(|role| format!("{}.0.{role}", i / 2 * 5 + i)),
    );
    assert_eq!(nested.unwrap(), expected);
}

#[test]
fn numbers_of_other_widths_are_converted() {
    let network = Network::input(2).dense(1, Identity).build().unwrap();
    // 1.5 and −2, exact in each.
    let double = [1.5f64, -2.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let halves = [0x3e00u16, 0xc000].iter().flat_map(|n| n.to_le_bytes()).collect();
    let brain = [0x3fc0u16, 0xc000].iter().flat_map(|n| n.to_le_bytes()).collect();
    for (dtype, bytes) in [(Dtype::F64, double), (Dtype::F16, halves), (Dtype::BF16, brain)] {
        let file = foreign(&[("0.weight", dtype, &[1, 2], bytes), ("0.bias", Dtype::F32, &[1], f32s(&[0.5]))]);
        let model = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
        assert_eq!(model.forward(&[10.0, 1.0]).unwrap(), [13.5], "{dtype}");
    }
    let file = foreign(&[("0.weight", Dtype::I32, &[1, 2], vec![0; 8]), ("0.bias", Dtype::F32, &[1], f32s(&[0.5]))]);
    assert_eq!(
        reason(Model::weights_from_bytes(Device::Cpu, &network, &file)),
        "tensor 0.weight: expected F32, F64, F16, BF16 [1, 2], got I32 [1, 2]"
    );
}

#[test]
fn weights_of_another_network_are_refused_with_what_was_expected() {
    let load = |network: &Network| reason(Model::load_weights(Device::Cpu, network, oracle("sequential.safetensors")));
    let wider = Network::input(7).dense(8, Relu).layer_norm().dense(5, Tanh).dense(3, Identity).build().unwrap();
    assert_eq!(load(&wider), "tensor 0.weight: expected F32, F64, F16, BF16 [8, 7], got F32 [9, 7]");
    let biased = Network::input(7).dense(9, Relu).layer_norm().dense(5, Tanh).dense(3, Identity).build().unwrap();
    let missing = load(&biased);
    assert!(missing.starts_with("lacks the tensor 3.bias, F32, F64, F16, BF16 [5]: got 5."), "{missing}");
    let plain = Network::input(7).dense(9, Relu).dense(5, Tanh).dense(3, Identity).build().unwrap();
    assert_eq!(load(&plain), "layer dense_2: expected a matrix, got vectors only in 2.");
    let shorter = Network::input(7).dense(9, Relu).layer_norm().build().unwrap();
    assert_eq!(load(&shorter), "has tensors that the network does not: 3.weight, 5.bias, 5.weight");
    let longer = sequential().to_builder().dense(1, Identity).build().unwrap();
    assert_eq!(load(&longer), "has too few layers: there is none for dense_5");

    let network = Network::input(1).layer(Dense::new(1, Relu).without_bias()).dense(1, Identity).build().unwrap();
    let two = |a: &str, b: &str| {
        let one = |name| (name, Dtype::F32, &[1, 1][..], f32s(&[1.0]));
        reason(Model::weights_from_bytes(Device::Cpu, &network, &foreign(&[one(a), one(b)])))
    };
    let unclear = "does not tell in which order ";
    assert_eq!(two("encoder.0.weight", "decoder.0.weight"), format!("{unclear}decoder.0. and encoder.0. come"));
    assert_eq!(two("hidden/kernel", "out/kernel"), format!("{unclear}hidden/ and out/ come"));
    assert_eq!(
        two("fc1.weight", "fc2.weight"),
        "lacks the tensor dense_1.weight, F32, F64, F16, BF16 [1, 1]: got fc1.weight, fc2.weight"
    );
}

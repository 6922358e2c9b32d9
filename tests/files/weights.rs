//! Weights in files of other programs: loading and saving.

use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors};

use super::*;

fn oracle(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(name)
}

/// PyTorch's `Linear(7, 9), ReLU, LayerNorm(9), Linear(9, 5, bias=False), Tanh, Linear(5, 3)`.
fn sequential() -> Network {
    layers().build().unwrap()
}

fn layers() -> wgrad::NetworkBuilder {
    Network::input(7).dense(9, Relu).layer_norm().layer(Dense::new(5, Tanh).without_bias()).dense(3, Identity)
}

/// A network with PyTorch's weights gives PyTorch's outputs.
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
            // Three layers with sums of at most 10 terms, of numbers around 1: below 100 roundings.
            assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{got} {expected}");
        }
        // Saving gives exactly the tensors that were loaded.
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

/// A PyTorch module of convolutions, under its attributes' names: by a map, and by the order of its layers.
/// `tests/files/generate.py` writes the files.
#[test]
fn a_module_of_pytorch_is_read_by_a_map_or_an_order() {
    let stored = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
    let known = std::fs::read(stored("modules_io.safetensors")).unwrap();
    let known = SafeTensors::deserialize(&known).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let (words, _) = known.tensor(name).unwrap().data().as_chunks();
        words.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    let conv = |activation| Conv::new(4, 3).padding(1).activation(activation);
    let layers = Network::input([6, 4, 1]).layer(conv(Identity)).batch_norm().activation(Relu);
    let layers = layers.layer(conv(Tanh)).layer(conv(Relu)).max_pool(2).flatten().dense(8, Relu).dense(5, Identity);
    let network = layers.build().unwrap();
    let path = stored("modules.safetensors");
    let order = ["stem", "norm", "wide", "deep", "hidden", "head"];
    let mut ours: Vec<&str> = network.parameters().iter().map(Parameter::layer).collect();
    ours.dedup();
    let map = order.into_iter().zip(ours);
    for options in [LoadWeights::new().order(order), LoadWeights::new().map(map)] {
        for device in devices() {
            let model = Model::load_weights_with(device, &network, &path, &options).unwrap();
            let got = model.forward(&numbers("x")).unwrap();
            for (got, expected) in got.iter().zip(numbers("y")) {
                // Six layers with sums of at most 36 terms, of numbers around 1: below 256 roundings.
                let bound = 256.0 * f32::EPSILON * expected.abs().max(1.0);
                assert!((got - expected).abs() <= bound, "{got} {expected}");
            }
        }
    }
    let refused = |options: LoadWeights| match Model::load_weights_with(Device::Cpu, &network, &path, &options) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{options:?}"),
    };
    // Without either, the two convolutions of equal shapes have no order.
    assert!(refused(LoadWeights::new()).contains("order of layers deep and wide: unknown"));
    assert!(
        refused(LoadWeights::new().order(["stem"])).contains("LoadWeights::order: expected 6 layers (for conv_1, ")
    );
    let twice = ["stem", "norm", "wide", "wide", "hidden", "head"];
    assert!(refused(LoadWeights::new().order(twice)).contains("LoadWeights::order: wide occurs twice"));
    let absent = ["stem", "norm", "wide", "steep", "hidden", "head"];
    assert!(refused(LoadWeights::new().order(absent)).contains("LoadWeights::order: the file has no layer steep"));
}

fn names(bytes: &[u8]) -> Vec<(String, Vec<usize>)> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let of = |name: String| (name.clone(), header.info(&name).unwrap().shape.clone());
    header.offset_keys().into_iter().map(of).collect()
}

/// Weights that are saved in any naming load with the same bits.
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
    // PyTorch's modules: Flatten, Linear, LeakyReLU, Dropout, LayerNorm, Linear, Tanh, LayerNorm, Linear.
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
            assert!(reason(Model::load(device.clone(), &path)).starts_with("no network description"));
        }
    }
}

/// Twelve dense layers with one weight each, and a layer norm before each of them.
fn deep() -> Network {
    let builder = (0..12).fold(Network::input(1), |b, _| b.layer_norm().layer(Dense::new(1, Relu).without_bias()));
    builder.build().unwrap()
}

/// Loads a file whose dense layers have these names, and the weights 0, 1, 2 and so on in the order of the names.
/// Returns the weights in the network's order.
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

/// Layers load in the right order from the numbered names of Keras and PyTorch.
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

/// Weights of type F64, F16 and BF16 are converted to f32. Integers are an error.
#[test]
fn numbers_of_other_widths_are_converted() {
    let network = Network::input(2).dense(1, Identity).build().unwrap();
    // 1.5 and −2 are exact in each type.
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
        "tensor 0.weight: expected F32 or F64 or F16 or BF16 [1, 2], got I32 [1, 2]"
    );
}

/// Loading weights that do not fit the network gives an error with the expected and the found tensors.
#[test]
fn weights_of_another_network_are_refused_with_what_was_expected() {
    let load = |network: &Network| reason(Model::load_weights(Device::Cpu, network, oracle("sequential.safetensors")));
    let wider = Network::input(7).dense(8, Relu).layer_norm().dense(5, Tanh).dense(3, Identity).build().unwrap();
    assert_eq!(load(&wider), "tensor 0.weight: expected F32 or F64 or F16 or BF16 [8, 7], got F32 [9, 7]");
    let biased = Network::input(7).dense(9, Relu).layer_norm().dense(5, Tanh).dense(3, Identity).build().unwrap();
    let missing = load(&biased);
    assert!(
        missing.starts_with("tensor 3.bias: expected F32 or F64 or F16 or BF16 [5], got none; the file has 5."),
        "{missing}"
    );
    assert!(
        missing.contains(". Expected: dense_1.weight [7, 9], ") && missing.contains(". Found: 0.bias [9], "),
        "{missing}"
    );
    let plain = Network::input(7).dense(9, Relu).dense(5, Tanh).dense(3, Identity).build().unwrap();
    assert_eq!(load(&plain), "layer dense_2: expected a matrix, got vectors only in layer 2 of the file");
    let shorter = Network::input(7).dense(9, Relu).layer_norm().build().unwrap();
    let extra = load(&shorter);
    assert!(
        extra.starts_with("tensors that the network does not have: 3.weight, 5.bias, 5.weight. Expected: "),
        "{extra}"
    );
    let longer = layers().dense(1, Identity).build().unwrap();
    let few = load(&longer);
    assert!(
        few.starts_with(
            "layer dense_5: not found, because the file has too few layers. Expected: dense_1.weight [7, 9], "
        ),
        "{few}"
    );
    assert!(few.contains(". Found: 0.bias [9], 0.weight [9, 7], "), "{few}");

    let network = Network::input(1).layer(Dense::new(1, Relu).without_bias()).dense(1, Identity).build().unwrap();
    let two = |a: &str, b: &str| {
        let one = |name| (name, Dtype::F32, &[1, 1][..], f32s(&[1.0]));
        reason(Model::weights_from_bytes(Device::Cpu, &network, &foreign(&[one(a), one(b)])))
    };
    let unclear = |told: String, first: &str, second: &str| {
        assert!(
            told.starts_with(&format!(
                "order of layers {first} and {second}: unknown, because their names do not give it. Expected: "
            )),
            "{told}"
        );
        assert!(told.contains(&format!("Found: {first}")) && told.ends_with("LoadWeights::map"), "{told}");
    };
    unclear(two("encoder.0.weight", "decoder.0.weight"), "decoder.0", "encoder.0");
    unclear(two("hidden/kernel", "out/kernel"), "hidden", "out");
    unclear(two("hidden.weight", "out.weight"), "hidden", "out");
}

/// A file with the metadata that PyTorch's programs write.
fn of_pytorch(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    with_metadata(tensors, Some(("format", "pt")))
}

fn with_metadata(tensors: &[(&str, &[usize], &[f32])], metadata: Option<(&str, &str)>) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., numbers)| f32s(numbers)).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata = metadata.map(|(key, value)| std::collections::HashMap::from([(key.into(), value.into())]));
    safetensors::serialize(views, metadata).unwrap()
}

/// Two square layers without biases.
fn square() -> Network {
    let dense = |activation| Dense::new(2, activation).without_bias();
    Network::input(2).layer(dense(Identity)).layer(dense(Identity)).build().unwrap()
}

fn weights(network: &Network, bytes: &[u8], options: &LoadWeights) -> Result<Vec<f32>> {
    let model = Model::weights_from_bytes_with(Device::Cpu, network, bytes, options)?;
    let parameters = model.parameters()?;
    Ok(network.parameters().iter().flat_map(|p| parameters[p.range()].to_vec()).collect())
}

/// The layout of dense weights comes from the metadata, else from the shapes, else from the names.
#[test]
fn metadata_decide_the_layout_then_shapes_then_names() {
    let (a, b): (&[f32], &[f32]) = (&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
    let (plain, turned) = ([a, b].concat(), [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0].to_vec());
    let read = |names: [&str; 2], metadata: Option<(&str, &str)>, options: LoadWeights| {
        let tensors: [(&str, &[usize], &[f32]); 2] = [(names[0], &[2, 2], a), (names[1], &[2, 2], b)];
        weights(&square(), &with_metadata(&tensors, metadata), &options).unwrap()
    };
    let own = ["dense_1.weight", "dense_2.weight"];
    let format = |name| Some(("format", name));
    let new = LoadWeights::new;
    assert_eq!(read(own, format("pt"), new()), turned);
    assert_eq!(read(own, format("mlx"), new()), turned);
    assert_eq!(read(own, None, new()), plain, "as Naming::Wgrad writes it");
    assert_eq!(read(["dense/kernel", "dense_1/kernel"], None, new()), plain);
    for names in [["fc1.weight", "fc2.weight"], ["0.weight", "2.weight"], ["net.fc9.weight", "net.fc10.weight"]] {
        assert_eq!(read(names, None, new()), turned, "{names:?}");
        assert_eq!(read(names, format("pt"), new()), turned, "{names:?}");
        assert_eq!(read(names, format("tf"), new()), plain, "{names:?}");
        assert_eq!(read(names, format("pt"), new().layout(Naming::Keras)), plain, "{names:?}");
    }
    // Without metadata, the shapes decide. If the shapes contradict the metadata, loading is an error.
    let network = Network::input(2).layer(Dense::new(1, Identity).without_bias()).build().unwrap();
    for (shape, expected) in [([1, 2], None), ([2, 1], Some("[inputs, units]; set the order with LoadWeights::layout"))]
    {
        let tensor: [(&str, &[usize], &[f32]); 1] = [("fc.weight", &shape, &[3.0, 4.0])];
        assert_eq!(weights(&network, &with_metadata(&tensor, None), &new()).unwrap(), [3.0, 4.0]);
        match (expected, weights(&network, &of_pytorch(&tensor), &new())) {
            (None, read) => assert_eq!(read.unwrap(), [3.0, 4.0]),
            (Some(expected), read) => assert!(reason(read).ends_with(expected)),
        }
    }
    // A bare nn.Linear is saved without a prefix.
    let tensor: [(&str, &[usize], &[f32]); 1] = [("weight", &[1, 2], &[3.0, 4.0])];
    assert_eq!(weights(&network, &of_pytorch(&tensor), &new()).unwrap(), [3.0, 4.0]);
}

/// Modules with attribute names load in the right order if numbers or shapes give the order.
#[test]
fn modules_under_attribute_names_load_by_numbers_or_shapes() {
    // Linear(3, 2), LayerNorm(2), Linear(2, 2), Linear(2, 1). Numbers in the names decide between layers of equal
    // shape.
    let network = Network::input(3).dense(2, Relu).layer_norm().dense(2, Relu).dense(1, Identity).build().unwrap();
    let file = |names: [&str; 4]| {
        let name = |i: usize, role: &str| format!("{}.{role}", names[i]);
        let norm = if names[1] == "old" { ["gamma", "beta"] } else { ["weight", "bias"] };
        let tensors: [(String, &[usize], &[f32]); 8] = [
            (name(0, "weight"), &[2, 3], &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
            (name(0, "bias"), &[2], &[6.0, 7.0]),
            (name(1, norm[0]), &[2], &[8.0, 9.0]),
            (name(1, norm[1]), &[2], &[10.0, 11.0]),
            (name(2, "weight"), &[2, 2], &[12.0, 14.0, 13.0, 15.0]),
            (name(2, "bias"), &[2], &[16.0, 17.0]),
            (name(3, "weight"), &[1, 2], &[18.0, 19.0]),
            (name(3, "bias"), &[1], &[20.0]),
        ];
        let tensors: Vec<(&str, &[usize], &[f32])> = tensors.iter().map(|(n, s, x)| (n.as_str(), *s, *x)).collect();
        [of_pytorch(&tensors), with_metadata(&tensors, None)]
    };
    let expected: Vec<f32> = (0..21).map(|i| i as f32).collect();
    for names in [
        ["fc1", "norm", "fc2", "fc3"],
        ["hidden", "norm", "middle", "out"],
        ["zeta", "old", "hidden2", "alpha"],
        ["encoder.0", "encoder.1", "encoder.3", "decoder.0"],
        ["module.fc1", "module.ln", "module.fc2", "module.head"],
        ["dense", "layer_normalization", "dense_1", "dense_2"],
    ] {
        for bytes in file(names) {
            let read = weights(&network, &bytes, &LoadWeights::new()).unwrap_or_else(|e| panic!("{names:?}: {e}"));
            assert_eq!(read, expected, "{names:?}");
        }
    }
}

/// A network of 2, 3 and 2 features without biases fits in both layouts. Numbers in the names decide. Without numbers,
/// loading is an error.
#[test]
fn what_fits_in_two_ways_is_refused() {
    let dense = |units| Dense::new(units, Identity).without_bias();
    let network = Network::input(2).layer(dense(3)).layer(dense(2)).build().unwrap();
    let wide: &[f32] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let tall: &[f32] = &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
    let file =
        |[a, b]: [&'static str; 2]| -> [(&str, &[usize], &[f32]); 2] { [(a, &[3, 2], tall), (b, &[2, 3], wide)] };
    let expected = [10.0, 30.0, 50.0, 20.0, 40.0, 60.0, 1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    let new = LoadWeights::new;
    let numbered = file(["fc1.weight", "fc2.weight"]);
    assert_eq!(weights(&network, &with_metadata(&numbered, None), &new()).unwrap(), expected);
    let named = file(["widen.weight", "narrow.weight"]);
    assert_eq!(weights(&network, &of_pytorch(&named), &new()).unwrap(), expected);
    let told = reason(weights(&network, &with_metadata(&named, None), &new()));
    assert!(told.starts_with("order of dense weights: unknown"), "{told}");
    let layout = new().layout(Naming::PyTorch);
    assert_eq!(weights(&network, &with_metadata(&named, None), &layout).unwrap(), expected);
}

/// A file of a program that does not sort: the header and the numbers have the given order.
fn unsorted(names: [&str; 2], format: &str) -> Vec<u8> {
    let entry = |i: usize| {
        format!(r#""{}":{{"dtype":"F32","shape":[1,1],"data_offsets":[{},{}]}}"#, names[i], 4 * i, 4 * i + 4)
    };
    let header = format!(r#"{{"__metadata__":{{"format":"{format}"}},{},{}}}"#, entry(0), entry(1));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &f32s(&[1.0, 2.0])].concat()
}

/// If layers differ in nothing else, the order of a PyTorch file decides.
#[test]
fn layers_of_no_other_difference_go_by_the_order_that_a_file_keeps() {
    let dense = || Dense::new(1, Identity).without_bias();
    let network = Network::input(1).layer(dense()).layer(dense()).build().unwrap();
    let read = |names, format| weights(&network, &unsorted(names, format), &LoadWeights::new());
    assert_eq!(read(["zeta.weight", "alpha.weight"], "pt").unwrap(), [1.0, 2.0]);
    // The names may be sorted, or the program may not keep an order. Then the order in the file says nothing.
    for (names, format) in [(["alpha.weight", "zeta.weight"], "pt"), (["zeta.weight", "alpha.weight"], "mlx")] {
        let told = reason(read(names, format));
        assert!(told.starts_with("order of layers alpha and zeta: unknown"), "{told}");
    }
    // Numbers too long for any integer type.
    let long = |digit: &str| format!("fc{}.weight", digit.repeat(40));
    let told = reason(read([&long("8"), &long("9")], "pt"));
    assert!(told.starts_with("order of layers fc888"), "{told}");
}

/// The names in `LoadWeights::map` decide where each tensor belongs.
#[test]
fn a_map_from_the_files_names_decides() {
    let (a, b): (&[f32], &[f32]) = (&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
    let network = square();
    let pair: [(&str, &[usize], &[f32]); 2] = [("encode.weight", &[2, 2], a), ("decode.weight", &[2, 2], b)];
    let bytes = of_pytorch(&pair);
    let read = |options: &LoadWeights| weights(&network, &bytes, options);
    let new = LoadWeights::new;
    let expected = [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0];
    assert!(reason(read(&new())).starts_with("order of layers decode and encode: unknown"));
    for names in [
        vec![("encode", "dense_1"), ("decode", "dense_2")],
        vec![("encode.weight", "dense_1.weight"), ("decode.weight", "dense_2.weight")],
        // The other tensors have only one possible place.
        vec![("encode.", "dense_1")],
        vec![("decode.weight", "dense_2.weight")],
    ] {
        assert_eq!(read(&new().map(names.clone())).unwrap(), expected, "{names:?}");
    }
    let fault = |names: Vec<(&str, &str)>| reason(read(&new().map(names)));
    let absent = fault(vec![("encoder", "dense_1")]);
    assert!(absent.starts_with("LoadWeights::map: the file has no layer encoder. Expected: "), "{absent}");
    assert!(fault(vec![("encode", "dense_3")]).starts_with("LoadWeights::map: the network has no dense_3. "));
    assert!(
        fault(vec![("x.weight", "dense_1.weight")]).starts_with("LoadWeights::map: the file has no tensor x.weight")
    );
    assert!(fault(vec![("encode", "dense_1"), ("encode", "dense_2")]).contains("twice"));
    let more = of_pytorch(&[pair[0], pair[1], ("steps", &[1], &[7.0])]);
    let names = new().map([("encode", "dense_1"), ("decode", "dense_2")]);
    let told = reason(weights(&network, &more, &names));
    assert!(told.starts_with("tensors that the network does not have: steps. Expected: "), "{told}");
    assert_eq!(weights(&network, &more, &names.ignore_others()).unwrap(), expected);
}

/// Loading a number that f32 cannot hold gives an error with its tensor, value and position.
#[test]
fn a_number_that_f32_cannot_hold_is_named() {
    let network = Network::input(3).layer(Dense::new(2, Identity).without_bias()).build().unwrap();
    let read = |dtype, bytes: Vec<u8>| {
        let file = foreign(&[("fc.weight", dtype, &[2, 3], bytes)]);
        Model::weights_from_bytes(Device::Cpu, &network, &file).map(drop)
    };
    let doubles = |at: usize, number: f64| {
        let mut numbers = [0.5f64; 6];
        numbers[at] = number;
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()
    };
    // `edge` is the smallest f64 that rounds to infinity. The number below it rounds to f32's largest number.
    let edge = f64::from(f32::MAX) + 2f64.powi(103);
    read(Dtype::F64, doubles(4, edge.next_down())).unwrap();
    read(Dtype::F64, doubles(4, 1e-320)).unwrap();
    let fault = |at, number: f64| reason(read(Dtype::F64, doubles(at, number)));
    assert_eq!(fault(4, 1e300), "tensor fc.weight: 1e300 at [1, 1] is outside the range of f32 (±3.4e38)");
    assert!(fault(5, -edge).contains(": -3.4028235") && fault(5, -edge).contains("at [1, 2] is outside the range"));
    assert!(fault(2, f64::NAN).starts_with("tensor fc.weight: NaN at [0, 2] is not finite"));
    let single = |number: f32| f32s(&[0.0, 0.0, 0.0, number, 0.0, 0.0]);
    assert!(reason(read(Dtype::F32, single(f32::INFINITY))).contains("inf at [1, 0] is not finite"));
    let halves = [0u16, 0x7c00, 0, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert!(reason(read(Dtype::F16, halves)).contains("inf at [0, 1] is not finite"));
    let brain = [0u16, 0, 0, 0, 0, 0x7fc0].iter().flat_map(|n| n.to_le_bytes()).collect();
    assert!(reason(read(Dtype::BF16, brain)).contains("NaN at [1, 2] is not finite"));
}

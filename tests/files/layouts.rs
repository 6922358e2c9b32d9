//! Weight layouts in files of other programs: convolutions, and dense layers after flattened images.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::*;

/// Small whole numbers, so that all sums in these tests are exact.
fn whole(seed: usize, length: usize) -> Vec<f32> {
    (0..length).map(|i| ((i * i * 7 + i * 3 + seed) % 7) as f32 - 3.0).collect()
}

fn bytes_of(format: Option<&str>, tensors: &[(&str, &[usize], Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., numbers)| f32s(numbers)).collect();
    let views = tensors.iter().zip(&bytes);
    let views =
        views.map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata = format.map(|format| [("format".to_owned(), format.to_owned())].into_iter().collect());
    safetensors::serialize(views, metadata).unwrap()
}

/// The name, shape and numbers of each tensor in a file.
fn read(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let numbers = |data: &[u8]| data.chunks(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
    let mut all: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec(), numbers(view.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// `Conv2d(3, 4, (2, 3), stride=(1, 2)), ReLU, ConvTranspose2d(4, 2, (2, 3), stride=(2, 1)), Flatten, Linear(48, 3)` on
/// images [3, 4, 5], as PyTorch defines them, in PyTorch's layout.
fn of_pytorch(x: &[f32], tensors: &[(&str, &[usize], Vec<f32>)]) -> Vec<f32> {
    let [w1, b1, w2, b2, w3, b3] = [0, 1, 2, 3, 4, 5].map(|i| &tensors[i].2);
    let mut hidden = [0.0; 4 * 3 * 2];
    for (o, y, z) in triples([4, 3, 2]) {
        let taps = triples([3, 2, 3])
            .into_iter()
            .map(|(c, i, j)| x[(c * 4 + y + i) * 5 + 2 * z + j] * w1[((o * 3 + c) * 2 + i) * 3 + j]);
        hidden[(o * 3 + y) * 2 + z] = (b1[o] + taps.sum::<f32>()).max(0.0);
    }
    let mut image: Vec<f32> = (0..2 * 6 * 4).map(|i| b2[i / 24]).collect();
    for (c, y, z) in triples([4, 3, 2]) {
        for (o, i, j) in triples([2, 2, 3]) {
            image[(o * 6 + 2 * y + i) * 4 + z + j] += hidden[(c * 3 + y) * 2 + z] * w2[((c * 2 + o) * 2 + i) * 3 + j];
        }
    }
    (0..3).map(|unit| b3[unit] + image.iter().zip(&w3[48 * unit..]).map(|(x, w)| x * w).sum::<f32>()).collect()
}

fn triples([a, b, c]: [usize; 3]) -> Vec<(usize, usize, usize)> {
    (0..a * b * c).map(|i| (i / (b * c), i / c % b, i % c)).collect()
}

fn image_network() -> Network {
    Network::input([4, 5, 3])
        .layer(Conv::new(4, [2, 3]).stride([1, 2]).activation(Relu))
        .layer(Conv::transposed(2, [2, 3]).stride([2, 1]))
        .flatten()
        .dense(3, Identity)
        .build()
        .unwrap()
}

/// A network with PyTorch's weights gives PyTorch's outputs. A flipped kernel, or a flattened image in wgrad's layout,
/// would give other numbers.
#[test]
fn weights_of_pytorch_make_what_they_make_there() {
    let shapes: [(&str, &[usize]); 6] = [
        ("0.weight", &[4, 3, 2, 3]),
        ("0.bias", &[4]),
        ("2.weight", &[4, 2, 2, 3]),
        ("2.bias", &[2]),
        ("4.weight", &[3, 48]),
        ("4.bias", &[3]),
    ];
    let tensors: Vec<(&str, &[usize], Vec<f32>)> =
        shapes.iter().enumerate().map(|(i, &(name, shape))| (name, shape, whole(i, shape.iter().product()))).collect();
    let theirs = whole(9, 60);
    let ours: Vec<f32> = triples([4, 5, 3]).into_iter().map(|(y, z, c)| theirs[(c * 4 + y) * 5 + z]).collect();
    for format in [Some("pt"), None] {
        let file = bytes_of(format, &tensors);
        let model = Model::weights_from_bytes(Device::Cpu, &image_network(), &file).unwrap();
        assert_eq!(model.forward(&ours).unwrap(), of_pytorch(&theirs, &tensors));
        assert_eq!(read(&model.weights_to_bytes(Naming::PyTorch).unwrap()), read(&file));
    }
}

/// Keras' and MLX's kernels load in the right layout. The kernels are 2 × 3 with 3 inputs and 4 outputs, and each
/// number encodes its position.
#[test]
fn keras_and_mlx_order_kernels_their_ways() {
    let conv = |conv: Conv| Network::input([6, 6, 3]).layer(conv.without_bias()).build().unwrap();
    let value = |i: usize, j: usize, c: usize, o: usize| (1000 * i + 100 * j + 10 * c + o) as f32;
    let ours: Vec<f32> = (0..72).map(|n| value(n / 36, n / 12 % 3, n / 4 % 3, n % 4)).collect();
    let outputs_before: Vec<f32> = (0..72).map(|n| value(n / 36, n / 12 % 3, n % 3, n / 3 % 4)).collect();
    let outputs_first: Vec<f32> = (0..72).map(|n| value(n / 9 % 2, n / 3 % 3, n % 3, n / 18)).collect();
    let [plain, transposed] = [Conv::new(4, [2, 3]), Conv::transposed(4, [2, 3])].map(conv);
    let cases: [(&Network, _, &str, &[usize], &[f32]); 4] = [
        (&plain, None, "conv2d/kernel", &[2, 3, 3, 4], &ours),
        (&transposed, None, "conv2d_transpose/kernel", &[2, 3, 4, 3], &outputs_before),
        (&plain, Some("mlx"), "layers.0.weight", &[4, 2, 3, 3], &outputs_first),
        (&transposed, Some("mlx"), "layers.0.weight", &[4, 2, 3, 3], &outputs_first),
    ];
    for (network, format, name, shape, numbers) in cases {
        let file = bytes_of(format, &[(name, shape, numbers.to_vec())]);
        let model = Model::weights_from_bytes(Device::Cpu, network, &file).unwrap();
        assert_eq!(model.parameters().unwrap()[network.parameters()[0].range()], ours, "{name} {format:?}");
        if format.is_none() {
            assert_eq!(read(&model.weights_to_bytes(Naming::Keras).unwrap()), read(&file));
        }
    }
}

/// Networks with several kinds of layers keep their weights in every naming, in one dimension too. Some normalise rows
/// that are flattened images.
#[test]
fn image_networks_go_out_and_come_back_in_every_naming() {
    let image = Network::input([4, 4, 3])
        .layer(Conv::new(3, 3).same().without_bias())
        .batch_norm()
        .activation(Relu)
        .layer(Conv::new(6, 3).same().activation(Relu))
        .layer(GroupNorm::new(3))
        .layer(Conv::transposed(3, 2).stride(2))
        .layer(RmsNorm::default())
        .layer(Conv::new(4, 1))
        .layer(InstanceNorm::default())
        .flatten()
        .batch_norm()
        .dense(5, Tanh)
        .layer_norm()
        .dense(24, Identity)
        .layer(Layer::Reshape([2, 3, 4].into()))
        .layer(Conv::transposed(2, 3));
    let sequence = Network::input([9, 3]).layer(Conv::new(3, 3)).layer(Conv::transposed(3, 3)).flatten().dense(2, Relu);
    for network in [image, sequence].map(|network| network.build().unwrap()) {
        let mut weights = network.initial_parameters(5);
        for tensor in network.parameters().iter().chain(network.states()) {
            weights[tensor.range()].iter_mut().enumerate().for_each(|(i, weight)| *weight += i as f32);
        }
        let model = Model::new(Device::Cpu, &network, &weights).unwrap();
        for naming in [Naming::Wgrad, Naming::PyTorch, Naming::Keras] {
            let file = model.weights_to_bytes(naming).unwrap();
            let copy = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
            assert_eq!(bits(&copy.parameters().unwrap()), bits(&weights), "{naming:?}");
        }
        let [ours, theirs] =
            [Naming::Wgrad, Naming::PyTorch].map(|naming| read(&model.weights_to_bytes(naming).unwrap()));
        // 64 positions of 4 channels are flattened; a row becomes 6 positions of 4 channels.
        let find = |all: &[(String, Vec<usize>, Vec<f32>)], name: &str| {
            all.iter().find(|(found, ..)| found == name).map(|(.., numbers)| numbers.clone())
        };
        if let Some(scale) = find(&ours, "batch_norm_11.scale") {
            let [theirs_scale, theirs_bias] = ["11.weight", "15.bias"].map(|name| find(&theirs, name).unwrap());
            let bias = find(&ours, "dense_14.bias").unwrap();
            let positions = scale.len() / 4;
            assert!((0..scale.len()).all(|i| theirs_scale[i % 4 * positions + i / 4] == scale[i]));
            assert!((0..24).all(|i| theirs_bias[i % 4 * 6 + i / 4] == bias[i]));
        }
    }
}

/// A flattened image that is concatenated with other features has no known layout in PyTorch. Saving such a network is
/// an error.
#[test]
fn a_flattened_image_beside_other_features_is_refused() {
    let network = Network::input([4, 4, 3])
        .layer(Conv::new(2, 3))
        .flatten()
        .branch(|x| x, |x| x.dense(3, Relu))
        .dense(2, Identity)
        .build()
        .unwrap();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    let error = model.weights_to_bytes(Naming::PyTorch).unwrap_err().to_string();
    assert!(error.starts_with("layer concat_4 in a file of another program: expected "), "{error}");
    let file = model.weights_to_bytes(Naming::Keras).unwrap();
    let copy = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
    assert_eq!(copy.parameters().unwrap(), model.parameters().unwrap());

    let blocks =
        Network::input([4, 4, 3]).layer(Conv::new(8, 3)).layer(GroupNorm::new(2)).layer(Layer::DepthToSpace(2));
    let blocks = blocks.build().unwrap();
    let model = Model::new(Device::Cpu, &blocks, &blocks.initial_parameters(1)).unwrap();
    let error = model.weights_to_bytes(Naming::PyTorch).unwrap_err().to_string();
    assert!(error.starts_with("layer group_norm_2 in a file of another program: "), "{error}");
}

/// Groups divide the outputs in the same order everywhere. PyTorch stores grouped transposed weights as \[inputs,
/// outputs / groups, ..\], and a block's channels are in other groups there. These two cases are errors.
#[test]
fn groups_are_in_the_order_of_pytorch_or_refused() {
    let grouped = Network::input([4, 4, 6]).layer(Conv::new(4, 3).groups(2)).build().unwrap();
    let model = Model::new(Device::Cpu, &grouped, &grouped.initial_parameters(1)).unwrap();
    let file = model.weights_to_bytes(Naming::PyTorch).unwrap();
    let ours = model.parameters().unwrap();
    let weight = read(&file).into_iter().find(|(name, ..)| name.ends_with("weight"));
    let (_, shape, theirs) = weight.unwrap();
    assert_eq!(shape, [4, 3, 3, 3]);
    // Output 2, input 1 of its group, row 2, column 0.
    assert_eq!(theirs[((2 * 3 + 1) * 3 + 2) * 3], ours[((2 * 3) * 3 + 1) * 4 + 2]);

    let conv = Conv::transposed(4, 3).groups(2);
    let transposed = Network::input([4, 4, 6]).layer(conv).build().unwrap();
    let blocks = Network::input([4, 4, 3]).layer(Layer::SpaceToDepth(2)).layer(Conv::new(12, 1).groups(2));
    let blocks = blocks.build().unwrap();
    for (network, layer) in [(transposed, "conv_transposed_1"), (blocks, "conv_2")] {
        let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
        let error = model.weights_to_bytes(Naming::PyTorch).unwrap_err().to_string();
        let start = format!("layer {layer} in a file of another program: expected ");
        assert!(error.starts_with(&start), "{error}");
    }
}

/// Flax has two layouts of transposed convolutions, with and without flipped kernels. No file says which, so loading
/// without a given layout is an error.
#[test]
fn transposed_convolutions_of_flax_are_refused() {
    let network = Network::input([4, 4, 3]).layer(Conv::transposed(3, 2)).build().unwrap();
    let tensors: [(&str, &[usize], Vec<f32>); 2] =
        [("ConvTranspose_0.kernel", &[2, 2, 3, 3], whole(1, 36)), ("ConvTranspose_0.bias", &[3], whole(2, 3))];
    let file = bytes_of(Some("flax"), &tensors);
    let error = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap_err().to_string();
    assert!(error.contains("conv_transposed_1") && error.contains("transpose_kernel=True"), "{error}");
    let options = LoadWeights::default().layout(Naming::Keras);
    let model = Model::weights_from_bytes_with(Device::Cpu, &network, &file, &options).unwrap();
    // The file's layout is [height, width, outputs, inputs].
    let (ours, theirs) = (model.parameters().unwrap(), &tensors[0].2);
    assert_eq!((ours[1], ours[3], ours[9]), (theirs[3], theirs[1], theirs[9]));
}

/// `PixelUnshuffle(2), Conv2d(12, 5, 1), Conv2d(5, 12, 1), ReLU, PixelShuffle(2)`: channel c of pixel k of a block has
/// the index 3 · k + c in wgrad and 4 · c + k in PyTorch.
#[test]
fn blocks_of_pixels_have_their_channels_first_in_pytorch() {
    let both = Network::input([4, 4, 3]).layer(Layer::SpaceToDepth(2)).layer(Conv::new(12, 3).same());
    let both = both.layer(Layer::DepthToSpace(2)).build().unwrap();
    let model = Model::new(Device::Cpu, &both, &both.initial_parameters(1)).unwrap();
    let file = model.weights_to_bytes(Naming::PyTorch).unwrap();
    let copy = Model::weights_from_bytes(Device::Cpu, &both, &file).unwrap();
    assert_eq!(copy.parameters().unwrap(), model.parameters().unwrap());

    let network = Network::input([4, 4, 3])
        .layer(Layer::SpaceToDepth(2))
        .layer(Conv::new(5, 1))
        .layer(Conv::new(12, 1))
        .activation(Relu)
        .layer(Layer::DepthToSpace(2))
        .build()
        .unwrap();
    let theirs = |i: usize| 4 * (i % 3) + i / 3;
    let tensors: [(&str, &[usize], Vec<f32>); 4] = [
        ("1.weight", &[5, 12, 1, 1], (0..60).map(|i| i as f32).collect()),
        ("1.bias", &[5], vec![0.0; 5]),
        ("2.weight", &[12, 5, 1, 1], (0..60).map(|i| i as f32).collect()),
        ("2.bias", &[12], (0..12).map(|i| i as f32).collect()),
    ];
    let file = bytes_of(Some("pt"), &tensors);
    let model = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
    let weights = model.parameters().unwrap();
    let [first, _, second, bias] = [0, 1, 2, 3].map(|i| &weights[network.parameters()[i].range()]);
    for i in 0..12 {
        assert_eq!(bias[i], theirs(i) as f32);
        for other in 0..5 {
            assert_eq!(first[5 * i + other], (12 * other + theirs(i)) as f32);
            assert_eq!(second[12 * other + i], (5 * theirs(i) + other) as f32);
        }
    }
    assert_eq!(read(&model.weights_to_bytes(Naming::PyTorch).unwrap()), read(&file));
}

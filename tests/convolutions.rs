//! Tests convolutions: every kernel that computes them, many shapes, and errors.

mod common;

use common::reference::{Corners, Sample, outputs};
use common::*;
use wgrad::plan::{DataInfo, K, MatmulKernel, Role, Tile};
use wgrad::{Activation::*, Adam, Conv, Device, Gpu, Layer, Loss, Model, Network, Plan, TrainerConfig};

/// Shapes of samples, and the convolutions applied to them. Kernels have sizes 1 to 7. Some strides exceed the kernel,
/// some convolutions are dilated, some lengths are 1. Channels are a whole number of vectors or not.
fn cases() -> Vec<([u32; 3], Conv)> {
    vec![
        ([1, 1, 1], Conv::new(1, 1)),
        ([5, 7, 3], Conv::new(4, 3).activation(Relu)),
        ([8, 8, 4], Conv::new(8, 3).same().activation(Tanh)),
        ([9, 6, 5], Conv::new(3, [2, 3]).stride([2, 1]).activation(Silu)),
        ([7, 7, 8], Conv::new(33, 3).same().stride(2)),
        ([11, 5, 4], Conv::new(4, 2).stride(3).activation(Relu)),
        ([12, 13, 2], Conv::new(5, 3).dilation([2, 3]).same()),
        ([9, 9, 1], Conv::new(6, 7).padding(3).activation(Relu)),
        ([1, 20, 16], Conv::new(4, [1, 5]).padding_of([0, 0], [4, 0])),
        ([20, 1, 3], Conv::new(2, [3, 1]).without_bias()),
        ([4, 5, 3], Conv::transposed(4, 3).stride(2).padding(1).output_padding(1).activation(Relu)),
        ([3, 4, 8], Conv::transposed(3, 2).stride(2)),
        ([5, 5, 4], Conv::transposed(8, 4).same().stride(2).activation(Tanh)),
        ([6, 4, 2], Conv::transposed(5, [3, 2]).dilation(2)),
        ([3, 3, 5], Conv::transposed(1, 2).stride(3)),
        // Groups: 2; 3, also with one output channel each; depthwise with channels divisible by four and not; depthwise
        // with a multiplier of 2; transposed.
        ([7, 6, 8], Conv::new(8, 3).groups(2).same().activation(Relu)),
        ([6, 7, 6], Conv::new(9, [3, 2]).groups(3).stride([1, 2]).activation(Tanh)),
        ([6, 5, 12], Conv::new(3, 2).groups(3).dilation(2)),
        ([9, 8, 8], Conv::new(8, 3).groups(8).same().stride(2).activation(Silu)),
        ([5, 6, 5], Conv::new(5, 3).groups(5).padding(2).dilation(2).without_bias()),
        ([6, 6, 4], Conv::new(8, 3).groups(4).same().activation(Relu)),
        ([4, 3, 16], Conv::new(64, 2).groups(2)),
        ([4, 5, 6], Conv::transposed(4, 3).groups(2).stride(2).padding(1).output_padding(1).activation(Relu)),
        ([3, 4, 8], Conv::transposed(8, 4).groups(8).same().stride(2)),
        ([6, 7, 12], Conv::new(12, [2, 5]).padding(2).activation(Tanh)),
    ]
}

/// Compares forward pass, input gradient and weight gradient with the CPU reference. An activation precedes the
/// convolution. No other layer has a matmul, because the driver compiles a matmul for each geometry.
fn check(gpu: &Gpu, sample: [u32; 3], conv: Conv) {
    const BATCH: u32 = 4;
    let network = Network::input(sample).activation(Tanh).layer(conv).build().unwrap();
    let plan = Plan::chain(&network, &Adam::default().into(), &batches_of(BATCH), &[true]).unwrap();
    let mut lockstep = lockstep(gpu, plan);
    let mut random = Random(7);
    let mut numbers = |features: u32| random.f32s((BATCH * features) as usize);
    let given = [
        (Role::Input(0), numbers(network.inputs())),
        (Role::OutputGradient(0), numbers(network.outputs())),
        (Role::Parameters, network.initial_parameters(7)),
    ];
    for (role, numbers) in given {
        let id = lockstep.plan().find(role).unwrap();
        lockstep.set(id, &numbers).unwrap();
    }
    let data = lockstep.plan().find(Role::Data(0)).unwrap();
    lockstep.set(data, &[DataInfo { rows: BATCH, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, &format!("{sample:?} {conv:?}"));
}

/// Every case agrees with the CPU reference.
#[test]
fn every_convolution_agrees_with_its_twin() {
    // Each case runs on one adapter only, because the driver compiles three matmuls for it.
    for ((sample, conv), gpu) in cases().into_iter().zip(gpus().iter().cycle()) {
        check(gpu, sample, conv);
    }
}

/// Every matmul kernel that supports convolutions agrees with the CPU reference.
#[test]
fn every_kernel_of_products_makes_convolutions() {
    let kernel = |tile, k| MatmulKernel { tile, k };
    let direct = [1, 2, 3, 4].map(|quads| kernel(Tile::Direct { quads }, K::Whole));
    let kernels = [
        kernel(Tile::Square32, K::Whole),
        kernel(Tile::Square32, K::Slices(4)),
        kernel(Tile::Square32, K::Parts(3)),
        kernel(Tile::Square64, K::Whole),
        kernel(Tile::Plain, K::Whole),
        kernel(Tile::Plain, K::Parts(2)),
        kernel(Tile::Subgroup { rows: 16 }, K::Whole),
        kernel(Tile::Sliding, K::Whole),
        kernel(Tile::Grouped { lanes: 64 }, K::Whole),
        kernel(Tile::Grouped { lanes: 8 }, K::Parts(3)),
    ];
    for kernel in kernels.into_iter().chain(direct) {
        let gpu = with_products(kernel);
        // Channels that are whole vectors and not; a transposed convolution; groups.
        let cases_of_it: &[usize] = match kernel.tile {
            Tile::Grouped { .. } => &[3, 12, 16, 18, 20],
            // Inputs and weights read as vectors and as single numbers. The columns of an invocation divide those of a
            // group.
            Tile::Direct { quads: 1 } => &[5, 9, 12, 15],
            Tile::Direct { quads: 2 } => &[2, 21],
            Tile::Direct { quads: 3 } => &[4, 24],
            Tile::Direct { .. } => &[21],
            Tile::Square32 | Tile::Plain if kernel.k == K::Whole => &[2, 3, 12],
            _ => &[2, 3],
        };
        for &case in cases_of_it {
            let (sample, conv) = cases()[case];
            check(&gpu, sample, conv);
        }
    }
}

/// The sliding kernel reads several columns of the image as one if the convolution has a stride.
#[test]
fn strided_convolutions_slide() {
    let gpu = with_products(MatmulKernel { tile: Tile::Sliding, k: K::Whole });
    let cases = [
        // The first tap is the first of the columns that are read as one, or not.
        ([9, 6, 3], Conv::new(8, 3).stride(2).activation(Relu)),
        ([8, 8, 5], Conv::new(12, 3).stride(2).padding(1)),
        ([11, 12, 2], Conv::new(24, 5).stride(3).padding(2).activation(Tanh)),
        // Several blocks of channels. A stride along one dimension.
        ([8, 8, 16], Conv::new(32, 3).stride(2).padding(1)),
        ([9, 5, 4], Conv::new(8, 3).stride([2, 1])),
        ([5, 8, 1], Conv::new(4, 3).stride([1, 2])),
    ];
    cases.into_iter().for_each(|(sample, conv)| check(&gpu, sample, conv));
}

/// The CPU reference matches the textbook's convolution in f64.
#[test]
fn a_convolution_is_the_textbooks() {
    for (sample, conv) in cases() {
        let network = Network::input(sample).layer(conv).build().unwrap();
        let weights = network.initial_parameters(3);
        let x: Vec<f32> = (0..sample.iter().product::<u32>()).map(|i| (i * 29 % 31) as f32 / 31.0 - 0.4).collect();
        let y = Model::new(Device::Cpu, &network, &weights).unwrap().forward(&x).unwrap();
        let of = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
        let own: Vec<Vec<f64>> = network.parameters().iter().map(|p| of(&weights[p.range()])).collect();
        let own: Vec<&[f64]> = own.iter().map(Vec::as_slice).collect();
        let corners = &mut Corners::default();
        let expected = outputs(&Layer::Conv(conv), &own, &[&Sample::new(&sample, of(&x))], corners).remove(0);
        let expected = common::reference::activated(conv.activation, &expected, corners);
        assert_eq!(network.output_specs()[0].shape[..], expected.shape[..], "{conv:?}");
        // A sum of n terms has an error of n roundings of the terms' magnitude, which is at most 1 here. The slopes of
        // tanh and silu are at most 1.1.
        let terms = network.parameters()[0].len() / conv.channels + 2;
        let bound = 1.1 * f64::from(terms * terms) * f64::from(f32::EPSILON);
        for (i, (y, expected)) in y.iter().zip(&expected.values).enumerate() {
            assert!((f64::from(*y) - expected).abs() <= bound, "{conv:?} {i}: {y} is not {expected}");
        }
    }
}

/// Bias, activation and optimizer update are fused into the convolution's matmuls.
#[test]
fn a_convolution_takes_bias_activation_and_optimizer_in() {
    let network = Network::input([8, 8, 4])
        .layer(Conv::new(8, 3).activation(Relu))
        .layer(Conv::new(8, 3).same().activation(Relu))
        .flatten()
        .dense(3, Identity)
        .build()
        .unwrap();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &TrainerConfig::default());
    let plan = plan.unwrap();
    let kernels: Vec<&str> = plan.step.iter().map(|op| op.kernel()).collect();
    // Three matmuls forward. Backward: two for the inputs of layers, and three for the weights, fused with their
    // updates.
    let expected = [&["next_batch", "gather"][..], &["matmul"; 3], &["softmax_cross_entropy"], &["matmul"; 5]].concat();
    assert_eq!(kernels, expected, "{plan}");
    assert!(plan.find(Role::Gradients).is_none(), "{plan}");
}

/// An invalid convolution is an error that names the layer, the expected and the given values.
#[test]
fn bad_convolutions_are_errors_that_name_the_layer_and_the_shapes() {
    let error = |sample: &[u32], conv: Conv| {
        let sample = wgrad::Shape::try_from(sample).unwrap();
        Network::input(sample).layer(conv).build().unwrap_err().to_string()
    };
    assert_eq!(
        error(&[4, 5, 3], Conv::new(8, [5, 3])),
        "layer conv_1 (from input [4, 5, 3]): expected an input, with its padding, of at least 5 (the length of the \
         kernel), got [4, 5, 3]"
    );
    let expected = [
        (error(&[784], Conv::new(8, 3)), "expected samples of shape [height, width, channels] or [steps, channels]"),
        (error(&[4, 4, 1], Conv::new(0, 3)), "at least 1 channel"),
        (
            error(&[4, 4, 6], Conv::new(8, 3).groups(3)),
            "channels divisible by its 3 groups, got 6 inputs and 8 outputs",
        ),
        (error(&[4, 4, 6], Conv::new(8, 3).groups(0)), "at least 1 group, got 0"),
        (error(&[4, 4, 1], Conv::new(1, [0, 3])), "a kernel from 1 to 4096, got [0, 3]"),
        (error(&[4, 4, 1], Conv::new(1, 3).stride(0)), "a stride from 1 to 4096"),
        (error(&[4, 4, 1], Conv::new(1, 3).dilation(0)), "a dilation from 1 to 4096"),
        (error(&[4, 4, 1], Conv::new(1, 3).padding(9999)), "a padding from 0 to 4096"),
        (error(&[9, 4], Conv::new(1, [3, 2])), "one length as the kernel of a sequence"),
        (error(&[4, 4, 1], Conv::transposed(1, 2).stride(2).output_padding(2)), "an output padding below the stride"),
    ];
    for (message, part) in expected {
        assert!(message.contains(part) && message.starts_with("layer conv"), "{message}");
    }
}

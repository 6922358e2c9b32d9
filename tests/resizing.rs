//! Tests upsampling, padding, cropping, depth-to-space and space-to-depth. Compares outputs with the textbook formula
//! in f64 and gradients with the transposed map. Tests errors too.

mod common;

use common::reference::{Corners, Sample, outputs};
use common::*;
use wgrad::plan::{DataInfo, Role};
use wgrad::{Activation::Identity, Adam, Crop, Device, Layer, Model, Network, Pad, Plan, Shape, Upsample};

/// Factors, target sizes that are no multiples or smaller, lengths of 1, channels that do and do not fill vectors,
/// sequences.
fn cases() -> Vec<(Vec<u32>, Layer)> {
    let layers: [(&[u32], Layer); 19] = [
        (&[1, 1, 1], Upsample::nearest(1).into()),
        (&[4, 5, 3], Upsample::nearest(2).into()),
        (&[3, 4, 8], Upsample::nearest([1, 3]).into()),
        (&[5, 7, 4], Upsample::nearest(1).to([8, 3]).into()),
        (&[4, 5, 4], Upsample::bilinear(2).into()),
        (&[3, 1, 5], Upsample::bilinear([3, 4]).into()),
        (&[6, 5, 33], Upsample::bilinear(1).to([4, 11]).into()),
        (&[7, 4], Upsample::bilinear(2).into()),
        (&[5, 3], Upsample::nearest(3).into()),
        (&[4, 5, 4], Pad::zeros(2).into()),
        (&[4, 5, 3], Pad::zeros(0).sides([1, 0], [0, 3]).into()),
        (&[4, 5, 4], Pad::reflect([3, 4]).into()),
        (&[2, 3, 1], Pad::replicate(0).sides([5, 0], [1, 2]).into()),
        (&[6, 3], Pad::reflect(2).into()),
        (&[6, 8], Pad::zeros(2).into()),
        (&[5, 6, 4], Crop::new(0).sides([1, 2], [0, 3]).into()),
        (&[5, 3], Crop::new(2).into()),
        (&[2, 3, 36], Layer::DepthToSpace(3)),
        (&[4, 6, 5], Layer::SpaceToDepth(2)),
    ];
    layers.into_iter().map(|(sample, layer)| (sample.to_vec(), layer)).collect()
}

fn network(sample: &[u32], layer: &Layer) -> Network {
    Network::input(Shape::try_from(sample).unwrap()).layer(layer.clone()).build().unwrap()
}

/// Outputs on the CPU must agree with the textbook formula in f64.
#[test]
fn what_comes_out_is_the_textbooks() {
    for (sample, layer) in cases() {
        let network = network(&sample, &layer);
        let x = Random(7).f32s(sample.iter().product::<u32>() as usize);
        let y = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap().forward(&x).unwrap();
        let x = Sample::new(&sample, x.into_iter().map(f64::from).collect());
        let expected = outputs(&layer, &[], &[&x], &mut Corners::default()).remove(0);
        assert_eq!(network.output_specs()[0].shape[..], expected.shape[..], "{layer:?}");
        for (i, (y, expected)) in y.iter().zip(&expected.values).enumerate() {
            // Interpolation weights are f32 with sum 1, two by two, for numbers below 1. The sum is rounded too.
            assert!((f64::from(*y) - expected).abs() <= 4.0 / 16_777_216.0, "{layer:?} {i}: {y} is not {expected}");
        }
    }
}

/// Gradients must agree in lockstep. They must be the transposed map: <g, A x> = <Aᵀ g, x>.
#[test]
fn gradients_are_the_transposed_map() {
    for (sample, layer) in cases() {
        let network = network(&sample, &layer);
        let rows = 3;
        let plan = Plan::chain(&network, &Adam::default().into(), &batches_of(rows), &[true]).unwrap();
        let mut lockstep = lockstep(gpu(), plan);
        let mut random = Random(11);
        let mut set = |role, count| {
            let id = lockstep.plan().find(role).unwrap();
            // All numbers are positive, so that nothing cancels.
            let numbers: Vec<f32> = random.f32s((rows * count) as usize).into_iter().map(f32::abs).collect();
            lockstep.set(id, &numbers).unwrap();
            numbers
        };
        let (x, g) = (set(Role::Input(0), network.inputs()), set(Role::OutputGradient(0), network.outputs()));
        let id = lockstep.plan().find(Role::Data(0)).unwrap();
        lockstep.set(id, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
        assert_agree(&mut lockstep, &format!("{layer:?}"));
        let get = |role| lockstep.get(lockstep.plan().find(role).unwrap());
        let (y, dx) = (get(Role::Output(0)), get(Role::InputGradient(0)));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        // Numbers of dx are sums of up to 36 terms, all positive.
        let (forth, back) = (dot(&g, &y), dot(&dx, &x));
        let bound = 2.0 * 38.0 / 16_777_216.0 * forth;
        assert!(forth > 0.0 && (forth - back).abs() <= bound, "{layer:?}: {forth} is not {back}");
    }
}

/// Depth-to-space and space-to-depth must be inverses.
#[test]
fn space_and_depth_undo_each_other() {
    let network = Network::input([4, 6, 3]).layer(Layer::SpaceToDepth(2)).layer(Layer::DepthToSpace(2));
    let network = network.build().unwrap();
    let x = Random(3).f32s(72);
    let model = Model::new(gpu(), &network, &network.initial_parameters(1)).unwrap();
    assert_eq!(model.forward(&x).unwrap(), x);
    // TensorFlow's order: in a block, the channels of the first pixel come first.
    let network = Network::input([1, 1, 8]).layer(Layer::DepthToSpace(2)).build().unwrap();
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let y = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap().forward(&x).unwrap();
    assert_eq!((network.output_specs()[0].shape, &y[..]), ([2, 2, 2].into(), &x[..]));
}

/// Files must keep these layers.
#[cfg(feature = "files")]
#[test]
fn files_have_these_layers() {
    let network = Network::input([4, 6, 4])
        .layer(Upsample::bilinear(1).to([6, 7]))
        .layer(Pad::reflect(1))
        .layer(Crop::new(0).sides([1, 1], [0, 1]))
        .layer(Layer::SpaceToDepth(2))
        .layer(Layer::DepthToSpace(4))
        .flatten()
        .dense(2, Identity)
        .build()
        .unwrap();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    let copy = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    assert_eq!(copy.network(), &network);
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    assert_eq!(names[..5], ["upsample_1", "pad_2", "crop_3", "space_to_depth_4", "depth_to_space_5"]);
}

/// Wrong options must return an error that names the layer and the shapes.
#[test]
fn bad_options_are_errors_that_name_the_layer_and_the_shapes() {
    let error = |sample: &[u32], layer: Layer| {
        let sample = Shape::try_from(sample).unwrap();
        Network::input(sample).layer(layer).build().unwrap_err().to_string()
    };
    let expected = [
        (
            error(&[4, 5, 3], Crop::new([2, 1]).into()),
            "layer crop_1 (from input [4, 5, 3]): expected lengths from 1 to 1048576 along axis 0, got an input of 4 \
             and an output of 0",
        ),
        (
            error(&[9], Upsample::nearest(2).into()),
            "layer upsample_1 (from input [9]): expected samples of shape [height, width, channels] or [steps, \
             channels], got [9]",
        ),
        (
            error(&[4, 5, 3], Upsample::nearest([2, 0]).into()),
            "layer upsample_1 (from input [4, 5, 3]): expected lengths from 1 to 1048576 along axis 1, got an input of \
             5 and an output of 0",
        ),
        (
            error(&[1, 1, 3], Upsample::bilinear(256).into()),
            "layer upsample_1 (from input [1, 1, 3]): expected at most 32768 outputs that read the same input, got 256 \
             x 256",
        ),
        (
            error(&[4, 5, 3], Pad::reflect(4).into()),
            "layer pad_1 (from input [4, 5, 3]): expected margins below 4 (the length that they mirror), got [4, 4]",
        ),
        (
            error(&[4, 5, 6], Layer::DepthToSpace(2)),
            "layer depth_to_space_1 (from input [4, 5, 6]): expected channels divisible by 4 (2 x 2), got [4, 5, 6]",
        ),
        (
            error(&[4, 5, 6], Layer::SpaceToDepth(2)),
            "layer space_to_depth_1 (from input [4, 5, 6]): expected a height and a width divisible by 2, got [4, 5, \
             6]",
        ),
        (
            error(&[4, 5, 6], Layer::SpaceToDepth(0)),
            "layer space_to_depth_1 (from input [4, 5, 6]): expected blocks of at least 1 pixel, got 0",
        ),
        (
            error(&[6, 4], Layer::DepthToSpace(2)),
            "layer depth_to_space_1 (from input [6, 4]): expected samples of shape [height, width, channels], got [6, \
             4]",
        ),
    ];
    for (message, expected) in expected {
        assert_eq!(message, expected);
    }
}

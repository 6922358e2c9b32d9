//! Tests pooling against the textbook formula in f64, training on both devices, files and errors.

mod common;

use common::reference::{Corners, Sample, outputs};
use common::*;
use wgrad::{Activation::*, Adam, Conv, Device, Layer, Loss, Model, Network, Plan, Pool, Shape};

/// Windows that overlap, touch and lie apart; padding; lengths of 1; channels that do and do not fill vectors;
/// sequences.
fn cases() -> Vec<(Vec<u32>, Pool)> {
    let windows: [(&[u32], Pool); 10] = [
        (&[1, 1, 1], Pool::max(1)),
        (&[6, 8, 4], Pool::max(2)),
        (&[7, 5, 3], Pool::max(2)),
        (&[9, 8, 5], Pool::max(3).stride(2).padding(1)),
        (&[7, 9, 8], Pool::max([2, 3]).stride([3, 1]).same()),
        (&[8, 7, 2], Pool::max(2).stride(3).padding(1)),
        (&[1, 12, 33], Pool::max([1, 4]).stride([1, 2])),
        (&[7, 7, 4], Pool::max(7)),
        (&[20, 1], Pool::max(5).stride(2).padding(2)),
        (&[13, 8], Pool::max(2).same()),
    ];
    let averages = windows.map(|(sample, pool)| (sample, average_of(pool)));
    windows.into_iter().chain(averages).map(|(sample, pool)| (sample.to_vec(), pool)).collect()
}

fn average_of(pool: Pool) -> Pool {
    let mut average = Pool::average(pool.size).stride(pool.stride);
    average.padding = pool.padding;
    average
}

fn shape(sample: &[u32]) -> Shape {
    Shape::try_from(sample).unwrap()
}

/// Pooling on the CPU must agree with the textbook formula in f64.
#[test]
fn a_pool_is_the_textbooks() {
    for (sample, pool) in cases() {
        let network = Network::input(shape(&sample)).layer(pool).build().unwrap();
        let x = Random(7).f32s(sample.iter().product::<u32>() as usize);
        let y = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap().forward(&x).unwrap();
        let x = Sample::new(&sample, x.into_iter().map(f64::from).collect());
        let expected = outputs(&Layer::Pool(pool), &[], &[&x], &mut Corners::default()).remove(0);
        assert_eq!(network.output_specs()[0].shape[..], expected.shape[..], "{pool:?}");
        for (i, (y, expected)) in y.iter().zip(&expected.values).enumerate() {
            // A mean is rounded once, a maximum never.
            assert!((f64::from(*y) - expected).abs() <= expected.abs() / 16_777_216.0, "{pool:?} {i}: {y}, {expected}");
        }
    }
}

/// Every pool must train in lockstep, with a full and a partial batch. It lies between layers that need its gradient.
#[test]
fn every_pool_trains_in_lockstep() {
    for (sample, pool) in cases() {
        let channels = *sample.last().unwrap();
        let conv = Conv::new(channels, 1).activation(Relu);
        let network = Network::input(shape(&sample)).layer(conv).layer(pool).flatten().dense(3, Identity);
        let network = network.build().unwrap();
        let (loss, adam) = (Loss::SoftmaxCrossEntropy, Adam::default().into());
        let plan = Plan::training(&network, loss, &adam, &batches_of(4)).unwrap();
        let mut lockstep = lockstep_with_data(gpu(), &network, plan, 6, 7);
        for _ in 0..2 {
            assert_agree(&mut lockstep, &format!("{sample:?} {pool:?}"));
        }
    }
}

/// Every pool must agree with the CPU reference in a forward pass too, where a maximum stores no taps.
#[test]
fn every_pool_runs_forward_in_lockstep() {
    for (sample, pool) in cases() {
        let network = Network::input(shape(&sample)).layer(pool).build().unwrap();
        let mut lockstep = lockstep(gpu(), Plan::forward(&network, 3).unwrap());
        let mut numbers = Random(7).f32s(3 * network.inputs() as usize);
        numbers[5 % network.inputs() as usize] = f32::NAN;
        let id = lockstep.plan().find(wgrad::plan::Role::Input(0)).unwrap();
        lockstep.set(id, &numbers).unwrap();
        assert_agree(&mut lockstep, &format!("{sample:?} {pool:?}"));
    }
}

/// A NaN must reach the output. The gradient of equal maxima must go to the first of them.
#[test]
fn nan_and_ties_are_what_the_documentation_says() {
    let network = Network::input([4, 1]).max_pool(2).build().unwrap();
    let mut lockstep =
        lockstep(gpu(), Plan::chain(&network, &Adam::default().into(), &batches_of(2), &[true]).unwrap());
    let find = |lockstep: &wgrad::lockstep::Lockstep, role| lockstep.plan().find(role).unwrap();
    use wgrad::plan::{DataInfo, Role};
    let values = [(Role::Input(0), vec![3.0, 3.0, f32::NAN, 9.0, 1.0, 2.0, f32::NEG_INFINITY, f32::NAN])];
    let values = values.into_iter().chain([(Role::OutputGradient(0), vec![1.0, 2.0, 3.0, 4.0])]);
    for (role, numbers) in values {
        let id = find(&lockstep, role);
        lockstep.set(id, &numbers).unwrap();
    }
    let id = find(&lockstep, Role::Data(0));
    lockstep.set(id, &[DataInfo { rows: 2, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, "a maximum");
    let y = lockstep.get(find(&lockstep, Role::Output(0)));
    assert!(y[0] == 3.0 && y[1].is_nan() && y[2] == 2.0 && y[3].is_nan(), "{y:?}");
    let dx = lockstep.get(find(&lockstep, Role::InputGradient(0)));
    assert_eq!(dx, [1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 4.0]);
}

/// The network builder must offer all kinds of pooling.
#[test]
fn builders_have_pools() {
    let network = Network::input([28, 28, 1])
        .conv(32, 3, Relu)
        .max_pool(2)
        .conv(64, 3, Relu)
        .average_pool([2, 1])
        .global_average_pool()
        .dense(10, Softmax)
        .build()
        .unwrap();
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    assert_eq!(names, ["conv_1", "max_pool_2", "conv_3", "average_pool_4", "reduce_mean_5", "dense_6"]);
    assert!(network.summary().to_string().contains("[batch, 5, 11, 64]"), "{}", network.summary());
    let sequence = Network::input([9, 4]).max_pool(3).global_max_pool().build().unwrap();
    assert_eq!(sequence.output_specs()[0].shape[..], [4]);
    let error = Network::input(5).global_max_pool().build().unwrap_err().to_string();
    let expected = "samples of shape [height, width, channels] or [steps, channels], got [5]";
    assert_eq!(error, format!("input of a global pool: expected {expected}"));
}

/// Files must keep pooling layers.
#[cfg(feature = "files")]
#[test]
fn files_have_pools() {
    let pool = Pool::average([3, 2]).stride([1, 2]).same();
    let network = Network::input([6, 5, 2]).max_pool(2).layer(pool).flatten().dense(2, Identity).build().unwrap();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    let copy = Model::from_bytes(Device::Cpu, &model.to_bytes().unwrap()).unwrap();
    assert_eq!(copy.network(), &network);
}

/// Wrong pooling options must return an error that names the layer and the shapes.
#[test]
fn bad_pools_are_errors_that_name_the_layer_and_the_shapes() {
    let error = |sample: &[u32], pool: Pool| {
        let message = Network::input(shape(sample)).layer(pool).build().unwrap_err().to_string();
        assert!(message.starts_with("layer ") && message.contains("_pool_1 (from input ["), "{message}");
        message
    };
    assert_eq!(
        error(&[4, 5, 3], Pool::max([5, 3])),
        "layer max_pool_1 (from input [4, 5, 3]): expected an input, with its padding, of at least 5 (the length of \
         the kernel), got [4, 5, 3]"
    );
    let expected = [
        (
            error(&[9], Pool::max(2)),
            "expected samples of shape [height, width, channels] or [steps, channels], got [9]",
        ),
        (error(&[4, 4, 1], Pool::max([0, 1])), "a kernel from 1 to 4096, got [0, 1]"),
        (error(&[4, 4, 1], Pool::average(2).stride(0)), "a stride from 1 to 4096, got [0, 0]"),
        (error(&[4, 4, 1], Pool::average(3).padding(2)), "at most half the window [3, 3], got [[2, 2], [2, 2]]"),
        (error(&[9, 4], Pool::max([3, 2])), "one length as the kernel of a sequence"),
        (
            error(&[70, 70, 1], Pool::max(70)),
            "a window with at most 4096 positions, got [70, 70]; a global pool has no such limit",
        ),
        (error(&[70, 70, 1], Pool::max(2).stride(99)), "a stride with at most 4096 positions"),
    ];
    for (message, part) in expected {
        assert!(message.contains(part), "{message}");
    }
}

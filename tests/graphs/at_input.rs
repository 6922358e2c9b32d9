//! `Network::at_input` and `Network::at_inputs`: the same weights at another height, width or number of steps.

use wgrad::plan::Role;
use wgrad::{Activation::*, Dense, Graph, Layer, Network, NetworkBuilder, Plan, ScaleShift, Shape, Tied};

use crate::common::*;

/// The network's outputs on the CPU. The GPU must agree within the bounds of each op.
fn forward(network: &Network, inputs: &[&[f32]], weights: &[f32]) -> Vec<f32> {
    let rows = inputs[0].len() as u32 / network.inputs();
    let mut lockstep = lockstep(gpu(), Plan::forward(network, rows).unwrap());
    let find = |lockstep: &wgrad::lockstep::Lockstep, role| lockstep.plan().find(role).unwrap();
    for (i, input) in (0..).zip(inputs) {
        let id = find(&lockstep, Role::Input(i));
        lockstep.set(id, input).unwrap();
    }
    let id = find(&lockstep, Role::Parameters);
    lockstep.set(id, weights).unwrap();
    assert_agree(&mut lockstep, &format!("{}", network.summary()));
    lockstep.get(find(&lockstep, Role::Output(0)))
}

fn fault<T: std::fmt::Debug>(result: wgrad::Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// Layers that process each position independently.
fn by_position(network: NetworkBuilder) -> NetworkBuilder {
    network
        .dense(8, GeluTanh)
        .residual(|x| x.layer_norm().dense(8, Relu).dropout(0.5).dense(8, Identity))
        .layer(ScaleShift::Trained)
        .branch(|x| x.dense(3, Tanh), |x| x)
        .dense(4, Softmax)
}

/// A network of such layers gives each position the same outputs at every input size.
#[test]
fn each_position_of_another_size_gets_what_it_would_get_alone() {
    let network = by_position(Network::input([2, 3, 3])).build().unwrap();
    let weights = network.initial_parameters(5);
    let image = Random(11).f32s(2 * 5 * 7 * 3);
    let alone = forward(&network.at_input([1, 1, 3]).unwrap(), &[&image], &weights);
    for shape in [Shape::from([5, 7, 3]), [7, 5, 3].into(), [35, 1, 3].into(), [35, 3].into(), [5, 7, 1, 3].into()] {
        let wide = network.at_input(shape).unwrap();
        // The weights keep their places and their initial values.
        assert_eq!((wide.parameters(), wide.parameter_words()), (network.parameters(), network.parameter_words()));
        assert_eq!(wide.initial_parameters(5), weights);
        assert_eq!(wide.input_specs()[0].shape, shape);
        assert_eq!(wide.output_specs()[0].shape[..shape.len() - 1], shape[..shape.len() - 1]);
        // A matmul computes each row in the same way, for any number of rows.
        assert_eq!(forward(&wide, &[&image], &weights), alone, "{shape:?}");
    }
    // The original size gives the original network.
    assert_eq!(network.at_input([9, 9, 3]).unwrap().at_input([2, 3, 3]).unwrap(), network);
}

/// A mean over positions covers all positions of the new size.
#[test]
fn a_mean_over_positions_is_one_of_as_many_as_there_are() {
    let network = Network::input([2, 2, 3]).dense(5, Tanh).layer(Layer::ReduceMean(vec![0, 1])).build().unwrap();
    let weights = network.initial_parameters(5);
    let image = Random(12).f32s(6 * 4 * 3);
    let mean = forward(&network.at_input([6, 4, 3]).unwrap(), &[&image], &weights);
    let positions = Network::input([1, 3]).dense(5, Tanh).build().unwrap();
    let alone = forward(&positions, &[&image], &weights);
    for (i, mean) in mean.iter().enumerate() {
        let expected = (0..24).map(|position| f64::from(alone[5 * position + i])).sum::<f64>() / 24.0;
        // A sum of 24 numbers below 1 has at most 24 roundings, and the division by 24 has one.
        assert!((f64::from(*mean) - expected).abs() <= 25.0 / 16_777_216.0, "{mean} is not {expected}");
    }
}

/// `at_inputs` finds inputs by their names, and unknown names are errors. `at_input` requires a network with one input.
#[test]
fn inputs_are_told_apart_by_their_names() {
    let mut g = Graph::new();
    let image = g.input("image", [4, 3]);
    let mood = g.input("mood", [1, 2]);
    let seen = g.layer(Dense::new(5, Relu), image).unwrap();
    let felt = g.layer(Dense::new(5, Identity), mood).unwrap();
    let sum = g.add([seen, felt]).unwrap();
    let network = g.build([("out", sum)]).unwrap();
    let weights = network.initial_parameters(2);
    let longer = network.at_inputs([("image", [9, 3].into())]).unwrap();
    assert_eq!((longer.input_specs()[1].shape, longer.output_specs()[0].shape), ([1, 2].into(), [9, 5].into()));
    let (image, mood) = (Random(3).f32s(9 * 3), Random(4).f32s(2));
    let short = |part: std::ops::Range<usize>| {
        let padded: Vec<f32> = image[part].iter().copied().chain(std::iter::repeat(0.0)).take(12).collect();
        forward(&network, &[&padded, &mood], &weights)
    };
    let made = forward(&longer, &[&image, &mood], &weights);
    assert_eq!(made[..20], short(0..12)[..]);
    assert_eq!(made[20..40], short(12..24)[..]);
    assert_eq!(made[40..], short(24..27)[..5]);

    assert_eq!(
        fault(network.at_input([9, 3])),
        "Network::at_input: expected a network with one input, got image and mood; use Network::at_inputs"
    );
    let unknown = network.at_inputs([("picture", [9, 3].into())]);
    assert_eq!(fault(unknown), "input: expected one of image, mood, got \"picture\"");
}

/// A layer can get its name after another layer is tied to it. The other layer stays tied under the new name.
#[test]
fn a_layer_is_named_after_another_one_has_been_tied_to_it() {
    let mut g = Graph::new();
    let (left, right) = (g.input("left", 4), g.input("right", 4));
    let a = g.layer(Dense::new(3, Relu), left).unwrap();
    let b = g.layer(Tied::to("dense_1"), right).unwrap();
    g.name("eye", a).unwrap();
    let both = g.add([a, b]).unwrap();
    let network = g.build([("both", both)]).unwrap();
    assert!(network.layers().any(|(_, layer)| matches!(layer, Layer::Tied(tied) if tied.layer() == "eye")));
    assert_eq!(network.at_inputs([("left", 4.into())]).unwrap(), network);
}

/// If the weights depend on the input size, another size is an error that names the tensor. A layer that does not fit
/// the new size is an error that names the layer.
#[test]
fn what_depends_on_the_size_refuses_another_one() {
    let flat = Network::input([4, 5, 3]).dense(2, Relu).flatten().dense(6, Identity).build().unwrap();
    assert_eq!(
        fault(flat.at_input([5, 5, 3])),
        "dense_3.weight at the new input: expected its shape [40, 6], because the weights stay the same, got [50, 6]"
    );
    // The number of features is the same, so the weights are the same.
    assert_eq!(flat.at_input([5, 4, 3]).unwrap().parameters(), flat.parameters());
    let channels = Network::input([4, 3]).dense(2, Relu).build().unwrap();
    assert_eq!(
        fault(channels.at_input([4, 2])),
        "dense_1.weight at the new input: expected its shape [3, 2], because the weights stay the same, got [2, 2]"
    );
    let part = Network::input([8, 3]).layer(Layer::Slice { axis: 0, start: 2, end: 6 }).dense(2, Relu);
    let part = part.named("end").build().unwrap();
    assert_eq!(
        fault(part.at_input([5, 3])),
        "layer slice_1 (from input [5, 3]): expected a start below the end, and an end of at most 5 (the length of \
         axis 0), got 2 to 6"
    );
    assert_eq!(fault(part.at_input([0, 3])), "shape of the input: expected 1 to 2³⁰ features, got [0, 3]");
}

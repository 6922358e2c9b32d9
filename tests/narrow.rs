//! Tests narrow networks that run in one dispatch: both kernels against their CPU twin, and the rule that chooses
//! them.

mod common;

use common::*;
use proptest::prelude::*;
use wgrad::Activation::{
    Exponential, GeluTanh, Identity, LeakyRelu, Relu, Sigmoid, Silu, Sine, Softmax, Squareplus, Tanh,
};
use wgrad::plan::{Op, Role};
use wgrad::{Activation, Dense, Device, Gpu, Init, Model, Network, NetworkBuilder, Plan};

fn is_one_op(network: &Network) -> bool {
    matches!(Plan::forward(network, 3).unwrap().step.as_slice(), [Op::Narrow(_)])
}

/// Random weights and biases. Their size lets activations neither saturate nor vanish.
fn weights(network: &Network, random: &mut Random) -> Vec<f32> {
    let mut weights = network.initial_parameters(random.word().into());
    for parameter in network.parameters().iter().filter(|p| p.shape.len() == 1) {
        weights[parameter.range()].fill_with(|| 0.3 * random.f32());
    }
    weights
}

fn assert_agrees(gpu: &Gpu, network: &Network, rows: u32) {
    let plan = Plan::forward(network, rows).unwrap();
    assert!(is_one_op(network), "{plan}");
    let mut random = Random(u64::from(rows) + 7);
    let mut lockstep = lockstep(gpu, plan);
    let [parameters, input] = [Role::Parameters, Role::Input(0)].map(|role| lockstep.plan().find(role).unwrap());
    lockstep.set(parameters, &weights(network, &mut random)).unwrap();
    lockstep.set(input, &random.f32s((rows * network.inputs()) as usize)).unwrap();
    assert_agree(&mut lockstep, &format!("{rows} rows of {}", network.summary()));
}

fn network(inputs: u32, layers: &[(u32, Activation)]) -> Network {
    let dense = |net: NetworkBuilder, &(units, activation): &_| net.dense(units, activation);
    layers.iter().fold(Network::input(inputs), dense).build().unwrap()
}

/// The kernel must agree with its twin for odd widths and row counts.
#[test]
fn awkward_widths_and_row_counts_agree_with_the_twin() {
    let networks = [
        network(1, &[(1, Identity)]),
        network(3, &[(64, Relu), (64, Relu), (64, Relu), (3, Sigmoid)]),
        network(64, &[(64, Silu)]),
        network(5, &[(7, Tanh), (1, LeakyRelu(0.2)), (33, Relu), (63, Identity), (2, GeluTanh)]),
        network(31, &[(32, Relu), (36, Relu), (4, Relu)]),
        network(5, &[(9, Sine(30.0)), (9, Sine(30.0)), (8, Sine(1.0)), (7, Squareplus(0.04)), (3, Exponential)]),
    ];
    for gpu in gpus() {
        for network in &networks {
            for rows in [1, 17, 257] {
                assert_agrees(gpu, network, rows);
            }
        }
    }
}

/// Softmax must cover the whole row, as the last layer and between layers.
#[test]
fn softmax_is_taken_of_whole_rows_last_and_between() {
    for gpu in gpus() {
        assert_agrees(gpu, &network(6, &[(10, Relu), (37, Softmax)]), 33);
        assert_agrees(gpu, &network(6, &[(64, Softmax), (3, Softmax), (1, Softmax)]), 33);
    }
}

/// The first layer may equal the layers after it. The kernel must still agree with its twin.
#[test]
fn layers_alike_from_the_first_on_agree_with_the_twin() {
    for gpu in gpus() {
        assert_agrees(gpu, &network(2, &[(2, Relu), (2, Relu), (1, Identity)]), 5);
        assert_agrees(gpu, &network(8, &[(8, Tanh), (8, Tanh), (8, Tanh), (8, Tanh), (8, Tanh)]), 20);
        assert_agrees(gpu, &network(64, &[(64, Relu), (64, Relu), (64, Silu), (10, Softmax)]), 33);
    }
}

/// The kernel runs equal layers as one loop. It must agree with its twin for deep networks, also if the last layer
/// runs outside the loop.
#[test]
fn deep_networks_agree_with_the_twin() {
    let deep = |width, depth| {
        let hidden = Dense::new(width, Tanh).without_bias().weight_init(Init::Orthogonal);
        let net = (0..depth).fold(Network::input(3).dense(width, Relu), |net, _| net.layer(hidden));
        net.dense(width, Relu).dense(width, Relu).build().unwrap()
    };
    for gpu in gpus() {
        assert_agrees(gpu, &deep(8, 50), 20);
        assert_agrees(gpu, &deep(6, 3), 20);
        assert_agrees(gpu, &deep(64, 4), 20);
    }
}

/// The kernel must agree with its twin if the workgroups exceed one dimension of a dispatch.
#[test]
fn more_rows_than_a_dimension_of_the_grid_has_workgroups() {
    for gpu in gpus() {
        assert_agrees(gpu, &network(1, &[(1, Relu)]), 16 * 65_536 - 3);
    }
}

/// Networks with wide layers or layers other than dense must use the kernels of single layers.
#[test]
fn what_is_wide_or_not_dense_is_left_to_the_kernels_of_its_layers() {
    assert!(is_one_op(&Network::input([4, 16]).flatten().dense(64, Relu).dropout(0.5).dense(1, Tanh).build().unwrap()));
    for other in [
        Network::input(65).dense(2, Relu),
        Network::input(2).dense(65, Relu).dense(1, Relu),
        Network::input(2).dense(3, Relu).layer_norm().dense(1, Relu),
        Network::input(2).activation(Relu).dense(1, Relu),
        Network::input(2).dense(3, Relu).activation(Tanh),
    ] {
        assert!(!is_one_op(&other.build().unwrap()));
    }
}

/// NaN and infinities must pass through as they pass through the kernels of single layers.
#[test]
fn a_diverged_network_shows() {
    let network = network(2, &[(4, Relu), (3, Tanh)]);
    for gpu in gpus() {
        let model = Model::new(gpu, &network, &network.initial_parameters(1)).unwrap();
        gpu.queue().write_buffer(model.parameter_buffer().unwrap(), 3 * 4, &f32::NAN.to_ne_bytes());
        let outputs = model.forward(&[0.5; 10]).unwrap();
        assert!(outputs.iter().all(|y| y.is_nan()), "{outputs:?}");
    }
}

/// A row's outputs must not depend on the other rows of the batch.
#[test]
fn the_same_rows_give_the_same_bits_whatever_stands_around_them() {
    let network = network(3, &[(20, GeluTanh), (20, GeluTanh), (4, Softmax)]);
    let features = Random(3).f32s(3 * 70);
    for device in [gpu().into(), plain_gpu().into(), Device::Cpu] {
        let model = Model::new(device, &network, &network.initial_parameters(2)).unwrap();
        let all = model.forward(&features).unwrap();
        assert_eq!(all[4 * 33..4 * 40], model.forward(&features[3 * 33..3 * 40]).unwrap());
    }
}

/// A layer and how often it is repeated.
fn layers() -> impl Strategy<Value = (Dense, usize)> {
    // Exponentials of exponentials would overflow.
    let all = Activation::ALL.into_iter().filter(|activation| *activation != Exponential);
    let activation = prop::sample::select(all.collect::<Vec<_>>());
    (1u32..65, activation, any::<bool>(), 1usize..4).prop_map(|(units, activation, bias, count)| {
        let dense = Dense::new(units, activation);
        (if bias { dense } else { dense.without_bias() }, count)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_narrow_networks_agree_with_the_twin(
        inputs in prop::option::of(1u32..65), layers in prop::collection::vec(layers(), 1..4), rows in 1u32..130,
    ) {
        // Half of the first layers have equal numbers of inputs and outputs.
        let inputs = Network::input(inputs.unwrap_or(layers[0].0.units()));
        let layers = layers.into_iter().flat_map(|(layer, count)| std::iter::repeat_n(layer, count));
        let network = layers.fold(inputs, NetworkBuilder::layer).build().unwrap();
        for gpu in gpus() {
            assert_agrees(gpu, &network, rows);
        }
    }
}

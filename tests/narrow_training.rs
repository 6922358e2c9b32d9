//! Tests the fused training of narrow networks: both kernels against the CPU twins of their parts, the rule that chooses
//! them, and training in a few dispatches against training op by op.

mod common;

use common::*;
use proptest::prelude::*;
use wgrad::Activation::{Exponential, GeluTanh, Identity, Relu, Silu, Sine, Squareplus, Tanh};
use wgrad::plan::{Op, Plan};
use wgrad::{
    Activation, Adam, Clip, Dataset, Dense, Device, Encoding, Fit, Gpu, GridInterpolation, GridStorage, HashGrid, Loss,
    Network, NetworkBuilder, Optimizer, Sgd, Trainer, TrainerConfig, kernel_sources,
};

fn network(inputs: u32, layers: &[(u32, Activation)]) -> Network {
    let dense = |net: NetworkBuilder, &(units, activation): &_| net.dense(units, activation);
    layers.iter().fold(Network::input(inputs), dense).build().unwrap()
}

/// The network whose training the measurements time.
fn measured() -> Network {
    network(32, &[(64, Relu), (64, Relu), (64, Relu), (3, Identity)])
}

fn small_grid() -> HashGrid {
    HashGrid { levels: 4, log2_hashmap_size: 8, ..HashGrid::default() }
}

fn training(network: &Network, loss: Loss, config: &TrainerConfig) -> Plan {
    Plan::training(network, loss, &Adam::default().into(), config).unwrap()
}

fn has_fused_rows(plan: &Plan) -> bool {
    plan.step.iter().any(|op| matches!(op, Op::NarrowRows(_)))
}

/// Dispatches of a step on every class of adapter.
fn dispatches(plan: &Plan) -> Vec<usize> {
    let of = |adapter| {
        let kernels = kernel_sources::kernels(plan, adapter).unwrap();
        kernels.iter().take(plan.step.len()).map(Vec::len).sum()
    };
    kernel_sources::ADAPTERS.map(of).to_vec()
}

#[test]
fn a_step_takes_at_most_four_dispatches_and_eight_with_a_hash_grid() {
    // One more for a large batch, whose row numbers are drawn by a dispatch of their own.
    for (batch, more) in [(128, 0), (1024, 0), (65_536, 1)] {
        let config = batches_of(batch);
        let plan = training(&measured(), Loss::MeanSquaredError, &config);
        assert!(dispatches(&plan).into_iter().all(|count| count <= 4 + more), "{:?} of {plan}", dispatches(&plan));
        let encoded = Network::input(2).encoding(HashGrid::default());
        let encoded = encoded.dense(64, Relu).dense(64, Relu).dense(64, Relu).dense(3, Identity).build().unwrap();
        let plan = training(&encoded, Loss::MeanSquaredError, &config);
        assert!(has_fused_rows(&plan), "{plan}");
        assert!(dispatches(&plan).into_iter().all(|count| count <= 8 + more), "{:?} of {plan}", dispatches(&plan));
    }
}

/// Networks that the kernels do not cover keep an op for each layer.
#[test]
fn only_narrow_networks_are_fused() {
    let config = batches_of(8);
    let wide = network(65, &[(8, Relu), (3, Identity)]);
    let normed = Network::input(4).dense(8, Relu).layer_norm().dense(3, Identity).build().unwrap();
    let masked = Network::input(4).dense(8, Relu).dropout(0.5).dense(3, Identity).build().unwrap();
    let before = |encoding: Encoding| Network::input(3).encoding(encoding).dense(8, Relu).build().unwrap();
    let harmonics = before(Encoding::SphericalHarmonics { degree: 3 });
    let octets = before(HashGrid { features_per_level: 8, ..small_grid() }.into());
    let parts = [(2, Encoding::Frequency { frequencies: 2 }), (1, small_grid().into())];
    let composite = Network::input(3).composite_encoding(parts).dense(8, Relu).build().unwrap();
    for network in [wide, normed, masked, harmonics, octets, composite] {
        assert!(!has_fused_rows(&training(&network, Loss::MeanSquaredError, &config)), "{}", network.summary());
    }
    assert!(has_fused_rows(&training(&measured(), Loss::MeanSquaredError, &config)));
    assert!(!has_fused_rows(&training(
        &measured(),
        Loss::MeanSquaredError,
        &TrainerConfig { op_by_op: true, ..config.clone() }
    )));
    // The values of a batch must fit a binding.
    assert!(!has_fused_rows(&training(&measured(), Loss::MeanSquaredError, &batches_of(1 << 20))));
}

/// Runs three steps in lockstep: the last batch of an epoch is partial.
fn assert_steps_agree(gpus: &[&Gpu], network: &Network, plan: &Plan, kind: TargetKind) {
    let rows = plan.batch * 2 - plan.batch / 3;
    for gpu in gpus {
        let mut lockstep = lockstep_with_targets(gpu, network, plan.clone(), rows, 5, kind);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step} of {}\n{plan}", network.summary()));
        }
    }
}

#[test]
fn awkward_widths_and_batches_train_like_the_twins() {
    let networks = [
        (network(1, &[(1, Identity)]), vec![1, 257]),
        (network(3, &[(64, Relu), (64, Relu), (64, Relu), (3, Tanh)]), vec![3, 1500]),
        (network(64, &[(64, Silu), (64, Silu), (64, Identity)]), vec![64]),
        (network(5, &[(7, Tanh), (1, GeluTanh), (33, Relu), (63, Identity), (2, GeluTanh)]), vec![257]),
        (network(5, &[(9, Sine(30.0)), (8, Sine(1.0)), (7, Squareplus(0.04)), (3, Exponential)]), vec![33]),
    ];
    for (network, batches) in &networks {
        for &batch in batches {
            let plan = training(network, Loss::MeanSquaredError, &batches_of(batch));
            assert!(has_fused_rows(&plan), "{plan}");
            assert_steps_agree(&gpus(), network, &plan, TargetKind { values: true, weighted: batch == 64 });
        }
    }
}

#[test]
fn encodings_before_the_layers_train_like_the_twins() {
    let grid = Network::input(2).encoding(small_grid()).dense(16, Relu).dense(3, Identity).build().unwrap();
    let waves = Network::input(3).encoding(Encoding::Frequency { frequencies: 4 }).dense(20, Relu).dense(2, Identity);
    let smooth = HashGrid { interpolation: GridInterpolation::Smoothstep, ..small_grid() };
    let tiled = HashGrid { features_per_level: 4, storage: GridStorage::Tiled, ..smooth };
    let both = Network::input(2).encoding(HashGrid { levels: 1, ..smooth }).encoding(tiled).dense(16, Relu);
    for network in [grid, waves.build().unwrap(), both.dense(3, Identity).build().unwrap()] {
        let plan = training(&network, Loss::MeanSquaredError, &batches_of(70));
        assert!(has_fused_rows(&plan), "{plan}");
        assert_steps_agree(&gpus(), &network, &plan, TargetKind { values: true, weighted: false });
    }
}

/// The formulas are in `pointwise_loss`, which is tested by itself. Here, each kind of row is enough: with labels, with
/// targets, without a mean, with a last activation that belongs to the loss, and with a divisor from the whole row.
/// A driver takes seconds to compile the kernel for GPUs on a CPU, so only two losses run with it.
#[test]
fn losses_of_every_kind_train_like_the_twins() {
    let network = network(6, &[(19, Relu), (3, Identity)]);
    let losses = [
        (Loss::SoftmaxCrossEntropy, false),
        (Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.2 }, true),
        (Loss::SumOfSquares, true),
        (Loss::Huber { delta: 0.3 }, true),
        (Loss::BinaryCrossEntropy, true),
        (Loss::RelativeL2Luminance { epsilon: 0.01 }, true),
        (Loss::Smape { epsilon: 0.01 }, false),
    ];
    for (loss, values) in losses {
        let plan = training(&network, loss, &batches_of(50));
        assert!(has_fused_rows(&plan), "{plan}");
        let kernels = if matches!(loss, Loss::SoftmaxCrossEntropy | Loss::RelativeL2Luminance { .. }) { 2 } else { 1 };
        assert_steps_agree(&gpus()[..kernels], &network, &plan, TargetKind { values, weighted: true });
    }
}

/// The weights and the losses of some epochs.
fn trained(device: Device, network: &Network, optimizer: Optimizer, config: TrainerConfig) -> (Vec<f32>, Vec<f32>) {
    let mut random = Random(9);
    let rows = 150;
    let features = random.f32s((rows * network.inputs()) as usize);
    let targets = random.f32s((rows * network.outputs()) as usize);
    let data = Dataset::from_f32_targets(features, network.inputs() as usize, targets, network.outputs()).unwrap();
    let mut trainer = Trainer::new(device, network, Loss::MeanSquaredError, optimizer, config).unwrap();
    let mut losses = Vec::new();
    let history = trainer.fit(&data, Fit { epochs: 4, ..Fit::default() }, |_| {}).unwrap();
    losses.extend(history.epochs.iter().map(|epoch| epoch.train.loss as f32));
    (trainer.model().parameters().unwrap(), losses)
}

/// Every option gives the same bits twice, and the weights of training op by op within the growth of rounding errors:
/// with SGD, 12 steps of small gradients change weights of about 0.3 by less than 0.1, and each step's relative error is
/// a few hundred roundings of f32.
#[test]
fn training_in_few_dispatches_matches_training_op_by_op() {
    let network = network(5, &[(24, Tanh), (17, Tanh), (3, Identity)]);
    let plain = TrainerConfig { batch: 60, seed: 3, ..TrainerConfig::default() };
    let configs = [
        plain.clone(),
        TrainerConfig { clip: Some(Clip::Norm(0.1)), ..plain.clone() },
        TrainerConfig { clip: Some(Clip::Value(0.01)), ..plain.clone() },
        TrainerConfig { accumulate: 2, ..plain.clone() },
        TrainerConfig { keep_gradients: true, decay_biases: false, ..plain },
    ];
    let sgd = Optimizer::from(Sgd { learning_rate: 0.05, momentum: 0.5, ..Sgd::default() });
    for config in configs {
        for gpu in gpus() {
            let fused = trained(gpu.into(), &network, sgd, config.clone());
            assert_eq!(fused, trained(gpu.into(), &network, sgd, config.clone()), "two runs of {config:?}");
            let apart = trained(gpu.into(), &network, sgd, TrainerConfig { op_by_op: true, ..config.clone() });
            for (a, b) in fused.0.iter().zip(&apart.0).chain(fused.1.iter().zip(&apart.1)) {
                assert!((a - b).abs() <= 12.0 * 300.0 * f32::EPSILON * 0.1, "{a} and {b} with {config:?}");
            }
        }
    }
}

/// A layer and how often it is repeated.
fn layers() -> impl Strategy<Value = (Dense, usize)> {
    // Exponentials of exponentials would overflow.
    let excluded = [Activation::Softmax, Exponential];
    let activations: Vec<Activation> = Activation::ALL.into_iter().filter(|f| !excluded.contains(f)).collect();
    (1u32..65, prop::sample::select(activations), any::<bool>(), 1usize..4).prop_map(
        |(units, activation, bias, count)| {
            let dense = Dense::new(units, activation);
            (if bias { dense } else { dense.without_bias() }, count)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_narrow_networks_train_like_the_twins(
        inputs in 1u32..65, layers in prop::collection::vec(layers(), 1..4), batch in 1u32..400,
    ) {
        let layers = layers.into_iter().flat_map(|(layer, count)| std::iter::repeat_n(layer, count));
        let network = layers.fold(Network::input(inputs), NetworkBuilder::layer).build().unwrap();
        let plan = training(&network, Loss::MeanSquaredError, &batches_of(batch));
        prop_assert!(has_fused_rows(&plan), "{plan}");
        assert_steps_agree(&gpus(), &network, &plan, TargetKind { values: true, weighted: false });
    }
}

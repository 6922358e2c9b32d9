//! Runs whole plans in lockstep: random networks, losses and training options. Compares every buffer after every op,
//! over several steps, with both kinds of matmul kernel.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::*;
use proptest::prelude::*;
use wgrad::lockstep::Lockstep;
use wgrad::plan::{BufferId, DataInfo, Op, Role};
use wgrad::plan_runner::PlanRunner;
use wgrad::{
    Activation, AdaBound, Adagrad, Adam, AdamW, BatchNorm, Clip, Dense, Ema, Group, Init, Layer, LayerNorm, Lion,
    Lookahead, Loss, Network, Optimizer, Plan, RmsProp, Schedule, Sgd, StepDecay, TrainerConfig,
};

fn activation() -> impl Strategy<Value = Activation> {
    // Exponentials of exponentials would overflow.
    let all = Activation::ALL.into_iter().filter(|activation| *activation != Activation::Exponential);
    prop::sample::select(all.collect::<Vec<_>>())
}

fn init() -> impl Strategy<Value = Init> {
    prop_oneof![
        Just(Init::Normal { std: 0.5 }),
        Just(Init::Uniform { bound: 0.5 }),
        Just(Init::Constant(0.1)),
        Just(Init::GlorotUniform),
        Just(Init::GlorotNormal),
        Just(Init::HeUniform),
        Just(Init::HeNormal),
        Just(Init::LecunUniform),
        Just(Init::LecunNormal),
        Just(Init::Orthogonal)
    ]
}

fn dense(units: std::ops::Range<u32>) -> impl Strategy<Value = Dense> {
    (units, activation(), init(), any::<bool>()).prop_map(|(units, activation, init, bias)| {
        let dense = Dense::new(units, activation).weight_init(init);
        if bias { dense.bias_init(init) } else { dense.without_bias() }
    })
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        4 => dense(1..80).prop_map(Layer::from),
        1 => activation().prop_map(Layer::Activation),
        1 => (0.0f32..0.9).prop_map(Layer::Dropout),
        1 => Just(Layer::from(LayerNorm::default())),
        1 => Just(Layer::from(BatchNorm::default())),
        1 => Just(Layer::Flatten)
    ]
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::MeanSquaredError),
        Just(Loss::SumOfSquares),
        Just(Loss::MeanAbsoluteError),
        Just(Loss::Huber { delta: 0.3 }),
        Just(Loss::RelativeL2 { epsilon: 0.01 }),
        Just(Loss::Smape { epsilon: 0.01 }),
        Just(Loss::LogL1),
        Just(Loss::BinaryCrossEntropy),
        Just(Loss::SoftmaxCrossEntropy),
        Just(Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.2 })
    ]
}

/// A network and a loss that fits its last layer. The layer has the loss's own activation, gives logits, or has any
/// activation that the loss accepts.
fn network_and_loss() -> impl Strategy<Value = (Network, Loss)> {
    let hidden = prop::collection::vec(layer(), 0..5);
    (1u32..90, hidden, dense(1..14), loss(), any::<bool>()).prop_map(|(inputs, hidden, last, loss, logits)| {
        let exclusive = matches!(loss, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. });
        let activation = match loss {
            Loss::BinaryCrossEntropy if logits => Activation::Identity,
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            _ if exclusive && logits => Activation::Identity,
            _ if exclusive => Activation::Softmax,
            _ => last.activation(),
        };
        // Exclusive classes need at least two outputs.
        let units = last.units().max(if exclusive { 2 } else { 1 });
        let new = Dense::new(units, activation);
        let last = if last.has_bias() { new } else { new.without_bias() };
        let network = hidden.into_iter().fold(Network::input(inputs), |net, layer| net.layer(layer));
        (network.layer(last).build().unwrap(), loss)
    })
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    let rate = 0.001;
    prop_oneof![
        (0.0f32..0.95, 0.0f32..1.0).prop_map(move |(momentum, dampening)| {
            Sgd { learning_rate: rate, momentum, dampening, ..Sgd::default() }.into()
        }),
        (0.1f32..0.95).prop_map(move |momentum| {
            Sgd { learning_rate: rate, momentum, nesterov: true, weight_decay: 0.01, ..Sgd::default() }.into()
        }),
        (0.0f32..0.95)
            .prop_map(move |momentum| { RmsProp { learning_rate: rate, momentum, ..RmsProp::default() }.into() }),
        (0.0f32..0.5)
            .prop_map(move |rate_decay| Adagrad { learning_rate: rate, rate_decay, ..Adagrad::default() }.into()),
        (0.0f32..0.95).prop_map(|beta1| Adam { beta1, weight_decay: 0.01, ..Adam::default() }.into()),
        (0.0f32..0.95).prop_map(|beta1| AdamW { beta1, ..AdamW::default() }.into()),
        (0.0f32..0.95).prop_map(|beta1| Lion { beta1, weight_decay: 0.1, ..Lion::default() }.into()),
        (0.0f32..0.95).prop_map(|beta1| AdaBound { beta1, final_learning_rate: 0.01, ..AdaBound::default() }.into())
    ]
}

fn config() -> impl Strategy<Value = TrainerConfig> {
    let schedule = prop_oneof![
        Just(Schedule::constant()),
        Just(Schedule::step(2, 0.5)),
        Just(Schedule::exponential(0.9)),
        Just(Schedule::step_decay(StepDecay { factor: 0.5, interval: 1, start: 1, end: 2 })),
        Just(Schedule::cosine(4, 0.1).warm_up(2)),
        Just(Schedule::one_cycle(10))
    ];
    let clip = prop_oneof![
        2 => Just(None),
        1 => (0.01f32..3.0).prop_map(|limit| Some(Clip::Norm(limit))),
        1 => (0.001f32..0.3).prop_map(|limit| Some(Clip::Value(limit)))
    ];
    let accumulate = prop_oneof![2 => Just(1u32), 1 => 2u32..4];
    let ema = prop_oneof![2 => Just(None), 1 => (0.5f32..0.999).prop_map(|decay| Some(Ema { decay }))];
    let lookahead = (0.1f32..1.0, 1u32..4).prop_map(|(alpha, updates)| Some(Lookahead { alpha, updates }));
    let lookahead = prop_oneof![3 => Just(None), 1 => lookahead];
    let absolute_decay = prop_oneof![3 => Just(0.0), 1 => 0.01f32..1.0];
    let averages = (ema, lookahead, absolute_decay);
    (1u32..70, schedule, clip, accumulate, any::<[bool; 2]>(), averages).prop_map(
        |(batch, schedule, clip, accumulate, flags, (ema, lookahead, absolute_decay))| {
            let [decay_biases, keep_gradients] = flags;
            let averaged = TrainerConfig { ema, lookahead, absolute_decay, ..TrainerConfig::default() };
            TrainerConfig { batch, schedule, clip, accumulate, decay_biases, keep_gradients, ..averaged }
        },
    )
}

/// Puts some layers into groups: one with a low learning rate, one frozen.
fn with_groups(config: TrainerConfig, network: &Network, draw: u64) -> TrainerConfig {
    let names: Vec<&str> = network.layers().map(|(name, _)| name).collect();
    let pick = |n: u64| names[(n % names.len() as u64) as usize];
    let groups = match draw % 4 {
        0 => vec![Group::layer(pick(draw / 4)).frozen(), Group::layer(pick(draw / 64)).rate(0.1).without_decay()],
        1 => vec![Group::layer(pick(draw / 4)).without_decay()],
        _ => Vec::new(),
    };
    TrainerConfig { groups, ..config }
}

fn targets() -> impl Strategy<Value = TargetKind> {
    any::<(bool, bool)>().prop_map(|(values, weighted)| TargetKind { values, weighted })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_networks_train_alike_on_both(
        (network, loss) in network_and_loss(), optimizer in optimizer(), config in config(), kind in targets(),
        rows in 1u32..150, seed in 0u64..1000, plain: bool,
    ) {
        let gpu = if plain { plain_gpu() } else { gpu() };
        // Each fused kernel takes a software adapter a second to compile, so only some networks are fused.
        let config = TrainerConfig { op_by_op: rows % 8 > 0, ..with_groups(config, &network, seed) };
        let plan = Plan::training(&network, loss, &optimizer, &config).unwrap();
        let mut lockstep = lockstep_with_targets(gpu, &network, plan, rows, seed, kind);
        for step in 0..4 {
            let what = format!("step {step} of {rows} rows, {kind:?}\n{}\n{config:?}", network.summary());
            assert_agree(&mut lockstep, &what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_networks_evaluate_alike_on_both(
        (network, loss) in network_and_loss(), batch in 1u32..70, rows in 1u32..150, kind in targets(), seed in 0u64..1000,
    ) {
        let plan = Plan::evaluation(&network, loss, batch).unwrap();
        let mut lockstep = lockstep_with_targets(gpu(), &network, plan, rows, seed, kind);
        for step in 0..2 {
            assert_agree(&mut lockstep, &format!("step {step} of\n{}", network.summary()));
        }
    }
}

/// The MNIST network at its batch size must train alike on GPU and CPU.
#[test]
fn the_mnist_network_trains_alike_on_both() {
    use Activation::{Identity, Relu};
    let network =
        Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build().unwrap();
    for gpu in gpus() {
        let plan =
            Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &batches_of(32)).unwrap();
        // 14 ops: next batch, gather, 4 forward, loss, 7 backward. The weight-gradient matmuls include the update.
        assert_eq!(plan.step.len(), 14, "{plan}");
        let mut lockstep = lockstep_with_data(gpu, &network, plan, 80, 1);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step}"));
        }
    }
}

/// Narrow layers over large batches must train alike on GPU and CPU. The matmuls are those that real GPUs choose for
/// such shapes: two dispatches each.
#[test]
fn narrow_layers_over_large_batches_train_alike_on_both() {
    use Activation::{Identity, Relu};
    let network = Network::input(7).dense(24, Relu).dense(1, Identity).build().unwrap();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(5000)).unwrap();
    let kind = TargetKind { values: true, weighted: false };
    let parts = wgrad::plan::MatmulKernel { tile: wgrad::plan::Tile::Square32, k: wgrad::plan::K::Parts(8) };
    let gpu = with_products(parts);
    let mut lockstep = lockstep_with_targets(&gpu, &network, plan, 9000, 1, kind);
    for step in 0..3 {
        assert_agree(&mut lockstep, &format!("step {step}"));
    }
}

/// A network with activations that several layers read, batch means, masks, and tensors that several ops write in
/// parts.
fn residual_network() -> Network {
    use Activation::{Identity, Tanh};
    let network = Network::input(6).dense(19, Tanh).residual(|x| x.layer_norm().dense(19, Tanh).dense(19, Identity));
    let network = network.batch_norm().branch(|x| x.dense(5, Tanh), |x| x.dropout(0.3)).dense(7, Tanh);
    network.residual(|x| x.dense(7, Tanh)).dense(3, Identity).build().unwrap()
}

/// Puts one of two buffers into the other's memory while both are in use. The op that reads the lost values must
/// diverge, and no op before it.
#[test]
fn a_wrong_share_is_told_at_the_op_that_reads_it() {
    let network = residual_network();
    let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &batches_of(9)).unwrap();
    let touches = |op: &Op, id: BufferId| {
        op.inputs().iter().any(|t| t.buffer == id) || op.outputs().iter().any(|(t, _)| t.buffer == id)
    };
    let mut tried = 0;
    for first in (0..plan.buffers.len()).map(BufferId).filter(|id| plan.buffer(*id).memory.is_some()) {
        let users: Vec<usize> = (0..plan.step.len()).filter(|&at| touches(&plan.step[at], first)).collect();
        // The first op between the two uses that writes another buffer.
        let between = users.windows(2).find(|pair| pair[0] + 1 < pair[1]);
        let Some(&[before, after]) = between else { continue };
        let written = plan.step[before + 1].outputs()[0].0.buffer;
        if plan.buffer(written).memory.is_none() {
            continue;
        }
        let mut wrong = without_sharing(plan.clone());
        [first, written].into_iter().for_each(|BufferId(i)| wrong.buffers[i].memory = Some(0));
        // No op may use both buffers.
        if plan.step.iter().any(|op| touches(op, first) && touches(op, written)) {
            continue;
        }
        assert!(catch_unwind(AssertUnwindSafe(|| assert_shares_memory_soundly(&wrong))).is_err(), "{wrong}");
        let what = plan.describe(&plan.step[after]);
        // SAFETY: the plan is one of wgrad's, and any values lost by the sharing are f32.
        let lockstep = unsafe { Lockstep::new_unchecked(gpu(), wrong) }.unwrap();
        let mut lockstep = filled(lockstep, &network, 20, 5, TargetKind::default());
        let comparisons = lockstep.run().unwrap();
        let told = comparisons.iter().find(|comparison| comparison.divergence.is_some());
        assert_eq!(told.map(|comparison| &comparison.op), Some(&what), "{}", lockstep.plan());
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} of\n{plan}");
}

/// What some steps on the GPU alone leave in the buffers that outlive a step.
fn left_by(network: &Network, plan: Plan, loss: Loss) -> Vec<Vec<u32>> {
    let kept = |role| !matches!(role, Role::Activation | Role::ActivationGradient | Role::Statistics);
    let ids: Vec<BufferId> = (0..plan.buffers.len()).map(BufferId).collect();
    let ids: Vec<BufferId> = ids.into_iter().filter(|id| kept(plan.buffer(*id).role)).collect();
    let rows = 50;
    let mut random = Random(3);
    let info = DataInfo {
        rows,
        shuffle: 1,
        values: u32::from(loss == Loss::MeanSquaredError),
        feature_stride: network.inputs(),
        target_stride: if loss == Loss::MeanSquaredError { network.outputs() } else { 1 },
        ..DataInfo::default()
    };
    let find = |role| plan.find(role).unwrap();
    let ends = [Role::Features(0), Role::Targets(0), Role::Data(0), Role::Parameters].map(find);
    // SAFETY: the plan is one of wgrad's, and the data have the lengths that `info` states.
    let mut runner = unsafe { PlanRunner::new_unchecked(gpu(), plan) }.unwrap();
    runner.set(ends[0], &random.f32s((rows * info.feature_stride) as usize)).unwrap();
    match info.values {
        1 => runner.set(ends[1], &random.f32s((rows * info.target_stride) as usize)).unwrap(),
        _ => runner.set(ends[1], &(0..rows).map(|_| random.below(network.outputs())).collect::<Vec<_>>()).unwrap(),
    }
    runner.set(ends[2], &[info]).unwrap();
    runner.set(ends[3], &network.initial_parameters(2)).unwrap();
    runner.run(7).unwrap();
    ids.into_iter().map(|id| runner.get(id).unwrap().into_iter().map(f32::to_bits).collect()).collect()
}

/// A plan whose buffers share memory must leave the same bits as one without sharing.
#[test]
fn shared_memory_changes_no_bit() {
    use Activation::{Identity, Relu, Tanh};
    let perceptron = Network::input(11).dense(30, Relu).dense(17, Tanh).dense(4, Identity).build().unwrap();
    for network in [perceptron, residual_network()] {
        for (loss, keep_gradients) in [(Loss::SoftmaxCrossEntropy, false), (Loss::MeanSquaredError, true)] {
            let config = TrainerConfig { keep_gradients, op_by_op: true, ..batches_of(16) };
            let plan = Plan::training(&network, loss, &Adam::default().into(), &config).unwrap();
            assert!(plan.cost().memory() < plan.cost().memory_without_sharing(), "{plan}");
            let apart = left_by(&network, without_sharing(plan.clone()), loss);
            assert!(left_by(&network, plan, loss) == apart, "{}", network.summary());
        }
    }
}

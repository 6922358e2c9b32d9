//! Whole plans in lockstep: networks, losses and recipes drawn at random from the whole vocabulary, several steps, every
//! buffer after every op, both products.

mod common;

use common::*;
use proptest::prelude::*;
use wgrad::{
    Activation, Adagrad, Adam, AdamW, BatchNorm, Clip, Dense, Group, Init, Layer, LayerNorm, Lion, Loss, Network,
    Optimizer, Plan, RmsProp, Schedule, Sgd, TrainerConfig,
};

fn activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL.to_vec())
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
        Just(Loss::BinaryCrossEntropy),
        Just(Loss::SoftmaxCrossEntropy),
        Just(Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.2 })
    ]
}

/// A network and a loss that goes with its last layer: the loss's own activation, or logits, or any that it can take.
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
        // Classes that exclude each other are several.
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
        (0.0f32..0.95).prop_map(|beta1| Lion { beta1, weight_decay: 0.1, ..Lion::default() }.into())
    ]
}

fn config() -> impl Strategy<Value = TrainerConfig> {
    let schedule = prop_oneof![
        Just(Schedule::constant()),
        Just(Schedule::step(2, 0.5)),
        Just(Schedule::exponential(0.9)),
        Just(Schedule::cosine(4, 0.1).warm_up(2)),
        Just(Schedule::one_cycle(10))
    ];
    let clip = prop_oneof![
        2 => Just(None),
        1 => (0.01f32..3.0).prop_map(|limit| Some(Clip::Norm(limit))),
        1 => (0.001f32..0.3).prop_map(|limit| Some(Clip::Value(limit)))
    ];
    let accumulate = prop_oneof![2 => Just(1u32), 1 => 2u32..4];
    (1u32..70, schedule, clip, accumulate, any::<[bool; 2]>()).prop_map(|(batch, schedule, clip, accumulate, flags)| {
        let [decay_biases, keep_gradients] = flags;
        let rest = TrainerConfig::default();
        TrainerConfig { batch, schedule, clip, accumulate, decay_biases, keep_gradients, ..rest }
    })
}

/// Some layers in groups: one trained slowly, one not at all.
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
        let config = with_groups(config, &network, seed);
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

/// The network of the main job, at its batch size.
#[test]
fn the_mnist_network_trains_alike_on_both() {
    use Activation::{Identity, Relu};
    let network =
        Network::input(784).dense(512, Relu).dense(256, Relu).dense(128, Relu).dense(10, Identity).build().unwrap();
    for gpu in gpus() {
        let plan =
            Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), &batches_of(32)).unwrap();
        // Next batch, gather, 4 forward, loss, 7 backward: those of weights make the update.
        assert_eq!(plan.step.len(), 14, "{plan}");
        let mut lockstep = lockstep_with_data(gpu, &network, plan, 80, 1);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step}"));
        }
    }
}

/// With the products of real GPUs for such shapes, two dispatches each.
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

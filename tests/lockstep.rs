//! Whole plans in lockstep: networks drawn at random, several steps, every buffer after every op, both products.

mod common;

use common::*;
use proptest::prelude::*;
use wgrad::{Activation, Adam, Dense, Init, Loss, Network, Optimizer, Plan, Sgd};

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu), Just(Activation::Sigmoid), Just(Activation::Tanh)]
}

fn init() -> impl Strategy<Value = Init> {
    prop_oneof![
        Just(Init::Normal { std: 0.5 }),
        Just(Init::GlorotUniform),
        Just(Init::GlorotNormal),
        Just(Init::HeUniform),
        Just(Init::HeNormal)
    ]
}

fn network() -> impl Strategy<Value = Network> {
    let hidden = prop::collection::vec((1u32..80, activation(), init()), 0..4);
    (1u32..90, hidden, 1u32..14).prop_map(|(inputs, hidden, outputs)| {
        hidden
            .into_iter()
            .fold(Network::input(inputs), |net, (units, activation, init)| {
                net.layer(Dense::new(units, activation).weight_init(init).bias_init(init))
            })
            .dense(outputs, Activation::Identity)
            .build()
            .unwrap()
    })
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    prop_oneof![
        (0.0f32..0.95).prop_map(|momentum| Sgd { learning_rate: 0.05, momentum }.into()),
        (0.0f32..0.95).prop_map(|beta1| Adam { beta1, ..Adam::default() }.into())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_networks_train_alike_on_both(
        network in network(), optimizer in optimizer(), batch in 1u32..70, rows in 1u32..150, seed in 0u64..1000, plain: bool,
    ) {
        let gpu = if plain { plain_gpu() } else { gpu() };
        let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &optimizer, batch).unwrap();
        let mut lockstep = lockstep_with_data(gpu, &network, plan, rows, seed);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step} of\n{}batch {batch} of {rows} rows", network.summary()));
        }
    }

    #[test]
    fn random_networks_evaluate_alike_on_both(network in network(), batch in 1u32..70, rows in 1u32..150, seed in 0u64..1000) {
        let plan = Plan::evaluation(&network, Loss::SoftmaxCrossEntropy, batch).unwrap();
        let mut lockstep = lockstep_with_data(gpu(), &network, plan, rows, seed);
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
        let plan = Plan::training(&network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), 32).unwrap();
        // Next batch, gather, 4 forward, loss, 7 backward, update.
        assert_eq!(plan.step.len(), 15, "{plan}");
        let mut lockstep = lockstep_with_data(gpu, &network, plan, 80, 1);
        for step in 0..3 {
            assert_agree(&mut lockstep, &format!("step {step}"));
        }
    }
}

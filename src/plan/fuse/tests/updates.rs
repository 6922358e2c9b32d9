//! Updates that stay separate ops. The readers of each parameter's gradient decide.

use super::*;
use crate::network::Tied;
use crate::{Adam, Clip, Group};

/// The updates that are separate ops, by the parameters that they change.
fn updates(network: &Network, optimizer: impl Into<Optimizer>, config: &TrainerConfig) -> (Vec<String>, usize) {
    let plan = Plan::training(network, Loss::SoftmaxCrossEntropy, &optimizer.into(), config).unwrap();
    let (mut alone, mut in_matmuls) = (Vec::new(), 0);
    for op in &plan.step {
        match op {
            Op::Update(update) => {
                let range = update.step.parameters.words();
                let names = network.parameters().iter().filter(|p| range.contains(&p.range().start));
                alone.push(names.map(|p| p.name.as_str()).collect::<Vec<_>>().join(" "));
            }
            Op::Matmul(Matmul { epilogue: Epilogue::Update(_), .. }) => in_matmuls += 1,
            _ => {}
        }
    }
    (alone, in_matmuls)
}

#[test]
fn a_layer_norm_or_a_group_leaves_the_other_updates_fused() {
    let network = Network::input(4).dense(6, Relu).layer_norm().dense(3, Softmax).build().unwrap();
    let config = |groups| TrainerConfig { batch: ROWS, groups, ..TrainerConfig::default() };
    let of = |groups| updates(&network, Adam::default(), &config(groups));
    let norm = "layer_norm_2.scale layer_norm_2.shift".to_owned();
    assert_eq!(of(vec![]), (vec![norm.clone()], 2));
    // A frozen layer has no gradient, but its moments still change. Another rate needs a table of multipliers, which a
    // matmul's epilogue cannot read.
    let dense_1 = "dense_1.weight dense_1.bias".to_owned();
    assert_eq!(of(vec![Group::layer("dense_1").frozen()]), (vec![format!("{dense_1} {norm}")], 1));
    assert_eq!(of(vec![Group::layer("layer_norm_2").frozen()]), (vec![norm.clone()], 2));
    assert_eq!(of(vec![Group::layer("dense_1").rate(0.5)]), (vec![format!("{dense_1} {norm}")], 1));
    assert_eq!(of(vec![Group::layer("layer_norm_2").rate(0.5)]), (vec![norm], 2));
}

/// An update that waits for all gradients is not fused.
#[test]
fn a_limit_on_the_norm_takes_all_gradients() {
    let network = Network::input(4).dense(6, Relu).dense(3, Softmax).build().unwrap();
    let all = "dense_1.weight dense_1.bias dense_2.weight dense_2.bias".to_owned();
    let clipped = TrainerConfig { batch: ROWS, clip: Some(Clip::Norm(1.0)), ..TrainerConfig::default() };
    assert_eq!(updates(&network, Sgd::default(), &clipped), (vec![all.clone()], 0));
    let accumulated = TrainerConfig { batch: ROWS, accumulate: 2, ..TrainerConfig::default() };
    assert_eq!(updates(&network, Sgd::default(), &accumulated), (vec![all], 0));
}

/// Tied weights have one update, after the sum of their readers' gradients.
#[test]
fn tied_weights_are_updated_once() {
    let mut g = Graph::new();
    let x = g.input("x", 6);
    let code = g.layer(Dense::new(4, Tanh), x).unwrap();
    g.name("encoder", code).unwrap();
    let back = g.layer(Tied::transpose_of("encoder", Sigmoid), code).unwrap();
    let network = g.build([("x", back)]).unwrap();
    let config = TrainerConfig { keep_gradients: false, ..config() };
    let plain = plain_of(&network, Loss::MeanSquaredError, Sgd::default(), &config);
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Sgd::default().into(), &config).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "next_batch: data -> step, indices",
            "gather: features, data, step, indices -> x",
            "matmul Nn 5x4x6 bias tanh: x, parameters, parameters+64 -> encoder",
            "matmul Nt 5x6x4 bias sigmoid: encoder, parameters, parameters+128 -> tied_2",
            "pointwise_loss: tied_2, targets, data, step, indices -> row_metrics, tied_2.gradient",
            "matmul Nn 5x4x6 derivative of tanh: tied_2.gradient, parameters, encoder -> encoder.gradient",
            "matmul Tn 6x4x5: tied_2.gradient, encoder -> encoder.weight.gradient.by_tied_2",
            "reduce sum [5, 6] to [1, 6]: tied_2.gradient -> gradients+128",
            "matmul Tn 6x4x5 add: x, encoder.gradient, encoder.weight.gradient.by_tied_2 -> gradients",
            "reduce sum [5, 4] to [1, 4]: encoder.gradient -> gradients+64",
            "update: gradients, step -> parameters",
        ]
    );
    assert_agree(&plain, &plan, &network, &Tolerance::Roundings(100.0));
}

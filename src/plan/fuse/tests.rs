//! Tests each rule on a small network: the removed ops, the added ops, and equal results on the CPU.

mod pools;
mod updates;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::network::{Dense, Graph, Layer, LayerNorm, Network, ScaleShift};
use crate::{Activation::*, Loss, Sgd, TrainerConfig};

const ROWS: u32 = 5;

fn config() -> TrainerConfig {
    TrainerConfig { batch: ROWS, keep_gradients: true, ..TrainerConfig::default() }
}

/// An unfused training plan, without ops whose results are unused.
fn plain_of(network: &Network, loss: Loss, optimizer: impl Into<Optimizer>, config: &TrainerConfig) -> Plan {
    let mut plan = Plan::plain_training(network, loss.into(), &optimizer.into(), config, None).unwrap().plan;
    prune(&mut plan);
    plan
}

fn plain(network: &Network, loss: Loss) -> Plan {
    plain_of(network, loss, Sgd { momentum: 0.5, ..Sgd::default() }, &config())
}

/// The plan after these rules.
fn by(plan: &Plan, rules: &[Rule]) -> Plan {
    let mut ops = Ops::new(plan);
    rules.iter().for_each(|rule| ops.apply(*rule));
    Plan { step: ops.into_step(), ..plan.clone() }
}

/// Each op with its inputs and outputs, without the optimizer's options.
fn lines(plan: &Plan) -> Vec<String> {
    let place = |tensor: Tensor| match (&plan.buffer(tensor.buffer).name, tensor.offset) {
        (name, 0) => name.clone(),
        (name, offset) => format!("{name}+{offset}"),
    };
    let list = |tensors: Vec<Tensor>| tensors.into_iter().map(place).collect::<Vec<_>>().join(", ");
    let line = |op: &Op| {
        let outputs = op.outputs().into_iter().map(|(tensor, _)| tensor).collect();
        format!("{op}: {} -> {}", list(op.inputs()), list(outputs))
    };
    plan.step.iter().map(line).collect()
}

/// The ops that the second plan lacks, then the ops that the first plan lacks.
fn changes(before: &Plan, after: &Plan) -> (Vec<String>, Vec<String>) {
    let only = |a: &Plan, b: &Plan| {
        let mut others = lines(b);
        let is_new = |line: &String| match others.iter().position(|other| other == line) {
            Some(at) => {
                others.remove(at);
                false
            }
            None => true,
        };
        lines(a).into_iter().filter(is_new).collect()
    };
    (only(before, after), only(after, before))
}

/// The contents of each written buffer after some steps on the CPU, by name.
fn numbers(plan: &Plan, network: &Network, steps: u32) -> BTreeMap<String, Vec<u32>> {
    let mut executor = CpuExecutor::new(Arc::new(plan.clone()), &[]);
    let wave = |len: u32| (0..len).map(|i| ((i * 37 % 64) as f32 / 32.0 - 1.0).to_bits()).collect::<Vec<u32>>();
    let rows = 2 * ROWS + 2;
    let (features, outputs) = (network.inputs(), network.outputs());
    let mut set = |role, words| {
        let id = plan.find(role).unwrap();
        executor.bind(id, &CpuBuffer::new(words));
    };
    set(Role::Features(0), wave(rows * features));
    set(Role::Targets(0), wave(rows * outputs));
    let info = DataInfo { rows, values: 1, feature_stride: features, target_stride: outputs, ..DataInfo::default() };
    set(Role::Data(0), bytemuck::cast_slice(&[info]).to_vec());
    let start: Vec<u32> = bytemuck::cast_vec(network.initial_parameters(3));
    set(Role::Parameters, start.clone());
    pollster::block_on(executor.run_steps(steps, true));
    let held = |i: usize| executor.buffer(BufferId(i)).lock().clone();
    let used = plan.ops().flat_map(|op| op.outputs()).map(|(tensor, _)| tensor.buffer.0);
    let numbers: BTreeMap<_, _> = used.map(|i| (plan.buffers[i].name.clone(), held(i))).collect();
    assert!(numbers["parameters"] != start && numbers.contains_key("totals"));
    numbers
}

/// The allowed difference between the numbers of two plans.
enum Tolerance {
    /// None: the same operations in the same order give the same bits after three steps.
    Exact,
    /// Another order of factors or of sums of [`ROWS`] terms. The difference after one step is at most this number of
    /// roundings of the largest sum.
    Roundings(f32),
}

fn assert_agree(before: &Plan, after: &Plan, network: &Network, tolerance: &Tolerance) {
    let steps = if matches!(tolerance, Tolerance::Exact) { 3 } else { 1 };
    let [before, numbers] = [before, after].map(|plan| numbers(plan, network, steps));
    let in_f32 = |name: &&String| after.buffers.iter().any(|b| b.name == **name && b.dtype == Dtype::F32);
    let largest = numbers.keys().filter(in_f32).flat_map(|name| &numbers[name]);
    let largest = largest.map(|word| f32::from_bits(*word).abs()).fold(0.0, f32::max);
    assert!(largest.is_finite());
    // Gradients that a matmul passes to the update are not in memory.
    let updates = |op: &Op| matches!(op, Op::Matmul(Matmul { epilogue: Epilogue::Update(_), .. }));
    let is_whole = |name: &str| name != "gradients" || !after.ops().any(updates);
    for (name, held) in numbers.iter().filter(|(name, _)| is_whole(name)) {
        let other = before.get(name).unwrap_or_else(|| panic!("no {name} before"));
        match tolerance {
            Tolerance::Roundings(roundings) if in_f32(&name) => {
                let bound = roundings * largest * ROWS as f32 / (1 << 24) as f32;
                for (a, b) in held.iter().zip(other).map(|(a, b)| (f32::from_bits(*a), f32::from_bits(*b))) {
                    assert!((a - b).abs() <= bound, "{name}: {a} is not {b}, within {bound}");
                }
            }
            Tolerance::Roundings(_) => {}
            Tolerance::Exact => assert_eq!(held, other, "{name}"),
        }
    }
}

/// Checks that a rule removes the ops `gone` and adds the ops `new`. The rules `before` are applied first.
fn check(network: &Network, before: &[Rule], rule: Rule, gone: &[&str], new: &[&str], tolerance: Tolerance) {
    let plain = by(&plain(network, Loss::MeanSquaredError), before);
    let fused = by(&plain, &[rule]);
    let (removed, added) = changes(&plain, &fused);
    assert_eq!(removed, gone, "gone");
    assert_eq!(added, new, "new");
    assert_agree(&plain, &fused, network, &tolerance);
}

#[test]
fn a_bias_goes_into_the_matmul() {
    let network = Network::input(4).dense(3, Identity).build().unwrap();
    check(
        &network,
        &[],
        rules::bias,
        &[
            "matmul Nn 5x3x4: input, parameters -> dense_1.matmul",
            "combine add [5, 3]: dense_1.matmul, parameters+64 -> dense_1",
        ],
        &["matmul Nn 5x3x4 bias identity: input, parameters, parameters+64 -> dense_1"],
        Tolerance::Exact,
    );
}

#[test]
fn the_sum_of_a_residual_connection_goes_into_the_matmul() {
    let network = Network::input(4).residual(|x| x.dense(4, Identity)).dense(3, Tanh).build().unwrap();
    check(
        &network,
        &[rules::bias],
        rules::addend,
        &[
            "matmul Nn 5x4x4 bias identity: input, parameters, parameters+64 -> dense_1",
            "combine add [5, 4]: input, dense_1 -> add_2",
        ],
        &["matmul Nn 5x4x4 add bias identity: input, parameters, parameters+64, input -> add_2"],
        Tolerance::Exact,
    );
}

#[test]
fn gradients_of_two_readers_are_added_by_the_later_matmul() {
    let network =
        Network::input(4).dense(4, Identity).residual(|x| x.dense(4, Tanh)).dense(3, Identity).build().unwrap();
    check(
        &network,
        &[rules::bias],
        rules::addend,
        &[
            "matmul Nt 5x4x4: dense_2.gradient, parameters+128 -> dense_1.gradient.by_dense_2",
            "combine add [5, 4]: add_3.gradient, dense_1.gradient.by_dense_2 -> dense_1.gradient",
        ],
        &["matmul Nt 5x4x4 add: dense_2.gradient, parameters+128, add_3.gradient -> dense_1.gradient"],
        Tolerance::Exact,
    );
}

#[test]
fn an_activation_goes_into_the_matmul() {
    let network = Network::input(4).dense(3, Tanh).layer(Dense::new(2, Relu).without_bias()).build().unwrap();
    check(
        &network,
        &[rules::bias],
        rules::activation,
        &[
            "matmul Nn 5x3x4 bias identity: input, parameters, parameters+64 -> dense_1.pre_activation",
            "pointwise tanh: dense_1.pre_activation -> dense_1",
            "matmul Nn 5x2x3: dense_1, parameters+128 -> dense_2.pre_activation",
            "pointwise relu: dense_2.pre_activation -> dense_2",
        ],
        &[
            "matmul Nn 5x3x4 bias tanh: input, parameters, parameters+64 -> dense_1",
            "matmul Nn 5x2x3 bias relu: dense_1, parameters+128 -> dense_2",
        ],
        Tolerance::Exact,
    );
}

/// Silu's derivative reads the pre-activation.
#[test]
fn an_activation_whose_input_is_needed_stays_an_op() {
    let network = Network::input(4).dense(3, Silu).dense(2, Identity).build().unwrap();
    check(&network, &[rules::bias], rules::activation, &[], &[], Tolerance::Exact);
}

#[test]
fn the_derivative_goes_with_the_mask_of_a_dropout() {
    let network = Network::input(4).dense(3, Tanh).dropout(0.25).dense(2, Identity).build().unwrap();
    check(
        &network,
        &[],
        rules::masked_derivative,
        &[
            "pointwise identity, dropout 0.25: dropout_2.gradient, step, data -> dense_1.output_gradient",
            "pointwise derivative of tanh: dense_1.output_gradient, dense_1 -> dense_1.gradient",
        ],
        &["pointwise derivative of tanh, dropout 0.25: dropout_2.gradient, dense_1, step, data -> dense_1.gradient"],
        Tolerance::Roundings(4.0),
    );
}

#[test]
fn a_derivative_goes_into_the_matmul() {
    let network = Network::input(4).dense(3, Tanh).dense(5, Silu).dense(2, Identity).build().unwrap();
    check(
        &network,
        &[],
        rules::derivative,
        &[
            "matmul Nt 5x5x2: dense_3.gradient, parameters+256 -> dense_2.output_gradient",
            "pointwise derivative of silu: dense_2.output_gradient, dense_2.pre_activation -> dense_2.gradient",
            "matmul Nt 5x3x5: dense_2.gradient, parameters+128 -> dense_1.output_gradient",
            "pointwise derivative of tanh: dense_1.output_gradient, dense_1 -> dense_1.gradient",
        ],
        &[
            "matmul Nt 5x5x2 derivative of silu: dense_3.gradient, parameters+256, dense_2.pre_activation -> dense_2.gradient",
            "matmul Nt 5x3x5 derivative of tanh: dense_2.gradient, parameters+128, dense_1 -> dense_1.gradient",
        ],
        Tolerance::Exact,
    );
}

/// If two layers read a value, the derivative follows the sum of their gradients.
#[test]
fn a_derivative_follows_the_sum_at_a_fan_out() {
    let network = Network::input(4).dense(4, Tanh).residual(|x| x.dense(4, Relu)).dense(3, Identity).build().unwrap();
    check(
        &network,
        &[rules::bias, rules::addend],
        rules::derivative,
        &[
            "matmul Nt 5x4x4 add: dense_2.gradient, parameters+128, add_3.gradient -> dense_1.output_gradient",
            "pointwise derivative of tanh: dense_1.output_gradient, dense_1 -> dense_1.gradient",
        ],
        &[
            "matmul Nt 5x4x4 add derivative of tanh: dense_2.gradient, parameters+128, dense_1, add_3.gradient -> dense_1.gradient",
        ],
        Tolerance::Exact,
    );
}

#[test]
fn the_last_derivative_goes_into_the_loss() {
    let network = Network::input(4).dense(3, Sigmoid).build().unwrap();
    check(
        &network,
        &[],
        rules::loss_derivative,
        &[
            "pointwise_loss: dense_1, targets, data, step, indices -> row_metrics, dense_1.output_gradient",
            "pointwise derivative of sigmoid: dense_1.output_gradient, dense_1 -> dense_1.gradient",
        ],
        &["pointwise_loss: dense_1, targets, data, step, indices -> row_metrics, dense_1.gradient"],
        Tolerance::Roundings(8.0),
    );
}

/// The kernel of a softmax loss cannot fuse a derivative.
#[test]
fn a_derivative_before_a_softmax_loss_stays_an_op() {
    let network = Network::input(4).dense(3, Relu).activation(Softmax).build().unwrap();
    let plain = plain(&network, Loss::SoftmaxCrossEntropy);
    assert_eq!(changes(&plain, &by(&plain, &[rules::loss_derivative])), (vec![], vec![]));
    let plan = Plan { step: by(&plain, &RULES).step, ..plain.clone() };
    let relu = |op: &&Op| matches!(op, Op::Pointwise(Pointwise { saved: Some(_), activation: Relu, .. }));
    assert_eq!(plan.step.iter().filter(relu).count(), 1);
}

#[test]
fn the_gradient_of_biases_goes_into_the_matmul() {
    let network = Network::input(4).dense(3, Tanh).dense(2, Identity).build().unwrap();
    check(
        &network,
        &[],
        rules::bias_gradient,
        &[
            "matmul Tn 3x2x5: dense_1, dense_2.gradient -> gradients+128",
            "reduce sum [5, 2] to [1, 2]: dense_2.gradient -> gradients+192",
            "matmul Tn 4x3x5: input, dense_1.gradient -> gradients",
            "reduce sum [5, 3] to [1, 3]: dense_1.gradient -> gradients+64",
        ],
        &[
            "matmul Tn 3x2x5: dense_1, dense_2.gradient -> gradients+128, gradients+192",
            "matmul Tn 4x3x5: input, dense_1.gradient -> gradients, gradients+64",
        ],
        Tolerance::Roundings(2.0),
    );
}

#[test]
fn the_update_goes_into_the_matmul() {
    let network = Network::input(4).dense(3, Tanh).layer(Dense::new(2, Identity).without_bias()).build().unwrap();
    check(
        &network,
        &[rules::bias_gradient],
        rules::update,
        &[
            "matmul Tn 3x2x5: dense_1, dense_2.gradient -> gradients+128",
            "matmul Tn 4x3x5: input, dense_1.gradient -> gradients, gradients+64",
            "update: gradients, step -> parameters, moments",
            "update: gradients+128, step -> parameters+128, moments+128",
        ],
        &[
            "matmul Tn 3x2x5 update: dense_1, dense_2.gradient, step -> parameters+128, moments+128",
            "matmul Tn 4x3x5 update: input, dense_1.gradient, step -> parameters, moments",
        ],
        Tolerance::Exact,
    );
}

/// All rules together. About ten ops follow each other, each with at most six terms.
#[test]
fn all_rules_together() {
    let network = Network::input(4).dense(6, Relu).layer_norm().dense(3, Sigmoid).build().unwrap();
    let config = TrainerConfig { keep_gradients: false, ..config() };
    let plain = plain_of(&network, Loss::MeanSquaredError, Sgd::default(), &config);
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Sgd::default().into(), &config).unwrap();
    assert_eq!(
        lines(&plain),
        [
            "next_batch: data -> step, indices",
            "gather: features, data, step, indices -> input",
            "matmul Nn 5x6x4: input, parameters -> dense_1.matmul",
            "combine add [5, 6]: dense_1.matmul, parameters+64 -> dense_1.pre_activation",
            "pointwise relu: dense_1.pre_activation -> dense_1",
            "layer_norm: dense_1, parameters+128, parameters+192 -> layer_norm_2, layer_norm_2.statistics",
            "matmul Nn 5x3x6: layer_norm_2, parameters+256 -> dense_3.matmul",
            "combine add [5, 3]: dense_3.matmul, parameters+320 -> dense_3.pre_activation",
            "pointwise sigmoid: dense_3.pre_activation -> dense_3",
            "pointwise_loss: dense_3, targets, data, step, indices -> row_metrics, dense_3.output_gradient",
            "pointwise derivative of sigmoid: dense_3.output_gradient, dense_3 -> dense_3.gradient",
            "matmul Nt 5x6x3: dense_3.gradient, parameters+256 -> layer_norm_2.gradient",
            "matmul Tn 6x3x5: layer_norm_2, dense_3.gradient -> gradients+256",
            "reduce sum [5, 3] to [1, 3]: dense_3.gradient -> gradients+320",
            "layer_norm_parameters: layer_norm_2.gradient, dense_1, layer_norm_2.statistics -> gradients+128, gradients+192",
            "layer_norm_input: layer_norm_2.gradient, dense_1, parameters+128, layer_norm_2.statistics -> dense_1.output_gradient",
            "pointwise derivative of relu: dense_1.output_gradient, dense_1 -> dense_1.gradient",
            "matmul Tn 4x6x5: input, dense_1.gradient -> gradients",
            "reduce sum [5, 6] to [1, 6]: dense_1.gradient -> gradients+64",
            "update: gradients, step -> parameters",
            "update: gradients+128, step -> parameters+128",
            "update: gradients+256, step -> parameters+256",
        ]
    );
    assert_eq!(
        lines(&plan),
        [
            "next_batch: data -> step, indices",
            "gather: features, data, step, indices -> input",
            "matmul Nn 5x6x4 bias relu: input, parameters, parameters+64 -> dense_1",
            "layer_norm: dense_1, parameters+128, parameters+192 -> layer_norm_2, layer_norm_2.statistics",
            "matmul Nn 5x3x6 bias sigmoid: layer_norm_2, parameters+256, parameters+320 -> dense_3",
            "pointwise_loss: dense_3, targets, data, step, indices -> row_metrics, dense_3.gradient",
            "matmul Nt 5x6x3: dense_3.gradient, parameters+256 -> layer_norm_2.gradient",
            "matmul Tn 6x3x5 update: layer_norm_2, dense_3.gradient, step -> parameters+256",
            "layer_norm_parameters: layer_norm_2.gradient, dense_1, layer_norm_2.statistics -> gradients+128, gradients+192",
            "layer_norm_input: layer_norm_2.gradient, dense_1, parameters+128, layer_norm_2.statistics -> dense_1.output_gradient",
            "pointwise derivative of relu: dense_1.output_gradient, dense_1 -> dense_1.gradient",
            "matmul Tn 4x6x5 update: input, dense_1.gradient, step -> parameters",
            "update: gradients+128, step -> parameters+128",
        ]
    );
    assert_agree(&plain, &plan, &network, &Tolerance::Roundings(100.0));
}

#[test]
fn an_activation_goes_into_batch_normalisation() {
    let network = Network::input(4).batch_norm().activation(Relu).dense(3, Identity).build().unwrap();
    check(
        &network,
        &[],
        rules::norm_activation,
        &[
            "batch_norm: input, parameters, parameters+64, batch_norm_1.statistics -> batch_norm_1",
            "pointwise relu: batch_norm_1 -> activation_2",
        ],
        &["batch_norm relu: input, parameters, parameters+64, batch_norm_1.statistics -> activation_2"],
        Tolerance::Exact,
    );
}

/// No rule removes a value that two layers read, or that is an output.
#[test]
fn what_others_read_stays() {
    let mut g = Graph::new();
    let x = g.input("x", 4);
    let sums = g.layer(Dense::new(3, Identity), x).unwrap();
    let y = g.layer(Layer::Activation(Relu), sums).unwrap();
    let scaled = g.layer(ScaleShift::Trained, sums).unwrap();
    let normal = g.layer(LayerNorm::default(), y).unwrap();
    let sum = g.add([scaled, normal]).unwrap();
    let network = g.build([("y", sum)]).unwrap();
    check(&network, &[rules::bias], rules::activation, &[], &[], Tolerance::Exact);
}

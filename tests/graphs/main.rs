//! Random graphs train on GPU and CPU in lockstep, and their gradients agree with finite differences in f64. The graphs
//! have several inputs and outputs, values that several layers read, sums, products, slices and rearrangements of any
//! shape, tied weights and a loss per position. `PROPTEST_CASES` sets the number of graphs.

mod at_input;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod drawn;
mod faults;

use common::reference::{Corners, Sample};
use common::*;
use data::{Data, Masks, Pass};
use drawn::{Drawn, graphs};
use proptest::prelude::*;
use wgrad::lockstep::{Differences, Lockstep, compare_gradient};
use wgrad::plan::{DataInfo, Role, RowMetrics};
use wgrad::{Adam, Clip, Group, Layer, Losses, Optimizer, Plan, Sgd, TrainerConfig};

const U: f64 = 1.0 / 16_777_216.0;

fn cases(by_default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(by_default);
    ProptestConfig { cases, max_shrink_iters: 300, failure_persistence: None, ..Default::default() }
}

fn losses(drawn: &Drawn) -> Losses {
    let ends = drawn.network.output_specs().iter().zip(&drawn.outputs);
    ends.fold(Losses::new(), |losses, (end, output)| losses.weighted(&end.name, output.loss, output.weight))
}

/// Mixes the bits of the seed, because small seeds would start with round numbers.
fn random_of(seed: u64) -> Random {
    Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Initial weights plus random offsets, so that no bias is 0 and no scale is 1.
fn weights(drawn: &Drawn, seed: u64) -> Vec<f32> {
    let mut random = random_of(seed);
    let mut weights = drawn.network.initial_parameters(seed);
    for parameter in drawn.network.parameters() {
        weights[parameter.range()].iter_mut().for_each(|weight| *weight += 0.25 * random.f32());
    }
    weights
}

fn numbers(lockstep: &Lockstep, role: Role) -> Vec<f64> {
    let id = lockstep.plan().find(role).unwrap_or_else(|| panic!("no {role:?} in {}", lockstep.plan()));
    lockstep.get(id).into_iter().map(f64::from).collect()
}

/// The factors that dropout applied to the last batch. Where its input is 0, the factor has no effect.
fn masks(lockstep: &Lockstep, drawn: &Drawn) -> Masks {
    let plan = lockstep.plan();
    let dropouts = drawn.steps.iter().filter_map(|step| match step.layer {
        Layer::Dropout(rate) | Layer::SpatialDropout(rate) => Some((step, 1.0 / (1.0 - f64::from(rate)))),
        _ => None,
    });
    let mask = |(step, scale): (&drawn::Step, f64)| {
        let id = plan.buffers.iter().position(|buffer| buffer.name == step.name)?;
        let made = lockstep.get(wgrad::plan::BufferId(id));
        Some((step.name.clone(), made.iter().map(|&x| if x == 0.0 { 0.0 } else { scale }).collect()))
    };
    dropouts.filter_map(mask).collect()
}

/// Tolerance of a gradient. A sum of n terms has an error of about √n roundings of its terms. Sums run over a sample,
/// or over the positions of all rows. Each layer has such sums in the forward and in the backward pass, and their
/// errors add up. No input of an op exceeds the product of the largest value and the largest
/// gradient in the plan.
fn bound(lockstep: &Lockstep, drawn: &Drawn, rows: u32) -> f64 {
    let plan = lockstep.plan();
    let largest = |is: &dyn Fn(Role) -> bool| {
        let ids = (0..plan.buffers.len()).filter(|&i| is(plan.buffers[i].role)).map(wgrad::plan::BufferId);
        ids.flat_map(|id| lockstep.get(id)).fold(1.0f64, |largest, x| largest.max(f64::from(x).abs()))
    };
    let of_values = largest(&|role| matches!(role, Role::Activation | Role::Parameters | Role::Output(_)));
    let of_gradients = largest(&|role| matches!(role, Role::ActivationGradient | Role::Gradients));
    let layers = drawn.network.layers().len() as f64;
    let roundings = 2.0 * layers * (drawn::LARGEST_VALUE as f64 * f64::from(rows)).sqrt();
    roundings * U * of_values * of_gradients
}

/// Compares a gradient with central differences of a loss in f64. The loss sums about a thousand numbers. Returns how
/// many components were compared.
fn compare(gradient: &[f32], at: &[f64], inside: &[usize], bound: f64, what: &str, f: impl Fn(&[f64]) -> f64) -> usize {
    let noise = 1000.0 * f64::EPSILON * f(at).abs().max(1.0);
    let how = Differences { bound, noise, ..Differences::default() };
    let comparison = compare_gradient(at, gradient, inside.iter().copied(), how, f);
    assert!(comparison.fault.is_none(), "{what}: {}", comparison.fault.unwrap());
    comparison.compared
}

/// True if rounding errors cannot move the CPU twin to the other side of a corner.
fn is_away_from_corners(corners: &Corners, bound: f64) -> bool {
    corners.nearest > 10.0 * bound.max(1e-5)
}

fn lockstep_of(gpu: &wgrad::Gpu, drawn: &Drawn, plan: Plan, data: &Data, seed: u64) -> Lockstep {
    let mut lockstep = lockstep(gpu, plan);
    data.set(&mut lockstep);
    let parameters = lockstep.plan().find(Role::Parameters).unwrap();
    lockstep.set(parameters, &weights(drawn, seed)).unwrap();
    lockstep
}

proptest! {
    #![proptest_config(cases(8))]

    /// Gradients in training agree with central differences, for a full batch and for a partial batch after an update.
    #[test]
    fn gradients_of_random_graphs_are_those_of_finite_differences(
        drawn in graphs(12), batch in 1u32..5, left in 1u32..5, seed in 0u64..1000,
    ) {
        let left = left.min(batch);
        let data = data::random(&drawn, batch + left, false, seed);
        let config = TrainerConfig { keep_gradients: true, shuffle: false, ..batches_of(batch) };
        let optimizer = Sgd { learning_rate: 0.01, ..Sgd::default() }.into();
        let plan = Plan::training(&drawn.network, losses(&drawn), &optimizer, &config).unwrap();
        let mut lockstep = lockstep_of(gpu(), &drawn, plan, &data, seed);
        let inside: Vec<usize> = drawn.network.parameters().iter().flat_map(|p| p.range()).collect();
        for rows in [0..batch as usize, batch as usize..(batch + left) as usize] {
            let weights = numbers(&lockstep, Role::Parameters);
            let what = format!("rows {rows:?} of {drawn:?}\n{}", lockstep.plan());
            assert_agree(&mut lockstep, &what);
            let pass = Pass::Training(masks(&lockstep, &drawn));
            let gradients = lockstep.get(lockstep.plan().find(Role::Gradients).unwrap());
            let bound = bound(&lockstep, &drawn, batch);
            let mut corners = Corners::default();
            let each = data.losses(&drawn, &weights, rows.clone(), &pass, &mut corners);
            prop_assume!(is_away_from_corners(&corners, bound));

            if rows.start == 0 {
                check_losses(&lockstep, &drawn, rows.len(), &each, bound);
            }
            let compared = compare(&gradients, &weights, &inside, bound, &what, |moved| {
                let losses = data.losses(&drawn, moved, rows.clone(), &pass, &mut Corners::default());
                drawn.outputs.iter().zip(losses).map(|(output, loss)| f64::from(output.weight) * loss).sum()
            });
            prop_assert!(2 * compared >= inside.len(), "only {compared} of {} compared", inside.len());
        }
    }

    /// Gradients of inputs and weights agree with central differences of L = Σ g · y. The sum runs over all outputs, so
    /// g is the gradient with respect to the outputs.
    #[test]
    fn input_gradients_of_random_graphs_are_those_of_finite_differences(
        drawn in graphs(12), rows in 1u32..4, asked: [bool; 3], seed in 0u64..1000,
    ) {
        let plan = Plan::chain(&drawn.network, &Adam::default().into(), &batches_of(rows), &asked).unwrap();
        let data = data::random(&drawn, rows, false, seed);
        let mut random = random_of(seed + 7);
        let mut lockstep = lockstep_of(gpu(), &drawn, plan, &data, seed);
        let find = |lockstep: &Lockstep, role| lockstep.plan().find(role).unwrap();
        for (i, features) in (0..).zip(&data.features) {
            let id = find(&lockstep, Role::Input(i));
            lockstep.set(id, features).unwrap();
        }
        let mut given = Vec::new();
        for (o, end) in (0..).zip(drawn.network.output_specs()) {
            given.push(random.f32s((rows * end.features()) as usize));
            let id = find(&lockstep, Role::OutputGradient(o));
            lockstep.set(id, &given[o as usize]).unwrap();
        }
        let id = find(&lockstep, Role::Data(0));
        lockstep.set(id, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
        let weights = numbers(&lockstep, Role::Parameters);
        let what = format!("{drawn:?}\n{}", lockstep.plan());
        assert_agree(&mut lockstep, &what);

        let pass = Pass::Training(masks(&lockstep, &drawn));
        let bound = bound(&lockstep, &drawn, rows);
        let values = |weights: &[f64], inputs: &[Vec<Sample>], corners: &mut Corners| -> Vec<Vec<Sample>> {
            data::values(&drawn, weights, inputs, &pass, corners)
        };
        let total = |weights: &[f64], inputs: &[Vec<Sample>]| -> f64 {
            let values = values(weights, inputs, &mut Corners::default());
            let of_output = |(o, given): (usize, &Vec<f32>)| -> f64 {
                let made = values.iter().flat_map(|values| &values[drawn.outputs[o].value].values);
                made.zip(given).map(|(y, &g)| y * f64::from(g)).sum()
            };
            given.iter().enumerate().map(of_output).sum()
        };
        let inputs: Vec<Vec<Sample>> = (0..rows as usize).map(|row| data.sample(&drawn, row)).collect();
        let mut corners = Corners::default();
        let expected = values(&weights, &inputs, &mut corners);
        prop_assume!(is_away_from_corners(&corners, bound));
        for o in 0..drawn.outputs.len() {
            check_output(&lockstep, &drawn, o, &expected, bound);
        }
        for (i, _) in drawn.network.input_specs().iter().enumerate().filter(|(i, _)| asked[*i]) {
            let gradient = lockstep.get(find(&lockstep, Role::InputGradient(i as u32)));
            let width = gradient.len() / rows as usize;
            let at: Vec<f64> = inputs.iter().flat_map(|sample| sample[i].values.clone()).collect();
            let all: Vec<usize> = (0..at.len()).collect();
            compare(&gradient, &at, &all, bound, &format!("input {i} of {what}"), |moved| {
                let mut inputs = inputs.clone();
                inputs.iter_mut().zip(moved.chunks(width)).for_each(|(sample, row)| sample[i].values = row.to_vec());
                total(&weights, &inputs)
            });
        }
        let inside: Vec<usize> = drawn.network.parameters().iter().flat_map(|p| p.range()).collect();
        let gradients = lockstep.get(find(&lockstep, Role::Gradients));
        let what = format!("weights of {what}");
        compare(&gradients, &weights, &inside, bound, &what, |moved| total(moved, &inputs));
    }
}

proptest! {
    #![proptest_config(cases(8))]

    /// Evaluation and forward plans agree with formulas in f64. Dropout passes everything, batch normalisation uses its
    /// running statistics, and a narrow network may be one op.
    #[test]
    fn random_graphs_evaluate_as_their_formulas(drawn in graphs(12), batch in 1u32..5, seed in 0u64..1000) {
        let data = data::random(&drawn, batch, false, seed);
        let evaluation = Plan::evaluation(&drawn.network, losses(&drawn), batch).unwrap();
        let mut evaluation = lockstep_of(gpu(), &drawn, evaluation, &data, seed);
        assert_agree(&mut evaluation, &format!("{drawn:?}"));
        let forward = Plan::forward(&drawn.network, batch).unwrap();
        let mut forward = lockstep_of(gpu(), &drawn, forward, &data, seed);
        for (i, features) in (0..).zip(&data.features) {
            if let Some(id) = forward.plan().find(Role::Input(i)) {
                forward.set(id, features).unwrap();
            }
        }
        assert_agree(&mut forward, &format!("{drawn:?}"));

        let weights: Vec<f64> = weights(&drawn, seed).into_iter().map(f64::from).collect();
        let (bound, corners) = (bound(&evaluation, &drawn, batch), &mut Corners::default());
        let each = data.losses(&drawn, &weights, 0..batch as usize, &Pass::Inference, corners);
        check_losses(&evaluation, &drawn, batch as usize, &each, bound);
        let samples: Vec<Vec<Sample>> = (0..batch as usize).map(|row| data.sample(&drawn, row)).collect();
        let values = data::values(&drawn, &weights, &samples, &Pass::Inference, corners);
        for o in 0..drawn.outputs.len() {
            check_output(&forward, &drawn, o, &values, bound);
        }
    }
}

proptest! {
    #![proptest_config(cases(6))]

    /// GPU and CPU agree if the app's buffers have strides. The plan copies strided rows, so its own inputs and outputs
    /// can share memory.
    #[test]
    fn strided_plans_of_random_graphs_run_alike_on_both(
        drawn in graphs(12), rows in 1u32..5, asked: [bool; 3], seed in 0u64..1000,
    ) {
        let data = data::random(&drawn, rows, false, seed);
        let chain = Plan::chain(&drawn.network, &Adam::default().into(), &batches_of(rows), &asked).unwrap();
        for plan in [chain, Plan::forward(&drawn.network, rows).unwrap()] {
            use Role::{Input, InputGradient, Output, OutputGradient};
            let is_end = |role| matches!(role, Input(_) | Output(_) | OutputGradient(_) | InputGradient(_));
            let ends = plan.buffers.iter().filter(|buffer| is_end(buffer.role));
            let ends: Vec<(Role, u32)> =
                ends.map(|end| (end.role, (end.words().unwrap() / u64::from(rows)) as u32)).collect();
            let plan = ends.iter().fold(plan, |plan, &(role, width)| plan.strided(role, 5, width + 3));
            let mut lockstep = lockstep_of(gpu(), &drawn, plan, &data, seed);
            let mut random = random_of(seed + 7);
            for (role, width) in ends {
                let id = lockstep.plan().find(role).unwrap();
                lockstep.set(id, &random.f32s((5 + rows * (width + 3)) as usize)).unwrap();
            }
            if let Some(id) = lockstep.plan().find(Role::Data(0)) {
                lockstep.set(id, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
            }
            for step in 0..2 {
                let what = format!("step {step} of {drawn:?}\n{}", lockstep.plan());
                assert_agree(&mut lockstep, &what);
            }
        }
    }
}

/// Checks the running losses after the first step.
fn check_losses(lockstep: &Lockstep, drawn: &Drawn, rows: usize, each: &[f64], bound: f64) {
    let totals = lockstep.get(lockstep.plan().find(Role::Totals).unwrap());
    for (o, (output, expected)) in drawn.outputs.iter().zip(each).enumerate() {
        let total = bytemuck::cast_slice::<f32, RowMetrics>(&totals[64 * o..64 * o + 4])[0];
        let shape = drawn.network.output_specs()[o].shape;
        let positions = shape.elements() / u64::from(*shape.last().unwrap());
        // The totals are sums over rows.
        let count = if output.loss == wgrad::Loss::SumOfSquares { 1.0 } else { rows as f64 * positions as f64 };
        let error = (f64::from(total.loss) / count - expected).abs();
        assert!(error <= bound, "loss {o} of {drawn:?}: {} is not {expected} times {count}", total.loss);
    }
}

fn check_output(lockstep: &Lockstep, drawn: &Drawn, output: usize, values: &[Vec<Sample>], bound: f64) {
    let made = numbers(lockstep, Role::Output(output as u32));
    let value = drawn.outputs[output].value;
    let expected: Vec<f64> = values.iter().flat_map(|values| values[value].values.clone()).collect();
    assert_eq!(made.len(), expected.len());
    for (y, expected) in made.iter().zip(&expected) {
        assert!((y - expected).abs() <= bound, "output {output} of {drawn:?}: {y} is not {expected}");
    }
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    prop_oneof![
        Just(Sgd { learning_rate: 0.01, momentum: 0.5, ..Sgd::default() }.into()),
        Just(Sgd { learning_rate: 0.01, ..Sgd::default() }.into()),
        Just(Adam::default().into())
    ]
}

/// Random options. Up to two random layers are in groups: one is frozen, another has its own learning rate.
fn config(drawn: &Drawn, batch: u32, draw: u32) -> TrainerConfig {
    let steps = &drawn.steps;
    let name = |n: u32| steps[n as usize % steps.len()].name.as_str();
    let groups = match draw % 4 {
        0 => vec![Group::layer(name(draw / 16)).frozen(), Group::layer(name(draw / 256)).rate(0.25)],
        1 => vec![Group::layer(name(draw / 16)).frozen()],
        _ => Vec::new(),
    };
    let clip = [None, None, Some(Clip::Norm(0.5)), Some(Clip::Value(0.125))][(draw / 4 % 4) as usize];
    let accumulate = 1 + u32::from((draw / 4096).is_multiple_of(4));
    TrainerConfig { groups, clip, accumulate, keep_gradients: (draw / 1024).is_multiple_of(4), ..batches_of(batch) }
}

proptest! {
    #![proptest_config(cases(12))]

    /// Training agrees on GPU and CPU, op by op, with random options.
    #[test]
    fn random_graphs_train_alike_on_both(
        drawn in graphs(16), optimizer in optimizer(), batch in 1u32..9, rows in 1u32..20, draw: u32, plain: bool,
    ) {
        let gpu = if plain { plain_gpu() } else { gpu() };
        let config = config(&drawn, batch, draw);
        let plan = Plan::training(&drawn.network, losses(&drawn), &optimizer, &config).unwrap();
        let data = data::random(&drawn, rows, true, draw.into());
        let mut lockstep = lockstep_of(gpu, &drawn, plan, &data, draw.into());
        for step in 0..4 {
            let what = format!("step {step} of {rows} rows\n{config:?}\n{}", lockstep.plan());
            assert_agree(&mut lockstep, &what);
        }
    }
}

proptest! {
    #![proptest_config(cases(6))]

    /// Updates in the epilogues of matmuls leave the same weights as separate updates, bit for bit. A frozen layer
    /// keeps its weights.
    #[test]
    fn fused_updates_of_random_graphs_leave_the_same_weights(
        drawn in graphs(14), optimizer in optimizer(), batch in 1u32..9, rows in 1u32..20, draw: u32,
    ) {
        let data = data::random(&drawn, rows, true, draw.into());
        let config = TrainerConfig { clip: None, accumulate: 1, ..config(&drawn, batch, draw) };
        let after = |keep_gradients: bool| {
            let config = TrainerConfig { keep_gradients, ..config.clone() };
            let plan = Plan::training(&drawn.network, losses(&drawn), &optimizer, &config).unwrap();
            let mut lockstep = lockstep_of(gpu(), &drawn, plan, &data, draw.into());
            for _ in 0..3 {
                assert_agree(&mut lockstep, &format!("{drawn:?}\n{config:?}"));
            }
            lockstep.get(lockstep.plan().find(Role::Parameters).unwrap())
        };
        let [fused, apart] = [false, true].map(after);
        let bits = |weights: &[f32]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&fused), bits(&apart));
        let start = weights(&drawn, draw.into());
        for parameter in drawn.network.parameters() {
            // The last group of a layer applies.
            let frozen = Group::layer(parameter.layer()).frozen();
            if config.groups.last() == Some(&frozen) {
                prop_assert_eq!(&fused[parameter.range()], &start[parameter.range()]);
            }
        }
    }
}

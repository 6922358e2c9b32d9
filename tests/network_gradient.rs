//! Checks the gradient of a network as a result of its forward pass, and the gradients of losses that read it, against
//! finite differences in f64.

mod common;

use common::reference::{self, Corners, Sample};
use common::*;
use wgrad::lockstep::{Differences, compare_gradient};
use wgrad::plan::{DataInfo, Role};
use wgrad::{
    Activation, Adam, Dense, Encoding, GridStorage, Group, HashGrid, Init, Layer, Loss, Losses, Network, Plan,
    TrainerConfig,
};

/// The textbook's network in f64, on one row. Layers of a residual block end with `add`, which adds the block's input.
fn forward(network: &Network, weights: &[f64], row: &[f64]) -> Vec<f64> {
    let corners = &mut Corners::default();
    let mut x = Sample::new(&[row.len() as u32], row.to_vec());
    let mut before_block = x.clone();
    for (name, layer) in network.layers() {
        if name == "start" {
            before_block = x.clone();
        }
        let own = network.parameters().iter().filter(|p| p.layer() == name);
        let own: Vec<&[f64]> = own.map(|p| &weights[p.range()]).collect();
        let inputs = if matches!(layer, Layer::Add) { vec![&before_block, &x] } else { vec![&x] };
        let inputs: Vec<Sample> = inputs.into_iter().cloned().collect();
        x = reference::outputs(layer, &own, &inputs.iter().collect::<Vec<_>>(), corners).remove(0);
        x = reference::activated(layer.activation(), &x, corners);
    }
    x.values
}

/// The step of the differences along x. Their noise is that of y divided by the step.
const STEP: f64 = 1.0 / 4096.0;

/// The derivative of Σ c · y along v, by the five-point formula, whose error is of order STEP⁴.
fn along(network: &Network, weights: &[f64], row: &[f64], v: &[f64], c: &[f32]) -> f64 {
    let at = |by: f64| -> f64 {
        let moved: Vec<f64> = row.iter().zip(v).map(|(x, v)| x + by * STEP * v).collect();
        forward(network, weights, &moved).iter().zip(c).map(|(y, &c)| y * f64::from(c)).sum()
    };
    (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP)
}

fn f64s(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| x.into()).collect()
}

/// The error bounds for sums with these lengths in total, as in `tests/gradients.rs`. The differences along x divide
/// rounding errors by their step; the five-point formula adds 18 of them, divided by 12.
fn differences(lengths: u32, gradient: &[f32], noise: f64) -> Differences {
    let largest = gradient.iter().fold(1.0f32, |largest, g| largest.max(g.abs()));
    let bound = 2.0 * f64::from(lengths) * f64::from(largest) / 16_777_216.0;
    Differences { bound, noise: f64::from(lengths) * f64::EPSILON * noise, ..Differences::default() }
}

fn assert_right(
    at: &[f64],
    gradient: &[f32],
    indices: Vec<usize>,
    how: Differences,
    loss: impl FnMut(&[f64]) -> f64,
    what: &str,
) {
    let comparison = compare_gradient(at, gradient, indices, how, loss);
    assert!(comparison.unclear == 0 && comparison.compared > 0, "{what}: {comparison:?}");
    assert!(comparison.fault.is_none(), "{what}: {}", comparison.fault.unwrap());
}

/// Tables start near zero, where a wrong slope stays hidden.
fn weights_of(network: &Network, seed: u64) -> Vec<f32> {
    let mut weights = network.initial_parameters(seed);
    for table in network.parameters().iter().filter(|p| p.name.ends_with(".table")) {
        weights[table.range()].iter_mut().for_each(|w| *w *= 5000.0);
    }
    weights
}

/// The lengths of a network's sums, four times: forward, backward, tangents, backward again.
fn lengths(network: &Network, rows: u32) -> u32 {
    let length = |p: &wgrad::Parameter| if p.name.ends_with(".table") { 16 } else { p.shape[0] };
    4 * network.parameters().iter().map(length).sum::<u32>() + rows
}

/// Checks g, and the gradients of the loss Σ dy · y + Σ dg · g for random dy and dg.
fn check(network: &Network, x: &[f32], input_gradient: bool, seed: u64, what: &str) {
    let (inputs, outputs) = (network.inputs() as usize, network.outputs() as usize);
    let rows = (x.len() / inputs) as u32;
    let mut random = Random(seed | 1);
    let [c, dy, dg] = [outputs, outputs * rows as usize, x.len()].map(|len| random.f32s(len));
    let config = batches_of(rows);
    let plan =
        Plan::chain_with_network_gradient(network, &Adam::default().into(), &config, &[input_gradient], &c).unwrap();
    let phases = plan.phases();
    let writes = |phase: usize, role| {
        let outputs = plan.step[phases[phase].clone()].iter().flat_map(|op| op.outputs());
        outputs.into_iter().any(|(tensor, _)| plan.buffer(tensor.buffer).role == role)
    };
    assert!(writes(0, Role::NetworkGradient) && writes(1, Role::Gradients), "{plan}");
    let mut lockstep = lockstep(gpu(), plan);
    let weights = weights_of(network, seed);
    let set = |lockstep: &mut wgrad::lockstep::Lockstep, role, numbers: &[f32]| {
        let id = lockstep.plan().find(role).unwrap();
        lockstep.set(id, numbers).unwrap();
    };
    set(&mut lockstep, Role::Input(0), x);
    set(&mut lockstep, Role::OutputGradient(0), &dy);
    set(&mut lockstep, Role::NetworkGradientGradient, &dg);
    set(&mut lockstep, Role::Parameters, &weights);
    let data = lockstep.plan().find(Role::Data(0)).unwrap();
    lockstep.set(data, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, what);
    let get = |role| lockstep.get(lockstep.plan().find(role).unwrap());
    let (g, gradient) = (get(Role::NetworkGradient), get(Role::Gradients));

    let (x, weights) = (f64s(x), f64s(&weights));
    let lengths = lengths(network, rows);
    let weighted = |x: &[f64]| -> f64 {
        let of_row = |row| forward(network, &weights, row).iter().zip(&c).map(|(y, &c)| y * f64::from(c)).sum::<f64>();
        x.chunks(inputs).map(of_row).sum()
    };
    assert_right(&x, &g, (0..x.len()).collect(), differences(lengths, &g, 1.0), weighted, &format!("g, {what}"));

    let loss = |x: &[f64], weights: &[f64]| -> f64 {
        let of_row = |(i, row): (usize, &[f64])| {
            let [dy, dg] = [&dy[i * outputs..][..outputs], &dg[i * inputs..][..inputs]];
            let y: f64 = forward(network, weights, row).iter().zip(dy).map(|(y, &dy)| y * f64::from(dy)).sum();
            y + along(network, weights, row, &f64s(dg), &c)
        };
        x.chunks(inputs).enumerate().map(of_row).sum()
    };
    let trained: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
    let how = differences(lengths, &gradient, 1.5 / STEP);
    assert_right(&weights, &gradient, trained, how, |moved| loss(&x, moved), &format!("weights, {what}"));
    if input_gradient {
        let dx = get(Role::InputGradient(0));
        let how = differences(lengths, &dx, 1.5 / STEP);
        assert_right(&x, &dx, (0..x.len()).collect(), how, |x| loss(x, &weights), &format!("dx, {what}"));
    }
}

fn random_bias(units: u32, activation: Activation) -> Dense {
    Dense::new(units, activation).bias_init(Init::Normal { std: 0.3 })
}

fn activations() -> impl Iterator<Item = Activation> {
    Activation::ALL.into_iter().filter(|a| *a != Activation::Softmax)
}

/// Every activation, inside and at the end, in a layer and alone. Several outputs have weights.
#[test]
fn second_derivatives_match_finite_differences_through_every_activation() {
    for (seed, activation) in (1..).zip(activations()) {
        let network = Network::input(3)
            .layer(random_bias(9, activation))
            .layer(random_bias(7, Activation::Tanh))
            .activation(activation)
            .layer(random_bias(5, activation).without_bias())
            .layer(random_bias(2, if seed % 2 == 0 { activation } else { Activation::Identity }))
            .build()
            .unwrap();
        check(&network, &Random(seed).f32s(5 * 3), true, seed, &activation.to_string());
    }
}

/// Layers that only move, scale or add numbers.
#[test]
fn second_derivatives_match_through_linear_layers_and_residual_blocks() {
    let network = Network::input([2, 3])
        .flatten()
        .layer(wgrad::ScaleShift::Fixed { scale: 0.75, shift: 0.25 })
        .layer(random_bias(8, Activation::Softplus))
        .residual(|x| {
            x.layer(random_bias(6, Activation::Tanh)).named("start").layer(random_bias(8, Activation::Identity))
        })
        .activation(Activation::Silu)
        .layer(random_bias(1, Activation::Identity))
        .build()
        .unwrap();
    check(&network, &Random(5).f32s(7 * 6), true, 5, "linear layers");
}

/// Points whose distance to all faces of a grid's cells is large compared with the steps of the differences.
fn points_inside_cells(random: &mut Random, rows: usize, dimensions: usize, cells: f32) -> Vec<f32> {
    let far = |x: f32| (0.15..0.85).contains(&(x * cells).fract());
    std::iter::repeat_with(|| random.f32().abs()).filter(|&x| far(x)).take(rows * dimensions).collect()
}

#[test]
fn second_derivatives_match_through_encodings_at_the_input() {
    let grid = |features_per_level| HashGrid {
        levels: 3,
        features_per_level,
        log2_hashmap_size: 6,
        base_resolution: 2,
        per_level_scale: 2.0,
        ..HashGrid::default()
    };
    let encodings: [Encoding; 8] = [
        Encoding::Identity { scale: -0.75, offset: 0.3 },
        Encoding::Frequency { frequencies: 2 },
        Encoding::TriangleWave { frequencies: 2 },
        Encoding::OneBlob { bins: 4 },
        grid(2).into(),
        grid(1).into(),
        HashGrid { storage: GridStorage::Tiled, ..grid(8) }.into(),
        Encoding::SphericalHarmonics { degree: 3 },
    ];
    for (seed, encoding) in (1..).zip(encodings) {
        let dimensions = match encoding {
            Encoding::SphericalHarmonics { .. } => 3,
            _ => 1 + seed as usize % 4,
        };
        let network = Network::input(dimensions as u32).encoding(encoding);
        let network = network.layer(random_bias(6, Activation::Tanh)).layer(random_bias(1, Activation::Identity));
        let x = points_inside_cells(&mut Random(seed), 6, dimensions, 8.0);
        check(&network.build().unwrap(), &x, false, seed, &format!("{encoding:?}"));
    }
}

/// An encoding of the input that does nothing but scale lets the gradient of the input through.
#[test]
fn second_derivatives_match_under_a_scaled_input() {
    let scale = Encoding::Identity { scale: 0.5, offset: 0.5 };
    let network = Network::input(2).encoding(scale).layer(random_bias(5, Activation::GeluErf));
    let network = network.layer(random_bias(1, Activation::Softplus)).build().unwrap();
    check(&network, &Random(3).f32s(8), true, 3, "scaled input");
}

/// The eikonal term of a training step, added to a loss. The batch has room for more rows than there are.
#[test]
fn the_eikonal_term_matches_finite_differences() {
    let (rows, weight) = (6u32, 0.3);
    let grid = HashGrid { levels: 2, log2_hashmap_size: 8, base_resolution: 2, ..HashGrid::default() };
    let encoded = Network::input(2).encoding(Encoding::Identity { scale: 0.5, offset: 0.5 }).encoding(grid);
    let networks = [Network::input(3).layer(random_bias(8, Activation::Softplus)), encoded];
    for (seed, network) in (1..).zip(networks) {
        let network = network.layer(random_bias(6, Activation::Tanh)).layer(random_bias(1, Activation::Identity));
        let network = network.build().unwrap();
        let config = TrainerConfig { keep_gradients: true, ..batches_of(rows + 3) };
        let losses = Losses::from(Loss::MeanSquaredError).eikonal(weight);
        let plan = Plan::training(&network, losses, &Adam::default().into(), &config).unwrap();
        let kind = TargetKind { values: true, weighted: false };
        let mut lockstep = lockstep_with_targets(gpu(), &network, plan, rows, seed, kind);
        let find = |role| lockstep.plan().find(role).unwrap();
        let [parameters, features, targets, gradients] =
            [Role::Parameters, Role::Features(0), Role::Targets(0), Role::Gradients].map(find);
        let weights = weights_of(&network, seed);
        lockstep.set(parameters, &weights).unwrap();
        let dimensions = network.inputs() as usize;
        // From 0 to 1 in cells of the finest level, then as the grid's input.
        let inside = points_inside_cells(&mut Random(seed), rows as usize, dimensions, 4.0);
        let inside: Vec<f32> = inside.into_iter().map(|x| 2.0 * x - 1.0).collect();
        lockstep.set(features, &inside).unwrap();
        let (x, t) = (f64s(&inside), f64s(&lockstep.get(targets)));
        assert_agree(&mut lockstep, "eikonal term");
        let gradient = lockstep.get(gradients);
        let loss = |weights: &[f64]| -> f64 {
            let of_row = |(row, t): (&[f64], &f64)| {
                let axis = |i| (0..dimensions).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
                let slopes = (0..dimensions).map(|i| along(&network, weights, row, &axis(i), &[1.0]));
                let length = slopes.map(|slope| slope * slope).sum::<f64>().sqrt();
                (forward(&network, weights, row)[0] - t).powi(2) + f64::from(weight) * (length - 1.0).powi(2)
            };
            x.chunks(dimensions).zip(&t).map(of_row).sum::<f64>() / f64::from(rows)
        };
        let trained: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
        let how = differences(lengths(&network, rows), &gradient, 1.5 / STEP);
        assert_right(&f64s(&weights), &gradient, trained, how, loss, "eikonal term");
    }
}

/// Frozen layers, dropout, accumulation and clipping work as in other plans. GPU and CPU agree on both devices.
#[test]
fn a_chain_with_every_option_runs_alike_on_both() {
    for (gpu, frozen) in gpus().into_iter().zip([false, true]) {
        let network = Network::input(2)
            .encoding(HashGrid { levels: 4, log2_hashmap_size: 8, base_resolution: 3, ..HashGrid::default() })
            .dense(16, Activation::Silu)
            .dropout(0.25)
            .residual(|x| x.dense(16, Activation::Tanh).dense(16, Activation::Relu))
            .dense(1, Activation::Identity)
            .build()
            .unwrap();
        let groups = if frozen { vec![Group::layer("dense_2").frozen()] } else { vec![] };
        let config = TrainerConfig { accumulate: 2, clip: Some(wgrad::Clip::Norm(0.5)), groups, ..batches_of(37) };
        let plan = Plan::chain_with_network_gradient(&network, &Adam::default().into(), &config, &[], &[1.0]).unwrap();
        let mut lockstep = lockstep(gpu, plan);
        let mut random = Random(7);
        for (role, len) in [(Role::Input(0), 74), (Role::OutputGradient(0), 37), (Role::NetworkGradientGradient, 74)] {
            let id = lockstep.plan().find(role).unwrap();
            lockstep.set(id, &random.f32s(len)).unwrap();
        }
        let find = |role| lockstep.plan().find(role).unwrap();
        let (parameters, data) = (find(Role::Parameters), find(Role::Data(0)));
        lockstep.set(parameters, &weights_of(&network, 3)).unwrap();
        lockstep.set(data, &[DataInfo { rows: 74, ..DataInfo::default() }]).unwrap();
        for step in 0..4 {
            assert_agree(&mut lockstep, &format!("step {step}"));
        }
    }
}

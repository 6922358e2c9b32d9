//! Compares the CPU reference with finite differences in f64: every gradient of a network, with each op among others.

mod common;

use common::reference::{self, Corners, Sample};
use common::*;
use wgrad::lockstep::{Differences, GradientComparison, compare_gradient};
use wgrad::plan::{Op, Role};
use wgrad::{
    Activation, Adam, Dense, Encoding, GridInterpolation, GridStorage, HashGrid, Init, Loss, Network, Plan,
    TrainerConfig,
};

/// The textbook's network in f64, on one row. Skips a last activation that belongs to the loss.
fn forward(network: &Network, weights: &[f64], row: &[f64], loss: Loss) -> Vec<f64> {
    let mut x = Sample::new(&[row.len() as u32], row.to_vec());
    let layers = network.layers().len();
    let corners = &mut Corners::default();
    for (i, (name, layer)) in network.layers().enumerate() {
        let own = network.parameters().iter().filter(|p| p.layer() == name);
        let own: Vec<&[f64]> = own.map(|p| &weights[p.range()]).collect();
        x = reference::outputs(layer, &own, &[&x], corners).remove(0);
        let left_to_loss = match loss {
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            Loss::SoftmaxCrossEntropy => Activation::Softmax,
            _ => Activation::Identity,
        };
        if i + 1 < layers || layer.activation() != left_to_loss {
            x = reference::activated(layer.activation(), &x, corners);
        }
    }
    x.values
}

/// The textbook's loss over all rows in f64: the mean, or the sum for `SumOfSquares`.
/// Divisors that count as constants stay those of the weights `at`.
fn loss(loss: Loss, network: &Network, [weights, at]: [&[f64]; 2], rows: &[Vec<f64>], labels: &[u32]) -> f64 {
    let of_row = |(row, &label): (&Vec<f64>, &u32)| {
        let [y, at] = [weights, at].map(|weights| forward(network, weights, row, loss));
        let targets = reference::label_targets(label, y.len());
        reference::loss_of_row_near(loss, &y, &targets, &at, &mut Corners::default())
    };
    let total: f64 = rows.iter().zip(labels).map(of_row).sum();
    if loss == Loss::SumOfSquares { total } else { total / rows.len() as f64 }
}

fn check(network: &Network, of: Loss, rows: u32, seed: u64) {
    check_plan(network, of, rows, seed, false);
}

/// Returns whether the plan has fused ops.
fn check_plan(network: &Network, of: Loss, rows: u32, seed: u64, op_by_op: bool) -> bool {
    // One batch holds every row. It has room for more rows, like a partial last batch.
    let config = TrainerConfig { keep_gradients: true, op_by_op, ..batches_of(rows + 3) };
    let plan = Plan::training(network, of, &Adam::default().into(), &config).unwrap();
    let is_fused = is_fused(&plan);
    let mut lockstep = lockstep_with_data(gpu(), network, plan, rows, seed);
    let buffer = |role| lockstep.plan().find(role).unwrap();
    let (parameters, features, targets, gradients) =
        (buffer(Role::Parameters), buffer(Role::Features(0)), buffer(Role::Targets(0)), buffer(Role::Gradients));
    let mut weights = lockstep.get(parameters);
    scale_tables(network, &mut weights);
    lockstep.set(parameters, &weights).unwrap();
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    let data: Vec<f64> = lockstep.get(features).into_iter().map(f64::from).collect();
    let data: Vec<Vec<f64>> = data.chunks(network.inputs() as usize).map(<[f64]>::to_vec).collect();
    let labels: Vec<u32> = lockstep.get(targets).into_iter().map(f32::to_bits).collect();
    assert_agree(&mut lockstep, "gradients");
    let gradient = lockstep.get(gradients);

    let inside: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
    // Each matmul of the backward chain adds a relative error of its length times u = 2⁻²⁴. The lengths add up, twice
    // for forward and backward. The chain's factors are of order 1.
    let lengths: u32 = network.parameters().iter().map(length).sum::<u32>() + rows;
    let how = differences(lengths, &gradient);
    let loss = |moved: &[f64]| loss(of, network, [moved, &weights], &data, &labels);
    assert_right(&compare_gradient(&weights, &gradient, inside, how, loss), "weights");
    is_fused
}

fn is_fused(plan: &Plan) -> bool {
    plan.step.iter().any(|op| matches!(op, Op::NarrowRows(_)))
}

/// The error bounds for a chain of sums with these lengths in total. Each sum has a relative error of its length times
/// the rounding unit, of f32 on the devices and of f64 here. Losses are of order 1.
fn differences(lengths: u32, gradient: &[f32]) -> Differences {
    let largest = gradient.iter().fold(1.0f32, |largest, g| largest.max(g.abs()));
    let bound = 2.0 * f64::from(lengths) * f64::from(largest) / 16_777_216.0;
    Differences { bound, noise: f64::from(lengths) * f64::EPSILON, ..Differences::default() }
}

fn assert_right(comparison: &GradientComparison, what: &str) {
    assert!(comparison.unclear == 0 && comparison.compared > 0, "{what}: {comparison:?}");
    assert!(comparison.fault.is_none(), "{what}: {}", comparison.fault.unwrap());
}

fn random_bias(units: u32, activation: Activation) -> Dense {
    Dense::new(units, activation).bias_init(Init::Normal { std: 0.3 })
}

/// Gradients match through each activation, in a matmul and as a layer. Fused steps have the same functions, and take
/// longer to compile: two activations have one.
#[test]
fn gradients_match_finite_differences_through_every_activation() {
    for (seed, activation) in Activation::ALL.into_iter().enumerate() {
        let network = Network::input(6)
            .layer(random_bias(9, activation))
            .layer(random_bias(7, Activation::Tanh))
            .activation(activation)
            .layer(random_bias(5, activation).without_bias())
            .layer(random_bias(4, Activation::Identity))
            .build()
            .unwrap();
        check_plan(&network, Loss::SoftmaxCrossEntropy, 11, seed as u64 + 1, seed % 16 != 0);
    }
}

/// Gradients match for each last activation under the mean squared error, and for each loss with up to three of them:
/// identity, softmax and another one. More pairs would test the same texts, because a kernel joins a loss and an
/// activation. Each loss is in a fused step once, with the identity.
#[test]
fn gradients_match_finite_differences_under_every_loss_and_last_activation() {
    let losses = [
        Loss::MeanSquaredError,
        Loss::SumOfSquares,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.2 },
        Loss::RelativeL2 { epsilon: 0.1 },
        Loss::RelativeL2Luminance { epsilon: 0.1 },
        Loss::RelativeL1 { epsilon: 0.2 },
        Loss::Mape { epsilon: 0.3 },
        Loss::Smape { epsilon: 0.2 },
        Loss::LogL1,
        Loss::Variance { epsilon: 0.5 },
        Loss::DensityCrossEntropy { epsilon: 0.5 },
        Loss::BinaryCrossEntropy,
        Loss::SoftmaxCrossEntropy,
    ];
    for (seed, loss) in losses.into_iter().enumerate() {
        for (i, activation) in Activation::ALL.into_iter().enumerate() {
            let taken = match loss {
                Loss::BinaryCrossEntropy => matches!(activation, Activation::Identity | Activation::Sigmoid),
                Loss::SoftmaxCrossEntropy => matches!(activation, Activation::Identity | Activation::Softmax),
                Loss::MeanSquaredError => true,
                _ => matches!(activation, Activation::Identity | Activation::Softmax) || i % losses.len() == seed,
            };
            let exclusive = activation == Activation::Softmax || loss == Loss::SoftmaxCrossEntropy;
            let of_colours = matches!(loss, Loss::RelativeL2Luminance { .. });
            let outputs = if exclusive || of_colours { 3 } else { 1 + (i as u32) % 3 };
            let network = Network::input(4)
                .layer(random_bias(6, Activation::Tanh))
                .layer(random_bias(outputs, activation))
                .build()
                .unwrap();
            if taken {
                let op_by_op = activation != Activation::Identity;
                check_plan(&network, loss, 7, 20 * seed as u64 + i as u64 + 1, op_by_op);
            }
        }
    }
}

/// Gradients match through layer normalisation.
#[test]
fn gradients_match_finite_differences_through_layer_normalisation() {
    let network = Network::input(5)
        .layer(random_bias(8, Activation::Relu))
        .layer_norm()
        .layer(random_bias(6, Activation::GeluTanh))
        .layer_norm()
        .layer(random_bias(3, Activation::Identity))
        .build()
        .unwrap();
    check(&network, Loss::SoftmaxCrossEntropy, 9, 4);
}

/// Encodings of 9 coordinates, with two hash grids between the others.
fn parts_of_a_row() -> [(u32, Encoding); 5] {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 6, base_resolution: 3, ..HashGrid::default() };
    [
        (1, Encoding::OneBlob { bins: 3 }),
        (2, grid.into()),
        (3, Encoding::SphericalHarmonics { degree: 3 }),
        (1, HashGrid { interpolation: GridInterpolation::Smoothstep, features_per_level: 1, ..grid }.into()),
        (2, Encoding::Frequency { frequencies: 2 }),
    ]
}

/// The layer before an encoding gets its gradient through the encoding.
#[test]
fn gradients_match_finite_differences_through_every_encoding() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 6, base_resolution: 3, ..HashGrid::default() };
    let encodings = [
        Encoding::Identity { scale: -1.5, offset: 0.25 },
        Encoding::Frequency { frequencies: 3 },
        Encoding::TriangleWave { frequencies: 3 },
        Encoding::OneBlob { bins: 5 },
        grid.into(),
        HashGrid { features_per_level: 1, per_level_scale: 1.6, ..grid }.into(),
        HashGrid { features_per_level: 4, levels: 2, ..grid }.into(),
        HashGrid { features_per_level: 8, levels: 2, interpolation: GridInterpolation::Smoothstep, ..grid }.into(),
        HashGrid { storage: GridStorage::Dense, interpolation: GridInterpolation::Smoothstep, ..grid }.into(),
        HashGrid { storage: GridStorage::Tiled, ..grid }.into(),
    ];
    for (i, encoding) in (1..).zip(encodings) {
        for dimensions in 1..=3 {
            let network = Network::input(3)
                .layer(random_bias(dimensions, Activation::Sigmoid))
                .encoding(encoding)
                .layer(random_bias(5, Activation::Tanh))
                .layer(random_bias(3, Activation::Identity))
                .build()
                .unwrap();
            check(&network, Loss::SoftmaxCrossEntropy, 9, 10 * i + u64::from(dimensions));
        }
    }
    let network = Network::input(3)
        .layer(random_bias(9, Activation::Sigmoid))
        .composite_encoding(parts_of_a_row())
        .layer(random_bias(5, Activation::Tanh))
        .layer(random_bias(3, Activation::Identity))
        .build()
        .unwrap();
    check(&network, Loss::SoftmaxCrossEntropy, 9, 99);
    for degree in [1, 4, 8] {
        let network = Network::input(3)
            .layer(random_bias(6, Activation::Tanh))
            .encoding(Encoding::SphericalHarmonics { degree })
            .layer(random_bias(5, Activation::Tanh))
            .layer(random_bias(3, Activation::Identity))
            .build()
            .unwrap();
        check(&network, Loss::SoftmaxCrossEntropy, 9, 100 + u64::from(degree));
    }
}

/// Gradients match in a network with one layer and one row.
#[test]
fn gradients_match_finite_differences_in_a_single_layer() {
    let network = Network::input(3).dense(2, Activation::Identity).build().unwrap();
    check(&network, Loss::SoftmaxCrossEntropy, 1, 5);
}

/// Input gradients of a network inside a larger computation match: L = Σ g · y has the output gradient g.
#[test]
fn input_gradients_match_finite_differences_whatever_the_first_and_the_last_layer() {
    for (seed, activation) in (1..).zip(Activation::ALL) {
        for first in 0..3 {
            let network = Network::input(4);
            let network = match first {
                0 => network,
                1 => network.activation(activation),
                _ => network.layer_norm(),
            };
            let last = random_bias(3, activation);
            let network = network.layer(random_bias(6, Activation::Tanh)).layer(last).build().unwrap();
            check_input(&network, seed, false, &format!("{activation:?} first {first}"));
        }
    }
}

/// Each encoding has gradients as the first layer, fused and op by op: of the weights in training, and of the input in a
/// larger computation.
#[test]
fn gradients_match_finite_differences_through_every_first_encoding_fused_and_op_by_op() {
    let grid = HashGrid { levels: 3, log2_hashmap_size: 6, base_resolution: 3, ..HashGrid::default() };
    let fused: [Encoding; 8] = [
        Encoding::Identity { scale: -1.5, offset: 0.25 },
        Encoding::Frequency { frequencies: 3 },
        Encoding::TriangleWave { frequencies: 3 },
        Encoding::OneBlob { bins: 5 },
        grid.into(),
        HashGrid { interpolation: GridInterpolation::Smoothstep, ..grid }.into(),
        HashGrid { storage: GridStorage::Dense, features_per_level: 4, ..grid }.into(),
        HashGrid { storage: GridStorage::Tiled, interpolation: GridInterpolation::Nearest, ..grid }.into(),
    ];
    let apart: [Encoding; 2] =
        [Encoding::SphericalHarmonics { degree: 4 }, HashGrid { features_per_level: 8, ..grid }.into()];
    let first = |encoding| (Network::input(3).encoding(encoding), format!("{encoding:?}"));
    let fused = fused.into_iter().map(first).chain([{
        let smooth = HashGrid { levels: 1, interpolation: GridInterpolation::Smoothstep, ..grid };
        (Network::input(3).encoding(smooth).encoding(grid), "two grids".into())
    }]);
    let parts = (Network::input(9).composite_encoding(parts_of_a_row()), "a composite encoding".into());
    let apart = apart.into_iter().map(first).chain([parts]);
    let all = fused.map(|network| (network, true)).chain(apart.map(|network| (network, false)));
    for (seed, ((network, what), fuses)) in (1..).zip(all) {
        let network = network.layer(random_bias(5, Activation::Tanh)).dense(3, Activation::Identity).build().unwrap();
        for op_by_op in [false, true] {
            let is_fused = [
                check_plan(&network, Loss::SoftmaxCrossEntropy, 9, seed, op_by_op),
                check_input(&network, seed, op_by_op, &what),
            ];
            assert_eq!(is_fused, [fuses && !op_by_op; 2], "{what}");
        }
    }
}

/// Returns whether the plan has fused ops.
fn check_input(network: &Network, seed: u64, op_by_op: bool, what: &str) -> bool {
    use wgrad::plan::DataInfo;
    let (rows, inputs) = (5, network.inputs());
    let config = TrainerConfig { op_by_op, ..batches_of(rows) };
    let plan = Plan::chain(network, &Adam::default().into(), &config, &[true]).unwrap();
    let is_fused = is_fused(&plan);
    let mut lockstep = lockstep(gpu(), plan);
    let mut random = Random(seed);
    let find = |role| lockstep.plan().find(role).unwrap();
    let (input, given, data, parameters, dx) = (
        find(Role::Input(0)),
        find(Role::OutputGradient(0)),
        find(Role::Data(0)),
        find(Role::Parameters),
        find(Role::InputGradient(0)),
    );
    let x = random.f32s((rows * inputs) as usize);
    let g = random.f32s((rows * 3) as usize);
    let mut weights = network.initial_parameters(seed);
    scale_tables(network, &mut weights);
    lockstep.set(input, &x).unwrap();
    lockstep.set(given, &g).unwrap();
    lockstep.set(parameters, &weights).unwrap();
    lockstep.set(data, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, "input gradient");
    let gradient = lockstep.get(dx);

    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    // The chain has no loss of wgrad, so the last activation stays.
    let scalar = |row: &[f64], g: &[f32]| -> f64 {
        let y = forward(network, &weights, row, Loss::MeanSquaredError);
        y.iter().zip(g).map(|(y, &g)| y * f64::from(g)).sum()
    };
    // As in `check`: the lengths of the chain's sums, forward and backward.
    let lengths: u32 = network.parameters().iter().map(length).sum();
    let how = differences(2 * (inputs + lengths + 3), &gradient);
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let inputs = inputs as usize;
    let loss = |x: &[f64]| x.chunks(inputs).zip(g.chunks(3)).map(|(x, g)| scalar(x, g)).sum();
    let comparison = compare_gradient(&x, &gradient, 0..x.len(), how, loss);
    assert_right(&comparison, what);
    is_fused
}

fn is_table(parameter: &wgrad::Parameter) -> bool {
    parameter.name.contains(".table")
}

/// Tables start near zero, where a wrong slope stays hidden.
fn scale_tables(network: &Network, weights: &mut [f32]) {
    for table in network.parameters().iter().filter(|p| is_table(p)) {
        weights[table.range()].iter_mut().for_each(|w| *w *= 5000.0);
    }
}

/// The length of the sums with a parameter. A point reads few numbers of a table.
fn length(parameter: &wgrad::Parameter) -> u32 {
    if is_table(parameter) { 16 } else { parameter.shape[0] }
}

/// Row weights of 1 / p must divide each row's loss and gradient by its density p, as tiny-cuda-nn's `data_pdf` does.
#[test]
fn row_weights_of_one_over_the_density_divide_loss_and_gradient_by_it() {
    use wgrad::{Dataset, Device, Fit, Sgd, Trainer};
    let network =
        Network::input(2).layer(random_bias(5, Activation::Tanh)).layer(random_bias(3, Activation::Exponential));
    let network = network.build().unwrap();
    let (rows, mut random) = (8usize, Random(5));
    let features = random.f32s(rows * 2);
    let targets: Vec<f32> = random.f32s(rows * 3).into_iter().map(f32::abs).collect();
    let densities: Vec<f32> = random.f32s(rows).into_iter().map(|x| 0.2 + x.abs()).collect();
    let weights = densities.iter().map(|p| 1.0 / p).collect();
    let data =
        Dataset::from_f32_targets(features.clone(), 2, targets.clone(), 3).unwrap().with_weights(weights).unwrap();
    let start = network.initial_parameters(7);
    let wide = |x: &[f32]| x.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let at = wide(&start);
    for of in [Loss::RelativeL2 { epsilon: 0.01 }, Loss::Variance { epsilon: 1e-6 }, Loss::Smape { epsilon: 0.01 }] {
        let loss = |moved: &[f64]| -> f64 {
            let of_row = |row: usize| {
                let [y, at] = [moved, &at].map(|w| forward(&network, w, &wide(&features[row * 2..][..2]), of));
                let targets = wide(&targets[row * 3..][..3]);
                let loss = reference::loss_of_row_near(of, &y, &targets, &at, &mut Corners::default());
                loss / f64::from(densities[row])
            };
            (0..rows).map(of_row).sum::<f64>() / rows as f64
        };
        for device in [Device::from(gpu()), Device::Cpu] {
            let sgd = Sgd { learning_rate: 1.0, ..Sgd::default() };
            let config = batches_of(rows as u32);
            let mut trainer = Trainer::from_parameters(device, &network, of, sgd, config, &start).unwrap();
            let evaluated = trainer.evaluate(&data).unwrap().loss;
            // The lengths of the network's sums, as in `check`.
            let lengths = 2 + 5 + 3 + rows as u32;
            let off = f64::from(lengths) * loss(&at) / 8_388_608.0;
            assert!((evaluated - loss(&at)).abs() <= off, "{of:?}: {evaluated}, expected {}", loss(&at));
            // One step with learning rate 1 subtracts the gradient.
            trainer.fit(&data, Fit { epochs: 1, ..Fit::default() }, |_| ()).unwrap();
            let after = trainer.model().parameters().unwrap();
            let gradient: Vec<f32> = start.iter().zip(&after).map(|(before, after)| before - after).collect();
            let inside: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
            // The subtraction rounds a weight, which adds to the sums' roundings.
            let how = differences(lengths + 2, &gradient);
            assert_right(&compare_gradient(&at, &gradient, inside, how, loss), &format!("{of:?}"));
        }
    }
}

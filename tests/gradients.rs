//! The CPU twins against finite differences in f64: every gradient of a network, so each op in the midst of others.

mod common;

use common::*;
use wgrad::plan::Role;
use wgrad::{Activation, Adam, Dense, Encoding, HashGrid, Init, Layer, Loss, Network, Plan, TrainerConfig};

/// The textbook's activation in f64; of softmax, row by row.
fn activate(activation: Activation, z: &[f64]) -> Vec<f64> {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let each = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z)).collect();
    match activation {
        Activation::Identity => z.to_vec(),
        Activation::Relu => each(&|z| z.max(0.0)),
        Activation::LeakyRelu(slope) => each(&|z| if z > 0.0 { z } else { f64::from(slope) * z }),
        Activation::Elu(alpha) => each(&|z| if z > 0.0 { z } else { f64::from(alpha) * (z.exp() - 1.0) }),
        Activation::Selu => {
            each(&|z| 1.0507009873554805 * if z > 0.0 { z } else { 1.6732632423543772 * (z.exp() - 1.0) })
        }
        Activation::GeluErf => each(&|z| z * 0.5 * libm::erfc(-z / 2f64.sqrt())),
        Activation::GeluTanh => {
            each(&|z| 0.5 * z * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh()))
        }
        Activation::Silu => each(&|z| z * sigmoid(z)),
        Activation::Softplus => each(&|z| (1.0 + z.exp()).ln()),
        Activation::Sigmoid => each(&sigmoid),
        Activation::Tanh => each(&|z| z.tanh()),
        Activation::HardSigmoid => each(&|z| (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::HardSwish => each(&|z| z * (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::Softmax => {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            each(&|z| z.exp() / sum)
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The textbook's encodings in f64.
fn encode(encoding: Encoding, x: &[f64], table: &[f64]) -> Vec<f64> {
    use std::f64::consts::PI;
    let features = |n: u32, f: &dyn Fn(f64, u32) -> f64| {
        x.iter().flat_map(|&x| (0..n).map(move |k| (x, k))).map(|(x, k)| f(x, k)).collect::<Vec<f64>>()
    };
    match encoding {
        Encoding::Identity { scale, offset } => features(1, &|x, _| f64::from(scale) * x + f64::from(offset)),
        Encoding::Frequency { frequencies } => features(2 * frequencies, &|x, k| {
            let angle = 2f64.powi(k as i32 / 2) * PI * x;
            if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        }),
        // The arcsine of a sine is a triangle wave.
        Encoding::TriangleWave { frequencies } => {
            features(frequencies, &|x, k| (2f64.powi(k as i32) * PI * x).sin().asin() * 2.0 / PI)
        }
        // The kernel's integral over a bin, by Simpson's rule on enough intervals.
        Encoding::OneBlob { bins } => features(bins, &|x, k| {
            let n = f64::from(bins);
            let kernel = |u: f64| 15.0 / 16.0 * (1.0 - u * u).max(0.0).powi(2);
            let (start, end) = (f64::from(k) - n * x, f64::from(k) + 1.0 - n * x);
            let (start, end) = (start.clamp(-1.0, 1.0), end.clamp(-1.0, 1.0));
            let simpson = |a: f64, b: f64| (b - a) / 6.0 * (kernel(a) + 4.0 * kernel((a + b) / 2.0) + kernel(b));
            let at = |i: u32| start + (end - start) * f64::from(i) / 64.0;
            (0..64).map(|i| simpson(at(i), at(i + 1))).sum()
        }),
        Encoding::HashGrid(grid) => {
            let (entries, features) = (1u64 << grid.log2_hashmap_size, grid.features_per_level as usize);
            let mut first = 0;
            let mut y = Vec::new();
            for level in 0..grid.levels {
                let scale = f64::from(grid.per_level_scale).powi(level as i32);
                let resolution = (f64::from(grid.base_resolution) * scale).round();
                let vertices = (resolution as u64 + 1).pow(x.len() as u32);
                let mut sum = vec![0.0; features];
                for corner in 0..1usize << x.len() {
                    let (mut weight, mut number, mut hash) = (1.0, 0, 0u32);
                    for (axis, x) in x.iter().enumerate().rev() {
                        let p = x.clamp(0.0, 1.0) * resolution;
                        let cell = p.floor().min(resolution - 1.0);
                        let far = (corner >> axis & 1) as f64;
                        weight *= 1.0 - (p - cell - far).abs();
                        let vertex = (cell + far) as u64;
                        number = number * (resolution as u64 + 1) + vertex;
                        hash ^= (vertex as u32).wrapping_mul([1, 2654435761, 805459861, 3674653429][axis]);
                    }
                    let entry = if vertices > entries { u64::from(hash) % entries } else { number };
                    for (f, sum) in sum.iter_mut().enumerate() {
                        *sum += weight * table[(first + entry as usize) * features + f];
                    }
                }
                y.extend(sum);
                first += (vertices.min(entries) as usize).next_multiple_of(64 / features);
            }
            y
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The textbook's network in f64, on one row; a last activation that is the loss's own is left to the loss.
fn forward(network: &Network, weights: &[f64], row: &[f64], loss: Loss) -> Vec<f64> {
    let mut x = row.to_vec();
    let mut parameters = network.parameters().iter();
    let mut next = || &weights[parameters.next().unwrap().range()];
    let layers = network.layers().len();
    for (i, (_, layer)) in network.layers().enumerate() {
        match layer {
            Layer::Dense(dense) => {
                let units = dense.units() as usize;
                let w = next();
                let b = if dense.has_bias() { next().to_vec() } else { vec![0.0; units] };
                let dot = |j: usize| x.iter().enumerate().map(|(i, x)| x * w[i * units + j]).sum::<f64>();
                x = (0..units).map(|j| b[j] + dot(j)).collect();
            }
            Layer::LayerNorm(norm) => {
                let n = x.len() as f64;
                let (scale, shift) = (next(), next());
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let deviation = (variance + f64::from(norm.epsilon)).sqrt();
                x = (0..x.len()).map(|j| (x[j] - mean) / deviation * scale[j] + shift[j]).collect();
            }
            &Layer::Encoding(encoding) => {
                let table = if matches!(encoding, Encoding::HashGrid(_)) { next() } else { &[] };
                x = encode(encoding, &x, table);
            }
            _ => {}
        }
        let own = match loss {
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
            Loss::SoftmaxCrossEntropy => Activation::Softmax,
            _ => Activation::Identity,
        };
        if i + 1 < layers || layer.activation() != own {
            x = activate(layer.activation(), &x);
        }
    }
    x
}

/// The textbook's mean loss in f64, over all rows.
fn loss(loss: Loss, network: &Network, weights: &[f64], rows: &[Vec<f64>], labels: &[u32]) -> f64 {
    let mut total = 0.0;
    for (row, &label) in rows.iter().zip(labels) {
        let y = forward(network, weights, row, loss);
        let target = |i: usize| match y.len() {
            1 => f64::from(label),
            _ => f64::from(u8::from(i == label as usize)),
        };
        let sum = |f: &dyn Fn(f64, f64) -> f64| y.iter().enumerate().map(|(i, &y)| f(y, target(i))).sum::<f64>();
        let n = y.len() as f64;
        total += match loss {
            Loss::MeanSquaredError => sum(&|y, t| (y - t).powi(2)) / n,
            Loss::SumOfSquares => sum(&|y, t| (y - t).powi(2)) * rows.len() as f64,
            Loss::MeanAbsoluteError => sum(&|y, t| (y - t).abs()) / n,
            Loss::Huber { delta } => {
                let delta = f64::from(delta);
                let huber = |e: f64| if e <= delta { 0.5 * e * e } else { delta * (e - 0.5 * delta) };
                sum(&|y, t| huber((y - t).abs())) / n
            }
            Loss::BinaryCrossEntropy => sum(&|z, t| (1.0 + z.exp()).ln() - t * z) / n,
            _ => y.iter().map(|z| z.exp()).sum::<f64>().ln() - y[label as usize],
        };
    }
    total / rows.len() as f64
}

fn check(network: &Network, of: Loss, rows: u32, seed: u64) {
    // One batch holds every row; the batch has room for more, as a last partial batch has.
    let config = TrainerConfig { keep_gradients: true, ..batches_of(rows + 3) };
    let plan = Plan::training(network, of, &Adam::default().into(), &config).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), network, plan, rows, seed);
    let buffer = |role| lockstep.plan().find(role).unwrap();
    let (parameters, features, targets, gradients) =
        (buffer(Role::Parameters), buffer(Role::Features(0)), buffer(Role::Targets(0)), buffer(Role::Gradients));
    let mut weights = lockstep.get(parameters);
    let is_table = |name: &str| name.ends_with(".table");
    // Tables start near zero, where a wrong slope would not show.
    for table in network.parameters().iter().filter(|p| is_table(&p.name)) {
        weights[table.range()].iter_mut().for_each(|w| *w *= 5000.0);
    }
    lockstep.set(parameters, &weights).unwrap();
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    let data: Vec<f64> = lockstep.get(features).into_iter().map(f64::from).collect();
    let data: Vec<Vec<f64>> = data.chunks(network.inputs() as usize).map(<[f64]>::to_vec).collect();
    let labels: Vec<u32> = lockstep.get(targets).into_iter().map(f32::to_bits).collect();
    assert_agree(&mut lockstep, "gradients");
    let gradient = lockstep.get(gradients);

    let inside: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
    let largest = inside.iter().map(|&i| gradient[i].abs()).fold(0.0, f32::max);
    // Each product of the backward chain adds a relative error of its length times u = 2⁻²⁴; the chain's lengths add up,
    // twice for forward and backward, and its factors are of order 1. Central differences err by h² and 10⁻¹⁶ / h.
    // A point takes few numbers of a table.
    let length = |p: &wgrad::Parameter| if is_table(&p.name) { 16 } else { p.shape[0] };
    let lengths: u32 = network.parameters().iter().map(length).sum::<u32>() + rows;
    let (h, u) = (1e-5, 1.0 / 16_777_216.0);
    let bound = 2.0 * f64::from(lengths) * u * f64::from(largest) + 10.0 * h * h + 1e-10;
    for i in inside {
        let mut moved = weights.clone();
        moved[i] = weights[i] + h;
        let above = loss(of, network, &moved, &data, &labels);
        moved[i] = weights[i] - h;
        let below = loss(of, network, &moved, &data, &labels);
        let expected = (above - below) / (2.0 * h);
        let error = (f64::from(gradient[i]) - expected).abs();
        assert!(error <= bound, "weight {i}: {} is not {expected}, off by {error:e} of {bound:e}", gradient[i]);
    }
}

fn random_bias(units: u32, activation: Activation) -> Dense {
    Dense::new(units, activation).bias_init(Init::Normal { std: 0.3 })
}

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
        check(&network, Loss::SoftmaxCrossEntropy, 11, seed as u64 + 1);
    }
}

#[test]
fn gradients_match_finite_differences_under_every_loss_and_last_activation() {
    let losses = [
        Loss::MeanSquaredError,
        Loss::SumOfSquares,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.2 },
        Loss::BinaryCrossEntropy,
        Loss::SoftmaxCrossEntropy,
    ];
    for (seed, loss) in losses.into_iter().enumerate() {
        for (i, activation) in Activation::ALL.into_iter().enumerate() {
            let taken = match loss {
                Loss::BinaryCrossEntropy => matches!(activation, Activation::Identity | Activation::Sigmoid),
                Loss::SoftmaxCrossEntropy => matches!(activation, Activation::Identity | Activation::Softmax),
                _ => true,
            };
            let exclusive = activation == Activation::Softmax || loss == Loss::SoftmaxCrossEntropy;
            let outputs = if exclusive { 3 } else { 1 + (i as u32) % 3 };
            let network = Network::input(4)
                .layer(random_bias(6, Activation::Tanh))
                .layer(random_bias(outputs, activation))
                .build()
                .unwrap();
            if taken {
                check(&network, loss, 7, 20 * seed as u64 + i as u64 + 1);
            }
        }
    }
}

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

/// The layer before an encoding gets its gradient through it.
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
}

#[test]
fn gradients_match_finite_differences_in_a_single_layer() {
    let network = Network::input(3).dense(2, Activation::Identity).build().unwrap();
    check(&network, Loss::SoftmaxCrossEntropy, 1, 5);
}

/// Of a network inside a larger computation: L = Σ g · y, whose gradient with respect to the outputs is g.
#[test]
fn input_gradients_match_finite_differences_whatever_the_first_and_the_last_layer() {
    use wgrad::plan::DataInfo;
    let rows = 5;
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
            let plan = Plan::chain(&network, &Adam::default().into(), &batches_of(rows), &[true]).unwrap();
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
            let x = random.f32s((rows * 4) as usize);
            let g = random.f32s((rows * 3) as usize);
            let weights = network.initial_parameters(seed);
            lockstep.set(input, &x).unwrap();
            lockstep.set(given, &g).unwrap();
            lockstep.set(parameters, &weights).unwrap();
            lockstep.set(data, &[DataInfo { rows, ..DataInfo::default() }]).unwrap();
            assert_agree(&mut lockstep, "input gradient");
            let gradient = lockstep.get(dx);

            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            // No loss of wgrad's: the last activation stays.
            let scalar = |row: &[f64], g: &[f32]| -> f64 {
                let y = forward(&network, &weights, row, Loss::MeanSquaredError);
                y.iter().zip(g).map(|(y, &g)| y * f64::from(g)).sum()
            };
            let largest = gradient.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
            // As in `check`: twice the lengths of the chain's sums; a normalisation divides by a deviation that can be
            // small, which the magnitude of its gradient shows.
            let (h, u) = (1e-5, 1.0 / 16_777_216.0);
            let lengths = 2.0 * f64::from(4 + 6 + 3 + 4);
            let bound = 2.0 * lengths * u * f64::from(largest.max(1.0)) + 100.0 * h * h * f64::from(largest.max(1.0));
            for (row, (x, g)) in x.chunks(4).zip(g.chunks(3)).enumerate() {
                for i in 0..4 {
                    let mut moved: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                    moved[i] += h;
                    let above = scalar(&moved, g);
                    moved[i] -= 2.0 * h;
                    let expected = (above - scalar(&moved, g)) / (2.0 * h);
                    let actual = f64::from(gradient[row * 4 + i]);
                    let error = (actual - expected).abs();
                    let what = format!("{activation:?} first {first}, row {row}, input {i}");
                    assert!(error <= bound, "{what}: {actual} is not {expected}, off by {error:e} of {bound:e}");
                }
            }
        }
    }
}

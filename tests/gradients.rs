//! The CPU twins against finite differences in f64: every gradient of a network, so each op in the midst of others.

mod common;

use common::*;
use wgrad::plan::Role;
use wgrad::{Activation, Adam, Dense, Init, Loss, Network, Plan};

/// The textbook's mean loss in f64, over all rows.
fn loss(network: &Network, weights: &[f64], rows: &[Vec<f64>], labels: &[u32]) -> f64 {
    let mut total = 0.0;
    for (row, &label) in rows.iter().zip(labels) {
        let mut x = row.clone();
        for (pair, (_, layer)) in network.parameters().chunks(2).zip(network.layers()) {
            let (w, b) = (&weights[pair[0].range()], &weights[pair[1].range()]);
            let units = b.len();
            let wgrad::Layer::Dense(dense) = layer else { panic!("dense layers only") };
            x = (0..units)
                .map(|j| {
                    let z = b[j] + x.iter().enumerate().map(|(i, x)| x * w[i * units + j]).sum::<f64>();
                    match dense.activation() {
                        Activation::Identity => z,
                        Activation::Relu => z.max(0.0),
                        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
                        Activation::Tanh => z.tanh(),
                        other => panic!("{other:?} has no formula here"),
                    }
                })
                .collect();
        }
        let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        total += x.iter().map(|z| (z - largest).exp()).sum::<f64>().ln() + largest - x[label as usize];
    }
    total / rows.len() as f64
}

fn check(network: &Network, rows: u32, seed: u64) {
    // One batch holds every row; the batch has room for more, as a last partial batch has.
    let plan = Plan::training(network, Loss::SoftmaxCrossEntropy, &Adam::default().into(), rows + 3).unwrap();
    let mut lockstep = lockstep_with_data(gpu(), network, plan, rows, seed);
    let buffer = |role| lockstep.plan().find(role).unwrap();
    let (parameters, features, labels, gradients) =
        (buffer(Role::Parameters), buffer(Role::Features), buffer(Role::Labels), buffer(Role::Gradients));
    let weights: Vec<f64> = lockstep.get(parameters).into_iter().map(f64::from).collect();
    let data: Vec<f64> = lockstep.get(features).into_iter().map(f64::from).collect();
    let data: Vec<Vec<f64>> = data.chunks(network.inputs() as usize).map(<[f64]>::to_vec).collect();
    let labels: Vec<u32> = lockstep.get(labels).into_iter().map(f32::to_bits).collect();
    assert_agree(&mut lockstep, "gradients");
    let gradient = lockstep.get(gradients);

    let inside: Vec<usize> = network.parameters().iter().flat_map(|p| p.range()).collect();
    let largest = inside.iter().map(|&i| gradient[i].abs()).fold(0.0, f32::max);
    // Each product of the backward chain adds a relative error of its length times u = 2⁻²⁴; the chain's lengths add up,
    // twice for forward and backward, and its factors are of order 1. Central differences err by h² and 10⁻¹⁶ / h.
    let lengths: u32 = network.parameters().iter().map(|p| p.shape[0]).sum::<u32>() + rows;
    let (h, u) = (1e-5, 1.0 / 16_777_216.0);
    let bound = 2.0 * f64::from(lengths) * u * f64::from(largest) + 10.0 * h * h + 1e-10;
    for i in inside {
        let mut moved = weights.clone();
        moved[i] = weights[i] + h;
        let above = loss(network, &moved, &data, &labels);
        moved[i] = weights[i] - h;
        let below = loss(network, &moved, &data, &labels);
        let expected = (above - below) / (2.0 * h);
        let error = (f64::from(gradient[i]) - expected).abs();
        assert!(error <= bound, "weight {i}: {} is not {expected}, off by {error:e} of {bound:e}", gradient[i]);
    }
}

#[test]
fn gradients_match_finite_differences_through_every_activation() {
    for (seed, activation) in
        [Activation::Tanh, Activation::Sigmoid, Activation::Relu, Activation::Identity].into_iter().enumerate()
    {
        let random_bias = |units, activation| Dense::new(units, activation).bias_init(Init::Normal { std: 0.3 });
        let network = Network::input(6)
            .layer(random_bias(9, activation))
            .layer(random_bias(7, Activation::Tanh))
            .layer(random_bias(5, activation))
            .layer(random_bias(4, Activation::Identity))
            .build()
            .unwrap();
        check(&network, 11, seed as u64 + 1);
    }
}

#[test]
fn gradients_match_finite_differences_in_a_single_layer() {
    let network = Network::input(3).dense(2, Activation::Identity).build().unwrap();
    check(&network, 1, 5);
}

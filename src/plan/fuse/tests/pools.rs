//! Max pooling after an activation.

use super::*;
use crate::Activation;
use crate::network::{Conv, Pool};
use crate::plan::fuse::pools::differentiate_first;

fn network(activation: Activation, pool: Pool) -> Network {
    let conv = Conv::new(4, 2).activation(activation);
    Network::input([7, 8, 1]).layer(conv).layer(pool).conv(2, 2, Identity).flatten().dense(2, Identity).build().unwrap()
}

/// The order of the pool's gradient and the activation's derivative.
fn order(plan: &Plan) -> Vec<String> {
    let lines = lines(plan).into_iter();
    lines.filter(|line| line.starts_with("pool_gradient") || line.contains("derivative")).collect()
}

#[test]
fn the_derivative_goes_before_the_gradient_of_the_pool() {
    for (activation, pool) in [(Tanh, Pool::max(2)), (Relu, Pool::max(3).stride(1).padding(1))] {
        let network = network(activation, pool);
        let plain = plain(&network, Loss::MeanSquaredError);
        let mut swapped = plain.clone();
        differentiate_first(&mut swapped);
        let (before, after) = (order(&plain), order(&swapped));
        assert!(before[0].ends_with("max_pool_2.gradient, max_pool_2.chosen -> conv_1.output_gradient"), "{before:?}");
        assert!(before[1].ends_with("conv_1.output_gradient, conv_1 -> conv_1.gradient"), "{before:?}");
        assert!(after[0].ends_with("max_pool_2.gradient, max_pool_2 -> conv_1.gradient.pooled"), "{after:?}");
        assert!(after[1].ends_with("conv_1.gradient.pooled, max_pool_2.chosen -> conv_1.gradient"), "{after:?}");
        let [before, after] = [&plain, &swapped].map(|plan| numbers(plan, &network, 3));
        before.iter().filter(|(name, _)| after.contains_key(*name)).for_each(|(name, a)| assert_eq!(*a, after[name]));

        let fused = Plan::training(&network, Loss::MeanSquaredError, &Sgd::default().into(), &config()).unwrap();
        let lines = lines(&fused).into_iter().filter(|line| line.contains("derivative")).collect::<Vec<_>>();
        assert!(lines.iter().all(|line| line.starts_with("matmul Nt")) && lines.len() == 1, "{lines:?}");
    }
}

/// Swapping would change the rounding of sums, or the derivative reads a tensor that is not the pool's output.
#[test]
fn other_derivatives_stay_behind_the_pool() {
    for (activation, pool) in [(Tanh, Pool::max(3).stride(2)), (Silu, Pool::max(2)), (Relu, Pool::average(2))] {
        let plain = plain(&network(activation, pool), Loss::MeanSquaredError);
        let mut swapped = plain.clone();
        differentiate_first(&mut swapped);
        assert_eq!(lines(&plain), lines(&swapped));
    }
}

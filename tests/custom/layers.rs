//! Tests a custom layer.

use wgrad::{Activation::*, Adam, Dataset, Device, Fit, Loss, Network, Plan, Trainer, TrainerConfig};

use crate::common::*;
use crate::sine::Sine;

fn network() -> Network {
    let sine = |omega, is_first| Sine { units: 12, omega, is_first };
    Network::input(3).layer(sine(3.0, true)).layer(sine(2.0, false)).dense(2, Identity).build().unwrap()
}

#[test]
fn the_lockstep_checks_every_op_of_an_own_layer() {
    let network = network();
    let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &batches_of(9)).unwrap();
    assert_eq!(plan.step.iter().filter(|op| op.kernel() == "custom").count(), 4, "{plan}");
    // The matmuls include the bias and the optimizer's update, as in a dense layer.
    assert_eq!(
        plan.step.iter().filter(|op| matches!(op.kernel(), "combine" | "reduce" | "update")).count(),
        0,
        "{plan}"
    );
    let mut lockstep = lockstep_with_data(gpu(), &network, plan, 23, 5);
    for _ in 0..4 {
        assert_agree(&mut lockstep, "an own layer");
    }
}

#[test]
fn an_own_layer_trains_on_the_gpu_and_on_the_cpu() {
    let network = network();
    assert_eq!(network.layers().next().unwrap().0, "sine_1");
    assert_eq!(network.parameters()[0].name, "sine_1.weight");
    let rows = 64;
    let x: Vec<f32> = (0..rows * 3).map(|i| (i * 7 % 13) as f32 / 13.0).collect();
    let y: Vec<f32> = x.chunks(3).flat_map(|x| [(3.0 * x[0]).sin() * x[1], x[2] - x[0]]).collect();
    let data = Dataset::from_f32_targets(x, 3, y, 2).unwrap();
    let losses = [Device::from(gpu()), Device::Cpu].map(|device| {
        let config = TrainerConfig { batch: 16, ..TrainerConfig::default() };
        let mut trainer = Trainer::new(device, &network, Loss::MeanSquaredError, Adam::default(), config).unwrap();
        let before = trainer.evaluate(&data).unwrap().loss;
        trainer.fit(&data, Fit { epochs: 30, ..Fit::default() }, |_| {}).unwrap();
        (before, trainer.evaluate(&data).unwrap().loss)
    });
    for (before, after) in losses {
        assert!(after < before / 10.0, "{losses:?}");
    }
}

/// No other program has custom layers. Exports for other programs must return an error, not a file with wrong names
/// or order.
#[cfg(feature = "files")]
#[test]
fn files_of_other_programs_refuse_own_layers() {
    use wgrad::{Model, Naming};
    let network = network();
    let model = Model::new(Device::Cpu, &network, &network.initial_parameters(1)).unwrap();
    for naming in [Naming::PyTorch, Naming::Keras] {
        let error = model.weights_to_bytes(naming).unwrap_err().to_string();
        assert!(error.contains(" in a file of another program: expected Naming::Wgrad"), "{error}");
    }
    let file = model.weights_to_bytes(Naming::Wgrad).unwrap();
    let copy = Model::weights_from_bytes(Device::Cpu, &network, &file).unwrap();
    assert_eq!(copy.parameters().unwrap(), model.parameters().unwrap());
}

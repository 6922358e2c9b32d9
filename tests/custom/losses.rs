//! Tests custom losses.

use crate::common::*;
use wgrad::lockstep::{Differences, compare_gradient};
use wgrad::plan::Role;
use wgrad::{
    Activation::{Identity, Sigmoid, Tanh},
    Adam, CustomLoss, Dataset, Device, Error, Evaluation, Fit, Graph, Loss, Losses, Network, Plan, Trainer,
    TrainerConfig,
};

/// cosh and log of numbers of order 1 err by about 2⁻²¹, and tanh by 10⁻⁵.
pub static LOG_COSH: CustomLoss = CustomLoss::new("log_cosh", "log(cosh(y - t))", "tanh(y - t)").twin(
    |y, t| (y - t).cosh().ln(),
    |y, t| (y - t).tanh(),
    1e-4,
);

static SQUARED: CustomLoss = CustomLoss::new("squared", "(y - t) * (y - t)", "2.0 * (y - t)").twin(
    |y, t| (y - t) * (y - t),
    |y, t| 2.0 * (y - t),
    8.0 / 16_777_216.0,
);

fn made(name: &'static str, value: &'static str, derivative: &'static str) -> &'static CustomLoss {
    Box::leak(Box::new(CustomLoss::new(name, value, derivative)))
}

/// A custom loss must agree with its CPU twin for every kind of target.
#[test]
fn every_kind_of_target_agrees_with_the_twin() {
    for gpu in gpus() {
        for (values, weighted, outputs) in [(false, false, 3), (true, false, 70), (false, true, 1), (true, true, 2)] {
            let network = Network::input(4).dense(6, Tanh).dense(outputs, Sigmoid).build().unwrap();
            for own in [&LOG_COSH, &SQUARED] {
                let config = batches_of(8);
                let plan = Plan::training(&network, Loss::Custom(own), &Adam::default().into(), &config).unwrap();
                let kind = TargetKind { values, weighted };
                let mut lockstep = lockstep_with_targets(gpu, &network, plan, 7, u64::from(outputs), kind);
                assert_agree(&mut lockstep, own.name());
            }
        }
    }
}

/// Trains a network with two outputs, one of several positions. The samples and one loss have weights.
fn trained(device: impl Into<Device>, loss: Loss) -> (Vec<u32>, Vec<Evaluation>) {
    let mut graph = Graph::new();
    let image = graph.input("image", [4, 3]);
    let hidden = graph.layer(wgrad::Dense::new(6, Tanh), image).unwrap();
    let map = graph.layer(wgrad::Dense::new(2, Identity), hidden).unwrap();
    let flat = graph.layer(wgrad::Layer::Flatten, hidden).unwrap();
    let size = graph.layer(wgrad::Dense::new(1, Identity), flat).unwrap();
    let network = graph.build([("map", map), ("size", size)]).unwrap();
    let mut random = Random(3);
    let data = Dataset::of_rows(30)
        .input("image", random.f32s(30 * 12), [4, 3])
        .targets("map", random.f32s(30 * 8), [4, 2])
        .targets("size", random.f32s(30), [1])
        .build()
        .unwrap()
        .with_weights((0..30).map(|i| 0.5 + 0.1 * i as f32).collect())
        .unwrap();
    let losses = Losses::new().output("map", loss).weighted("size", loss, 0.5);
    let mut trainer = Trainer::new(device, &network, losses, Adam::default(), batches_of(8)).unwrap();
    trainer.fit(&data, Fit { epochs: 3, ..Fit::default() }, |_| {}).unwrap();
    let weights = trainer.model().parameters().unwrap().into_iter().map(f32::to_bits).collect();
    let of_outputs = trainer.evaluate_outputs(&data).unwrap();
    (weights, of_outputs.into_iter().map(|output| output.evaluation).collect())
}

/// Twice a difference is exact, so a custom squared error must leave the same weights.
#[test]
fn an_expression_trains_as_the_built_in_loss_does() {
    for device in [Device::from(gpu()), Device::from(plain_gpu()), Device::Cpu] {
        let (own, built_in) =
            (trained(device.clone(), Loss::Custom(&SQUARED)), trained(device, Loss::MeanSquaredError));
        assert_eq!(own.0, built_in.0);
        for (own, built_in) in own.1.iter().zip(&built_in.1) {
            assert_eq!((own.accuracy, own.rows), (built_in.accuracy, built_in.rows));
            // 30 rows of 4 positions and 2 numbers, each rounded a few times on both sides.
            let off = (own.loss - built_in.loss).abs();
            assert!(off <= 2.0 * (240.0 + 8.0) / 16_777_216.0 * own.loss, "{own:?} {built_in:?}");
        }
    }
    assert_ne!(trained(gpu(), Loss::Custom(&LOG_COSH)).0, trained(gpu(), Loss::MeanSquaredError).0);
}

#[test]
fn gradients_match_finite_differences() {
    let network = Network::input(2).dense(2, Identity).build().unwrap();
    let config = TrainerConfig { keep_gradients: true, ..batches_of(8) };
    let plan = Plan::training(&network, Loss::Custom(&LOG_COSH), &Adam::default().into(), &config).unwrap();
    let kind = TargetKind { values: true, weighted: false };
    let mut lockstep = lockstep_with_targets(gpu(), &network, plan, 8, 4, kind);
    let find = |role| lockstep.plan().find(role).unwrap();
    let ids = [Role::Parameters, Role::Features(0), Role::Targets(0), Role::Gradients].map(find);
    let f64s = |id| lockstep.get(id).into_iter().map(f64::from).collect::<Vec<_>>();
    let [weights, features, targets] = [ids[0], ids[1], ids[2]].map(f64s);
    assert_agree(&mut lockstep, "gradients");
    let gradient = lockstep.get(ids[3]);
    let ranges: Vec<_> = network.parameters().iter().map(|p| p.range()).collect();
    let loss = |weights: &[f64]| {
        let (w, b) = (&weights[ranges[0].clone()], &weights[ranges[1].clone()]);
        let of = |(i, t): (usize, &f64)| {
            let (x, j) = (&features[i / 2 * 2..], i % 2);
            (x[0] * w[j] + x[1] * w[2 + j] + b[j] - t).cosh().ln()
        };
        targets.iter().enumerate().map(of).sum::<f64>() / 16.0
    };
    // The CPU twins computed the gradient: a sum over 8 rows of numbers of order 1, each rounded about eight times.
    let bound = 2.0 * (8.0 + 8.0) / 16_777_216.0;
    let how = Differences { bound, noise: 64.0 * f64::EPSILON, ..Differences::default() };
    let indices = ranges.iter().cloned().flatten();
    let comparison = compare_gradient(&weights, &gradient, indices, how, loss);
    assert_eq!((comparison.compared, comparison.fault), (6, None), "{comparison:?}");
}

fn refused(device: impl Into<Device>, loss: &'static CustomLoss) -> Error {
    let network = Network::input(1).dense(1, Identity).build().unwrap();
    Trainer::new(device, &network, Loss::Custom(loss), Adam::default(), batches_of(2)).unwrap_err()
}

/// Wrong names, expressions and twins must return an error.
#[test]
fn names_expressions_and_twins_are_checked() {
    let of = |loss| refused(Device::Cpu, loss).to_string();
    let expected = "expected an expression of y and t, numbers, operators and WGSL functions of f32, got";
    assert_eq!(of(made("faulty", "z", "1.0")), format!("loss faulty: {expected} z in \"z\""));
    let message = format!("derivative of loss faulty: {expected} '{{' in \"{{\"");
    assert_eq!(of(made("faulty", "y - t", "{")), message);
    assert!(of(made("my loss", "y", "1.0")).starts_with("name of a custom loss: expected a letter"));
    static HALF: CustomLoss = CustomLoss::new("half", "y * t", "t").twin(|y, t| y * t, |_, t| 0.5 * t, 0.0);
    let message = "derivative in the CPU twin of loss half at y = -4.65, t = 0.4: expected 0.400000 (the slope of the \
                   CPU twin's value), got 0.200000";
    assert_eq!(of(&HALF), message);
}

#[test]
fn a_loss_without_a_twin_needs_a_gpu() {
    static CUBIC: CustomLoss = CustomLoss::new("cubic", "pow(abs(y - t), 3.0)", "3.0 * (y - t) * abs(y - t)");
    trained(gpu(), Loss::Custom(&CUBIC));
    let expected = "loss cubic (see CustomLoss::twin): expected a CPU twin, because the CPU cannot run WGSL, got none";
    assert_eq!(refused(Device::Cpu, &CUBIC).to_string(), expected);
}

/// The error must name a loss that does not compile.
#[test]
fn what_does_not_compile_is_named() {
    for gpu in gpus() {
        let error = refused(gpu, made("broken", "y, t", "1.0"));
        assert!(matches!(&error, Error::Gpu { what, .. } if what.contains("broken")), "{error}");
        assert!(error.to_string().contains("y, t"), "{error}");
    }
}

//! Training at the ends of f32's range: what can be computed is, the rest ends in an error. Nothing stands still silently.

mod common;

use common::*;
use wgrad::Activation::Identity;
use wgrad::{
    Adagrad, Adam, AdamW, Clip, Dataset, Dense, Device, Error, Fit, Group, Init, Lion, Loss, Network, Optimizer,
    RmsProp, Sgd, Trainer, TrainerConfig,
};

fn devices() -> [Device; 3] {
    [gpu().into(), plain_gpu().into(), Device::Cpu]
}

/// One weight, of 1, on rows of this feature with target 0.
struct Line {
    trainer: Trainer,
    data: Dataset,
}

impl Line {
    fn new(device: &Device, weight: f32, x: &[f32], optimizer: impl Into<Optimizer>, config: TrainerConfig) -> Self {
        let dense = Dense::new(1, Identity).without_bias().weight_init(Init::Constant(weight));
        let network = Network::input(1).layer(dense).build().unwrap();
        let trainer = Trainer::new(device.clone(), &network, Loss::MeanSquaredError, optimizer, config).unwrap();
        Self { trainer, data: Dataset::from_f32_targets(x.to_vec(), 1, vec![0.0; x.len()], 1).unwrap() }
    }

    /// The weight after an epoch.
    fn epoch(&mut self) -> Result<f32, Error> {
        self.trainer.fit(&self.data, Fit { epochs: 1, ..Fit::default() }, |_| {})?;
        Ok(self.trainer.model().parameters().unwrap()[0])
    }
}

#[test]
fn a_clipped_norm_may_have_squares_beyond_f32() {
    let config = TrainerConfig { clip: Some(Clip::Norm(1.0)), batch: 2, ..TrainerConfig::default() };
    let accumulating = TrainerConfig { batch: 1, accumulate: 2, ..config.clone() };
    let half = TrainerConfig { groups: vec![Group::layer("dense_1").rate(0.5)], ..config.clone() };
    // The gradients are 2e9, 2e20, and from 6e37 down, where the factor is below the smallest normal number.
    let cases = [
        (1.0f32, 0.1f32, 1e9f32, &config),
        (1.0, 0.1, 1e10, &config),
        (0.1, 0.01, 1.8e19, &config),
        (1.0, 0.1, 1e10, &accumulating),
        (1.0, 0.2, 1e10, &half),
    ];
    for device in devices() {
        for (weight, step, x, config) in cases {
            let sgd = Sgd { learning_rate: step, ..Sgd::default() };
            let mut line = Line::new(&device, weight, &[x, x], sgd, config.clone());
            let step = if config.groups.is_empty() { step } else { 0.5 * step };
            for epoch in 1..=3u8 {
                let (w, expected) = (line.epoch().unwrap(), weight - f32::from(epoch) * step);
                // Some 20 roundings of a step, and one of each weight.
                assert!((w - expected).abs() < 30.0 * f32::EPSILON * step + 4.0 * f32::EPSILON, "{x}: {w}, {expected}");
            }
        }
    }
}

#[test]
fn no_optimizer_stands_still_under_a_gradient_whose_square_overflows() {
    let optimizers: [Optimizer; 9] = [
        Sgd::default().into(),
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        RmsProp::default().into(),
        RmsProp { momentum: 0.9, ..RmsProp::default() }.into(),
        Adagrad::default().into(),
        Adam::default().into(),
        Adam { beta1: 0.0, beta2: 0.0, ..Adam::default() }.into(),
        AdamW::default().into(),
        Lion::default().into(),
    ];
    for device in [Device::from(gpu()), Device::Cpu] {
        for optimizer in optimizers {
            // Gradients of 2e16, whose squares do not overflow, 2e20 and 2e28. The losses are finite.
            for x in [1e8, 1e10, 1e14] {
                let mut line = Line::new(&device, 1.0, &[x], optimizer, TrainerConfig::default());
                let mut before = 1.0;
                for epoch in 1..=4 {
                    match line.epoch() {
                        Ok(w) => assert!(w != before, "{optimizer:?} stands still at {w}, feature {x}"),
                        Err(Error::NonFiniteLoss { .. }) if epoch > 1 => break,
                        Err(error) => panic!("{optimizer:?}, feature {x}: {error}"),
                    }
                    before = line.trainer.model().parameters().unwrap()[0];
                    let adapts = !matches!(optimizer, Optimizer::Sgd(_));
                    assert!(!adapts || x > 1e8 || (0.0..1.0).contains(&before), "{optimizer:?}: {before}");
                }
            }
        }
    }
}

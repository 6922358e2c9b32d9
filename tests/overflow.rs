//! Tests training at the limits of f32's range. Training must compute a representable result and return an error
//! otherwise. It must never stop learning silently.

mod common;

use common::*;
use wgrad::Activation::Identity;
use wgrad::plan::*;
use wgrad::plan_runner::PlanRunner;
use wgrad::{
    Adagrad, Adam, AdamW, Clip, Dataset, Dense, Device, Error, Fit, Group, Init, Lion, Loss, Network, Optimizer,
    RmsProp, Sgd, Trainer, TrainerConfig,
};

fn devices() -> [Device; 3] {
    [gpu().into(), plain_gpu().into(), Device::Cpu]
}

/// A network of one weight, trained on rows of one feature with target 0.
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

    /// Trains one epoch and returns the weight.
    fn epoch(&mut self) -> Result<f32, Error> {
        self.trainer.fit(&self.data, Fit { epochs: 1, ..Fit::default() }, |_| {})?;
        Ok(self.trainer.model().parameters().unwrap()[0])
    }
}

/// Clipping by norm must work if the squares of the gradients overflow f32.
#[test]
fn a_clipped_norm_may_have_squares_beyond_f32() {
    let config = TrainerConfig { clip: Some(Clip::Norm(1.0)), batch: 2, ..TrainerConfig::default() };
    let accumulating = TrainerConfig { batch: 1, accumulate: 2, ..config.clone() };
    let half = TrainerConfig { groups: vec![Group::layer("dense_1").rate(0.5)], ..config.clone() };
    // Gradients are 2e9 and 2e20. The third case starts at 6e37, so its clipping factor is below the smallest normal
    // number.
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
                // About 20 roundings of a step, and one of each weight.
                assert!((w - expected).abs() < 30.0 * f32::EPSILON * step + 4.0 * f32::EPSILON, "{x}: {w}, {expected}");
            }
        }
    }
}

/// No optimizer may stop moving the weight silently if the square of a gradient overflows.
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
            // Gradients are 2e16, 2e20 and 2e28. Only the square of the first does not overflow. The losses are
            // finite.
            for x in [1e8, 1e10, 1e14] {
                let mut line = Line::new(&device, 1.0, &[x], optimizer, TrainerConfig::default());
                let mut before = 1.0;
                for epoch in 1..=4 {
                    match line.epoch() {
                        Ok(w) => assert!(w != before, "{optimizer:?} stands still at {w}, feature {x}"),
                        Err(Error::NonFiniteLoss { .. }) if epoch > 1 || x > 1e8 => break,
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

/// Number of rows. Adding 20 million equal losses in f32 one by one would err by percents.
const ROWS: usize = 20_000_000;
/// Output of each row. Its square, the loss, uses all bits of an f32.
const OUTPUT: f32 = 0.785_397_9;

/// The running loss of 20 million equal rows must be right on the CPU.
#[test]
fn the_running_loss_of_20_million_equal_rows_is_right_on_the_cpu() {
    // Metrics have 1024 slots, as for every smaller batch.
    let config = TrainerConfig { batch: 512, ..TrainerConfig::default() };
    let mut line = Line::new(&Device::Cpu, OUTPUT, &[1.0], Sgd::default(), config);
    let data = Dataset::from_f32_targets(vec![1.0; ROWS], 1, vec![0.0; ROWS], 1).unwrap();
    let evaluation = line.trainer.evaluate(&data).unwrap();
    assert_eq!(evaluation.rows as usize, ROWS);
    let loss = f64::from(OUTPUT * OUTPUT);
    assert!((evaluation.loss / loss - 1.0).abs() < 1e-6, "{} is not {loss}", evaluation.loss);
}

/// The running loss of 20 million equal rows must be right on the GPU. Only the metrics kernels run: over 16 of the
/// 1024 slots, then over all slots filled with those results.
#[test]
fn the_running_loss_of_20_million_equal_rows_is_right_on_the_gpu() {
    const DATA: u32 = (size_of::<DataInfo>() / 4) as u32;
    const STEP: u32 = (size_of::<StepState>() / 4) as u32;
    let (batch, slots, each) = (16u32, 1024, ROWS.div_ceil(1024) as u32);
    let network = Network::input(1).dense(1, Identity).build().unwrap();
    let plan = Plan::evaluation(&network, Loss::MeanSquaredError, 32).unwrap();
    let levels = plan.buffer(plan.find(Role::RowMetrics).unwrap()).shape.unwrap()[0] / slots;
    let tensor = |buffer, shape: Shape| Tensor::new(BufferId(buffer), Dtype::F32, shape);
    let op = Op::LossOp(LossOp {
        loss: Loss::MeanSquaredError,
        positions: 1,
        weight: 1.0,
        output: tensor(0, [batch, 1].into()),
        targets: tensor(1, 1.into()),
        data: tensor(2, DATA.into()),
        step: tensor(3, STEP.into()),
        indices: tensor(4, batch.into()),
        gradient: None,
        metrics: tensor(5, [levels, 1, batch, 4].into()),
        activation: Identity,
    });
    let buffers = [
        ("output", batch, Role::Activation),
        ("targets", 1, Role::Targets(0)),
        ("data", DATA, Role::Data(0)),
        ("step", STEP, Role::Step),
        ("indices", batch, Role::Indices),
        ("metrics", levels * batch * 4, Role::RowMetrics),
    ];
    // SAFETY: the tensors have the lengths that the op's dimensions need.
    let mut losses = unsafe { PlanRunner::new_unchecked(gpu(), single(&buffers, op)) }.unwrap();
    losses.set(BufferId(0), &[OUTPUT; 16]).unwrap();
    losses.set(BufferId(1), &[0u32]).unwrap();
    losses.set(BufferId(2), &[DataInfo { rows: 1, ..DataInfo::default() }]).unwrap();
    losses.set(BufferId(3), &[StepState { rows: batch, ..StepState::default() }]).unwrap();
    losses.set(BufferId(4), &[0u32; 16]).unwrap();
    losses.set(BufferId(5), &vec![0u32; (levels * batch * 4) as usize]).unwrap();
    for _ in 0..each / 1024 {
        losses.run(1024).unwrap();
    }
    losses.run(each % 1024).unwrap();
    let some = losses.get(BufferId(5)).unwrap();
    let all: Vec<f32> = some.chunks((batch * 4) as usize).flat_map(|level| level.repeat(64)).collect();

    let count = levels * slots;
    let op = Op::Metrics(Metrics { slots: tensor(0, [count, 4].into()), totals: tensor(1, 4.into()) });
    let buffers = [("slots", count * 4, Role::RowMetrics), ("totals", 4, Role::Totals)];
    // SAFETY: as above.
    let mut sum = unsafe { PlanRunner::new_unchecked(gpu(), single(&buffers, op)) }.unwrap();
    sum.set(BufferId(0), &all).unwrap();
    sum.run(1).unwrap();
    let totals = sum.get(BufferId(1)).unwrap();
    assert_eq!(totals[2].to_bits(), each * slots);
    let (loss, expected) = (f64::from(totals[0]) / f64::from(each * slots), f64::from(OUTPUT * OUTPUT));
    assert!((loss / expected - 1.0).abs() < 1e-6, "{loss} is not {expected}");
}

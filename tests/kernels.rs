//! Every kernel against its CPU twin: awkward sizes, random data, outputs poisoned with NaN first (by `Lockstep`), both
//! products. The bounds are derived in `src/lockstep/bounds.rs`.

mod common;

use common::*;
use wgrad::plan::*;
use wgrad::{Activation, Adagrad, Adam, AdamW, Gpu, Lion, Loss, Optimizer, RmsProp, Schedule, Sgd};

/// Words of the shared structs.
const DATA: u32 = (size_of::<DataInfo>() / 4) as u32;
const STEP: u32 = (size_of::<StepState>() / 4) as u32;

fn tensor(buffer: usize, len: u32) -> Tensor {
    Tensor { buffer: BufferId(buffer), offset: 0, len }
}

/// A product over all of k, or over several slices of it one after the other.
fn check_matmul(gpu: &Gpu, [m, n, k]: [u32; 3], layout: Layout, epilogue: u32, bias_gradient: bool, slices: u32) {
    // Of all that a product can apply: those whose derivative its output tells.
    let activation = Activation::ALL[((m + n) % 13) as usize];
    let extra_len = if epilogue == 2 { m * n } else { n };
    let plan_epilogue = match epilogue {
        0 => Epilogue::None,
        3 => return check_matmul_update(gpu, [m, n, k], layout, bias_gradient),
        1 => Epilogue::Bias { bias: (n % 7 != 0).then(|| tensor(2, n)), activation },
        _ => Epilogue::Derivative { saved: tensor(2, m * n), activation },
    };
    let buffers = [
        ("a", m * k, Role::Activation),
        ("b", k * n, Role::Activation),
        ("extra", extra_len, Role::Activation),
        ("c", m * n, Role::Activation),
        ("sums", n, Role::Activation),
    ];
    let step = k.div_ceil(slices).next_multiple_of(4);
    let ops = (0..k).step_by(step as usize).map(|start| {
        let slice = start..k.min(start + step);
        let epilogue = if slice.end == k { plan_epilogue.clone() } else { Epilogue::None };
        let bias_gradient = bias_gradient.then(|| tensor(4, n));
        let (a, b, c) = (tensor(0, m * k), tensor(1, k * n), tensor(3, m * n));
        Op::Matmul(Matmul { a, b, c, m, n, k, slice, layout, epilogue, bias_gradient })
    });
    let ops: Vec<Op> = ops.collect();
    let mut plan = single(&buffers, ops[0].clone());
    plan.step = ops;
    let mut random = Random(u64::from(m * 31 + n * 17 + k));
    let mut lockstep = lockstep(gpu, plan);
    // Long sums are of 1, 2 and 3: no sum is ever rounded, so that not one term may be missing.
    let long = k > 10_000;
    let number = |x: f32| if long { (x.abs() * 2.99).floor() + 1.0 } else { x };
    let mut numbers = |len: u32| random.f32s(len as usize).into_iter().map(number).collect::<Vec<_>>();
    lockstep.set(BufferId(0), &numbers(m * k)).unwrap();
    lockstep.set(BufferId(1), &numbers(k * n)).unwrap();
    lockstep.set(BufferId(2), &numbers(extra_len)).unwrap();
    let what = format!("{:?} {m}x{n}x{k} {layout:?} epilogue {epilogue}", gpu.adapter_info().name);
    for comparison in lockstep.run().unwrap() {
        assert_eq!(comparison.divergence, None, "{what}: {} (worst {})", comparison.op, comparison.worst);
        assert!(!long || comparison.worst == 0.0, "{what}: exact sums differ: {}", comparison.worst);
    }
}

/// A product whose sums go into an optimizer: another one for each shape.
fn check_matmul_update(gpu: &Gpu, [m, n, k]: [u32; 3], layout: Layout, biases: bool) {
    let (optimizer, moments): (Optimizer, usize) = match (m + n + k) % 3 {
        0 => (Adam { weight_decay: 0.01, ..Adam::default() }.into(), 2),
        1 => (Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(), 1),
        _ => (Sgd::default().into(), 0),
    };
    let bias_at = (m * n).next_multiple_of(64);
    let len = if biases { bias_at + n } else { m * n };
    let moments = (0..moments).map(|i| tensor(4 + i, len)).collect();
    let update = Update {
        optimizer,
        parameters: tensor(3, len),
        gradients: tensor(3, len),
        moments,
        step: tensor(2, STEP),
        multipliers: None,
        scale: None,
        clip: (n % 2 == 0).then_some(0.5),
        accumulates: false,
    };
    let bias = Tensor { buffer: BufferId(3), offset: bias_at, len: n };
    let (a, b, c) = (tensor(0, m * k), tensor(1, k * n), tensor(3, m * n));
    let (epilogue, bias_gradient) = (Epilogue::Update(Box::new(update)), biases.then_some(bias));
    let op = Op::Matmul(Matmul { a, b, c, m, n, k, slice: 0..k, layout, epilogue, bias_gradient });
    let buffers = [
        ("a", m * k, Role::Activation),
        ("b", k * n, Role::Activation),
        ("step", STEP, Role::Step),
        ("parameters", len, Role::Parameters),
        ("moment1", len, Role::Moment1),
        ("moment2", len, Role::Moment2),
    ];
    let mut random = Random(u64::from(m * 31 + n * 17 + k));
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    for (i, len) in [(0, m * k), (1, k * n), (3, len), (4, len)] {
        lockstep.set(BufferId(i), &random.f32s(len as usize)).unwrap();
    }
    let squares: Vec<f32> = random.f32s(len as usize).into_iter().map(f32::abs).collect();
    lockstep.set(BufferId(5), &squares).unwrap();
    let state = StepState { update: 3, learning_rate: 0.01, ..step_state(3, k) };
    lockstep.set(BufferId(2), &[state]).unwrap();
    assert_agree(&mut lockstep, &format!("{optimizer:?} {m}x{n}x{k} {layout:?}, biases {biases}"));
}

const LAYOUTS: [Layout; 3] = [Layout::Nn, Layout::Nt, Layout::Tn];

#[test]
fn matmul_at_awkward_sizes() {
    let sizes = [1, 3, 4, 63, 64, 65, 257];
    for gpu in gpus().into_iter().chain(gpus_of_products()) {
        for (i, &m) in sizes.iter().enumerate() {
            for (j, &n) in sizes.iter().enumerate() {
                let k = sizes[(i + j) % sizes.len()];
                check_matmul(gpu, [m, n, k], LAYOUTS[(i + 2 * j) % 3], (i + j) as u32 % 4, (i * j) % 2 == 0, 1);
            }
        }
    }
}

#[test]
fn matmul_in_every_layout_with_every_epilogue() {
    for gpu in gpus().into_iter().chain(gpus_of_products()) {
        for layout in LAYOUTS {
            for epilogue in 0..4 {
                // Several activations, by (m + n) % 13; aligned to vectors and not; small tiles and large ones.
                for (m, n) in [(36, 44), (37, 44), (38, 44), (39, 44), (33, 10)] {
                    check_matmul(gpu, [m, n, 18], layout, epilogue, true, 1);
                }
                check_matmul(gpu, [128, 96, 68], layout, epilogue, true, 1);
            }
            for epilogue in 0..4 {
                check_matmul(gpu, [68, 1, 300], layout, epilogue, true, 1);
                check_matmul(gpu, [1, 68, 300], layout, epilogue, false, 1);
            }
            check_matmul(gpu, [300, 1, 520], layout, 1, true, 2);
            check_matmul(gpu, [1757, 33, 1], layout, 1, false, 1);
            check_matmul(gpu, [5, 1757, 257], layout, 2, true, 1);
            check_matmul(gpu, [130, 70, 1757], layout, 0, true, 1);
        }
    }
}

#[test]
fn matmul_in_slices_of_k() {
    for gpu in gpus().into_iter().chain(gpus_of_products()) {
        for layout in LAYOUTS {
            check_matmul(gpu, [33, 35, 130], layout, 1, true, 3);
            check_matmul(gpu, [65, 64, 257], layout, 2, true, 2);
        }
    }
}

/// The longest slice a plan may ask for, and a sum that takes several: lavapipe would silently stop looping.
#[test]
fn matmul_near_the_iteration_limit() {
    for gpu in gpus().into_iter().chain(gpus_of_products()) {
        for layout in LAYOUTS {
            check_matmul(gpu, [2, 5, LONGEST_SLICE], layout, 0, true, 1);
        }
        check_matmul(gpu, [3, 4, 2 * LONGEST_SLICE + 12], Layout::Tn, 0, true, 3);
    }
}

fn step_state(step: u32, rows: u32) -> StepState {
    StepState { step, rows, ..StepState::default() }
}

fn check_gather(gpu: &Gpu, batch: u32, columns: u32, data_rows: u32, present: u32, bytes: bool) {
    let op = Op::Gather(Gather {
        features: tensor(0, 0),
        data: tensor(1, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, batch),
        x: tensor(4, batch * columns),
        batch,
        columns,
    });
    let row_words = if bytes { columns.div_ceil(4) } else { columns };
    let buffers = [
        ("features", data_rows * row_words, Role::Features),
        ("data", DATA, Role::Data),
        ("step", STEP, Role::Step),
        ("indices", batch, Role::Indices),
        ("x", batch * columns, Role::Activation),
    ];
    let mut random = Random(u64::from(batch * 7 + columns));
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    let features: Vec<u32> = match bytes {
        true => (0..data_rows * row_words).map(|_| random.word()).collect(),
        false => random.f32s((data_rows * row_words) as usize).into_iter().map(f32::to_bits).collect(),
    };
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    lockstep.set(BufferId(0), &features).unwrap();
    lockstep.set(BufferId(1), &[DataInfo { rows: data_rows, bytes: bytes.into(), ..DataInfo::default() }]).unwrap();
    lockstep.set(BufferId(2), &[step_state(1, present)]).unwrap();
    lockstep.set(BufferId(3), &indices).unwrap();
    assert_agree(&mut lockstep, &format!("gather {batch}x{columns}, {present} present, bytes {bytes}"));
}

#[test]
fn gather_of_bytes_and_of_floats() {
    for (batch, columns, present) in [(1, 1, 1), (3, 5, 3), (63, 4, 17), (65, 257, 64), (128, 784, 128)] {
        for bytes in [false, true] {
            check_gather(gpu(), batch, columns, 70, present, bytes);
        }
    }
}

#[test]
fn a_grid_of_more_than_65535_workgroups() {
    // Five invocations a row, 64 a workgroup: 81,920 workgroups, folded into two dimensions.
    check_gather(gpu(), LARGEST_BATCH, 18, 1000, LARGEST_BATCH - 5, true);
}

fn check_next_batch(batch: u32, rows: u32, shuffle: bool, start: StepState, accumulate: u32, schedule: Schedule) {
    let (data, step, indices) = (tensor(0, DATA), tensor(1, STEP), tensor(2, batch));
    let op = Op::NextBatch(NextBatch { data, step, indices, batch, accumulate, learning_rate: 0.3, schedule });
    let buffers = [("data", DATA, Role::Data), ("step", STEP, Role::Step), ("indices", batch, Role::Indices)];
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    let info = DataInfo { rows, shuffle: shuffle.into(), seed_low: 77, seed_high: 5, ..DataInfo::default() };
    lockstep.set(BufferId(0), &[info]).unwrap();
    lockstep.set(BufferId(1), &[start]).unwrap();
    for _ in 0..3 {
        assert_agree(&mut lockstep, &format!("next_batch {batch} of {rows}, {accumulate} an update, {schedule:?}"));
    }
}

#[test]
fn next_batch_shuffles_as_the_reference_does() {
    for (batch, rows) in [(1, 1), (2, 3), (32, 60_000), (257, 300), (1757, 1757), (1000, 10)] {
        let constant = Schedule::constant();
        check_next_batch(batch, rows, true, StepState::default(), 1, constant);
        let later = StepState { step: 9, epoch: 4, update: 3, batches: 2, update_rows: 50, ..StepState::default() };
        check_next_batch(batch, rows, false, later, 4, constant);
    }
}

#[test]
fn schedules_follow_the_reference_at_every_stage() {
    let schedules = [
        Schedule::constant().warm_up(7),
        Schedule::step(10, 0.5),
        Schedule::exponential(0.999).warm_up(100),
        Schedule::cosine(1000, 0.02),
        Schedule::cosine(3, 0.0).warm_up(2),
        Schedule::one_cycle(1000),
        Schedule::one_cycle(8),
    ];
    for schedule in schedules {
        for update in [0, 1, 2, 3, 5, 6, 7, 8, 100, 250, 299, 300, 499, 500, 501, 900, 998, 999, 1000, 1001, 5000] {
            let start = StepState { step: update, update, due: 1, rate_scale: 0.7, ..StepState::default() };
            check_next_batch(1, 10, false, start, 1, schedule);
        }
    }
}

#[test]
fn next_batch_of_the_largest_batch() {
    check_next_batch(LARGEST_BATCH, LARGEST_BATCH + 3, true, StepState::default(), 1, Schedule::constant());
}

/// What a row of targets holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Labels,
    WeightedLabels,
    Values,
    WeightedValues,
}
use Kind::*;

#[allow(clippy::too_many_arguments)]
fn check_loss(
    gpu: &Gpu,
    loss: Loss,
    activation: Activation,
    [batch, outputs, present]: [u32; 3],
    gradient: bool,
    scale: f32,
    kind: Kind,
) {
    let (data_rows, len) = (50, batch * outputs);
    let op = LossOp {
        loss,
        output: tensor(0, len),
        targets: tensor(1, 0),
        data: tensor(6, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, batch),
        gradient: gradient.then(|| tensor(4, len)),
        metrics: tensor(5, batch * 4),
        activation,
        batch,
        outputs,
    };
    let softmax = matches!(loss, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. });
    let op = if softmax { Op::SoftmaxCrossEntropy(op) } else { Op::PointwiseLoss(op) };
    let (values, weighted) = (matches!(kind, Values | WeightedValues), matches!(kind, WeightedLabels | WeightedValues));
    let width = if values { outputs } else { 1 };
    let buffers = [
        ("output", len, Role::Activation),
        ("targets", data_rows * (width + u32::from(weighted)), Role::Targets),
        ("step", STEP, Role::Step),
        ("indices", batch, Role::Indices),
        ("gradient", len, Role::ActivationGradient),
        ("metrics", batch * 4, Role::RowMetrics),
        ("data", DATA, Role::Data),
    ];
    let mut random = Random(u64::from(batch + outputs));
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    let outputs_given: Vec<f32> = random.f32s(len as usize).into_iter().map(|z| z * scale).collect();
    let mut targets = Vec::new();
    for _ in 0..data_rows {
        match values {
            true => targets.extend((0..outputs).map(|_| random.f32().abs().to_bits())),
            false => targets.push(random.below(outputs.max(2))),
        }
        if weighted {
            targets.push((random.f32() + 1.0).to_bits());
        }
    }
    if softmax && outputs == 1 && !values {
        targets.chunks_mut(1 + usize::from(weighted)).for_each(|row| row[0] = 0);
    }
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    let metrics: Vec<RowMetrics> =
        (0..batch).map(|i| RowMetrics { loss: random.f32(), correct: i, rows: i + 1, non_finite_step: 0 }).collect();
    let info = DataInfo { rows: data_rows, values: values.into(), weighted: weighted.into(), ..DataInfo::default() };
    lockstep.set(BufferId(0), &outputs_given).unwrap();
    lockstep.set(BufferId(1), &targets).unwrap();
    lockstep.set(BufferId(2), &[step_state(3, present)]).unwrap();
    lockstep.set(BufferId(3), &indices).unwrap();
    lockstep.set(BufferId(5), &metrics).unwrap();
    lockstep.set(BufferId(6), &[info]).unwrap();
    assert_agree(&mut lockstep, &format!("{loss:?} {batch}x{outputs}, scale {scale}, {kind:?}, {activation}"));
}

fn check_softmax(gpu: &Gpu, batch: u32, classes: u32, present: u32, gradient: bool, scale: f32) {
    let size = [batch, classes, present];
    check_loss(gpu, Loss::SoftmaxCrossEntropy, Activation::Identity, size, gradient, scale, Labels);
}

#[test]
fn softmax_cross_entropy_with_every_kind_of_target() {
    for kind in [Labels, WeightedLabels, Values, WeightedValues] {
        for loss in [Loss::SoftmaxCrossEntropy, Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 }] {
            for size in [[1, 1, 1], [3, 2, 2], [63, 10, 63], [65, 64, 33], [5, 65, 5], [7, 1757, 6]] {
                check_loss(gpu(), loss, Activation::Identity, size, true, 5.0, kind);
            }
        }
    }
}

#[test]
fn pointwise_losses_with_every_kind_of_target() {
    let losses = [
        Loss::MeanSquaredError,
        Loss::SumOfSquares,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.3 },
        Loss::BinaryCrossEntropy,
    ];
    for loss in losses {
        for (i, kind) in [Labels, WeightedLabels, Values, WeightedValues].into_iter().enumerate() {
            for (j, size) in
                [[1, 1, 1], [3, 2, 2], [63, 1, 60], [65, 64, 33], [5, 65, 5], [7, 1757, 6]].into_iter().enumerate()
            {
                let activations = [Activation::Identity, Activation::Tanh, Activation::Sigmoid, Activation::Elu(0.5)];
                check_loss(gpu(), loss, activations[(i + j) % 4], size, j != 2, 1.0, kind);
            }
        }
    }
    // Logits whose exponentials overflow f32.
    check_loss(gpu(), Loss::BinaryCrossEntropy, Activation::Identity, [40, 3, 40], true, 300.0, Values);
}

#[test]
fn softmax_cross_entropy_from_small_to_large() {
    for (batch, classes, present) in [(1, 1, 1), (3, 2, 2), (63, 10, 63), (65, 64, 33), (5, 65, 5), (7, 1757, 6)] {
        check_softmax(gpu(), batch, classes, present, true, 5.0);
        check_softmax(gpu(), batch, classes, present, false, 1.0);
    }
    // Equal logits: the first of the largest is the prediction, within a lane's classes and across lanes.
    check_softmax(gpu(), 40, 10, 40, true, 0.0);
    check_softmax(gpu(), 40, 100, 40, true, 0.0);
    // Logits whose exponentials overflow f32 unless the largest is subtracted.
    check_softmax(gpu(), 9, 10, 9, true, 1000.0);
    check_softmax(gpu(), 2, LONGEST_ROW, 2, true, 3.0);
}

#[test]
fn softmax_cross_entropy_flags_what_is_not_finite() {
    // The last one has gone wrong before, in step 7, which stays the first.
    let cases = [(f32::NAN, 0, 0), (f32::INFINITY, 0, 0), (f32::NEG_INFINITY, 1, 0), (0.0, 7, 0), (f32::NAN, 0, 7)];
    for (logit, label, before) in cases {
        let op = LossOp {
            loss: Loss::SoftmaxCrossEntropy,
            output: tensor(0, 2),
            targets: tensor(1, 0),
            data: tensor(5, DATA),
            step: tensor(2, STEP),
            indices: tensor(3, 1),
            gradient: None,
            metrics: tensor(4, 4),
            activation: Activation::Identity,
            batch: 1,
            outputs: 2,
        };
        let buffers = [
            ("logits", 2, Role::Activation),
            ("labels", 1, Role::Targets),
            ("step", STEP, Role::Step),
            ("indices", 1, Role::Indices),
            ("metrics", 4, Role::RowMetrics),
            ("data", DATA, Role::Data),
        ];
        let mut lockstep = lockstep(gpu(), single(&buffers, Op::SoftmaxCrossEntropy(op)));
        lockstep.set(BufferId(0), &[1.0, logit]).unwrap();
        lockstep.set(BufferId(1), &[label]).unwrap();
        lockstep.set(BufferId(2), &[step_state(42, 1)]).unwrap();
        lockstep.set(BufferId(4), &[RowMetrics { non_finite_step: before, ..RowMetrics::default() }]).unwrap();
        // The loss need not be the same NaN; the step at which it went wrong must be.
        if let Some(divergence) = lockstep.run().unwrap().remove(0).divergence {
            assert_eq!(divergence.index, 0, "logit {logit}, label {label}: {divergence:?}");
        }
        let first = if before == 0 { 42 } else { before };
        assert_eq!(lockstep.get(BufferId(4))[3].to_bits(), first, "logit {logit}, label {label}");
    }
}

#[test]
fn metrics_sum_every_row() {
    for batch in [1, 3, 255, 256, 257, 1757, LARGEST_BATCH] {
        let op = Op::Metrics(Metrics { rows: tensor(0, batch * 4), totals: tensor(1, 4), batch });
        let buffers = [("rows", batch * 4, Role::RowMetrics), ("totals", 4, Role::Totals)];
        let mut random = Random(u64::from(batch));
        let row = |i: u32, random: &mut Random| RowMetrics {
            loss: random.f32().abs(),
            correct: i % 2,
            rows: 1,
            non_finite_step: if i % 3 == 1 { 100 + random.below(1000) } else { 0 },
        };
        let rows: Vec<RowMetrics> = (0..batch).map(|i| row(i, &mut random)).collect();
        let mut lockstep = lockstep(gpu(), single(&buffers, op));
        lockstep.set(BufferId(0), &rows).unwrap();
        assert_agree(&mut lockstep, &format!("metrics of {batch}"));
    }
}

/// An update of `len` parameters, of batches that are due unless they `accumulate`.
struct UpdateCase {
    optimizer: Optimizer,
    len: u32,
    update: u32,
    multipliers: bool,
    scale: bool,
    clip: Option<f32>,
    accumulates: bool,
}

impl UpdateCase {
    fn new(optimizer: impl Into<Optimizer>, len: u32, update: u32) -> Self {
        let optimizer = optimizer.into();
        Self { optimizer, len, update, multipliers: false, scale: false, clip: None, accumulates: false }
    }

    fn check(self) {
        let Self { optimizer, len, update, .. } = self;
        let blocks = len / 64 * 2;
        let moments = match optimizer {
            Optimizer::Sgd(sgd) if sgd.momentum == 0.0 => 0,
            Optimizer::RmsProp(o) if o.momentum == 0.0 => 1,
            Optimizer::Sgd(_) | Optimizer::Adagrad(_) | Optimizer::Lion(_) => 1,
            _ => 2,
        };
        let op = Update {
            optimizer,
            parameters: tensor(0, len),
            gradients: tensor(1, len),
            moments: (0..moments).map(|m| tensor(2 + m, len)).collect(),
            step: tensor(4, STEP),
            multipliers: self.multipliers.then(|| tensor(5, blocks)),
            scale: self.scale.then(|| tensor(6, 1)),
            clip: self.clip,
            accumulates: self.accumulates,
        };
        let buffers = [
            ("w", len, Role::Parameters),
            ("g", len, Role::Gradients),
            ("m", len, Role::Moment1),
            ("v", len, Role::Moment2),
            ("step", STEP, Role::Step),
            ("multipliers", blocks, Role::Multipliers),
            ("scale", 1, Role::GradientScale),
        ];
        for gpu in gpus() {
            let mut random = Random(u64::from(len + update));
            let mut lockstep = lockstep(gpu, single(&buffers, Op::Update(op.clone())));
            lockstep.set(BufferId(0), &random.f32s(len as usize)).unwrap();
            lockstep.set(BufferId(1), &random.f32s(len as usize)).unwrap();
            // Means of squares are not negative.
            for moment in [2, 3] {
                let squares: Vec<f32> = random.f32s(len as usize).into_iter().map(|x| x * x).collect();
                lockstep.set(BufferId(moment), &squares).unwrap();
            }
            let multipliers: Vec<f32> = random.f32s(blocks as usize).into_iter().map(f32::abs).collect();
            lockstep.set(BufferId(5), &multipliers).unwrap();
            lockstep.set(BufferId(6), &[0.37f32]).unwrap();
            let due = u32::from(!self.accumulates);
            let state = StepState { step: update, update, due, learning_rate: 0.05, ..StepState::default() };
            lockstep.set(BufferId(4), &[state]).unwrap();
            for _ in 0..2 {
                assert_agree(&mut lockstep, &format!("{optimizer:?} of {len} at update {update}"));
            }
        }
    }
}

fn optimizers() -> Vec<Optimizer> {
    vec![
        Sgd::default().into(),
        Sgd { momentum: 0.9, weight_decay: 0.1, ..Sgd::default() }.into(),
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        Sgd { momentum: 0.5, dampening: 0.3, ..Sgd::default() }.into(),
        RmsProp::default().into(),
        RmsProp { momentum: 0.9, weight_decay: 0.1, ..RmsProp::default() }.into(),
        Adagrad::default().into(),
        Adagrad { rate_decay: 0.1, initial_accumulator: 0.1, ..Adagrad::default() }.into(),
        Adam::default().into(),
        Adam { beta1: 0.0, weight_decay: 0.1, ..Adam::default() }.into(),
        AdamW::default().into(),
        Lion { weight_decay: 0.1, ..Lion::default() }.into(),
    ]
}

#[test]
fn every_optimizer_updates_at_awkward_lengths() {
    for optimizer in optimizers() {
        for (len, update) in [(64, 1), (320, 2), (1757 * 64, 10)] {
            UpdateCase::new(optimizer, len, update).check();
        }
    }
}

#[test]
fn adam_updates_at_early_and_late_steps() {
    for (update, beta1) in [(1, 0.9), (2, 0.0), (10, 0.9), (500, 0.9), (1_000_000, 0.9)] {
        UpdateCase::new(Adam { beta1, ..Adam::default() }, 320, update).check();
    }
}

#[test]
fn updates_with_groups_limits_and_accumulation() {
    for optimizer in optimizers() {
        UpdateCase { multipliers: true, ..UpdateCase::new(optimizer, 640, 3) }.check();
        UpdateCase { scale: true, ..UpdateCase::new(optimizer, 320, 3) }.check();
        UpdateCase { clip: Some(0.2), ..UpdateCase::new(optimizer, 320, 1) }.check();
        UpdateCase { accumulates: true, ..UpdateCase::new(optimizer, 320, 3) }.check();
    }
}

#[test]
fn gradients_of_several_batches_accumulate() {
    for (mean, batches, due) in [(true, 1, 0), (true, 1, 1), (true, 3, 0), (true, 3, 1), (false, 1, 1), (false, 2, 1)] {
        for len in [64, 1757 * 64] {
            let (gradients, sum, step) = (tensor(0, len), tensor(1, len), tensor(2, STEP));
            let op = Op::Accumulate(Accumulate { gradients, sum, step, mean });
            let buffers =
                [("g", len, Role::Gradients), ("sum", len, Role::AccumulatedGradients), ("step", STEP, Role::Step)];
            let mut random = Random(u64::from(len));
            let mut lockstep = lockstep(gpu(), single(&buffers, op));
            lockstep.set(BufferId(0), &random.f32s(len as usize)).unwrap();
            lockstep.set(BufferId(1), &random.f32s(len as usize)).unwrap();
            let state = StepState { rows: 7, update_rows: 19, batches, due, ..StepState::default() };
            lockstep.set(BufferId(2), &[state]).unwrap();
            assert_agree(&mut lockstep, &format!("batch {batches} of {len}, due {due}, mean {mean}"));
        }
    }
}

#[test]
fn a_norm_has_a_limit() {
    for (len, limit) in [(64, 1.0), (320, 100.0), (1757 * 64, 1.0)] {
        let (sums, scale) = (tensor(1, SUM_PARTS), tensor(2, 1));
        let mut plan = single(
            &[("g", len, Role::Gradients), ("sums", SUM_PARTS, Role::SquareSums), ("scale", 1, Role::GradientScale)],
            Op::SumSquares(SumSquares { input: tensor(0, len), output: sums, limit: None }),
        );
        plan.step.push(Op::SumSquares(SumSquares { input: sums, output: scale, limit: Some(limit) }));
        let mut lockstep = lockstep(gpu(), plan);
        let gradients = Random(9).f32s(len as usize);
        lockstep.set(BufferId(0), &gradients).unwrap();
        assert_agree(&mut lockstep, &format!("norm of {len}"));
        let norm = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let expected = (f64::from(limit) / (norm + 1e-6)).min(1.0);
        let actual = f64::from(lockstep.get(BufferId(2))[0]);
        // Half the roundings of the longest sum, 1757 x 64 / 256 squares and then 256 parts, count under the root.
        assert!((actual - expected).abs() <= expected * 700.0 / 16_777_216.0, "{actual} is not {expected}");
    }
}

fn check_pointwise(gpu: &Gpu, activation: Activation, x: &[f32], derivative: bool, dropout: Option<f32>) {
    let len = x.len() as u32;
    let (step, data) = (tensor(3, STEP), tensor(4, DATA));
    let op = Op::Pointwise(Pointwise {
        input: tensor(0, len),
        saved: derivative.then(|| tensor(1, len)),
        output: tensor(2, len),
        activation,
        dropout: dropout.map(|rate| Dropout { rate, layer: 3, step, data }),
    });
    let buffers = [
        ("x", len, Role::Activation),
        ("saved", len, Role::Activation),
        ("y", len, Role::Activation),
        ("step", STEP, Role::Step),
        ("data", DATA, Role::Data),
    ];
    let mut lockstep = lockstep(gpu, single(&buffers, op));
    lockstep.set(BufferId(0), x).unwrap();
    lockstep.set(BufferId(1), &Random(8).f32s(len as usize).iter().map(|s| s * 4.0).collect::<Vec<_>>()).unwrap();
    lockstep.set(BufferId(3), &[step_state(12, 1)]).unwrap();
    lockstep.set(BufferId(4), &[DataInfo { seed_low: 5, seed_high: 6, ..DataInfo::default() }]).unwrap();
    assert_agree(&mut lockstep, &format!("{activation} of {len}, derivative {derivative}, dropout {dropout:?}"));
}

#[test]
fn every_activation_and_its_derivative() {
    for activation in Activation::ALL.into_iter().filter(|a| *a != Activation::Softmax) {
        for (i, len) in [1, 3, 63, 65, 257, 1757].into_iter().enumerate() {
            let x: Vec<f32> = Random(len as u64).f32s(len).iter().map(|x| x * [1.0, 8.0, 30.0][i % 3]).collect();
            check_pointwise(gpu(), activation, &x, false, None);
            check_pointwise(gpu(), activation, &x, true, None);
        }
        let extreme = [1e4, -1e4, 88.0, -88.0, 1e-30, -1e-30, 1e-42, -1e-42, 0.0, -0.0, 3.0, -3.0, 1e20, -1e20];
        check_pointwise(gpu(), activation, &extreme, false, None);
    }
}

#[test]
fn dropout_masks_are_the_references() {
    for len in [1, 63, 65, 1757] {
        let x = Random(len as u64).f32s(len);
        check_pointwise(gpu(), Activation::Identity, &x, false, Some(0.25));
        check_pointwise(gpu(), Activation::Relu, &x, true, Some(0.5));
    }
}

fn check_softmax_layer(rows: u32, columns: u32, gradient: bool, scale: f32) {
    let len = rows * columns;
    let (input, output) = (tensor(0, len), tensor(2, len));
    let op = Op::Softmax(Softmax { input, saved: gradient.then(|| tensor(1, len)), output, rows, columns });
    let buffers = [("z", len, Role::Activation), ("y", len, Role::Activation), ("out", len, Role::Activation)];
    let mut random = Random(u64::from(len));
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    lockstep.set(BufferId(0), &random.f32s(len as usize).iter().map(|z| z * scale).collect::<Vec<_>>()).unwrap();
    lockstep.set(BufferId(1), &random.f32s(len as usize)).unwrap();
    assert_agree(&mut lockstep, &format!("softmax {rows}x{columns}, gradient {gradient}"));
}

#[test]
fn softmax_and_its_gradient() {
    for (rows, columns) in [(1, 1), (3, 5), (65, 64), (7, 65), (2, 1757)] {
        check_softmax_layer(rows, columns, false, 4.0);
        check_softmax_layer(rows, columns, false, 1e4);
        check_softmax_layer(rows, columns, true, 1.0);
    }
}

#[test]
fn layer_normalisation_and_its_gradients() {
    for (rows, columns, offset) in
        [(1, 1, 0.0), (3, 5, 2.0), (65, 64, 0.0), (7, 65, 10.0), (2, 1757, 0.0), (300, 9, 1.0)]
    {
        let len = rows * columns;
        let [x, gradient, y, output] = [0, 1, 2, 3].map(|i| tensor(i, len));
        let [scale, shift, scale_gradient, shift_gradient] = [4, 5, 6, 7].map(|i| tensor(i, columns));
        let statistics = tensor(8, rows * 2);
        let names = ["x", "gradient", "y", "output", "scale", "shift", "scale_gradient", "shift_gradient"];
        let buffers: Vec<(&str, u32, Role)> = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| (name, if i < 4 { len } else { columns }, Role::Activation))
            .chain([("statistics", rows * 2, Role::Statistics)])
            .collect();
        let forward = LayerNormForward { x, scale, shift, y, statistics, rows, columns, epsilon: 1e-5 };
        let mut plan = single(&buffers, Op::LayerNorm(forward));
        let (out, g) = (output, gradient);
        plan.step.push(Op::LayerNormInput(LayerNormInput {
            gradient: g,
            x,
            scale,
            statistics,
            output: out,
            rows,
            columns,
        }));
        let op = LayerNormParameters { gradient: g, x, statistics, scale_gradient, shift_gradient, rows, columns };
        plan.step.push(Op::LayerNormParameters(op));
        let mut lockstep = lockstep(gpu(), plan);
        let mut random = Random(u64::from(len));
        let values: Vec<f32> = random.f32s(len as usize).iter().map(|x| x + offset).collect();
        lockstep.set(BufferId(0), &values).unwrap();
        lockstep.set(BufferId(1), &random.f32s(len as usize)).unwrap();
        lockstep.set(BufferId(4), &random.f32s(columns as usize)).unwrap();
        lockstep.set(BufferId(5), &random.f32s(columns as usize)).unwrap();
        assert_agree(&mut lockstep, &format!("layer normalisation {rows}x{columns}"));
    }
}

/// Plans from outside may be wrong: then kernels check their own indices, and nothing is read or written elsewhere.
#[test]
fn a_lockstep_of_an_unsound_plan_does_no_harm() {
    for gpu in gpus() {
        let op = Op::Gather(Gather {
            features: tensor(0, 0),
            data: tensor(1, DATA),
            step: tensor(2, STEP),
            indices: tensor(3, 8),
            x: tensor(4, 32),
            batch: 8,
            columns: 4,
        });
        let buffers = [
            ("features", 4, Role::Features),
            ("data", DATA, Role::Data),
            ("step", STEP, Role::Step),
            ("indices", 8, Role::Indices),
            ("x", 32, Role::Activation),
        ];
        let mut lockstep = wgrad::lockstep::Lockstep::new(gpu, single(&buffers, op)).unwrap();
        assert!(lockstep.set(BufferId(4), &[0.0; 2]).is_err(), "shorter than its op says");
        lockstep.set(BufferId(1), &[DataInfo { rows: 1, ..DataInfo::default() }]).unwrap();
        lockstep.set(BufferId(2), &[step_state(1, 8)]).unwrap();
        assert!(lockstep.run().unwrap()[0].divergence.is_none(), "row 0 is there");
    }
}

/// A check that cannot fail proves nothing: a wrong operand must be caught, and named.
#[test]
fn the_lockstep_catches_a_wrong_kernel() {
    let op = Op::Update(Update {
        optimizer: Sgd { momentum: 0.9, ..Sgd::default() }.into(),
        parameters: tensor(0, 64),
        gradients: tensor(1, 64),
        moments: vec![tensor(2, 64)],
        step: tensor(3, STEP),
        multipliers: None,
        scale: None,
        clip: None,
        accumulates: false,
    });
    let buffers =
        [("w", 64, Role::Parameters), ("g", 64, Role::Gradients), ("v", 64, Role::Moment1), ("step", STEP, Role::Step)];
    let mut lockstep = lockstep(gpu(), single(&buffers, op));
    let mut random = Random(3);
    for buffer in 0..3 {
        lockstep.set(BufferId(buffer), &random.f32s(64)).unwrap();
    }
    let state = StepState { update: 2, learning_rate: 0.1, ..StepState::default() };
    lockstep.set(BufferId(3), &[state]).unwrap();
    // Behind the lockstep's back, one GPU gradient is off by a few units in the last place.
    lockstep.disturb_gpu(BufferId(1), 17, 1e-6);
    let divergence = lockstep.run().unwrap().remove(0).divergence.expect("must be caught");
    assert_eq!((divergence.buffer.as_str(), divergence.index), ("v", 17));
}

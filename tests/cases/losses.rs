//! Losses and their gradients.

use super::*;

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
    check: &mut Check,
    loss: Loss,
    activation: Activation,
    [batch, outputs, present]: [u32; 3],
    gradient: bool,
    scale: f32,
    kind: Kind,
) -> Result<()> {
    let (data_rows, len, turns) = (50, batch * outputs, 1 + batch % 3);
    let (values, weighted) = (matches!(kind, Values | WeightedValues), matches!(kind, WeightedLabels | WeightedValues));
    let width = if values { outputs } else { 1 } + u32::from(weighted);
    let op = Op::LossOp(LossOp {
        loss,
        output: tensor(0, [batch, outputs]),
        targets: tensor(1, width),
        data: tensor(6, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, batch),
        gradient: gradient.then(|| tensor(4, [batch, outputs])),
        metrics: tensor(5, [1, turns, batch, 4]),
        activation,
    });
    let softmax = matches!(loss, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. });
    let buffers = [
        ("output", len, Role::Activation),
        ("targets", data_rows * width, Role::Targets(0)),
        ("step", STEP, Role::Step),
        ("indices", batch, Role::Indices),
        ("gradient", len, Role::ActivationGradient),
        ("metrics", turns * batch * 4, Role::RowMetrics),
        ("data", DATA, Role::Data(0)),
    ];
    let mut random = Random(u64::from(batch + outputs));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
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
    let metrics: Vec<RowMetrics> = (0..turns * batch)
        .map(|i| RowMetrics { loss: random.f32(), correct: i, rows: i + 1, non_finite_step: 0 })
        .collect();
    let (values, weighted) = (values.into(), weighted.into());
    let info = DataInfo { rows: data_rows, values, weighted, target_stride: width, ..DataInfo::default() };
    lockstep.set(BufferId(0), &outputs_given)?;
    lockstep.set(BufferId(1), &targets)?;
    lockstep.set(BufferId(2), &[step_state(3, present)])?;
    lockstep.set(BufferId(3), &indices)?;
    lockstep.set(BufferId(5), &metrics)?;
    lockstep.set(BufferId(6), &[info])?;
    check.agree(&mut lockstep, &format!("{loss:?} {batch}x{outputs}, scale {scale}, {kind:?}, {activation}"))?;
    Ok(())
}

fn check_softmax(check: &mut Check, batch: u32, classes: u32, present: u32, gradient: bool, scale: f32) -> Result<()> {
    let size = [batch, classes, present];
    check_loss(check, Loss::SoftmaxCrossEntropy, Activation::Identity, size, gradient, scale, Labels)?;
    Ok(())
}

pub fn softmax_cross_entropy_with_every_kind_of_target(check: &mut Check) -> Result<()> {
    for kind in [Labels, WeightedLabels, Values, WeightedValues] {
        for loss in [Loss::SoftmaxCrossEntropy, Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 }] {
            for size in [[1, 1, 1], [3, 2, 2], [63, 10, 63], [65, 64, 33], [5, 65, 5], [7, 1757, 6]] {
                check_loss(check, loss, Activation::Identity, size, true, 5.0, kind)?;
            }
        }
    }
    Ok(())
}

pub fn pointwise_losses_with_every_kind_of_target(check: &mut Check) -> Result<()> {
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
                check_loss(check, loss, activations[(i + j) % 4], size, j != 2, 1.0, kind)?;
            }
        }
    }
    // Logits whose exponentials overflow f32; and labels, so that half the losses are as small as these exponentials.
    for kind in [Values, Labels] {
        check_loss(check, Loss::BinaryCrossEntropy, Activation::Identity, [40, 3, 40], true, 300.0, kind)?;
    }
    check_loss(check, Loss::BinaryCrossEntropy, Activation::Identity, [63, 1, 63], true, 30.0, Labels)?;
    Ok(())
}

pub fn softmax_cross_entropy_from_small_to_large(check: &mut Check) -> Result<()> {
    for (batch, classes, present) in [(1, 1, 1), (3, 2, 2), (63, 10, 63), (65, 64, 33), (5, 65, 5), (7, 1757, 6)] {
        check_softmax(check, batch, classes, present, true, 5.0)?;
        check_softmax(check, batch, classes, present, false, 1.0)?;
    }
    // Equal logits: the first of the largest is the prediction, within a lane's classes and across lanes.
    check_softmax(check, 40, 10, 40, true, 0.0)?;
    check_softmax(check, 40, 100, 40, true, 0.0)?;
    // Logits whose exponentials overflow f32 unless the largest is subtracted.
    check_softmax(check, 9, 10, 9, true, 1000.0)?;
    check_softmax(check, 2, LONGEST_ROW, 2, true, 3.0)?;
    Ok(())
}

/// The loss of one row, over buffers in this order: outputs, targets, step, indices, metrics, data.
fn loss_of_one_row(loss: Loss, outputs: u32) -> LossOp {
    LossOp {
        loss,
        output: tensor(0, [1, outputs]),
        targets: tensor(1, outputs),
        data: tensor(5, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, 1),
        gradient: None,
        metrics: tensor(4, [1, 1, 1, 4]),
        activation: Activation::Identity,
    }
}

pub fn softmax_cross_entropy_flags_what_is_not_finite(check: &mut Check) -> Result<()> {
    // The last two have gone wrong before, in step 7, which stays the first: one goes wrong again, the other does not.
    let wrong = [(f32::NAN, 0, 0), (f32::INFINITY, 0, 0), (f32::NEG_INFINITY, 1, 0), (0.0, 7, 0), (f32::NAN, 0, 7)];
    let cases = wrong.into_iter().chain([(0.0, 0, 7)]);
    for (logit, label, before) in cases {
        let op = loss_of_one_row(Loss::SoftmaxCrossEntropy, 2);
        let buffers = [
            ("logits", 2, Role::Activation),
            ("labels", 1, Role::Targets(0)),
            ("step", STEP, Role::Step),
            ("indices", 1, Role::Indices),
            ("metrics", 4, Role::RowMetrics),
            ("data", DATA, Role::Data(0)),
        ];
        let mut lockstep = check.lockstep(single(&buffers, Op::LossOp(op)))?;
        lockstep.set(BufferId(0), &[1.0, logit])?;
        lockstep.set(BufferId(1), &[label])?;
        lockstep.set(BufferId(2), &[step_state(42, 1)])?;
        lockstep.set(BufferId(4), &[RowMetrics { non_finite_step: before, ..RowMetrics::default() }])?;
        if check.falsify {
            lockstep.disturb_gpu(BufferId(4), 3, 1.0);
        }
        // The loss need not be the same NaN; the step at which it went wrong must be.
        let wanted = if before == 0 { 42 } else { before };
        check.run(&mut lockstep, move |check, mut comparisons| {
            let divergence = comparisons.remove(0).divergence;
            check.compared += 1;
            let only_the_loss = divergence.as_ref().is_none_or(|d| d.index == 0);
            check.expect(only_the_loss, || {
                format!("logit {logit}, label {label}: not first in step {wanted}, {divergence:?}")
            });
        })?;
        let first = lockstep.get(BufferId(4))[3].to_bits();
        check.expect(first == wanted, || format!("logit {logit}, label {label}: first in step {first}"));
    }
    Ok(())
}

/// NaN among the outputs, and targets that the loss does not take: the row has a loss that is NaN, and is not right.
pub fn pointwise_losses_flag_what_is_not_finite(check: &mut Check) -> Result<()> {
    let (mse, bce) = (Loss::MeanSquaredError, Loss::BinaryCrossEntropy);
    let wrong = [
        (mse, f32::NAN, 0.5),
        (mse, 0.0, f32::NAN),
        (bce, f32::NAN, 0.5),
        (bce, 1.0, f32::NAN),
        (bce, 1.0, 1.5),
        (bce, -1.0, -0.001),
    ];
    let right = [(mse, 0.0, 3.0), (bce, 1.0, 1.0), (bce, -1.0, 0.0)];
    // One output, a lane for two, and 64 lanes.
    let sizes = [1, 2, 70];
    for ((loss, y, t), outputs) in wrong.into_iter().chain(right).flat_map(|case| sizes.map(|size| (case, size))) {
        let op = loss_of_one_row(loss, outputs);
        let buffers = [
            ("outputs", outputs, Role::Activation),
            ("targets", outputs, Role::Targets(0)),
            ("step", STEP, Role::Step),
            ("indices", 1, Role::Indices),
            ("metrics", 4, Role::RowMetrics),
            ("data", DATA, Role::Data(0)),
        ];
        let mut lockstep = check.lockstep(single(&buffers, Op::LossOp(op)))?;
        // The last output is the odd one, and all others are alike.
        let with_last = |last: f32| [vec![0.25; outputs as usize - 1], vec![last]].concat();
        lockstep.set(BufferId(0), &with_last(y))?;
        lockstep.set(BufferId(1), &with_last(t))?;
        lockstep.set(BufferId(2), &[step_state(42, 1)])?;
        lockstep.set(BufferId(5), &[DataInfo { rows: 1, values: 1, ..DataInfo::default() }])?;
        if check.falsify {
            lockstep.disturb_gpu(BufferId(4), 3, 1.0);
        }
        let what = format!("{loss:?} of {y} for {t}, {outputs} outputs");
        let of = what.clone();
        check.run(&mut lockstep, move |check, mut comparisons| {
            let divergence = comparisons.remove(0).divergence;
            check.compared += 1;
            // The loss need not be the same NaN.
            check.expect(divergence.as_ref().is_none_or(|d| d.index == 0), || format!("{of}: {divergence:?}"));
        })?;
        let words = lockstep.get(BufferId(4));
        let is_wrong = wrong.iter().any(|w| format!("{w:?}") == format!("{:?}", (loss, y, t)));
        let [correct, first] = [1, 3].map(|i| words[i].to_bits());
        let expected = if is_wrong { (0, 42) } else { (correct, 0) };
        check.expect((correct, first) == expected, || format!("{what}: correct {correct}, first in step {first}"));
    }
    Ok(())
}

/// Sums of losses that move up none, one and two of three levels.
pub fn running_losses_move_up_levels(check: &mut Check) -> Result<()> {
    let (batch, outputs, turns) = (6, 2, 2);
    let slots = turns * batch;
    for loss in [Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError] {
        let op = Op::LossOp(LossOp {
            loss,
            output: tensor(0, [batch, outputs]),
            targets: tensor(1, 1),
            data: tensor(2, DATA),
            step: tensor(3, STEP),
            indices: tensor(4, batch),
            gradient: None,
            metrics: tensor(5, [3, turns, batch, 4]),
            activation: Activation::Identity,
        });
        let buffers = [
            ("output", batch * outputs, Role::Activation),
            ("targets", 1, Role::Targets(0)),
            ("data", DATA, Role::Data(0)),
            ("step", STEP, Role::Step),
            ("indices", batch, Role::Indices),
            ("metrics", 3 * slots * 4, Role::RowMetrics),
        ];
        let mut random = Random(3);
        let mut lockstep = check.lockstep(single(&buffers, op))?;
        lockstep.set(BufferId(0), &random.f32s((batch * outputs) as usize))?;
        lockstep.set(BufferId(1), &[1u32])?;
        lockstep.set(BufferId(2), &[DataInfo { rows: 1, ..DataInfo::default() }])?;
        lockstep.set(BufferId(3), &[step_state(5, batch - 1)])?;
        lockstep.set(BufferId(4), &vec![0u32; batch as usize])?;
        let rows = [0, 6, 7, 15, 63, 511];
        let metrics: Vec<RowMetrics> = (0..3 * slots)
            .map(|i| match i / slots {
                0 => RowMetrics { loss: 1.0 + random.f32(), rows: rows[(i % batch) as usize], ..RowMetrics::default() },
                level => RowMetrics { loss: 9.0f32.powi(level as i32) * random.f32(), ..RowMetrics::default() },
            })
            .collect();
        lockstep.set(BufferId(5), &metrics)?;
        check.agree(&mut lockstep, &format!("levels of {loss:?}"))?;
        let after = lockstep.get(BufferId(5));
        for (level, moved) in [(0usize, [false, false, true, true, true]), (1, [false, false, false, false, true])] {
            for (row, moved) in moved.into_iter().enumerate() {
                // Step 5 has the second turn.
                let at = (level * slots as usize + batch as usize + row) * 4;
                check.expect((after[at] == 0.0) == moved, || format!("level {level} of row {row}: {}", after[at]));
            }
        }
    }
    Ok(())
}

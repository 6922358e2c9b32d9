//! Checks losses and their gradients.

use super::*;

/// The contents of a row of targets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Labels,
    WeightedLabels,
    Values,
    WeightedValues,
}
pub use Kind::*;

/// The batch of one loss check.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub loss: Loss,
    pub activation: Activation,
    /// Samples, outputs per position, samples present.
    pub size: [u32; 3],
    pub positions: u32,
    pub weight: f32,
    pub gradient: bool,
    /// Factor of the random outputs.
    pub scale: f32,
    pub kind: Kind,
    /// Label to ignore: it adds nothing to the loss.
    pub ignored: Option<u32>,
    /// Whether the op gets each position as a separate sample.
    pub flat: bool,
}

pub fn batch_of(loss: Loss, size: [u32; 3]) -> Batch {
    Batch {
        loss,
        activation: Activation::Identity,
        size,
        positions: 1,
        weight: 1.0,
        gradient: true,
        scale: 1.0,
        kind: Labels,
        ignored: None,
        flat: false,
    }
}

/// Runs a loss op. Returns the gradient, and the metrics after the op.
pub fn check_loss(check: &mut Check, batch: Batch) -> Result<(Vec<f32>, Vec<f32>)> {
    let Batch { loss, size: [samples, outputs, present], positions, gradient, kind, ignored, .. } = batch;
    let (data_rows, rows, turns) = (50, samples * positions, 1 + samples % 3);
    let len = rows * outputs;
    let (values, weighted) = (matches!(kind, Values | WeightedValues), matches!(kind, WeightedLabels | WeightedValues));
    let width = if values { outputs } else { 1 };
    let softmax = matches!(loss, Loss::SoftmaxCrossEntropy | Loss::SmoothedSoftmaxCrossEntropy { .. });
    let target_stride = positions * width + u32::from(weighted);
    // Number of loss samples for each sample of the data set.
    let split = if batch.flat { positions } else { 1 };
    let op = Op::LossOp(LossOp {
        loss,
        positions: positions / split,
        weight: batch.weight,
        output: tensor(0, [rows, outputs]),
        targets: tensor(1, target_stride / split),
        data: tensor(6, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, samples * split),
        gradient: gradient.then(|| tensor(4, [rows, outputs])),
        metrics: tensor(5, [1, turns, rows, 4]),
        activation: batch.activation,
    });
    let buffers = [
        ("output", len, Role::Activation),
        ("targets", data_rows * target_stride, Role::Targets(0)),
        ("step", STEP, Role::Step),
        ("indices", samples * split, Role::Indices),
        ("gradient", len, Role::ActivationGradient),
        ("metrics", turns * rows * 4, Role::RowMetrics),
        ("data", DATA, Role::Data(0)),
    ];
    let mut random = Random(u64::from(rows + outputs));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    let mut outputs_given: Vec<f32> = random.f32s(len as usize).into_iter().map(|z| z * batch.scale).collect();
    let mut targets = Vec::new();
    for _ in 0..data_rows {
        for _ in 0..positions {
            match values {
                true => targets.extend((0..outputs).map(|_| random.f32().abs().to_bits())),
                false if softmax && outputs == 1 => targets.push(0),
                false => targets.push(random.below(outputs.max(2))),
            }
            if let (Some(ignored), false, 0) = (ignored, values, random.below(3)) {
                *targets.last_mut().expect("a label") = ignored;
            }
        }
        if weighted {
            targets.push((random.f32() + 1.0).to_bits());
        }
    }
    let indices: Vec<u32> = (0..samples).map(|_| random.below(data_rows)).collect();
    let metrics: Vec<RowMetrics> = (0..turns * rows)
        .map(|i| RowMetrics { loss: random.f32(), correct: i, rows: i + 1, non_finite_step: 0 })
        .collect();
    // The outputs of an ignored position may hold anything, even NaN.
    let label =
        |row: u32| targets[(indices[(row / positions) as usize] * target_stride + row % positions * width) as usize];
    let is_ignored: Vec<bool> = (0..rows).map(|row| !values && Some(label(row)) == ignored).collect();
    for row in (0..rows as usize).filter(|&row| is_ignored[row]) {
        outputs_given[row * outputs as usize] = f32::NAN;
    }
    let of_splits = |&index: &u32| (0..split).map(move |i| index * split + i);
    let info = DataInfo {
        rows: data_rows * split,
        values: values.into(),
        weighted: weighted.into(),
        target_stride: target_stride / split,
        ignored: ignored.map_or(0, |label| label + 1),
        ..DataInfo::default()
    };
    lockstep.set(BufferId(0), &outputs_given)?;
    lockstep.set(BufferId(1), &targets)?;
    lockstep.set(BufferId(2), &[step_state(3, present * split)])?;
    lockstep.set(BufferId(3), &indices.iter().flat_map(of_splits).collect::<Vec<_>>())?;
    lockstep.set(BufferId(5), &metrics)?;
    lockstep.set(BufferId(6), &[info])?;
    check.agree(&mut lockstep, &format!("{batch:?}"))?;

    let (gradients, after) = (lockstep.get(BufferId(4)), lockstep.get(BufferId(5)));
    for (row, ignored) in (0..rows as usize).zip(is_ignored) {
        let slot = (3 % turns * rows) as usize + row;
        let counted = after[slot * 4 + 2].to_bits() - metrics[slot].rows;
        let expected = u32::from(row < (present * positions) as usize && !ignored);
        check.expect(counted == expected, || format!("{batch:?}: row {row} counts {counted} times"));
        let of_row = &gradients[row * outputs as usize..][..outputs as usize];
        let silent = expected == 1 || of_row.iter().all(|&number| number == 0.0);
        check.expect(silent, || format!("{batch:?}: row {row} does not count, but has the gradient {of_row:?}"));
    }
    Ok((gradients, after))
}

fn check_softmax(check: &mut Check, size: [u32; 3], gradient: bool, scale: f32) -> Result<()> {
    check_loss(check, Batch { gradient, scale, ..batch_of(Loss::SoftmaxCrossEntropy, size) })?;
    Ok(())
}

pub fn softmax_cross_entropy_with_every_kind_of_target(check: &mut Check) -> Result<()> {
    for kind in [Labels, WeightedLabels, Values, WeightedValues] {
        for loss in [Loss::SoftmaxCrossEntropy, Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 }] {
            for size in [[1, 1, 1], [3, 2, 2], [63, 10, 63], [65, 64, 33], [5, 65, 5], [7, 1757, 6]] {
                check_loss(check, Batch { scale: 5.0, kind, ..batch_of(loss, size) })?;
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
                let activation = activations[(i + j) % 4];
                check_loss(check, Batch { activation, gradient: j != 2, kind, ..batch_of(loss, size) })?;
            }
        }
    }
    // These share the kernel's structure with those above, so one size with one lane and one with 64 suffice.
    let relative = [
        Loss::RelativeL2 { epsilon: 0.01 },
        Loss::RelativeL1 { epsilon: 0.01 },
        Loss::Mape { epsilon: 0.01 },
        Loss::Smape { epsilon: 0.01 },
        Loss::LogL1,
        Loss::Variance { epsilon: 0.1 },
        Loss::DensityCrossEntropy { epsilon: 0.1 },
    ];
    for loss in relative {
        for (kind, size) in [(WeightedValues, [63, 1, 60]), (Values, [5, 65, 5])] {
            check_loss(check, Batch { activation: Activation::Tanh, kind, ..batch_of(loss, size) })?;
        }
    }
    // The luminance needs rows of three outputs. The last scale is far above the square root of the largest f32.
    for (scale, kind) in [(1.0, Values), (1.0, WeightedLabels), (1e-3, WeightedValues), (1e25, Values)] {
        let loss = Loss::RelativeL2Luminance { epsilon: 0.01 };
        check_loss(check, Batch { scale, kind, ..batch_of(loss, [40, 3, 33]) })?;
        check_loss(check, Batch { scale, kind, positions: 6, ..batch_of(loss, [9, 3, 7]) })?;
    }
    // The exponentials of these logits overflow f32. With labels, half the losses are about as small as these
    // exponentials.
    let logits = |size, scale| Batch { scale, ..batch_of(Loss::BinaryCrossEntropy, size) };
    for kind in [Values, Labels] {
        check_loss(check, Batch { kind, ..logits([40, 3, 40], 300.0) })?;
    }
    check_loss(check, logits([63, 1, 63], 30.0))?;
    Ok(())
}

pub fn softmax_cross_entropy_from_small_to_large(check: &mut Check) -> Result<()> {
    for size in [[1, 1, 1], [3, 2, 2], [63, 10, 63], [65, 64, 33], [5, 65, 5], [7, 1757, 6]] {
        check_softmax(check, size, true, 5.0)?;
        check_softmax(check, size, false, 1.0)?;
    }
    // With equal logits, the first class is the prediction. This holds within the classes of one lane and across lanes.
    check_softmax(check, [40, 10, 40], true, 0.0)?;
    check_softmax(check, [40, 100, 40], true, 0.0)?;
    // The exponentials overflow f32 if the kernel does not subtract the largest logit.
    check_softmax(check, [9, 10, 9], true, 1000.0)?;
    check_softmax(check, [2, LONGEST_ROW, 2], true, 3.0)?;
    Ok(())
}

/// The loss of one row. Its buffers in order: outputs, targets, step, indices, metrics, data.
fn loss_of_one_row(loss: Loss, outputs: u32) -> LossOp {
    LossOp {
        loss,
        positions: 1,
        weight: 1.0,
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
    // The last two cases already have a non-finite loss from step 7. Step 7 must remain the first such step, whether
    // step 42 is finite or not.
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
        // The loss may be any NaN. The first non-finite step must match exactly.
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

/// A NaN output, or a target outside the loss's range, makes the loss of the row NaN. The row then does not count as
/// correct.
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
    // One output, one lane with two outputs, and 64 lanes.
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
        // Only the last output and the last target vary. All others are equal.
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
            // The loss may be any NaN.
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

/// Running losses carry over to none, one or two of the three levels.
pub fn running_losses_move_up_levels(check: &mut Check) -> Result<()> {
    let (batch, outputs, turns) = (6, 2, 2);
    let slots = turns * batch;
    for loss in [Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError] {
        let op = Op::LossOp(LossOp {
            loss,
            positions: 1,
            weight: 1.0,
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
                // Step 5 uses the second turn.
                let at = (level * slots as usize + batch as usize + row) * 4;
                check.expect((after[at] == 0.0) == moved, || format!("level {level} of row {row}: {}", after[at]));
            }
        }
    }
    Ok(())
}

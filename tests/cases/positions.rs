//! Checks losses of samples with several positions, ignored labels, crops, and several losses of one network.

use super::losses::*;
use super::*;

/// One loss of each kernel, and one that is a sum rather than a mean.
const LOSSES: [Loss; 4] = [
    Loss::SoftmaxCrossEntropy,
    Loss::MeanSquaredError,
    Loss::SumOfSquares,
    Loss::SmoothedSoftmaxCrossEntropy { smoothing: 0.1 },
];

/// Each case: [samples, outputs per position, samples present], positions.
const POSITIONS: [([u32; 3], u32); 5] =
    [([1, 3, 1], 1), ([3, 2, 2], 7), ([9, 10, 9], 64), ([5, 65, 3], 3), ([40, 1, 39], 2)];

pub fn losses_of_positions(check: &mut Check) -> Result<()> {
    for (loss, (size, positions)) in LOSSES.into_iter().flat_map(|loss| POSITIONS.map(|size| (loss, size))) {
        for (i, kind) in [Labels, WeightedLabels, Values, WeightedValues].into_iter().enumerate() {
            let activation = if loss == Loss::SumOfSquares { Activation::Tanh } else { Activation::Identity };
            let batch = Batch { positions, kind, activation, scale: 3.0, ..batch_of(loss, size) };
            let of_positions = check_loss(check, batch)?;
            // A position is treated as a row. Without sample weights, the bits equal those of samples with one position
            // each.
            if i % 2 == 0 {
                let of_rows = check_loss(check, Batch { flat: true, ..batch })?;
                let bits = |(gradient, metrics): (Vec<f32>, Vec<f32>)| {
                    gradient.into_iter().chain(metrics).map(f32::to_bits).collect::<Vec<_>>()
                };
                check.expect(bits(of_positions) == bits(of_rows), || format!("{batch:?}: not as rows are"));
            }
        }
    }
    Ok(())
}

/// Targets are crops of larger images, at random positions or at the centre. Crop positions are drawn for the input
/// images; target images are twice that size.
pub fn losses_of_crops(check: &mut Check) -> Result<()> {
    let [image_height, image_width, crop_height, crop_width, factor] = [5, 7, 3, 2, 2];
    let (samples, outputs, data_rows) = (9, 3, 20);
    let (positions, rows) = (crop_height * crop_width * factor * factor, 9 * 6 * 4);
    for (loss, (values, weighted)) in [Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError]
        .into_iter()
        .flat_map(|loss| [(false, true), (true, false), (true, true)].map(|kind| (loss, kind)))
    {
        let width = if values { outputs } else { 1 };
        let target_stride = image_height * image_width * factor * factor * width + u32::from(weighted);
        let op = Op::LossOp(LossOp {
            loss,
            positions,
            weight: 1.0,
            output: tensor(0, [rows, outputs]),
            targets: tensor(1, target_stride),
            data: tensor(2, DATA),
            step: tensor(3, STEP),
            indices: tensor(4, samples),
            gradient: Some(tensor(5, [rows, outputs])),
            metrics: tensor(6, [1, 1, rows, 4]),
            activation: Activation::Identity,
        });
        let buffers = [
            ("output", rows * outputs, Role::Activation),
            ("targets", data_rows * target_stride, Role::Targets(0)),
            ("data", DATA, Role::Data(0)),
            ("step", STEP, Role::Step),
            ("indices", samples, Role::Indices),
            ("gradient", rows * outputs, Role::ActivationGradient),
            ("metrics", rows * 4, Role::RowMetrics),
        ];
        for crop in [1, 2] {
            let mut random = Random(u64::from(crop + 4 * target_stride));
            let mut lockstep = check.lockstep(single(&buffers, op.clone()))?;
            lockstep.set(BufferId(0), &random.f32s((rows * outputs) as usize))?;
            let number = |random: &mut Random| random.f32().abs().to_bits();
            let targets: Vec<u32> = (0..data_rows * target_stride)
                .map(|i| match (values, weighted && i % target_stride == target_stride - 1) {
                    (false, false) => random.below(outputs),
                    _ => number(&mut random),
                })
                .collect();
            lockstep.set(BufferId(1), &targets)?;
            let info = DataInfo {
                rows: data_rows,
                seed_low: random.word(),
                values: values.into(),
                weighted: weighted.into(),
                target_stride,
                crop,
                places_x: image_width - crop_width + 1,
                places_y: image_height - crop_height + 1,
                target_factor: factor,
                target_width: image_width * factor,
                target_crop_width: crop_width * factor,
                ..DataInfo::default()
            };
            lockstep.set(BufferId(2), &[info])?;
            lockstep.set(BufferId(3), &[StepState { epoch: 4, position: 1, ..step_state(3, 8) }])?;
            lockstep.set(BufferId(4), &(0..samples).map(|_| random.below(data_rows)).collect::<Vec<_>>())?;
            check.agree(&mut lockstep, &format!("{loss:?} of crops {crop}, values {values}, weighted {weighted}"))?;
        }
    }
    Ok(())
}

pub fn ignored_labels_count_for_nothing(check: &mut Check) -> Result<()> {
    let losses = LOSSES.into_iter().chain([Loss::BinaryCrossEntropy]);
    for (loss, (size, positions)) in losses.flat_map(|loss| POSITIONS.map(|size| (loss, size))) {
        // The ignored label is a class, a number beyond the classes, or PyTorch's default of -100.
        for (ignored, kind) in [(0, Labels), (size[1], WeightedLabels), (-100i32 as u32, Labels)] {
            check_loss(check, Batch { positions, kind, ignored: Some(ignored), ..batch_of(loss, size) })?;
        }
        // Targets that are numbers are never ignored, even if their bits equal the label.
        let ignored = Some(0.5f32.to_bits());
        check_loss(check, Batch { positions, kind: Values, ignored, ..batch_of(loss, size) })?;
    }
    Ok(())
}

/// With several losses, the weight of a loss scales its gradient but not its running loss.
pub fn losses_with_weights(check: &mut Check) -> Result<()> {
    for (loss, (size, positions)) in LOSSES.into_iter().flat_map(|loss| POSITIONS.map(|size| (loss, size))) {
        for kind in [Labels, WeightedValues] {
            let batch = Batch { positions, kind, ..batch_of(loss, size) };
            check_loss(check, Batch { weight: 0.3, ..batch })?;
            check_loss(check, Batch { weight: -1e6, ..batch })?;
            // A weight that is a power of two does not change the rounding.
            let (alone, metrics) = check_loss(check, batch)?;
            let (halves, of_halves) = check_loss(check, Batch { weight: 0.5, ..batch })?;
            let is_half = alone.iter().zip(&halves).all(|(whole, half)| whole * 0.5 == *half);
            check.expect(is_half, || format!("{batch:?}: half the weight is not half the gradient"));
            check.expect(metrics == of_halves, || format!("{batch:?}: the running loss is weighted"));
        }
    }
    Ok(())
}

/// Two losses share one buffer of metrics and one buffer of totals. Each has its own range.
pub fn losses_in_parts_of_a_buffer(check: &mut Check) -> Result<()> {
    let (samples, positions, outputs, turns) = (5, 7, 3, 2);
    let rows = samples * positions;
    let loss = |loss, output, targets, gradient, metrics| {
        Op::LossOp(LossOp {
            loss,
            positions,
            weight: 0.75,
            output: tensor(output, [rows, outputs]),
            targets: tensor(targets, positions),
            data: tensor(6, DATA),
            step: tensor(7, STEP),
            indices: tensor(8, samples),
            gradient: Some(tensor(gradient, [rows, outputs])),
            metrics,
            activation: Activation::Identity,
        })
    };
    // The metrics have 2 levels. A gap follows the first range, because ranges start at multiples of 64 words.
    let words = 2 * turns * rows * 4;
    let second = words.next_multiple_of(64);
    let part = |buffer, offset, shape: Shape| Tensor { offset, ..tensor(buffer, shape) };
    let slots = |offset| part(9, offset, [2, turns, rows, 4].into());
    let sum = |first, total| {
        Op::Metrics(Metrics { slots: part(9, first, [2 * turns * rows, 4].into()), totals: part(10, total, 4.into()) })
    };
    let len = rows * outputs;
    let buffers = [
        ("first", len, Role::Activation),
        ("second", len, Role::Activation),
        ("first.targets", samples * positions, Role::Targets(0)),
        ("second.targets", samples * positions, Role::Targets(1)),
        ("first.gradient", len, Role::ActivationGradient),
        ("second.gradient", len, Role::ActivationGradient),
        ("data", DATA, Role::Data(0)),
        ("step", STEP, Role::Step),
        ("indices", samples, Role::Indices),
        ("metrics", second + words, Role::RowMetrics),
        ("totals", 64 + 4, Role::Totals),
        ("weights", 64, Role::Parameters),
    ];
    let mut plan = single(&buffers, loss(Loss::SoftmaxCrossEntropy, 0, 2, 4, slots(0)));
    plan.step.push(loss(Loss::MeanSquaredError, 1, 3, 5, slots(second)));
    plan.report.extend([sum(0, 0), sum(second, 64)]);
    // Marks the totals of the first loss, and changes nothing else.
    plan.report.push(NonFinite { input: tensor(11, 64), step: tensor(7, STEP), totals: tensor(10, 64 + 4) }.into());
    let mut lockstep = check.lockstep(plan)?;
    let mut random = Random(5);
    for output in [0, 1] {
        lockstep.set(BufferId(output), &random.f32s(len as usize))?;
        let labels: Vec<u32> = (0..samples * positions).map(|_| random.below(outputs)).collect();
        lockstep.set(BufferId(2 + output), &labels)?;
    }
    let info = DataInfo { rows: samples, target_stride: positions, ..DataInfo::default() };
    lockstep.set(BufferId(6), &[info])?;
    lockstep.set(BufferId(7), &[step_state(3, samples)])?;
    lockstep.set(BufferId(8), &(0..samples).rev().collect::<Vec<_>>())?;
    let metrics: Vec<RowMetrics> = (0..(second + words) / 4)
        .map(|i| RowMetrics { loss: random.f32(), correct: 0, rows: i % 9, non_finite_step: 0 })
        .collect();
    lockstep.set(BufferId(9), &metrics)?;
    let mut weights = random.f32s(64);
    weights[9] = f32::NAN;
    lockstep.set(BufferId(11), &weights)?;
    check.agree(&mut lockstep, "losses in parts")?;
    let totals = lockstep.get(BufferId(10));
    for (at, marked) in [(0, 3), (64, 0)] {
        let of_part = if at == 0 { &metrics[..(words / 4) as usize] } else { &metrics[(second / 4) as usize..] };
        let expected = of_part.iter().map(|slot| slot.rows).sum::<u32>() + rows;
        let [counted, first] = [2, 3].map(|word| totals[at + word].to_bits());
        check.expect((counted, first) == (expected, marked), || format!("part at {at}: {counted} rows, step {first}"));
    }
    Ok(())
}

//! Checks activations, dropout, softmax and normalisation layers.

use super::*;

fn check_pointwise(
    check: &mut Check,
    activation: Activation,
    x: &[f32],
    derivative: bool,
    dropout: Option<f32>,
    spatial: Option<[u32; 2]>,
) -> Result<()> {
    let len = x.len() as u32;
    let (step, data) = (tensor(3, STEP), tensor(4, DATA));
    let op = Op::Pointwise(Pointwise {
        input: tensor(0, len),
        saved: derivative.then(|| tensor(1, len)),
        output: tensor(2, len),
        activation,
        dropout: dropout.map(|rate| Dropout { rate, layer: 3, step, data, spatial }),
    });
    let buffers = [
        ("x", len, Role::Activation),
        ("saved", len, Role::Activation),
        ("y", len, Role::Activation),
        ("step", STEP, Role::Step),
        ("data", DATA, Role::Data(0)),
    ];
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    lockstep.set(BufferId(0), x)?;
    lockstep.set(BufferId(1), &Random(8).f32s(len as usize).iter().map(|s| s * 4.0).collect::<Vec<_>>())?;
    lockstep.set(BufferId(3), &[step_state(12, 1)])?;
    lockstep.set(BufferId(4), &[DataInfo { seed_low: 5, seed_high: 6, ..DataInfo::default() }])?;
    check.agree(
        &mut lockstep,
        &format!("{activation} of {len}, derivative {derivative}, dropout {dropout:?} {spatial:?}"),
    )?;
    Ok(())
}

pub fn every_activation_and_its_derivative(check: &mut Check) -> Result<()> {
    for activation in Activation::ALL.into_iter().filter(|a| *a != Activation::Softmax) {
        for (i, len) in [1, 3, 63, 65, 257, 1757].into_iter().enumerate() {
            let x: Vec<f32> = Random(len as u64).f32s(len).iter().map(|x| x * [1.0, 8.0, 30.0][i % 3]).collect();
            check_pointwise(check, activation, &x, false, None, None)?;
            check_pointwise(check, activation, &x, true, None, None)?;
        }
        let extreme = [
            1e4, -1e4, 88.0, -88.0, 1e-3, -1e-5, 1e-7, 1e-30, -1e-30, 1e-42, -1e-42, 0.0, -0.0, 3.0, -3.0, 1e20, -1e20,
        ];
        check_pointwise(check, activation, &extreme, false, None, None)?;
    }
    // Here, 0 times infinity is 0.
    check_pointwise(
        check,
        Activation::LeakyRelu(0.0),
        &[f32::INFINITY, f32::NEG_INFINITY, -1.0, 2.0],
        false,
        None,
        None,
    )?;
    Ok(())
}

pub fn every_second_derivative(check: &mut Check) -> Result<()> {
    let is_zero = |a: &Activation| {
        matches!(a, Activation::Identity | Activation::Relu | Activation::LeakyRelu(_) | Activation::HardSigmoid)
    };
    for activation in Activation::ALL.into_iter().filter(|a| !is_zero(a) && *a != Activation::Softmax) {
        for (i, len) in [1u32, 3, 65, 257, 1757].into_iter().enumerate() {
            let names = ["tangent", "gradient", "saved", "output"];
            let [tangent, gradient, saved, output] = [0, 1, 2, 3].map(|buffer| tensor(buffer, len));
            let op = Op::Curvature(Curvature { tangent, gradient, saved, activation, output });
            let buffers = names.map(|name| (name, len, Role::Activation));
            let mut lockstep = check.lockstep(single(&buffers, op))?;
            let mut random = Random(u64::from(len) + 1);
            lockstep.set(BufferId(0), &random.f32s(len as usize))?;
            lockstep.set(BufferId(1), &random.f32s(len as usize))?;
            let scale = [1.0, 4.0, 30.0, 150.0][i % 4];
            lockstep.set(BufferId(2), &random.f32s(len as usize).iter().map(|x| x * scale).collect::<Vec<_>>())?;
            check.agree(&mut lockstep, &format!("second derivative of {activation}, {len}"))?;
        }
    }
    Ok(())
}

pub fn dropout_masks_are_the_references(check: &mut Check) -> Result<()> {
    for len in [1, 63, 65, 1757] {
        let x = Random(len as u64).f32s(len);
        check_pointwise(check, Activation::Identity, &x, false, Some(0.25), None)?;
        check_pointwise(check, Activation::Relu, &x, true, Some(0.5), None)?;
    }
    for [samples, positions, channels] in [[1, 1, 1], [3, 5, 7], [2, 9, 4], [5, 1, 33]] {
        let sample = positions * channels;
        let x = Random(u64::from(sample)).f32s((samples * sample) as usize);
        check_pointwise(check, Activation::Identity, &x, false, Some(0.5), Some([sample, channels]))?;
        check_pointwise(check, Activation::Tanh, &x, true, Some(0.25), Some([sample, channels]))?;
    }
    Ok(())
}

fn check_softmax_layer(check: &mut Check, rows: u32, columns: u32, gradient: bool, scale: f32) -> Result<()> {
    let len = rows * columns;
    let [input, saved, output] = [0, 1, 2].map(|buffer| tensor(buffer, [rows, columns]));
    let op = Op::Softmax(Softmax { input, saved: gradient.then_some(saved), output });
    let buffers = [("z", len, Role::Activation), ("y", len, Role::Activation), ("out", len, Role::Activation)];
    let mut random = Random(u64::from(len));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    lockstep.set(BufferId(0), &random.f32s(len as usize).iter().map(|z| z * scale).collect::<Vec<_>>())?;
    lockstep.set(BufferId(1), &random.f32s(len as usize))?;
    check.agree(&mut lockstep, &format!("softmax {rows}x{columns}, gradient {gradient}"))?;
    Ok(())
}

pub fn softmax_and_its_gradient(check: &mut Check) -> Result<()> {
    for (rows, columns) in [(1, 1), (3, 5), (65, 64), (7, 65), (2, 1757)] {
        check_softmax_layer(check, rows, columns, false, 4.0)?;
        check_softmax_layer(check, rows, columns, false, 1e4)?;
        check_softmax_layer(check, rows, columns, true, 1.0)?;
    }
    Ok(())
}

pub fn layer_normalisation_and_its_gradients(check: &mut Check) -> Result<()> {
    // Each case: rows, columns, offset, range. Rows hold random numbers from -range to range, plus the offset. The last
    // two cases have squares beyond f32 and constant rows.
    for (rows, columns, offset, range) in [
        (1, 1, 0.0, 1.0),
        (3, 5, 2.0, 1.0),
        (65, 64, 0.0, 1.0),
        (7, 65, 10.0, 1.0),
        (2, 1757, 0.0, 1.0),
        (300, 9, 1.0, 1.0),
        (5000, 9, 1.0, 1.0),
        (70_001, 3, 0.0, 1.0),
        (2, 8192, 1e6, 1.0),
        (3, 65, 1e-20, 1e-20),
        (3, 300, 0.0, 1e20),
        (3, 300, 123_456.7, 0.0),
    ] {
        check_normalisation(check, [rows, 1, columns], 1, true, offset, range)?;
    }
    Ok(())
}

/// Normalises groups of channels over several positions, single channels, whole samples, and by the root mean square.
pub fn group_and_rms_normalisation_and_their_gradients(check: &mut Check) -> Result<()> {
    for (x, groups, centred, offset, range) in [
        ([3, 1, 6], 3, true, 0.0, 1.0),
        ([2, 35, 8], 2, true, 2.0, 1.0),
        ([5, 9, 33], 33, true, -1.0, 1.0),
        ([2, 150, 3], 1, true, 1e6, 1.0),
        ([2, 63, 260], 4, true, 0.0, 1.0),
        ([40, 130, 5], 5, true, 0.0, 1.0),
        ([3, 50, 12], 4, true, 0.0, 1e20),
        ([3, 50, 12], 4, true, 123_456.7, 0.0),
        ([1, 1, 1], 1, false, 0.0, 1.0),
        ([65, 1, 64], 1, false, 3.0, 1.0),
        ([4200, 1, 9], 1, false, 0.0, 1.0),
        ([2, 1, 1757], 1, false, 0.0, 1e20),
        ([3, 1, 65], 1, false, 1e-20, 1e-20),
        ([3, 1, 65], 1, false, 0.0, 0.0),
    ] {
        check_normalisation(check, x, groups, centred, offset, range)?;
    }
    Ok(())
}

/// Runs the ops on samples with positions and channels. The numbers are random in a range around an offset.
fn check_normalisation(
    check: &mut Check,
    [samples, positions, channels]: [u32; 3],
    groups: u32,
    centred: bool,
    offset: f32,
    range: f32,
) -> Result<()> {
    let len = samples * positions * channels;
    let [x, gradient, y, output] = [0, 1, 2, 3].map(|i| match positions {
        1 => tensor(i, [samples, channels]),
        _ => tensor(i, [samples, positions, channels]),
    });
    let [scale, shift, scale_gradient, shift_gradient] = [4, 5, 6, 7].map(|i| tensor(i, channels));
    let statistics = tensor(8, [samples * groups, 2]);
    let names = ["x", "gradient", "y", "output", "scale", "shift", "scale_gradient", "shift_gradient"];
    let buffers: Vec<(&str, u32, Role)> = names
        .into_iter()
        .enumerate()
        .map(|(i, name)| (name, if i < 4 { len } else { channels }, Role::Activation))
        .chain([("statistics", samples * groups * 2, Role::Statistics)])
        .collect();
    let [shift, shift_gradient] = [shift, shift_gradient].map(|tensor| centred.then_some(tensor));
    let forward = LayerNormForward { x, scale, shift, y, statistics, groups, epsilon: 1e-5 };
    let mut plan = single(&buffers, Op::LayerNormForward(forward));
    plan.step.push(LayerNormInput { gradient, x, scale, statistics, output, groups, centred }.into());
    plan.step.push(LayerNormParameters { gradient, x, statistics, scale_gradient, shift_gradient, groups }.into());
    let mut lockstep = check.lockstep(plan)?;
    let mut random = Random(u64::from(len));
    let values: Vec<f32> = random.f32s(len as usize).iter().map(|x| x * range + offset).collect();
    lockstep.set(BufferId(0), &values)?;
    lockstep.set(BufferId(1), &random.f32s(len as usize))?;
    lockstep.set(BufferId(4), &random.f32s(channels as usize))?;
    lockstep.set(BufferId(5), &random.f32s(channels as usize))?;
    let what = format!("{samples}x{positions}x{channels} in {groups}, mean {centred}: {offset} ± {range}");
    check.agree(&mut lockstep, &what)
}

pub fn batch_normalisation_and_its_gradients(check: &mut Check) -> Result<()> {
    // Each case: samples of the batch, samples present, positions, channels, offset, range. The numbers lie around the
    // offset.
    for (samples, exist, positions, channels, offset, range) in [
        (1, 1, 1, 1, 0.0, 1.0),
        (5, 3, 1, 3, 2.0, 1.0),
        (64, 64, 1, 65, 0.0, 1.0),
        (7, 0, 1, 9, 1.0, 1.0),
        (9, 8, 35, 17, 10.0, 3.0),
        (5000, 4099, 1, 9, 1.0, 1.0),
        (5000, 1000, 1, 70, 0.0, 1.0),
        (32, 31, 2187, 3, 0.0, 1.0),
        (70, 70, 1, 5, 1e6, 1.0),
        (20, 17, 3, 5, 1e-20, 1e-20),
        (6, 5, 1, 64, 123_456.7, 0.0),
        (3, 2, 5, 4, 0.0, 1.0),
        (5000, 4099, 1, 12, 1.0, 1.0),
        (40, 31, 300, 36, 10.0, 3.0),
    ] {
        let rows = samples * positions;
        let [x, gradient, y, output] = [0, 1, 2, 3].map(|i| tensor(i, [rows, channels]));
        let [scale, shift, scale_gradient, shift_gradient] = [4, 5, 6, 7].map(|i| tensor(i, channels));
        let width = channels.next_multiple_of(64);
        let [statistics, running] = [8, 9].map(|i| tensor(i, [2, width]));
        let (sums, step) = (tensor(10, [2, channels]), tensor(11, STEP));
        let names = ["x", "gradient", "y", "output", "scale", "shift", "scale_gradient", "shift_gradient"];
        let buffers: Vec<(&str, u32, Role)> = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| (name, if i < 4 { rows * channels } else { channels }, Role::Activation))
            .chain([("statistics", 2 * width, Role::Statistics), ("running", 2 * width, Role::Parameters)])
            .chain([("sums", 2 * channels, Role::Statistics), ("step", STEP, Role::Step)])
            .collect();
        let epsilon = 1e-5;
        let mut plan = single(&buffers, ChannelStatistics { x, step, positions, statistics }.into());
        let activation = if channels == 9 { Activation::Tanh } else { Activation::Identity };
        let fixed = BatchNormInput { gradient, x, scale, statistics, sums: None, step, positions, output, epsilon };
        let of_update = false;
        let of_batch =
            RunningStatistics { statistics, step, rows, positions, channels, running, momentum: 0.1, of_update };
        let steps: [Op; 6] = [
            of_batch.clone().into(),
            // A whole slice of 5 rows. The update is not due, or it is.
            RunningStatistics { of_update: true, rows: 5, ..of_batch }.into(),
            BatchNormForward { x, scale, shift, statistics, y, epsilon, activation }.into(),
            BatchNormParameters { gradient, x, statistics, scale_gradient, shift_gradient, sums, epsilon }.into(),
            fixed.clone().into(),
            BatchNormInput { sums: Some(sums), ..fixed }.into(),
        ];
        plan.step.extend(steps);
        let mut lockstep = check.lockstep(plan)?;
        let mut random = Random(u64::from(rows * channels));
        let numbers = (rows * channels) as usize;
        let values: Vec<f32> = random.f32s(numbers).iter().map(|x| x * range + offset).collect();
        lockstep.set(BufferId(0), &values)?;
        let mut of_batch = random.f32s(numbers);
        of_batch[(exist * positions * channels) as usize..].fill(0.0);
        lockstep.set(BufferId(1), &of_batch)?;
        lockstep.set(BufferId(4), &random.f32s(channels as usize))?;
        lockstep.set(BufferId(5), &random.f32s(channels as usize))?;
        lockstep.set(BufferId(9), &random.f32s(2 * width as usize))?;
        lockstep.set(BufferId(11), &[step_state(3, exist)])?;
        let what =
            format!("batch normalisation of {exist} of {samples} x {positions} x {channels}: {offset} ± {range}");
        check.agree(&mut lockstep, &what)?;
    }
    Ok(())
}

/// Whole networks that run in one dispatch. `tests/narrow.rs` has more tests.
pub fn narrow_networks_at_awkward_widths(check: &mut Check) -> Result<()> {
    use Activation::{Identity, Relu, Sigmoid, Softmax, Tanh};
    let networks: [&[(u32, Activation)]; 3] = [
        &[(1, Identity)],
        &[(7, Tanh), (33, Relu), (63, Identity), (2, Sigmoid)],
        &[(64, Relu), (64, Relu), (10, Softmax)],
    ];
    for layers in networks {
        let network = layers.iter().fold(Network::input(5), |net, &(units, f)| net.dense(units, f)).build()?;
        for rows in [1, 17, 257] {
            let plan = Plan::forward(&network, rows)?;
            check.expect(matches!(plan.step.as_slice(), [Op::Narrow(_)]), || format!("not one op: {plan}"));
            let mut random = Random(u64::from(rows) + 7);
            let mut lockstep = check.lockstep(plan)?;
            let [parameters, input] =
                [Role::Parameters, Role::Input(0)].map(|role| lockstep.plan().find(role).unwrap());
            let weights: Vec<f32> =
                random.f32s(network.parameter_words() as usize).into_iter().map(|w| w * 0.3).collect();
            lockstep.set(parameters, &weights)?;
            lockstep.set(input, &random.f32s((rows * network.inputs()) as usize))?;
            check.agree(&mut lockstep, &format!("{rows} rows of {}", network.summary()))?;
        }
    }
    Ok(())
}

/// Steps of training of whole narrow networks in few dispatches. `tests/narrow_training.rs` has more tests.
pub fn narrow_networks_train_at_awkward_widths(check: &mut Check) -> Result<()> {
    use Activation::{Identity, Relu, Silu, Tanh};
    // A software adapter takes long to compile each of these kernels: a batch size has its own.
    let (small, large) = ([(7, Silu), (33, Relu), (2, Identity)], [(64, Relu), (64, Relu), (3, Tanh)]);
    for (layers, batches) in [(small, &[1, 300][..]), (large, &[70])] {
        let network = layers.iter().fold(Network::input(5), |net, &(units, f)| net.dense(units, f)).build()?;
        for &batch in batches {
            let config = TrainerConfig { batch, ..TrainerConfig::default() };
            let plan = Plan::training(&network, Loss::MeanSquaredError, &Adam::default().into(), &config)?;
            let is_fused = plan.step.iter().any(|op| matches!(op, Op::NarrowRows(_)));
            check.expect(is_fused, || format!("not fused: {plan}"));
            // A partial batch follows the first one.
            let (rows, outputs) = (batch + batch.div_ceil(2), network.outputs());
            let mut random = Random(u64::from(batch) + 11);
            let mut lockstep = check.lockstep(plan)?;
            let info = DataInfo {
                rows,
                values: 1,
                feature_stride: network.inputs(),
                target_stride: outputs,
                ..DataInfo::default()
            };
            let roles = [Role::Features(0), Role::Targets(0), Role::Data(0), Role::Parameters];
            let [features, targets, data, parameters] = roles.map(|role| lockstep.plan().find(role).unwrap());
            lockstep.set(features, &random.f32s((rows * network.inputs()) as usize))?;
            lockstep.set(targets, &random.f32s((rows * outputs) as usize))?;
            lockstep.set(data, &[info])?;
            lockstep.set(parameters, &network.initial_parameters(batch.into()))?;
            for step in 0..2 {
                check.agree(&mut lockstep, &format!("step {step} of {batch} rows of {}", network.summary()))?;
            }
        }
    }
    Ok(())
}

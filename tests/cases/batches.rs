//! Checks the gather of batches from a data set, the batch cursor and the sums of metrics.

use super::*;

/// Returns a gather op and its buffers.
fn gather(batch: u32, columns: u32) -> (Op, [(&'static str, u32, Role); 5]) {
    let op = Op::Gather(Gather {
        features: tensor(0, columns),
        data: tensor(1, DATA),
        step: tensor(2, STEP),
        indices: tensor(3, batch),
        x: tensor(4, [batch, columns]),
    });
    let buffers = [
        ("features", columns, Role::Features(0)),
        ("data", DATA, Role::Data(0)),
        ("step", STEP, Role::Step),
        ("indices", batch, Role::Indices),
        ("x", batch * columns, Role::Activation),
    ];
    (op, buffers)
}

fn check_gather(check: &mut Check, batch: u32, columns: u32, data_rows: u32, present: u32, bytes: bool) -> Result<()> {
    let (op, buffers) = gather(batch, columns);
    let row_words = if bytes { columns.div_ceil(4) } else { columns };
    let mut random = Random(u64::from(batch * 7 + columns));
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    let features: Vec<u32> = match bytes {
        true => (0..data_rows * row_words).map(|_| random.word()).collect(),
        false => random.f32s((data_rows * row_words) as usize).into_iter().map(f32::to_bits).collect(),
    };
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    lockstep.set(BufferId(0), &features)?;
    let (bytes, feature_stride) = (bytes.into(), row_words);
    lockstep.set(BufferId(1), &[DataInfo { rows: data_rows, bytes, feature_stride, ..DataInfo::default() }])?;
    lockstep.set(BufferId(2), &[step_state(1, present)])?;
    lockstep.set(BufferId(3), &indices)?;
    check.agree(&mut lockstep, &format!("gather {batch}x{columns}, {present} present, bytes {bytes}"))?;
    Ok(())
}

pub fn gather_of_bytes_and_of_floats(check: &mut Check) -> Result<()> {
    for (batch, columns, present) in [(1, 1, 1), (3, 5, 3), (63, 4, 17), (65, 257, 64), (128, 784, 128)] {
        for bytes in [false, true] {
            check_gather(check, batch, columns, 70, present, bytes)?;
        }
    }
    Ok(())
}

/// Channel c is column mod channels. The feature buffer starts with the mean of each channel, then 1 / deviation of
/// each.
fn check_channels(check: &mut Check, size: [u32; 3], channels: u32, bytes: bool) -> Result<()> {
    let [batch, columns, present] = size;
    let (op, buffers) = gather(batch, columns);
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    let mut random = Random(u64::from(batch * 5 + columns + channels));
    let (data_rows, row_words) = (30, if bytes { columns.div_ceil(4) } else { columns });
    let mut features: Vec<u32> = random.f32s(channels as usize).into_iter().map(f32::to_bits).collect();
    features.extend((0..channels).map(|_| (1.0 / (0.01 + random.f32().abs())).to_bits()));
    // The rows may start at any word after them.
    features.push(random.word());
    let first_feature = features.len() as u32;
    features.extend((0..data_rows * row_words).map(|_| if bytes { random.word() } else { random.f32().to_bits() }));
    let indices: Vec<u32> = (0..batch).map(|_| random.below(data_rows)).collect();
    let info = DataInfo {
        rows: data_rows,
        bytes: bytes.into(),
        first_feature,
        feature_stride: row_words,
        channels,
        ..DataInfo::default()
    };
    lockstep.set(BufferId(0), &features)?;
    lockstep.set(BufferId(1), &[info])?;
    lockstep.set(BufferId(2), &[step_state(1, present)])?;
    lockstep.set(BufferId(3), &indices)?;
    let what = format!("gather {batch}x{columns}, {present} present, {channels} channels, bytes {bytes}");
    check.agree(&mut lockstep, &what)?;
    let number = |word: u32| f64::from(f32::from_bits(features[word as usize]));
    for (i, x) in (0..).zip(lockstep.get(BufferId(4))) {
        let (row, column) = (i / columns, i % columns);
        let start = first_feature + indices[row as usize] * row_words;
        let value = match bytes {
            true => f64::from((features[(start + column / 4) as usize] >> (8 * (column % 4))) & 255) / 255.0,
            false => number(start + column),
        };
        let (mean, inverse) = (number(column % channels), number(channels + column % channels));
        let exact = if row < present { (value - mean) * inverse } else { 0.0 };
        // The value of a byte has two roundings, because 1 / 255 is rounded too. The difference and the product add two
        // more.
        let unit = f64::from(f32::EPSILON) / 2.0;
        let off = 1.001 * unit * (2.0 * value.abs() + 2.0 * (value - mean).abs()) * inverse.abs();
        check.expect((f64::from(x) - exact).abs() <= off, || format!("{what}: {x} at {i} is not {exact}"));
    }
    Ok(())
}

/// Rows have lengths that are multiples of eight, of four, or neither. Images are bytes or f32, shifted by whole pixels
/// or interpolated. The other augmentations are on or off.
pub fn images_are_changed_as_the_reference_does(check: &mut Check) -> Result<()> {
    let moved = DataInfo { augment: 1, shift: 2, flip: 0.5, flip_vertical: 0.5, scale: 1.0, ..DataInfo::default() };
    let turned = DataInfo { augment: 2, rotation: 3.0, scale: 0.7, scale_span: 0.6, ..moved };
    let all = DataInfo { cutout: 3, brightness: 0.25, contrast: 0.5, ..turned };
    let cut = DataInfo { rotation: 0.0, ..all };
    for (i, image) in (0..).zip([[4, 6, 1], [3, 5, 4], [5, 7, 3], [8, 8, 8], [1, 1, 1]]) {
        let [height, width, depth] = image;
        let whole = DataInfo { image_height: height, image_width: width, ..DataInfo::default() };
        // Crops of larger images, at random positions or at the centre.
        let crop =
            DataInfo { image_height: height + 2, image_width: width + 5, crop: 1, places_x: 6, places_y: 3, ..whole };
        let middle = DataInfo { augment: 1, scale: 1.0, crop: 2, ..crop };
        let of = |change: DataInfo, size: DataInfo| DataInfo {
            image_height: size.image_height,
            image_width: size.image_width,
            crop: size.crop,
            places_x: size.places_x,
            places_y: size.places_y,
            ..change
        };
        let changes = [of(moved, whole), of(moved, crop), middle, of(turned, whole), of(all, crop), of(cut, whole)];
        for (j, change) in (0..).zip(changes) {
            for (bytes, channels) in [(false, 0), (true, 0), (true, image[2]), (false, image[2])] {
                let (batch, columns, data_rows) = (9, height * width * depth, 7);
                let numbers = change.image_height * change.image_width * depth;
                let (Op::Gather(op), buffers) = gather(batch, columns) else { unreachable!() };
                let op = Gather { x: tensor(4, [batch, height, width, depth]), ..op };
                let mut random = Random(i * 8 + j + 1);
                let row_words = if bytes { numbers.div_ceil(4) } else { numbers };
                let mut features: Vec<u32> = (0..2 * channels).map(|_| random.f32().to_bits()).collect();
                features.extend(
                    (0..data_rows * row_words).map(|_| if bytes { random.word() } else { random.f32().to_bits() }),
                );
                let mut lockstep = check.lockstep(single(&buffers, op.into()))?;
                lockstep.set(BufferId(0), &features)?;
                let info = DataInfo {
                    rows: data_rows,
                    seed_low: random.word(),
                    seed_high: random.word(),
                    bytes: bytes.into(),
                    first_feature: 2 * channels,
                    feature_stride: row_words,
                    channels,
                    ..change
                };
                lockstep.set(BufferId(1), &[info])?;
                lockstep.set(BufferId(2), &[StepState { epoch: 5, position: j as u32, ..step_state(1, 8) }])?;
                lockstep.set(BufferId(3), &(0..batch).map(|_| random.below(data_rows)).collect::<Vec<_>>())?;
                let what = format!("images {image:?}, change {j}, {channels} channels, bytes {bytes}");
                match j < 3 && channels == 0 {
                    true => check.exact(&mut lockstep, &what)?,
                    false => check.agree(&mut lockstep, &what)?,
                }
            }
        }
    }
    Ok(())
}

pub fn gather_of_channels_with_mean_and_deviation(check: &mut Check) -> Result<()> {
    let sizes = [
        ([1, 1, 1], 1),
        ([3, 5, 3], 2),
        ([63, 4, 17], 3),
        ([65, 257, 64], 257),
        ([128, 784, 128], 1),
        ([9, 192, 8], 3),
        ([5, 60, 5], 30),
    ];
    for (size, channels) in sizes {
        for bytes in [false, true] {
            check_channels(check, size, channels, bytes)?;
        }
    }
    Ok(())
}

pub fn a_grid_of_more_than_65535_workgroups(check: &mut Check) -> Result<()> {
    // Each row takes five invocations, and a workgroup has 64. The 81,920 workgroups form a two-dimensional grid.
    check_gather(check, LARGEST_BATCH, 18, 1000, LARGEST_BATCH - 5, true)?;
    Ok(())
}

pub fn rows_are_copied_from_any_stride_to_any(check: &mut Check) -> Result<()> {
    // Each case: rows, columns, then [first word, gap between rows] of the input and of the output.
    let layouts = [
        (1, 1, [0, 0], [0, 0]),
        (3, 5, [7, 2], [0, 0]),
        (257, 3, [0, 0], [1, 4]),
        (63, 65, [2, 1], [64, 3]),
        // The 81,920 workgroups form a two-dimensional grid.
        (LARGEST_BATCH, 5, [1, 0], [0, 1]),
    ];
    for (rows, columns, [input_first, input_gap], [output_first, output_gap]) in layouts {
        let (input_stride, output_stride) = (columns + input_gap, columns + output_gap);
        // The buffers have space after the last row.
        let (from, to) = (input_first + rows * input_stride + 9, output_first + rows * output_stride);
        let to = if output_first + output_gap == 0 { to } else { to + 9 };
        let rows_of = |buffer, first, stride| tensor(buffer, [rows, columns]).strided(first, stride);
        let input = rows_of(0, input_first, input_stride);
        let op = CopyRows { input, output: rows_of(1, output_first, output_stride) };
        let buffers = [("from", from, Role::Activation), ("to", to, Role::Activation)];
        let mut random = Random(u64::from(rows + columns));
        // The app's buffers may have any length.
        let mut plan = single(&buffers, op.into());
        plan.buffers.iter_mut().for_each(|buffer| buffer.shape = None);
        let mut lockstep = check.lockstep(plan)?;
        lockstep.set(BufferId(0), &random.f32s(from as usize))?;
        // Fills the output with random bits, which may not be numbers. The op must keep the words that it does not
        // write.
        lockstep.set(BufferId(1), &(0..to).map(|_| random.word()).collect::<Vec<_>>())?;
        check.exact(&mut lockstep, &format!("{rows} rows of {columns} from {input_stride} to {output_stride}"))?;
    }
    Ok(())
}

fn check_next_batch(
    check: &mut Check,
    batch: u32,
    rows: u32,
    shuffle: bool,
    start: StepState,
    share: Share,
    (accumulate, schedule): (u32, Schedule),
) -> Result<()> {
    let (data, step, indices) = (tensor(0, DATA), tensor(1, STEP), tensor(2, batch));
    let learning_rate = 0.3;
    let op = Op::NextBatch(NextBatch { data, step, indices, share, accumulate, learning_rate, schedule });
    let buffers = [("data", DATA, Role::Data(0)), ("step", STEP, Role::Step), ("indices", batch, Role::Indices)];
    let mut lockstep = check.lockstep(single(&buffers, op))?;
    let info = DataInfo { rows, shuffle: shuffle.into(), seed_low: 77, seed_high: 5, ..DataInfo::default() };
    lockstep.set(BufferId(0), &[info])?;
    lockstep.set(BufferId(1), &[start])?;
    let what = format!("next_batch {batch} of {rows}, {accumulate} an update, {share:?}, {schedule:?}");
    for _ in 0..3 * share.own {
        check.agree(&mut lockstep, &what)?;
    }
    Ok(())
}

pub fn next_batch_shuffles_as_the_reference_does(check: &mut Check) -> Result<()> {
    for (batch, rows) in [
        (1, 1),
        (2, 3),
        (7, 20),
        (64, 64),
        (9, 65),
        (5000, 50),
        (32, 60_000),
        (257, 300),
        (1757, 1757),
        (1000, 10),
        (5000, 12_003),
    ] {
        let constant = Schedule::constant();
        let whole = Share::default();
        check_next_batch(check, batch, rows, true, StepState::default(), whole, (1, constant))?;
        let later = StepState { step: 9, epoch: 4, update: 3, batches: 2, update_rows: 50, ..StepState::default() };
        check_next_batch(check, batch, rows, false, later, whole, (4, constant))?;
    }
    Ok(())
}

/// Whole batches in slices, and the slices of a rank. The last batch of an epoch has partial and empty slices.
pub fn next_batch_numbers_the_slices_of_a_rank(check: &mut Check) -> Result<()> {
    let constant = Schedule::constant();
    let of_rank = Share { first: 3, own: 2, all: 6 };
    for share in [Share { first: 0, own: 6, all: 6 }, of_rank, Share { first: 5, own: 1, all: 6 }] {
        for (slice, rows, accumulate) in [(1, 15, 1), (4, 55, 2), (3, 18, 1), (5000, 70_000, 1)] {
            check_next_batch(check, slice, rows, true, StepState::default(), share, (accumulate, constant))?;
        }
    }
    Ok(())
}

/// The cursor of a chain matches the CPU twin. The previous batch ran all its passes, some or none. The op starts the
/// next batch or records a pass.
pub fn a_chains_cursor_follows_the_reference(check: &mut Check) -> Result<()> {
    let batch = 8;
    let schedule = Schedule::cosine(10, 0.1);
    for chain_pass in 0..3 {
        let (data, step, indices) = (tensor(0, DATA), tensor(1, STEP), tensor(2, batch));
        let (share, accumulate, learning_rate) = (Share::default(), 2, 0.3);
        let op = Op::NextBatch(NextBatch { data, step, indices, share, accumulate, learning_rate, schedule });
        let buffers = [("data", DATA, Role::Data(0)), ("step", STEP, Role::Step), ("indices", batch, Role::Indices)];
        let mut lockstep = check.lockstep(single(&buffers, op))?;
        let info = DataInfo { rows: 16, chain: 3, chain_pass, ..DataInfo::default() };
        for (chain, gradients_of) in [(0, 0), (1, 0), (2, 0), (2, 2), (2, 3), (3, 0), (3, 2), (3, 3)] {
            for (passes, due) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
                let position = if due == 1 { 0 } else { 8 };
                let (rows, update_rows) = (8, 8 + 8 * due);
                let start = StepState {
                    step: 5,
                    rows,
                    epoch: 2,
                    position,
                    update: 3,
                    batches: 1 + due,
                    update_rows,
                    due,
                    data_rows: 16,
                    chain,
                    gradients_of,
                    passes,
                    batch_rows: rows,
                    ..StepState::default()
                };
                lockstep.set(BufferId(0), &[info])?;
                lockstep.set(BufferId(1), &[start])?;
                check.agree(&mut lockstep, &format!("chain_pass {chain_pass} after {start:?}"))?;
            }
        }
    }
    Ok(())
}

pub fn schedules_follow_the_reference_at_every_stage(check: &mut Check) -> Result<()> {
    let schedules = [
        Schedule::constant().warm_up(7),
        Schedule::step(10, 0.5),
        Schedule::step_decay(StepDecay { factor: 0.5, interval: 2, start: 5, end: 300 }),
        Schedule::step_decay(StepDecay { factor: 0.5, interval: 250, start: 0, end: 999 }).warm_up(1),
        Schedule::exponential(0.999).warm_up(100),
        Schedule::cosine(1000, 0.02),
        Schedule::cosine(3, 0.0).warm_up(2),
        Schedule::one_cycle(1000),
        Schedule::one_cycle(8),
    ];
    for schedule in schedules {
        for update in [0, 1, 2, 3, 5, 6, 7, 8, 100, 250, 299, 300, 499, 500, 501, 900, 998, 999, 1000, 1001, 5000] {
            let start = StepState { step: update, update, due: 1, rate_scale: 0.7, ..StepState::default() };
            check_next_batch(check, 1, 10, false, start, Share::default(), (1, schedule))?;
        }
    }
    Ok(())
}

pub fn next_batch_of_the_largest_batch(check: &mut Check) -> Result<()> {
    let (start, share) = (StepState::default(), Share::default());
    check_next_batch(check, LARGEST_BATCH, LARGEST_BATCH + 3, true, start, share, (1, Schedule::constant()))?;
    Ok(())
}

pub fn numbers_that_are_not_finite_mark_the_totals(check: &mut Check) -> Result<()> {
    // The non-finite number is the first, the last or between. The totals are unmarked, or an earlier step has marked
    // them.
    let odd = [f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, f32::MAX, -f32::from_bits(1)].map(|odd| (odd, 64, 0));
    let places = [(4, 3), (1024, 1023), (1024 * 257, 1024 * 256 + 5), (1024 * 300 + 4, 1024 * 300 + 3)];
    for (odd, len, at) in odd.into_iter().chain(places.map(|(len, at)| (f32::NAN, len, at))) {
        for before in [0, 7] {
            let op = NonFinite { input: tensor(0, len), step: tensor(1, STEP), totals: tensor(2, 4) };
            let buffers = [("weights", len, Role::Parameters), ("step", STEP, Role::Step), ("totals", 4, Role::Totals)];
            let mut numbers = Random(u64::from(len)).f32s(len as usize);
            numbers[at] = odd;
            let mut lockstep = check.lockstep(single(&buffers, Op::NonFinite(op)))?;
            lockstep.set(BufferId(0), &numbers)?;
            lockstep.set(BufferId(1), &[step_state(42, 1)])?;
            lockstep.set(BufferId(2), &[RowMetrics { loss: 0.5, correct: 3, rows: 9, non_finite_step: before }])?;
            if check.falsify {
                lockstep.disturb_gpu(BufferId(2), 3, 1.0);
            }
            let what = format!("{odd} among {len} numbers, before {before}");
            check.run(&mut lockstep, {
                let what = what.clone();
                move |check, comparisons| check.judge(&what, 0.0, comparisons)
            })?;
            let marked = lockstep.get(BufferId(2))[3].to_bits();
            let expected = if before == 0 && !odd.is_finite() { 42 } else { before };
            check.expect(marked == expected, || format!("{what}: marked with step {marked}"));
        }
    }
    Ok(())
}

pub fn metrics_sum_every_row(check: &mut Check) -> Result<()> {
    for batch in [1, 3, 255, 256, 257, 1757, LARGEST_BATCH] {
        let op = Op::Metrics(Metrics { slots: tensor(0, [batch, 4]), totals: tensor(1, 4) });
        let buffers = [("rows", batch * 4, Role::RowMetrics), ("totals", 4, Role::Totals)];
        let mut random = Random(u64::from(batch));
        let row = |i: u32, random: &mut Random| RowMetrics {
            loss: random.f32().abs(),
            correct: i % 2,
            rows: 1,
            non_finite_step: if i % 3 == 1 { 100 + random.below(1000) } else { 0 },
        };
        let rows: Vec<RowMetrics> = (0..batch).map(|i| row(i, &mut random)).collect();
        let mut lockstep = check.lockstep(single(&buffers, op))?;
        lockstep.set(BufferId(0), &rows)?;
        check.agree(&mut lockstep, &format!("metrics of {batch}"))?;
    }
    Ok(())
}

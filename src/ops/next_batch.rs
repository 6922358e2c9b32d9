//! The cursor of a data set.

use super::*;
use crate::random::pcg4d;
use crate::schedule::{self, Schedule, StepDecay};

/// Rows that one workgroup numbers in less time than another dispatch takes.
const FEW: u32 = 4096;
/// Rows per workgroup of a larger batch.
const LANES: u32 = 256;
/// Data sets with at most this many rows are ordered by random keys. A Feistel network does not make all orders
/// equally likely.
const BY_KEYS: u32 = 32;

/// Moves the cursor to the next slice of a batch. Writes the slice's row numbers, shuffled anew in each epoch, and the
/// learning rate of its update.
#[derive(Debug, Clone, PartialEq)]
pub struct NextBatch {
    /// Description of the data set: one [`DataInfo`](super::DataInfo).
    pub data: Tensor,
    /// The cursor: one [`StepState`](super::StepState), read and written.
    pub step: Tensor,
    /// \[rows of a slice\]: row numbers. A partial slice does not write the entries after its rows.
    pub indices: Tensor,
    /// The slices of each batch that are trained on here. By default a batch is one slice.
    pub share: Share,
    /// Batches per update.
    pub accumulate: u32,
    /// Learning rate before the schedule.
    pub learning_rate: f32,
    /// Learning-rate schedule: factors of the learning rate.
    pub schedule: Schedule,
}

impl Kernel for NextBatch {
    binds! { "next_batch": read data, change step, change indices }

    fn flops(&self) -> u64 {
        0
    }

    /// Two dispatches for a large batch.
    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let NextBatch { accumulate, learning_rate, schedule, .. } = *self;
        let batch = self.indices.len();
        let launch = |constants: &[(&'static str, f64)], workgroups: u32| Launch {
            shader: shader(
                "next_batch",
                text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl", "next_batch.wgsl.in"),
                constants,
            ),
            uniforms: uniforms![batch, accumulate, learning_rate],
            bindings: self.operands(),
            workgroups: workgroups.into(),
        };
        let mut cursor = constants(schedule);
        let Share { first, own, all } = self.share;
        let slices = [("SLICES", all.into()), ("OWN", own.into()), ("FIRST_SLICE", first.into())];
        if all > 1 {
            cursor.extend(slices);
        }
        if batch <= FEW {
            return vec![launch(&cursor, 1)];
        }
        cursor.push(("NUMBERS", 0.0));
        let mut numbers = vec![("CURSOR", 0.0)];
        if all > 1 {
            numbers.extend(slices);
        }
        vec![launch(&cursor, 1), launch(&numbers, batch.div_ceil(LANES))]
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let data = at.data(self.data);
        let (states, indices): (&mut [StepState], &mut [u32]) = (at.out(self.step), at.out(self.indices));
        let state = &mut states[0];
        // A chain reports a backward pass or an update of its batch. The recorded number identifies the batch.
        let own = state.chain == data.chain;
        if data.chain_pass == 1 {
            state.gradients_of = data.chain;
        }
        match data.chain_pass {
            0 => {}
            1 if own => return state.passes = state.passes.max(1),
            _ if own && state.gradients_of == data.chain => return state.passes = 2,
            _ => return,
        }
        let Share { first, own, all } = self.share;
        let slice_rows = indices.len() as u32;
        let place = state.step % all;
        // After the last own slice, at the start of the training, and after a chain or other data.
        let is_elsewhere = state.chain != 0 || state.data_rows != data.rows;
        if place == 0 || place == (first + own) % all || is_elsewhere {
            self.begin_batch(state, &data, slice_rows * all);
            state.step = state.step.next_multiple_of(all) + first;
        }
        state.step += 1;
        let slice = (state.step - 1) % all;
        let skipped = (slice * slice_rows).min(state.batch_rows);
        let (epoch, position) = state.start_of_batch(&data);
        let (position, rows) = (position + skipped, slice_rows.min(state.batch_rows - skipped));
        state.rows = rows;
        let is_last = slice + 1 == first + own;
        state.due = u32::from(is_last && (state.position == 0 || state.batches >= self.accumulate));
        let few = if data.rows <= BY_KEYS { order(epoch, &data) } else { Vec::new() };
        for (index, i) in indices.iter_mut().zip(position..position + rows) {
            *index = match data.shuffle {
                0 => i,
                _ if data.rows <= BY_KEYS => few[i as usize],
                _ => shuffled(i, epoch, &data),
            };
        }
    }

    /// Error bound of the schedules. e^x has the error of exp's table, and 2u |x| for its argument. Half a cosine is
    /// a series of sines with about 20 roundings, of the difference of two numbers of at most 1.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let before = at.step(self.step);
        let counts = before.step == 0 || (before.due != 0 && (before.chain < 2 || before.passes > 1));
        let factor = f64::from(self.schedule.factor(before.update + u32::from(counts) - 1));
        let base = f64::from(self.learning_rate) * f64::from(before.rate_scale);
        let exponent = factor.max(FLUSHED).ln().abs();
        let off = factor * 2.0 * ((3.0 + 2.0 * exponent) * ULP + 2.0 * U * exponent) + 2.0 * 20.0 * U;
        vec![Bounds::State(base * off), Bounds::Exact]
    }
}

impl NextBatch {
    /// Moves the cursor to the next batch, of at most `most_rows` rows.
    fn begin_batch(&self, state: &mut StepState, data: &DataInfo, most_rows: u32) {
        let goes_on = state.data_rows == data.rows;
        // If training moves to other data, the epoch ends here. Otherwise two alternating data sets would always show
        // the same first rows. A chain's batch without a backward pass is not counted, and this batch takes its
        // place.
        let lost = goes_on && data.chain != 0 && state.chain > 1 && state.passes == 0;
        let (epoch, position) = match goes_on {
            true if lost && state.position == 0 => (state.epoch - 1, data.rows - state.batch_rows),
            true if lost => (state.epoch, state.position - state.batch_rows),
            true => (state.epoch, state.position),
            false => (state.epoch + u32::from(state.position != 0), 0),
        };
        let rows = most_rows.min(data.rows - position);
        let ends = position + rows == data.rows;
        if lost {
            (state.batches, state.update_rows, state.due) =
                (state.batches - 1, state.update_rows - state.batch_rows, 0);
        }
        let begins_update = !goes_on || state.due != 0;
        state.batch_rows = rows;
        state.epoch = if ends { epoch + 1 } else { epoch };
        state.position = if ends { 0 } else { position + rows };
        if begins_update {
            // An update that was not completed is discarded, and its number is reused.
            state.update += u32::from((state.due != 0 && (state.chain < 2 || state.passes > 1)) || state.update == 0);
            (state.batches, state.update_rows) = (0, 0);
        }
        state.batches += 1;
        state.update_rows += rows;
        state.learning_rate = self.learning_rate * state.rate_scale * self.schedule.factor(state.update - 1);
        state.data_rows = data.rows;
        (state.chain, state.gradients_of, state.passes) = (data.chain, 0, 0);
    }
}

/// Number of a schedule in the shader, and its parameters.
fn constants(Schedule { warm_up, shape }: Schedule) -> Vec<(&'static str, f64)> {
    let steps = |StepDecay { factor, interval, start, end }| {
        let log_factor = ("LOG_FACTOR", libm::log(f64::from(factor)));
        vec![("SCHEDULE", 1.0), ("UPDATES", interval.into()), ("FIRST", start.into()), ("LAST", end.into()), log_factor]
    };
    let mut constants = match shape {
        // The host handles a plateau.
        schedule::Shape::Constant | schedule::Shape::Plateau(_) => vec![],
        schedule::Shape::Step { every, factor } => steps(StepDecay::every(every, factor)),
        schedule::Shape::Decay(decay) => steps(decay),
        schedule::Shape::Cosine { updates, floor } => {
            vec![("SCHEDULE", 2.0), ("UPDATES", updates.into()), ("FLOOR", floor.into())]
        }
        schedule::Shape::OneCycle { updates, rise, start, end } => vec![
            ("SCHEDULE", 3.0),
            ("UPDATES", updates.into()),
            ("RISE", rise.into()),
            ("START", start.into()),
            ("END", end.into()),
        ],
    };
    constants.push(("WARM_UP", warm_up.into()));
    constants
}

/// Rows in the order of their keys. Rows with equal keys keep their order.
fn order(epoch: u32, data: &DataInfo) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..data.rows).collect();
    rows.sort_by_key(|&row| pcg4d([row, epoch, data.seed_low, data.seed_high])[0]);
    rows
}

/// Row of the data set at position `index` of the epoch's order. A Feistel network over the next power of two is
/// applied until the result is a row of the data set (Mitchell et al., 2021).
fn shuffled(index: u32, epoch: u32, data: &DataInfo) -> u32 {
    let bits = (32 - (data.rows - 1).leading_zeros()).max(2);
    let low_bits = bits / 2;
    let high_mask = (1 << (bits - low_bits)) - 1;
    let low_mask = (1 << low_bits) - 1;
    let hash = |half: u32, round: u32| {
        pcg4d([half, epoch.wrapping_mul(8).wrapping_add(round), data.seed_low, data.seed_high])[0]
    };
    let mut x = index;
    loop {
        let (mut high, mut low) = (x >> low_bits, x & low_mask);
        for round in (0..8).step_by(2) {
            high ^= hash(low, round) & high_mask;
            low ^= hash(high, round + 1) & low_mask;
        }
        x = high << low_bits | low;
        if x < data.rows {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(batch: u32, accumulate: u32) -> NextBatch {
        let tensor = |buffer, len| Tensor::new(BufferId(buffer), Dtype::U32, len);
        let (data, step, indices) = (tensor(0, 13), tensor(1, 14), tensor(2, batch));
        let (share, schedule) = (Share::default(), Default::default());
        NextBatch { data, step, indices, share, accumulate, learning_rate: 0.5, schedule }
    }

    fn next_batch(op: &NextBatch, mut data: DataInfo, state: &mut StepState, indices: &mut [u32]) {
        let data = bytemuck::cast_slice_mut(std::slice::from_mut(&mut data));
        let buffers = [data, bytemuck::cast_slice_mut(std::slice::from_mut(state)), indices];
        op.twin(&mut Operands::new(&op.operands(), 0..1, buffers.into_iter(), |_, words| 0..words));
    }

    /// Order of an epoch, from one batch of all rows.
    fn order(rows: u32, seed: u32, epoch: u32) -> Vec<u32> {
        let data = DataInfo { rows, shuffle: 1, seed_low: seed, ..Default::default() };
        let mut state = StepState { epoch, data_rows: rows, due: 1, ..StepState::default() };
        let mut indices = vec![u32::MAX; rows as usize];
        next_batch(&op(rows, 1), data, &mut state, &mut indices);
        indices
    }

    #[test]
    fn each_epoch_visits_every_row_once_in_an_order_of_its_own() {
        for rows in [1, 2, 3, 5, 64, 257, 60_000] {
            let mut seen = order(rows, 7, 3);
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..rows), "{rows} rows");
        }
        assert_ne!(order(100, 1, 0), order(100, 1, 1));
        assert_ne!(order(100, 1, 0), order(100, 2, 0));
        assert_eq!(order(100, 1, 0), order(100, 1, 0));
    }

    /// Asserts that counts are evenly distributed: χ² is within five standard deviations, √(2 · freedom), of the
    /// degrees of freedom.
    fn assert_even(counts: &[u32], freedom: f64, what: &str) {
        let expected = counts.iter().map(|&c| f64::from(c)).sum::<f64>() / counts.len() as f64;
        let chi2 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum::<f64>();
        let off = (chi2 - freedom) / (2.0 * freedom).sqrt();
        assert!(off.abs() < 5.0, "{what}: χ² {chi2} of {freedom}, {off} deviations");
    }

    /// Orders over epochs with one seed, and over seeds in one epoch.
    fn orders(rows: u32, count: u32) -> [(&'static str, Vec<Vec<u32>>); 2] {
        [
            ("epochs", (0..count).map(|epoch| order(rows, 5, epoch)).collect()),
            ("seeds", (0..count).map(|seed| order(rows, seed, 3)).collect()),
        ]
    }

    #[test]
    fn every_order_of_few_rows_is_as_likely() {
        for (rows, orders_there_are) in [(1, 1), (2, 2), (3, 6), (4, 24), (5, 120), (6, 720), (7, 5040)] {
            for (what, orders) in orders(rows, (20 * orders_there_are).max(2000)) {
                let mut counts = vec![0; orders_there_are as usize];
                for order in orders {
                    // Number of the order (Lehmer code): for each row, how many later rows are smaller, in a mixed
                    // base.
                    let smaller = |i: usize| order[i + 1..].iter().filter(|&&row| row < order[i]).count();
                    counts[(0..order.len()).fold(0, |number, i| number * (order.len() - i) + smaller(i))] += 1;
                }
                let freedom = f64::from(orders_there_are - 1).max(1.0);
                let what = format!("orders of {rows} over {what}");
                match rows {
                    1 => assert_eq!(counts, [2000]),
                    _ => assert_even(&counts, freedom, &what),
                }
            }
        }
    }

    #[test]
    fn rows_are_as_likely_at_every_place_and_beside_every_other() {
        for rows in [8u32, 9, 10, 17, 32, 33, 65] {
            let n = rows as usize;
            for (what, orders) in orders(rows, 200 * rows) {
                let (mut places, mut neighbours) = (vec![0; n * n], vec![0; n * n]);
                for order in orders {
                    order.iter().enumerate().for_each(|(place, &row)| places[place * n + row as usize] += 1);
                    order.windows(2).for_each(|pair| neighbours[pair[0] as usize * n + pair[1] as usize] += 1);
                }
                // A row has one position, and a position has one row.
                assert_even(&places, f64::from(rows - 1).powi(2), &format!("places of {rows} over {what}"));
                let pairs: Vec<u32> = (0..n * n).filter(|i| i / n != i % n).map(|i| neighbours[i]).collect();
                // A row has at most one predecessor and one successor: at most one condition for each, minus one.
                let freedom = (pairs.len() as f64 - 2.0 * f64::from(rows)) + 1.0;
                assert_even(&pairs, freedom, &format!("neighbours of {rows} over {what}"));
            }
        }
    }

    #[test]
    fn the_last_batch_is_partial_and_the_next_epoch_follows() {
        let data = DataInfo { rows: 5, ..Default::default() };
        let mut state = StepState::default();
        let mut indices = [99; 3];
        next_batch(&op(3, 1), data, &mut state, &mut indices);
        let first = StepState { step: 1, rows: 3, epoch: 0, position: 3, ..state };
        assert_eq!((state, indices), (first, [0, 1, 2]));
        assert_eq!((state.update, state.batches, state.update_rows, state.due), (1, 1, 3, 1));
        next_batch(&op(3, 1), data, &mut state, &mut indices);
        let second = StepState { step: 2, rows: 2, epoch: 1, position: 0, ..state };
        assert_eq!((state, indices), (second, [3, 4, 2]));
        assert_eq!((state.update, state.update_rows, state.due, state.learning_rate), (2, 2, 1, 0.5));
    }

    #[test]
    fn in_data_of_another_length_the_cursor_and_the_update_begin_anew() {
        let (long, short) = (DataInfo { rows: 12, ..Default::default() }, DataInfo { rows: 10, ..Default::default() });
        let mut state = StepState::default();
        let mut indices = [99; 3];
        next_batch(&op(3, 3), long, &mut state, &mut indices);
        assert_eq!((state.position, state.update, state.batches, state.due), (3, 1, 1, 0));
        next_batch(&op(3, 3), short, &mut state, &mut indices);
        assert_eq!((state.position, state.update, state.batches, state.update_rows), (3, 1, 1, 3));
        assert_eq!((indices, state.epoch), ([0, 1, 2], 1));
    }

    #[test]
    fn an_update_of_several_batches_ends_with_the_epoch() {
        let data = DataInfo { rows: 10, ..Default::default() };
        let mut state = StepState { rate_scale: 0.5, ..StepState::default() };
        let mut seen = Vec::new();
        for _ in 0..5 {
            next_batch(&op(3, 3), data, &mut state, &mut [0; 3]);
            seen.push((state.update, state.batches, state.update_rows, state.due));
        }
        assert_eq!(seen, [(1, 1, 3, 0), (1, 2, 6, 0), (1, 3, 9, 1), (2, 1, 1, 1), (3, 1, 3, 0)]);
        assert_eq!(state.learning_rate, 0.25);
    }
}

//! Twin of `shaders/next_batch.wgsl`.

use crate::plan::{DataInfo, NextBatch, StepState};
use crate::random::pcg4d;

pub fn next_batch(op: &NextBatch, data: &DataInfo, state: &mut StepState, indices: &mut [u32]) {
    // A chain's batch has gone back, or its update has been made: told by the number that was recorded.
    let own = state.chain == data.chain;
    match data.chain_pass {
        0 => {}
        1 => {
            state.gradients_of = data.chain;
            state.passes = if own { state.passes.max(1) } else { state.passes };
            return;
        }
        _ => {
            state.passes = if own && state.gradients_of == data.chain { 2 } else { state.passes };
            return;
        }
    }
    let goes_on = state.data_rows == data.rows;
    // An epoch of other data that was left ends here: else two data sets in turn would see the same first rows for ever.
    // A chain's batch whose backward pass never ran is not counted: this one takes its place.
    let lost = goes_on && data.chain != 0 && state.chain > 1 && state.passes == 0;
    let (epoch, position) = match goes_on {
        true if lost && state.position == 0 => (state.epoch - 1, data.rows - state.rows),
        true if lost => (state.epoch, state.position - state.rows),
        true => (state.epoch, state.position),
        false => (state.epoch + u32::from(state.position != 0), 0),
    };
    let rows = op.batch.min(data.rows - position);
    let ends = position + rows == data.rows;
    if lost {
        (state.batches, state.update_rows, state.due) = (state.batches - 1, state.update_rows - state.rows, 0);
    }
    let begins_update = !goes_on || state.due != 0;
    state.step += 1;
    state.rows = rows;
    state.epoch = if ends { epoch + 1 } else { epoch };
    state.position = if ends { 0 } else { position + rows };
    if begins_update {
        // One that was left before its last batch, or that a chain never made, was none: its number is the next one's.
        state.update += u32::from((state.due != 0 && (state.chain < 2 || state.passes > 1)) || state.update == 0);
        (state.batches, state.update_rows) = (0, 0);
    }
    state.batches += 1;
    state.update_rows += rows;
    state.due = u32::from(ends || state.batches >= op.accumulate);
    state.learning_rate = op.learning_rate * state.rate_scale * op.schedule.factor(state.update - 1);
    state.data_rows = data.rows;
    (state.chain, state.gradients_of, state.passes) = (data.chain, 0, 0);
    for (i, index) in (position..).zip(&mut indices[..rows as usize]) {
        *index = if data.shuffle != 0 { shuffled(i, epoch, data) } else { i };
    }
}

/// Where row `index` of the epoch's order stands in the data set: a Feistel network over the next power of two,
/// walked until it lands inside (Mitchell et al., 2021).
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

    fn order(rows: u32, seed: u32, epoch: u32) -> Vec<u32> {
        let data = DataInfo { rows, shuffle: 1, seed_low: seed, ..Default::default() };
        (0..rows).map(|i| shuffled(i, epoch, &data)).collect()
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

    #[test]
    fn every_row_is_as_likely_at_every_place() {
        // A chi-squared test of (place, row) counts over 10 rows and 20,000 orders.
        let (rows, epochs) = (10u32, 20_000u32);
        let mut counts = [[0u32; 10]; 10];
        for epoch in 0..epochs {
            for (place, row) in order(rows, 5, epoch).into_iter().enumerate() {
                counts[place][row as usize] += 1;
            }
        }
        let expected = f64::from(epochs) / f64::from(rows);
        let chi2: f64 = counts.iter().flatten().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 81 degrees of freedom: mean 81, standard deviation √162; five of them away.
        assert!(chi2 < 81.0 + 5.0 * 162f64.sqrt(), "chi² {chi2}");
    }

    fn op(batch: u32, accumulate: u32) -> NextBatch {
        let tensor = |buffer| crate::plan::Tensor { buffer: crate::plan::BufferId(buffer), offset: 0, len: 0 };
        let (data, step, indices) = (tensor(0), tensor(1), tensor(2));
        NextBatch { data, step, indices, batch, accumulate, learning_rate: 0.5, schedule: Default::default() }
    }

    #[test]
    fn the_last_batch_is_partial_and_the_next_epoch_follows() {
        let data = DataInfo { rows: 5, ..Default::default() };
        let mut state = StepState::default();
        let mut indices = [99; 3];
        next_batch(&op(3, 1), &data, &mut state, &mut indices);
        let first = StepState { step: 1, rows: 3, epoch: 0, position: 3, ..state };
        assert_eq!((state, indices), (first, [0, 1, 2]));
        assert_eq!((state.update, state.batches, state.update_rows, state.due), (1, 1, 3, 1));
        next_batch(&op(3, 1), &data, &mut state, &mut indices);
        let second = StepState { step: 2, rows: 2, epoch: 1, position: 0, ..state };
        assert_eq!((state, indices), (second, [3, 4, 2]));
        assert_eq!((state.update, state.update_rows, state.due, state.learning_rate), (2, 2, 1, 0.5));
    }

    #[test]
    fn in_data_of_another_length_the_cursor_and_the_update_begin_anew() {
        let (long, short) = (DataInfo { rows: 12, ..Default::default() }, DataInfo { rows: 10, ..Default::default() });
        let mut state = StepState::default();
        let mut indices = [99; 3];
        next_batch(&op(3, 3), &long, &mut state, &mut indices);
        assert_eq!((state.position, state.update, state.batches, state.due), (3, 1, 1, 0));
        next_batch(&op(3, 3), &short, &mut state, &mut indices);
        assert_eq!((state.position, state.update, state.batches, state.update_rows), (3, 1, 1, 3));
        assert_eq!((indices, state.epoch), ([0, 1, 2], 1));
    }

    #[test]
    fn an_update_of_several_batches_ends_with_the_epoch() {
        let data = DataInfo { rows: 10, ..Default::default() };
        let mut state = StepState { rate_scale: 0.5, ..StepState::default() };
        let mut seen = Vec::new();
        for _ in 0..5 {
            next_batch(&op(3, 3), &data, &mut state, &mut [0; 3]);
            seen.push((state.update, state.batches, state.update_rows, state.due));
        }
        assert_eq!(seen, [(1, 1, 3, 0), (1, 2, 6, 0), (1, 3, 9, 1), (2, 1, 1, 1), (3, 1, 3, 0)]);
        assert_eq!(state.learning_rate, 0.25);
    }
}

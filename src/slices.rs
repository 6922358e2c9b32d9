//! Slices of a batch: how a batch is divided, and in which order the sums of its slices are added. The order depends
//! only on the number of slices, so the result has the same bits however the slices are shared out among ranks.

use std::ops::Range;

/// The slices of each batch that one rank computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The first of them, from 0.
    pub first: u32,
    /// Their number, at least 1.
    pub own: u32,
    /// Number of slices of a batch.
    pub all: u32,
}

impl Share {
    /// All slices of a batch.
    pub const fn whole(slices: u32) -> Self {
        Self { first: 0, own: slices, all: slices }
    }

    /// The slices of a rank, if every rank has the same number of them.
    pub(crate) fn of_rank(rank: u32, ranks: u32, slices: u32) -> Self {
        let own = slices / ranks;
        Self { first: rank * own, own, all: slices }
    }

    /// The slices as a range.
    pub(crate) fn range(self) -> Range<u32> {
        self.first..self.first + self.own
    }

    /// The additions of two sums that this rank can make itself, in order: each adds the second sum to the first.
    /// A sum is named by its first slice.
    ///
    /// The sums form a binary tree over all slices. On level l, the slices from k · 2ˡ⁺¹ on and those from
    /// k · 2ˡ⁺¹ + 2ˡ on are added.
    pub(crate) fn additions(self) -> impl Iterator<Item = (u32, u32)> {
        let Range { start, end } = self.range();
        levels(self.all).flat_map(move |half| {
            let whole = 2 * half;
            let of = (start.next_multiple_of(whole)..end).step_by(whole as usize);
            of.map(move |i| (i, i + half)).filter(move |&(i, other)| other < end && (i + whole).min(self.all) <= end)
        })
    }

    /// The first slices of the sums that are left after the [`additions`](Self::additions).
    pub(crate) fn sums(self) -> Vec<u32> {
        let added: Vec<u32> = self.additions().map(|(_, other)| other).collect();
        self.range().filter(|slice| !added.contains(slice)).collect()
    }
}

impl Default for Share {
    /// A batch in one piece.
    fn default() -> Self {
        Self::whole(1)
    }
}

/// Half the number of slices of a sum, level by level.
fn levels(all: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(1u32), |half| half.checked_mul(2)).take_while(move |half| *half < all)
}

/// Replaces a subnormal sum by 0. Some GPUs do it in every addition, others do not, and the sums of one process and of
/// several are added in different places.
pub(crate) fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// Adds the sums of all ranks: `sums[i]` holds the sum of the slices from `firsts[i]` on. The result is in `sums[0]`.
pub(crate) fn add_in_order(slices: u32, firsts: &[u32], sums: &mut [&mut [f32]]) {
    let at = |slice: u32| firsts.binary_search(&slice).ok();
    for (slice, other) in Share::whole(slices).additions() {
        // A sum that is missing is part of another one: a rank has added it.
        let (Some(to), Some(from)) = (at(slice), at(other)) else { continue };
        let (before, after) = sums.split_at_mut(from);
        for (sum, addend) in before[to].iter_mut().zip(after[0].iter()) {
            *sum = flushed(*sum + addend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds numbers whose sum depends on the order, by ranks and then among them.
    fn total(slices: u32, ranks: u32) -> f32 {
        let number = |slice: u32| 1.0 / (slice as f32 + 0.3) * if slice.is_multiple_of(3) { 1e4 } else { -1.0 };
        let (mut firsts, mut sums) = (Vec::new(), Vec::new());
        for rank in 0..ranks {
            let share = Share::of_rank(rank, ranks, slices);
            let mut own: Vec<f32> = share.range().map(number).collect();
            for (to, from) in share.additions() {
                own[(to - share.first) as usize] += own[(from - share.first) as usize];
            }
            firsts.extend(share.sums());
            sums.extend(share.sums().iter().map(|slice| vec![own[(slice - share.first) as usize]]));
        }
        let mut views: Vec<&mut [f32]> = sums.iter_mut().map(Vec::as_mut_slice).collect();
        add_in_order(slices, &firsts, &mut views);
        sums[0][0]
    }

    #[test]
    fn the_sum_has_the_same_bits_for_every_number_of_ranks() {
        for slices in 1..=48 {
            let one = total(slices, 1);
            let exact: f64 =
                (0..slices).map(|i| 1.0 / (f64::from(i) + 0.3) * if i.is_multiple_of(3) { 1e4 } else { -1.0 }).sum();
            assert!((f64::from(one) - exact).abs() < 1e-5 * exact.abs(), "{slices} slices: {one} for {exact}");
            for ranks in (2..=slices).filter(|ranks| slices % ranks == 0) {
                assert_eq!(total(slices, ranks).to_bits(), one.to_bits(), "{slices} slices on {ranks} ranks");
            }
        }
    }

    #[test]
    fn a_rank_leaves_few_sums() {
        assert_eq!(Share::whole(12).sums(), [0]);
        assert_eq!(Share::of_rank(1, 2, 12).sums(), [6, 8]);
        assert_eq!(Share::of_rank(2, 3, 12).sums(), [8]);
        assert_eq!(Share::of_rank(1, 4, 12).sums(), [3, 4]);
        assert_eq!(Share::of_rank(5, 8, 8).sums(), [5]);
    }
}

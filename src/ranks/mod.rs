//! Ranks: processes or threads that train one network together, each on its share of every batch.

mod description;
mod local;

use std::fmt::Debug;

pub(crate) use description::{Description, Fingerprint};
pub use local::LocalRank;

use crate::error::{Error, Result};
use crate::slices::{Share, add_in_order};

/// The connection of one rank to the others: for data-parallel training with [`Fit::ranks`](crate::Fit::ranks).
///
/// Every rank makes the same trainer and calls [`fit`](crate::Trainer::fit) with the same options and the same data
/// set. Each computes some of the slices of every batch: see [`TrainerConfig::slices`](crate::TrainerConfig::slices).
/// The ranks exchange the sums of their gradients, and all of them make the same update. So all have the same weights,
/// and these have the same bits for every number of ranks, on equal adapters and drivers.
///
/// [`LocalRank`] connects threads of one process. The crate `wgrad-mpi` connects processes with MPI.
///
/// All ranks call the same methods in the same order. A method returns an error if another rank has ended, or does not
/// answer in time. The training cannot go on then; it can be resumed from the last checkpoint, with any number of
/// ranks.
pub trait Ranks: Debug + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> u32;

    /// The number of ranks.
    fn count(&self) -> u32;

    /// Sends message number i to rank i, and puts the message of rank i into `received[i]`. Its own message is copied.
    /// Messages may have different lengths. `received` may hold earlier messages, whose memory is used again.
    ///
    /// # Errors
    /// [`Error::Rank`] for a rank that has ended or does not answer.
    fn exchange(&self, messages: &[&[u32]], received: &mut Vec<Vec<u32>>) -> Result<()>;

    /// Sends a message to all ranks. Returns the messages of all ranks, in their order.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    fn gather(&self, message: &[u32]) -> Result<Vec<Vec<u32>>> {
        let mut received = Vec::new();
        self.exchange(&vec![message; self.count() as usize], &mut received)?;
        Ok(received)
    }
}

/// The share of a rank in the slices of a batch.
pub(crate) fn share_of(ranks: &dyn Ranks, slices: Option<u32>) -> Result<Option<Share>> {
    let count = ranks.count();
    match slices {
        Some(slices) if slices.is_multiple_of(count) => Ok(Some(Share::of_rank(ranks.rank(), count, slices))),
        None if count == 1 => Ok(None),
        slices => Err(Error::InvalidOption {
            name: "slices",
            expected: "a multiple of the number of ranks",
            actual: format!("{slices:?} for {count} ranks"),
        }),
    }
}

/// Adds values of all ranks in a fixed order. It keeps its memory for the next sum.
#[derive(Debug, Default)]
pub struct SumOverRanks {
    messages: Vec<Vec<u32>>,
    received: Vec<Vec<u32>>,
    gathered: Vec<Vec<u32>>,
    total: Vec<u32>,
}

impl SumOverRanks {
    /// Adds the values of all ranks, element by element, in the order of a binary tree over the ranks. The result is
    /// in `values`, on all ranks. They must have the same number of values.
    ///
    /// # Errors
    /// [`Error::Rank`] for a rank that has ended, does not answer, or has another number of values.
    pub fn sum(&mut self, ranks: &dyn Ranks, values: &mut [f32]) -> Result<()> {
        let total = self.sum_slices(ranks, ranks.count(), &[bytemuck::cast_slice(values)])?;
        values.copy_from_slice(bytemuck::cast_slice(total));
        Ok(())
    }

    /// The sum of the slices of all ranks, from those sums that this rank has left: see [`Share::sums`].
    ///
    /// Each rank adds one section of the numbers, in the fixed order, and sends the result to the others.
    pub(crate) fn sum_slices(&mut self, ranks: &dyn Ranks, slices: u32, own: &[&[u32]]) -> Result<&[u32]> {
        let (count, words) = (ranks.count().max(1) as usize, own[0].len());
        let each = words.div_ceil(count);
        let section = |rank: usize| (rank * each).min(words)..((rank + 1) * each).min(words);
        let messages: Vec<&[u32]> = match own {
            [sum] => (0..count).map(|rank| &sum[section(rank)]).collect(),
            _ => {
                self.messages.resize(count, Vec::new());
                for (rank, message) in self.messages.iter_mut().enumerate() {
                    message.clear();
                    own.iter().for_each(|sum| message.extend_from_slice(&sum[section(rank)]));
                }
                self.messages.iter().map(Vec::as_slice).collect()
            }
        };
        ranks.exchange(&messages, &mut self.received)?;
        let len = section(ranks.rank() as usize).len();
        let (mut firsts, mut sums) = (Vec::new(), Vec::new());
        for (rank, message) in (0..).zip(&mut self.received) {
            let of_rank = Share::of_rank(rank, ranks.count(), slices).sums();
            check_words(rank, "gradients", message.len(), of_rank.len() * len)?;
            firsts.extend(of_rank);
            // With no numbers there are no chunks either, and nothing to add.
            sums.extend(message.chunks_mut(len.max(1)).map(bytemuck::cast_slice_mut::<u32, f32>));
        }
        if len > 0 {
            add_in_order(slices, &firsts, &mut sums);
        }
        let total: &[u32] = sums.first().map_or(&[], |total| bytemuck::cast_slice(total));
        ranks.exchange(&vec![total; count], &mut self.gathered)?;
        self.total.clear();
        for (rank, message) in self.gathered.iter().enumerate() {
            check_words(rank as u32, "sums", message.len(), section(rank).len())?;
            self.total.extend_from_slice(message);
        }
        Ok(&self.total)
    }
}

/// Returns an error if a rank has sent another number of words than expected.
pub(crate) fn check_words(rank: u32, what: &str, actual: usize, expected: usize) -> Result<()> {
    match actual == expected {
        true => Ok(()),
        false => Err(Error::Rank { rank, reason: format!("sent {actual} words of {what} instead of {expected}") }),
    }
}

/// The texts of all ranks.
pub(crate) fn gather_texts(ranks: &dyn Ranks, own: &str) -> Result<Vec<String>> {
    let mut words = vec![own.len() as u32];
    words.extend(own.as_bytes().chunks(4).map(|bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_ne_bytes(word)
    }));
    let text = |(rank, words): (u32, Vec<u32>)| {
        let bytes = words
            .split_first()
            .and_then(|(len, words)| bytemuck::cast_slice::<u32, u8>(words).get(..*len as usize).map(<[u8]>::to_vec));
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| Error::Rank {
            rank,
            reason: "sent a message that is not a text: is it another version of wgrad?".into(),
        })
    };
    (0..).zip(ranks.gather(&words)?).map(text).collect()
}

/// Shares the outcome of something that one or several ranks did. If it failed on one of them, it fails on all.
#[cfg(all(feature = "files", not(target_family = "wasm")))]
pub(crate) fn agree(ranks: &dyn Ranks, own: Result<()>) -> Result<()> {
    let reason = own.as_ref().err().map_or(String::new(), ToString::to_string);
    let reasons = gather_texts(ranks, &reason)?;
    own?;
    match (0..).zip(reasons).find(|(_, reason)| !reason.is_empty()) {
        Some((rank, reason)) => Err(Error::Rank { rank, reason }),
        None => Ok(()),
    }
}

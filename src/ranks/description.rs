//! What must be equal on all ranks, as texts: a rank that differs is refused before the training starts.

use std::fmt::Write;

use super::{Ranks, gather_texts};
use crate::error::{Error, Result};

/// Named texts, in order. Each is compared line by line.
#[derive(Debug, Default)]
pub(crate) struct Description {
    text: String,
}

/// Separates a line's topic from its text.
const SEPARATOR: &str = "\u{1f}";

impl Description {
    /// Adds a text of one or several lines.
    pub fn add(&mut self, topic: &str, text: impl std::fmt::Display) {
        for line in text.to_string().lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(self.text, "{topic}{SEPARATOR}{}", line.trim());
        }
    }

    /// Returns an error, the same on all ranks, if the descriptions of two ranks differ.
    pub fn compare(&self, ranks: &dyn Ranks) -> Result<()> {
        let texts = gather_texts(ranks, &self.text)?;
        let Some((rank, other)) = (0..).zip(&texts).find(|(_, text)| *text != &texts[0]) else { return Ok(()) };
        Err(Error::Rank { rank, reason: difference(other, &texts[0]) })
    }
}

/// The first difference of a rank's description from that of rank 0.
fn difference(own: &str, of_rank_0: &str) -> String {
    let (mut own, mut other) = (own.lines(), of_rank_0.lines());
    let nothing = |line: &str| if line.is_empty() { "nothing".into() } else { format!("`{line}`") };
    loop {
        let (Some(mine), theirs) = (own.next(), other.next().unwrap_or_default()) else {
            return "its description of the training is shorter than that of rank 0".into();
        };
        if mine == theirs {
            continue;
        }
        let (topic, mine) = mine.split_once(SEPARATOR).unwrap_or(("description", mine));
        let (other_topic, theirs) = theirs.split_once(SEPARATOR).unwrap_or((topic, theirs));
        let of_other = if other_topic == topic { String::new() } else { format!("{other_topic} ") };
        return format!("{topic}: {}, but rank 0 has {of_other}{}", nothing(mine), nothing(theirs));
    }
}

/// A 64-bit hash of data, word by word (FNV-1a with words in place of bytes).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn add(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let hash = words.chain([bytes.len() as u64]).fold(self.0, |hash, word| {
            let mixed = (hash ^ word).wrapping_mul(0x100_0000_01b3);
            // A product moves bits up only. Without this, the upper bits of a word would hardly count.
            mixed ^ (mixed >> 29)
        });
        Self(hash)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(batch: u32, rows: &str) -> String {
        let mut description = Description::default();
        description.add("version", "1");
        description.add("option", format!("batch: {batch}\nseed: 0"));
        description.add("data set", rows);
        description.text
    }

    #[test]
    fn the_first_difference_is_named() {
        let one = described(32, "70 rows");
        assert_eq!(difference(&described(64, "70 rows"), &one), "option: `batch: 64`, but rank 0 has `batch: 32`");
        assert_eq!(difference(&described(32, "71 rows"), &one), "data set: `71 rows`, but rank 0 has `70 rows`");
        let shorter = difference(&one[..one.find("data").unwrap()], &one);
        assert_eq!(shorter, "its description of the training is shorter than that of rank 0");
        let longer = format!("{one}validation{SEPARATOR}10 rows\n");
        assert_eq!(difference(&longer, &one), "validation: `10 rows`, but rank 0 has nothing");
    }

    #[test]
    fn a_fingerprint_depends_on_every_bit_and_on_the_order() {
        let of = |bytes: &[u8]| Fingerprint::new().add(bytes).0;
        let data: Vec<u8> = (0..37).collect();
        let mut seen = vec![of(&data), of(&data[..36]), of(&[&data[8..16], &data[..8], &data[16..]].concat())];
        for bit in 0..37 * 8 {
            let mut other = data.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            seen.push(of(&other));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}

//! Where the elements of a value lie. ONNX has channels first; wgrad has channels last.
//!
//! A dimension of ONNX is a product of *factors*. The memory order of a value is an order of all its factors. So a
//! transpose or a reshape of ONNX only renames factors, and moves no number. The operators that need another order ask
//! for it. A factor of length 1 is left out.

use super::Result;
use super::tensor::{places, product};
use crate::network::Value;

/// A factor of a dimension. The number tells factors of the same length apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Factor {
    id: u32,
    pub length: u32,
}

/// Makes factors.
#[derive(Debug, Default)]
pub(super) struct Factors(u32);

impl Factors {
    pub fn make(&mut self, length: u32) -> Factor {
        self.0 += 1;
        Factor { id: self.0, length }
    }

    /// The factors of a new dimension: one, or none for the length 1.
    pub fn of(&mut self, length: u64) -> Result<Vec<Factor>> {
        match u32::try_from(length) {
            Ok(1) => Ok(vec![]),
            Ok(length) if length > 0 => Ok(vec![self.make(length)]),
            _ => Err(format!("a dimension of {length}")),
        }
    }
}

/// A value of the network, seen as ONNX's tensor without the batch.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub value: Value,
    /// The factors of each dimension of ONNX, outermost first.
    pub dims: Vec<Vec<Factor>>,
    /// The same factors in memory order.
    pub order: Vec<Factor>,
    /// The place of the batch among ONNX's dimensions: 0, except between a transpose and the gather after it.
    pub batch_at: usize,
    /// The dimension that holds the channels, if an operator has told it.
    pub channels: Option<usize>,
}

/// The number of elements of some factors.
pub(super) fn count(factors: &[Factor]) -> u64 {
    factors.iter().fold(1, |count: u64, factor| count.saturating_mul(factor.length.into()))
}

impl View {
    /// The lengths of ONNX's dimensions.
    pub fn lengths(&self) -> Vec<u64> {
        self.dims.iter().map(|dim| count(dim)).collect()
    }

    /// All factors in ONNX's order.
    pub fn logical(&self) -> Vec<Factor> {
        self.dims.concat()
    }

    /// The factors of a dimension, in memory order.
    pub fn in_memory_order(&self, of: &[Factor]) -> Vec<Factor> {
        self.order.iter().filter(|factor| of.contains(factor)).copied().collect()
    }

    /// All factors but these, in memory order.
    pub fn others(&self, than: &[Factor]) -> Vec<Factor> {
        self.order.iter().filter(|factor| !than.contains(factor)).copied().collect()
    }

    /// The same value with factors of its own. Two views of one value may use a factor for different dimensions.
    pub fn renamed(&self, factors: &mut Factors) -> Self {
        let mut view = self.clone();
        for old in &self.order {
            let new = factors.make(old.length);
            for list in view.dims.iter_mut().chain([&mut view.order]) {
                list.iter_mut().filter(|factor| *factor == old).for_each(|factor| *factor = new);
            }
        }
        view
    }

    /// Replaces a factor by an outer and an inner one.
    fn split(&mut self, factor: Factor, outer: u32, factors: &mut Factors) {
        let parts = [factors.make(outer), factors.make(factor.length / outer)];
        for list in self.dims.iter_mut().chain([&mut self.order]) {
            if let Some(at) = list.iter().position(|other| *other == factor) {
                list.splice(at..=at, parts);
            }
        }
    }

    /// Splits the factors of a dimension so that their lengths are products of those of another dimension, and the
    /// other way round. Returns whether both then have the same lengths.
    pub fn refine(&mut self, dim: usize, other: &mut View, other_dim: usize, factors: &mut Factors) -> bool {
        let mut at = 0;
        loop {
            // From the innermost.
            let (mine, theirs) = (&self.dims[dim], &other.dims[other_dim]);
            let [a, b] = [mine, theirs].map(|list| list.len().checked_sub(at + 1).map(|i| list[i]));
            match (a, b) {
                (None, None) => return true,
                (Some(a), Some(b)) if a.length == b.length => {}
                (Some(a), Some(b)) if a.length.is_multiple_of(b.length) => {
                    self.split(a, a.length / b.length, factors);
                }
                (Some(a), Some(b)) if b.length.is_multiple_of(a.length) => {
                    other.split(b, b.length / a.length, factors);
                }
                _ => return false,
            }
            at += 1;
        }
    }

    /// Groups the factors to other dimensions, without moving a number. Returns whether that is possible.
    pub fn reshape(&mut self, dims: &[u64], factors: &mut Factors) -> bool {
        let mut left: Vec<Factor> = self.logical();
        left.reverse();
        let mut grouped = Vec::new();
        let mut seen = self.clone();
        for &length in dims {
            let (mut dim, mut missing) = (Vec::new(), length);
            while missing > 1 {
                let Some(next) = left.pop() else { return false };
                match u64::from(next.length) {
                    whole if missing.is_multiple_of(whole) => {
                        missing /= whole;
                        dim.push(next);
                    }
                    whole if whole.is_multiple_of(missing) => {
                        let parts = [factors.make(missing as u32), factors.make((whole / missing) as u32)];
                        if let Some(at) = seen.order.iter().position(|other| *other == next) {
                            seen.order.splice(at..=at, parts);
                        }
                        dim.push(parts[0]);
                        left.push(parts[1]);
                        missing = 1;
                    }
                    _ => return false,
                }
            }
            grouped.push(dim);
        }
        if !left.is_empty() {
            return false;
        }
        *self = View { dims: grouped, channels: None, ..seen };
        true
    }
}

/// For each element in memory order, its index in ONNX's order. `None` if both orders are equal.
pub(super) fn permutation(logical: &[Factor], memory: &[Factor]) -> Option<Vec<usize>> {
    if logical == memory {
        return None;
    }
    let stride = |factor: &Factor| {
        let inner = logical.iter().skip_while(|other| *other != factor).skip(1);
        inner.map(|factor| factor.length as usize).product::<usize>()
    };
    let dims: Vec<u64> = memory.iter().map(|factor| factor.length.into()).collect();
    Some(places(&dims, memory.iter().map(stride).collect()).collect())
}

/// Runs of factors that are neighbours in both orders. For each run of the new order, its place in the old one, and the
/// lengths of the runs in the old order.
pub(super) fn runs(from: &[Factor], to: &[Factor]) -> (Vec<usize>, Vec<u64>) {
    let mut starts: Vec<(usize, u64)> = Vec::new();
    let mut next = usize::MAX;
    for factor in to {
        let at = from.iter().position(|other| other == factor).unwrap_or(0);
        match starts.last_mut() {
            Some((_, length)) if at == next => *length *= u64::from(factor.length),
            _ => starts.push((at, factor.length.into())),
        }
        next = at + 1;
    }
    let mut sorted = starts.clone();
    sorted.sort_unstable();
    let order = starts.iter().map(|run| sorted.iter().position(|other| other == run).unwrap_or(0)).collect();
    (order, sorted.into_iter().map(|(_, length)| length).collect())
}

/// Merges neighbouring dimensions with the same mark.
pub(super) fn merged<M: PartialEq>(dims: impl IntoIterator<Item = (u64, M)>) -> Vec<(u64, M)> {
    let mut merged: Vec<(u64, M)> = Vec::new();
    for (length, mark) in dims {
        match merged.last_mut() {
            Some((last, of)) if *of == mark => *last = product(&[*last, length]),
            _ => merged.push((length, mark)),
        }
    }
    merged
}

//! The targets that a model's outputs are scored against.

use std::borrow::Cow;
use std::ops::Range;

use super::matching::named;
use super::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::network::Network;

/// The target of an output at each position of each row, without positions whose label is ignored.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub targets: Cow<'a, Targets>,
    pub weights: Option<Cow<'a, [f32]>>,
    /// Whether each position is counted; `None` if no label is ignored.
    counted: Option<Vec<bool>>,
}

impl Dataset {
    /// The targets of output number `output`. Returns an error if they do not match the output or the loss.
    pub(crate) fn expected(&self, network: &Network, output: usize, loss: Option<Loss>) -> Result<Expected<'_>> {
        if self.inputs.iter().any(|input| input.crop.is_some()) {
            return Err(Error::shape("data set to score", "whole images", "crops; score the data set without crops"));
        }
        let (specs, spec) = (network.output_specs(), &network.output_specs()[output]);
        let names = || self.targets.iter().map(|target| &*target.name);
        let is_only = specs.len() == 1 && self.targets.len() == 1;
        let target = &self.targets[if is_only { 0 } else { named("target", "output", names, spec)? }];
        let positions = spec.positions();
        if !is_only || positions > 1 {
            // Classes may be fewer than outputs for every loss.
            target.check_for(spec, Loss::MeanSquaredError, is_only)?;
        }
        if let Some(loss) = loss {
            let of_target = if is_only { String::new() } else { format!(" of target {:?}", target.name) };
            target.targets.check_range_of(loss, &of_target)?;
        }
        let mut targets = Cow::Borrowed(&target.targets);
        let mut weights = self.weights_for(target).map(Cow::Borrowed);
        if positions > 1 {
            if let Targets::Values { outputs, .. } = targets.to_mut() {
                *outputs /= positions;
            }
            let of_positions = |weight: &f32| std::iter::repeat_n(*weight, positions as usize);
            weights = weights.map(|weights| weights.iter().flat_map(of_positions).collect());
        }
        let mut counted = None;
        if let (Targets::Labels { labels, classes }, Some(ignored)) = (&target.targets, target.ignored) {
            let counts: Vec<bool> = labels.iter().map(|label| *label != ignored).collect();
            let labels = kept(labels, &counts, 1);
            targets = Cow::Owned(Targets::Labels { labels, classes: *classes });
            weights = weights.map(|weights| kept(&weights, &counts, 1).into());
            counted = Some(counts);
        }
        Ok(Expected { targets, weights, counted })
    }

    /// Features of these rows for each input of a network.
    pub(crate) fn features_for(&self, matched: &[usize], rows: Range<usize>) -> Vec<Vec<f32>> {
        matched.iter().map(|&input| self.inputs[input].features_of(rows.clone())).collect()
    }
}

impl Expected<'_> {
    /// Removes the values of positions that are not counted; each position has `columns` values.
    pub fn counted(&self, numbers: Vec<f32>, columns: u32) -> Vec<f32> {
        match &self.counted {
            Some(counts) => kept(&numbers, counts, columns as usize),
            None => numbers,
        }
    }
}

fn kept<T: Copy>(numbers: &[T], counts: &[bool], columns: usize) -> Vec<T> {
    let rows = numbers.chunks_exact(columns).zip(counts);
    rows.filter(|(_, counts)| **counts).flat_map(|(row, _)| row).copied().collect()
}

//! Loss totals: converts the sums that kernels make into losses and accuracies.

use crate::error::{Error, Result};
use crate::history::Evaluation;
use crate::loss::Loss;
use crate::network::Network;
use crate::plan::{DataInfo, RowMetrics};

/// How the totals of each output become evaluations.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Totals {
    outputs: Vec<OutputTotals>,
}

#[derive(Debug, Clone, PartialEq)]
struct OutputTotals {
    loss: Loss,
    weight: f32,
    /// Number of positions of a row.
    positions: u32,
    is_labels: bool,
    /// Number of positions in all rows whose label is ignored.
    ignored: u64,
    /// Whether only crops of the targets are used, so that fewer positions are ignored.
    cropped: bool,
}

impl Totals {
    /// For data with these kernel parameters. `ignored` has the number of ignored labels of each output; an empty
    /// slice means none.
    pub fn new(network: &Network, losses: &[(Loss, f32)], infos: &[DataInfo], ignored: &[u64]) -> Self {
        let of = |(i, &(loss, weight)): (usize, &(Loss, f32))| OutputTotals {
            loss,
            weight,
            positions: network.output_specs()[i].positions(),
            is_labels: infos.get(i).is_some_and(|info| info.values == 0),
            ignored: ignored.get(i).copied().unwrap_or(0),
            cropped: infos.get(i).is_some_and(|info| info.target_factor != 0),
        };
        Self { outputs: losses.iter().enumerate().map(of).collect() }
    }

    /// Size of the totals on a device, in bytes.
    pub fn bytes(&self) -> u64 {
        let others = (self.outputs.len() - 1) * RowMetrics::STRIDE * 4;
        (others + size_of::<RowMetrics>()) as u64
    }

    /// Whether some positions are not counted.
    pub fn ignores(&self) -> bool {
        self.outputs.iter().any(|output| output.ignored > 0)
    }

    /// Returns an error if the totals do not count all `rows` rows. `all` is the number of rows in the data.
    ///
    /// A browser drops invalid commands without an error. Without this check the result would be a loss of zero. If
    /// labels are ignored, only their number in all rows is known, so the check is less strict.
    pub fn check_rows(&self, totals: &[RowMetrics], what: &str, rows: u32, all: u32) -> Result<()> {
        for (totals, output) in totals.iter().zip(&self.outputs) {
            let count = |rows: u32| u64::from(rows) * u64::from(output.positions);
            let counted = u64::from(totals.rows);
            let others = if output.cropped { u64::MAX } else { count(all) - output.ignored };
            let most = count(rows).min(others);
            let fewest = count(rows).saturating_sub(output.ignored);
            if !(fewest..=most).contains(&counted) {
                let of = if output.positions == 1 { "rows" } else { "positions" };
                let reason = format!(
                    "the GPU processed {counted} of {fewest} {of}; see the device's error handler or the browser \
                     console"
                );
                return Err(Error::Gpu { what: what.into(), reason });
            }
        }
        Ok(())
    }

    /// Number of counted rows, as far as the totals show it.
    pub fn rows(&self, totals: &[RowMetrics]) -> u32 {
        let of = |(totals, output): (&RowMetrics, &OutputTotals)| totals.rows.div_ceil(output.positions);
        totals.iter().zip(&self.outputs).map(of).max().unwrap_or(0)
    }

    /// Evaluation of each output over `rows` rows.
    pub fn of_outputs(&self, totals: &[RowMetrics], rows: u32) -> Vec<Evaluation> {
        totals.iter().zip(&self.outputs).map(|(totals, output)| output.evaluation(totals, rows)).collect()
    }

    /// Evaluation of all outputs over `rows` rows: the weighted sum of the losses, and the accuracy of the first
    /// output with labels, or of the first output if none has labels.
    pub fn evaluation(&self, totals: &[RowMetrics], rows: u32) -> Evaluation {
        let all = totals.iter().zip(&self.outputs);
        let of = all.clone().find(|(_, output)| output.is_labels).or_else(|| all.clone().next());
        let accuracy = of.map_or(0.0, |(totals, output)| output.evaluation(totals, rows).accuracy);
        let loss = all.map(|(totals, output)| f64::from(output.weight) * output.evaluation(totals, rows).loss).sum();
        Evaluation { loss, accuracy, rows }
    }
}

impl OutputTotals {
    fn evaluation(&self, totals: &RowMetrics, rows: u32) -> Evaluation {
        let positions = f64::from(rows.max(1)) * f64::from(self.positions);
        let loss = f64::from(totals.loss) / if self.loss.is_mean() { positions } else { 1.0 };
        let accuracy = f64::from(totals.correct) / f64::from(totals.rows.max(1));
        Evaluation { loss, accuracy, rows: totals.rows }
    }
}

/// The first step in which an output's loss was not finite; 0 if there is none.
pub(crate) fn non_finite_step(totals: &[RowMetrics]) -> u32 {
    totals.iter().map(|totals| totals.non_finite_step).filter(|step| *step > 0).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation::*, Dense, Graph};

    #[test]
    fn losses_are_summed_by_weight_and_ignored_positions_are_not_counted() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2, 3]);
        let size = graph.layer(Dense::new(4, Identity), [x]).unwrap();
        let kind = graph.layer(Dense::new(5, Identity), [x]).unwrap();
        let network = graph.build([("size", size), ("kind", kind)]).unwrap();
        let losses = [(Loss::SumOfSquares, 0.5), (Loss::SoftmaxCrossEntropy, 2.0)];
        let infos = [DataInfo { values: 1, ..DataInfo::default() }, DataInfo::default()];
        let totals = Totals::new(&network, &losses, &infos, &[0, 3]);
        let of = |loss, correct, rows| RowMetrics { loss, correct, rows, non_finite_step: 0 };
        // Ten rows with two positions each; three labels are ignored.
        let sums = [of(8.0, 5, 20), of(30.0, 4, 17)];
        totals.check_rows(&sums, "it", 10, 10).unwrap();
        let each = totals.of_outputs(&sums, 10);
        assert_eq!(each[0], Evaluation { loss: 8.0, accuracy: 0.25, rows: 20 });
        assert_eq!(each[1], Evaluation { loss: 1.5, accuracy: 4.0 / 17.0, rows: 17 });
        let whole = Evaluation { loss: 0.5 * 8.0 + 2.0 * 1.5, accuracy: 4.0 / 17.0, rows: 10 };
        assert_eq!(totals.evaluation(&sums, 10), whole);
        // For some of the rows, the number of ignored labels is not known.
        for (rows, fits) in [(6, false), (7, true), (10, true), (11, false)] {
            let part = [of(8.0, 5, 10), of(30.0, 4, rows)];
            assert_eq!(totals.check_rows(&part, "it", 5, 10).is_ok(), fits, "{rows}");
        }
        let fault = totals.check_rows(&[of(8.0, 5, 20), of(30.0, 4, 16)], "an epoch", 10, 10).unwrap_err().to_string();
        assert!(fault.starts_with("GPU error in an epoch: the GPU processed 16 of 17 positions;"), "{fault}");
        assert_eq!(non_finite_step(&[RowMetrics { non_finite_step: 7, ..sums[0] }, sums[1]]), 7);
    }
}

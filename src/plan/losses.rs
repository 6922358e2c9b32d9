//! Losses: the loss of each output, its gradient, and the report of the metrics.

use super::builder::{Builder, DataSet, limit, numbered};
use super::*;
use crate::activation::Activation;
use crate::error::Error;
use crate::network::Source;

/// The number of levels of metric slots. Each level sums 8 slots of the level before. Exact enough for 2²⁶ rows.
fn levels(slots: u32) -> u32 {
    (26u32.saturating_sub(slots.ilog2()) / 3).max(1)
}

/// The smallest number of slots for running metrics. With fewer slots, the sums of millions of losses would lose the
/// contributions of single steps.
const FEWEST_SLOTS: u32 = 1024;

impl Builder<'_> {
    /// Adds the loss of each output and the report. Adds the gradients if they are requested.
    pub fn losses(&mut self, losses: &[(Loss, f32)], set: &DataSet, gradient: bool) -> Result<()> {
        let slots = self.slots(losses.len())?;
        for (i, &(loss, weight)) in losses.iter().enumerate() {
            let (metrics, totals) = slots[i];
            let output = self.loss(i, loss, weight, set, gradient, metrics)?;
            debug_assert_eq!(output.rows(), metrics.shape[2]);
            let slots = Tensor { shape: [metrics.len() / 4, 4].into(), strides: [4, 1].into(), ..metrics };
            self.plan.report.push(Metrics { slots, totals }.into());
        }
        Ok(())
    }

    /// The metric tensors of each output: slots of the rows, and the total.
    fn slots(&mut self, outputs: usize) -> Result<Vec<(Tensor, Tensor)>> {
        let words = words::<RowMetrics>();
        // Each part starts at an offset that can be bound.
        let step = |len: u32| if outputs == 1 { len } else { len.next_multiple_of(PARAMETER_ALIGNMENT) };
        let rows_of = |spec: &crate::network::TensorSpec| self.batch * spec.positions();
        let shape = |spec| {
            let rows: u32 = rows_of(spec);
            // Each slice has slots of its own, so that ranks can bring them together.
            let turns = (FEWEST_SLOTS / rows).max(1).next_multiple_of(self.share.unwrap_or_default().all);
            limit("buffer row_metrics", u64::from(turns) * u64::from(rows), 1 << 26, "slots")?;
            Ok([levels(turns * rows), turns, rows, words])
        };
        let shapes = self.network.output_specs().iter().map(shape).collect::<Result<Vec<[u32; 4]>>>()?;
        let of = |shape: &[u32; 4]| step(shape.iter().product());
        let all: u64 = shapes.iter().map(|shape| u64::from(of(shape))).sum();
        limit("buffer row_metrics", all, LONGEST_TENSOR, "words")?;
        let slots = self.buffer("row_metrics", [all as u32 / words, words], Role::RowMetrics)?;
        let totals = self.buffer("totals", [step(words) * (outputs as u32 - 1) + words], Role::Totals)?;
        let mut offset = 0;
        let part = |(i, shape): (u32, &[u32; 4])| {
            let own = Tensor { offset, ..Tensor::new(slots.buffer, slots.dtype, *shape) };
            offset += of(shape);
            (own, totals.part(i * step(words), words))
        };
        Ok((0..).zip(&shapes).map(part).collect())
    }

    /// Adds the loss of one output. Returns its input, as rows.
    fn loss(
        &mut self,
        i: usize,
        loss: Loss,
        weight: f32,
        set: &DataSet,
        gradient: bool,
        metrics: Tensor,
    ) -> Result<Tensor> {
        let (source, spec) = (self.network.sources()[i], &self.network.output_specs()[i]);
        // Error messages name the output only if there are several.
        let of_output =
            if self.network.sources().len() == 1 { String::new() } else { format!(" of output {:?}", spec.name) };
        let checked = loss.check(self.network.activation_of(i));
        checked.map_err(
            |error| if of_output.is_empty() { error } else { error.within(&format!("output {:?}", spec.name)) },
        )?;
        let columns = spec.columns();
        if loss.is_softmax() && columns < 2 {
            return Err(Error::shape(
                format!("softmax cross-entropy{of_output}"),
                "at least 2 outputs",
                format!("{columns}; for two classes with one output use Loss::BinaryCrossEntropy"),
            ));
        }
        if matches!(loss, Loss::RelativeL2Luminance { .. }) && columns != 3 {
            let what = format!("relative L2 luminance{of_output}");
            return Err(Error::shape(what, "3 outputs (red, green, blue)", columns));
        }
        limit("row of a loss", columns.into(), LONGEST_ROW.into(), "outputs")?;
        let (value, is_pre_activation) = self.under(source, loss);
        if loss.output_activation() != Activation::Identity
            && !is_pre_activation
            && self.network.activation_of(i) == loss.output_activation()
        {
            let what = format!("softmax cross-entropy of output {:?}", spec.name);
            return Err(Error::shape(
                what,
                "a softmax over the last dimension of the output",
                format!("{:?}", spec.shape),
            ));
        }
        let output = rows(value);
        let (node, name) = self.gradient_of_loss(source, is_pre_activation);
        let gradient = match gradient && weight != 0.0 {
            true => Some(self.buffer(&name, output.shape, Role::ActivationGradient)?),
            false => None,
        };
        let number = i as u32;
        let positions = spec.positions();
        let targets_of_row = positions * if loss.is_softmax() { 1 } else { columns };
        let targets = self.given(&numbered("targets", number), targets_of_row, Role::Targets(number));
        self.push(LossOp {
            loss,
            output,
            targets,
            data: set.data[i],
            step: set.step,
            indices: set.indices,
            gradient,
            metrics,
            activation: Activation::Identity,
            positions,
            weight,
        });
        if let Some(gradient) = gradient {
            match node {
                Some(node) => {
                    let shape = self.lowered[node].pre_activation.map_or(gradient.shape, |tensor| tensor.shape);
                    self.lowered[node].pre_activation_gradients.push(seen_as(gradient, shape));
                }
                None => self.contribute(source, gradient),
            }
        }
        Ok(output)
    }

    /// The layer whose pre-activation the loss differentiates, if any, and the name of the gradient.
    fn gradient_of_loss(&self, source: Source, is_pre_activation: bool) -> (Option<usize>, String) {
        let mut made_by = source;
        while let Source::Node { node, .. } = made_by
            && self.network.nodes()[node].layer.is_view()
        {
            made_by = self.network.nodes()[node].inputs[0];
        }
        let others = self.network.nodes().iter().any(|node| node.inputs.contains(&source))
            || self.network.sources().iter().filter(|other| **other == source).count() > 1;
        let (node, name) = match made_by {
            Source::Node { node, .. } if is_pre_activation => {
                (Some(node), format!("{}.gradient", self.network.nodes()[node].name))
            }
            _ => (None, backward::gradient_name(self, source)),
        };
        (node, if others { format!("{name}.by_loss") } else { name })
    }

    /// Adds the gradients of the outputs as buffers that are bound at run time.
    pub fn given_gradients(&mut self) -> Result<()> {
        for (i, spec) in self.network.output_specs().iter().enumerate() {
            let name = format!("{}_gradient", spec.name);
            let shape = builder::of_batch(self.batch, spec.shape);
            let given = self.buffer(&name, shape, Role::OutputGradient(i as u32))?;
            self.contribute(self.network.sources()[i], given);
        }
        Ok(())
    }
}

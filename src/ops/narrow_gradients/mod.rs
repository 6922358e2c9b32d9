//! The gradients of all weights of a narrow network, in two dispatches: partial sums over slices of the batch, then
//! their sums in the order of the slices. The second dispatch also updates the weights.

mod lanes;
mod text;

use super::*;

/// Gradients of the weights and biases of narrow dense layers, as one op. The optimizer's step may follow at its end.
///
/// The result is that of the [`parts`](Self::parts), one after the other. The rows of the batch are divided into
/// slices. Their number depends only on the batch, and the sums of the slices are added in order, so the bits do not
/// depend on the device's scheduling.
#[derive(Debug, Clone, PartialEq)]
pub struct NarrowGradients {
    /// One [`Matmul`] of layout [`Layout::Tn`] for each layer, without an epilogue or with [`Epilogue::Update`].
    pub parts: Vec<Op>,
    /// The buffers that the parts' A and B are in, each as one tensor.
    pub rows: Vec<Tensor>,
    /// If the gradients are written: all of them, with the gaps between them.
    pub gradients: Option<Tensor>,
    /// If the weights are updated: the optimizer's step for all of them.
    pub step: Option<Box<OptimizerStep>>,
}

impl NarrowGradients {
    /// The matmuls, from the last layer to the first.
    pub(crate) fn matmuls(&self) -> impl Iterator<Item = &Matmul> {
        self.parts.iter().filter_map(|part| if let Op::Matmul(matmul) = part { Some(matmul) } else { None })
    }

    /// The tensor that the parts' C and bias gradients are in: the gradients, or the weights that are updated.
    pub(crate) fn written(&self) -> Option<Tensor> {
        self.gradients.or(self.step.as_ref().map(|step| step.parameters))
    }
}

impl Kernel for NarrowGradients {
    fn stem(&self) -> &'static str {
        "narrow_gradients"
    }

    fn detail(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Op::to_string).collect();
        format!(" [{}]", parts.join("; "))
    }

    fn options(&self) -> String {
        self.step.as_ref().map_or(String::new(), |step| format!(" {:?}", step.optimizer))
    }

    fn operands(&self) -> Vec<Operand> {
        let rows = self.rows.iter().map(|&tensor| read(tensor));
        match &self.step {
            Some(step) => rows.chain(step.operands()).collect(),
            None => rows.chain(self.gradients.map(change)).collect(),
        }
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let step = self.step.iter_mut().flat_map(|step| step.tensors_mut());
        self.parts
            .iter_mut()
            .flat_map(Op::tensors_mut)
            .chain(&mut self.rows)
            .chain(&mut self.gradients)
            .chain(step)
            .collect()
    }

    fn flops(&self) -> u64 {
        self.parts.iter().map(|part| part.work().flops).sum()
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.work().bytes).sum()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        match adapter.matmul_subgroup {
            Some(8) if adapter.wide_access => self.launches_by_lanes(),
            _ => text::launches(self),
        }
    }

    /// Executors run the parts instead: see [`Op::parts`].
    fn twin(&self, _: &mut Operands<'_>) {
        unreachable!("executors run the parts of {}", self.stem())
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        unreachable!("the lockstep compares the parts of {}", self.stem())
    }
}

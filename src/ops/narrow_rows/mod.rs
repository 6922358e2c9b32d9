//! All ops of a narrow network that treat each row of the batch by itself, in one dispatch.
//!
//! A workgroup takes a block of rows through all parts: it gathers and encodes them, runs the layers forward, computes
//! the loss, and goes back through the layers. Its kernels are generated for the parts: see `text.rs`.

mod bindings;
mod lanes;
mod phases;
mod text;

use super::*;
use crate::activation::Activation;
use crate::loss::Loss;
use bindings::Holds;

/// Ops that treat each row of the batch by itself, as one op: gather, encodings, dense layers, activations, loss, and
/// the gradients of the layers' inputs. No row is longer than [`WIDEST_NARROW`].
///
/// The result is that of the [`parts`](Self::parts), one after the other. All their tensors are written to memory,
/// because the gradients of the weights need them ([`NarrowGradients`]).
#[derive(Debug, Clone, PartialEq)]
pub struct NarrowRows {
    /// The ops, in order.
    pub parts: Vec<Op>,
    /// The buffers of all tensors of the parts, each as one tensor, in the order of the kernel's bindings.
    pub buffers: Vec<(Tensor, Access)>,
    /// The contents of the [levels](HashGridForward::levels) of each hash grid. The kernel has them as constants.
    pub levels: Vec<(Tensor, Vec<u32>)>,
}

impl NarrowRows {
    /// Number of rows of the batch.
    pub(crate) fn batch(&self) -> u32 {
        let written = self.parts.iter().flat_map(Op::outputs).map(|(tensor, _)| tensor);
        written.map(|tensor| tensor.rows()).find(|&rows| rows > 0).unwrap_or(0)
    }

    /// Index in [`buffers`](Self::buffers) of the buffer that holds a tensor, and the tensor's first word in it.
    pub(crate) fn place(&self, tensor: Tensor) -> (usize, u32) {
        let at = self.buffers.iter().position(|(whole, _)| whole.buffer == tensor.buffer);
        let at = at.expect("a buffer of the op");
        (at, tensor.offset - self.buffers[at].0.offset)
    }
}

impl NarrowRows {
    /// Name of the kernel. It includes custom activations and losses, so that compile errors name them.
    pub(crate) fn kernel_name(&self) -> String {
        let mut name = String::from("narrow_rows");
        for part in &self.parts {
            let own = match part {
                Op::Matmul(Matmul {
                    epilogue: Epilogue::Bias { activation: activation @ Activation::Custom(_), .. },
                    ..
                }) => activation.to_string(),
                Op::Pointwise(Pointwise { activation: activation @ Activation::Custom(_), .. }) => {
                    activation.to_string()
                }
                Op::LossOp(LossOp { loss: Loss::Custom(own), .. }) => own.name().into(),
                _ => continue,
            };
            name += &format!(" {own}");
        }
        name
    }
}

impl Kernel for NarrowRows {
    fn stem(&self) -> &'static str {
        "narrow_rows"
    }

    fn detail(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(Op::to_string).collect();
        format!(" [{}]", parts.join("; "))
    }

    fn operands(&self) -> Vec<Operand> {
        let buffers = self.buffers.iter().map(|&(tensor, access)| Operand { access, ..read(tensor) });
        buffers.chain(self.levels.iter().map(|(tensor, _)| read(*tensor))).collect()
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        let own = self.buffers.iter_mut().map(|(tensor, _)| tensor);
        let levels = self.levels.iter_mut().map(|(tensor, _)| tensor);
        self.parts.iter_mut().flat_map(Op::tensors_mut).chain(own).chain(levels).collect()
    }

    fn flops(&self) -> u64 {
        self.parts.iter().map(|part| part.work().flops).sum()
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.work().bytes).sum()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        match adapter.matmul_subgroup {
            Some(8) if adapter.wide_access => vec![self.launch_by_lanes(adapter)],
            _ => vec![text::launch(self)],
        }
    }

    fn without_twin(&self) -> Option<String> {
        self.parts.iter().find_map(|part| part.as_kernel().without_twin())
    }

    /// Executors run the parts instead: see [`Op::parts`].
    fn twin(&self, _: &mut Operands<'_>) {
        unreachable!("executors run the parts of {}", self.stem())
    }

    fn bounds(&self, _: &Operands<'_>) -> Vec<Bounds> {
        unreachable!("the lockstep compares the parts of {}", self.stem())
    }
}

//! Lockstep of an op that stands for several. The GPU runs all parts at once, so a part is compared with its CPU twin on
//! the numbers that the GPU computed in the parts before it.

use super::{Comparison, OpRun, Output};
use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::Result;
use crate::gpu::Reading;
use crate::ops::{Access, Bounds, Op, Tensor};

/// An op with parts that the GPU is running.
#[derive(Debug)]
pub(super) struct PartsRun {
    /// The buffers of the op, as they were before it.
    on_cpu: CpuExecutor,
    parts: Vec<Part>,
}

/// One part: its outputs are on their way from the GPU.
#[derive(Debug)]
pub(super) struct Part {
    pub op: Op,
    pub outputs: Vec<(Tensor, Access, Reading)>,
}

impl PartsRun {
    /// Copies the buffers of the op.
    pub fn before(on_cpu: &CpuExecutor, op: &Op) -> Self {
        let mut copy = on_cpu.clone();
        let mut op = op.clone();
        for tensor in op.tensors_mut() {
            let words = on_cpu.buffer(tensor.buffer).lock().clone();
            copy.bind(tensor.buffer, &CpuBuffer::new(words));
        }
        Self { on_cpu: copy, parts: Vec::new() }
    }

    pub fn push(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// One comparison for each part, and the GPU's outputs.
    pub async fn finish(self) -> Result<(Vec<Comparison>, Vec<(Tensor, Vec<u32>)>)> {
        let (mut comparisons, mut all) = (Vec::new(), Vec::new());
        let plan = self.on_cpu.plan().clone();
        for Part { op, outputs } in self.parts {
            let kernel = op.as_kernel();
            let skipped = kernel.without_twin();
            let bounds = match &skipped {
                None => self.on_cpu.inspect(&op, |at| kernel.bounds(at)),
                Some(_) => outputs.iter().map(|_| Bounds::Exact).collect(),
            };
            if skipped.is_none() {
                self.on_cpu.run(&op);
            }
            let tensors: Vec<Tensor> = outputs.iter().map(|(tensor, ..)| *tensor).collect();
            let output = |((tensor, access, gpu), bounds): ((Tensor, Access, Reading), Bounds)| Output {
                buffer: plan.buffer(tensor.buffer).name.clone(),
                gpu,
                cpu: skipped.is_none().then(|| self.on_cpu.words(tensor)),
                bounds,
                is_poisoned: access == Access::Write,
            };
            let outputs = outputs.into_iter().zip(bounds).map(output).collect();
            let (comparison, made) = OpRun { op: plan.describe(&op), outputs, skipped }.finish().await?;
            comparisons.push(comparison);
            for (tensor, words) in tensors.into_iter().zip(made) {
                self.on_cpu.set(tensor, &words);
                all.push((tensor, words));
            }
        }
        Ok((comparisons, all))
    }
}

//! Prints a plan: its buffers, then its ops.

use std::fmt;

use super::*;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flops = self.work().flops;
        writeln!(f, "{} of {} rows: {} ops a step, {flops} flops", self.name, self.batch_rows(), self.step.len())?;
        for buffer in &self.buffers {
            let shape = buffer.shape.map_or("given".into(), |shape| format!("{shape:?}"));
            let memory = buffer.memory.map_or(String::new(), |memory| format!(", memory {memory}"));
            writeln!(f, "  {:<23} {shape:<15} {:?}{memory}", buffer.name, buffer.role)?;
        }
        for (heading, ops) in [("step", &self.step), ("report", &self.report)] {
            if !ops.is_empty() {
                writeln!(f, "{heading}")?;
            }
            for (i, op) in ops.iter().enumerate() {
                writeln!(f, "  {i:>2} {}", self.describe(op))?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Describes an op in one line: kernel, dimensions, inputs and outputs.
    pub fn describe(&self, op: &Op) -> String {
        let list = |tensors: Vec<Tensor>| tensors.iter().map(|t| self.place(t)).collect::<Vec<_>>().join(", ");
        let outputs = op.outputs().into_iter().map(|(t, _)| t).collect();
        let options = op.as_kernel().options();
        format!("{op}{options}: {} -> {}", list(op.inputs()), list(outputs))
    }

    /// A short title of an op: kernel, dimensions, first output.
    pub fn title(&self, op: &Op) -> String {
        let first = op.outputs().first().map_or(String::new(), |(t, _)| format!(" -> {}", self.place(t)));
        format!("{op}{first}")
    }

    fn place(&self, tensor: &Tensor) -> String {
        let name = &self.buffer(tensor.buffer).name;
        if tensor.offset == 0 { name.clone() } else { format!("{name}+{}", tensor.offset) }
    }
}

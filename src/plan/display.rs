//! A plan as text: its buffers, then its ops.

use std::fmt;

use super::*;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} rows: {} ops a step, {} flops", self.name, self.batch, self.step.len(), self.flops())?;
        for buffer in &self.buffers {
            let shape = if buffer.shape.is_empty() { "given".into() } else { format!("{:?}", buffer.shape) };
            writeln!(f, "  {:<24}{shape:<16}{:?}", buffer.name, buffer.role)?;
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
    /// One line on an op: kernel, dimensions, what it reads and writes.
    pub fn describe(&self, op: &Op) -> String {
        let tensor = |t: &Tensor| {
            let name = &self.buffer(t.buffer).name;
            if t.offset == 0 { name.clone() } else { format!("{name}+{}", t.offset) }
        };
        let list = |tensors: Vec<Tensor>| tensors.iter().map(tensor).collect::<Vec<_>>().join(", ");
        let outputs = op.outputs().into_iter().map(|(t, _)| t).collect();
        let detail = match op {
            Op::Matmul(m) => {
                let slice = if m.slice.len() as u32 == m.k { String::new() } else { format!(" k {:?}", m.slice) };
                let epilogue = match &m.epilogue {
                    Epilogue::None => String::new(),
                    Epilogue::Bias { activation, .. } => format!(" bias {activation}"),
                    Epilogue::Derivative { activation, .. } => format!(" derivative of {activation}"),
                    Epilogue::Update(update) => format!(" {:?}", update.optimizer),
                };
                format!(" {:?} {}x{}x{}{slice}{epilogue}", m.layout, m.m, m.n, m.k)
            }
            Op::Pointwise(p) => {
                let of = if p.saved.is_some() { "derivative of " } else { "" };
                let dropout = p.dropout.map_or(String::new(), |d| format!(", dropout {}", d.rate));
                format!(" {of}{}{dropout}", p.activation)
            }
            Op::Softmax(s) if s.saved.is_some() => " gradient".into(),
            Op::PointwiseLoss(l) | Op::SoftmaxCrossEntropy(l) => format!(" {:?}", l.loss),
            Op::Update(u) => format!(" {:?}", u.optimizer),
            _ => String::new(),
        };
        format!("{}{detail}: {} -> {}", op.kernel(), list(op.inputs()), list(outputs))
    }
}

//! A plan as text: its buffers, then its ops.

use std::fmt;

use super::*;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flops = self.cost().total().flops;
        writeln!(f, "{} of {} rows: {} ops a step, {flops} flops", self.name, self.batch, self.step.len())?;
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
        let list = |tensors: Vec<Tensor>| tensors.iter().map(|t| self.place(t)).collect::<Vec<_>>().join(", ");
        let outputs = op.outputs().into_iter().map(|(t, _)| t).collect();
        let options = match op {
            Op::PointwiseLoss(l) | Op::SoftmaxCrossEntropy(l) => format!(" {:?}", l.loss),
            Op::Update(u) => format!(" {:?}", u.optimizer),
            Op::Matmul(Matmul { epilogue: Epilogue::Update(u), .. }) => format!(" {:?}", u.optimizer),
            _ => String::new(),
        };
        format!("{}{}{options}: {} -> {}", op.kernel(), detail(op), list(op.inputs()), list(outputs))
    }

    /// A name for an op, shorter than its description: kernel, dimensions, the first of what it writes.
    pub fn title(&self, op: &Op) -> String {
        let first = op.outputs().first().map_or(String::new(), |(t, _)| format!(" -> {}", self.place(t)));
        format!("{}{}{first}", op.kernel(), detail(op))
    }

    fn place(&self, tensor: &Tensor) -> String {
        let name = &self.buffer(tensor.buffer).name;
        if tensor.offset == 0 { name.clone() } else { format!("{name}+{}", tensor.offset) }
    }
}

/// Dimensions, and what is fused.
fn detail(op: &Op) -> String {
    match op {
        Op::Matmul(m) => {
            let slice = if m.slice.len() as u32 == m.k { String::new() } else { format!(" k {:?}", m.slice) };
            let epilogue = match &m.epilogue {
                Epilogue::None => String::new(),
                Epilogue::Bias { activation, .. } => format!(" bias {activation}"),
                Epilogue::Derivative { activation, .. } => format!(" derivative of {activation}"),
                Epilogue::Update(_) => " update".into(),
            };
            format!(" {:?} {}x{}x{}{slice}{epilogue}", m.layout, m.m, m.n, m.k)
        }
        Op::Pointwise(p) => {
            let of = if p.saved.is_some() { "derivative of " } else { "" };
            let dropout = p.dropout.map_or(String::new(), |d| format!(", dropout {}", d.rate));
            format!(" {of}{}{dropout}", p.activation)
        }
        Op::Encode(e) => format!(" {}{:?}", if e.gradient.is_some() { "gradient of " } else { "" }, e.encoding),
        Op::CopyRows(c) => format!(" {}x{}", c.rows, c.columns),
        Op::Softmax(s) if s.saved.is_some() => " gradient".into(),
        Op::Narrow(n) => {
            let layers = n.layers.iter().map(|layer| format!("-{} {}", layer.units, layer.activation));
            format!(" {}{}", n.inputs(), layers.collect::<String>())
        }
        _ => String::new(),
    }
}

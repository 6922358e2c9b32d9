//! What a plan costs: arithmetic and traffic of each op, memory of each buffer.

use std::fmt;

use super::*;
use crate::network::thousands;

/// What a plan costs, for a full batch: [`Plan::cost`]. Print it for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Each op of a step, as [`Plan::title`] has it.
    pub ops: Vec<(String, Work)>,
    /// Each buffer's name, and its size in bytes where the plan knows it. On a GPU sizes are rounded up to 16, and
    /// beside these there are 256 bytes of uniforms for each dispatch, and 1 to 4 MiB of scratch memory where products split k.
    pub buffers: Vec<(String, Option<u64>)>,
}

impl Cost {
    /// Of a step.
    pub fn total(&self) -> Work {
        self.ops.iter().map(|(_, work)| *work).sum()
    }

    /// Bytes of all buffers whose size the plan knows: all but the data set, and the ends of a forward pass.
    pub fn memory(&self) -> u64 {
        self.buffers.iter().filter_map(|(_, bytes)| *bytes).sum()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<64}{:>16}{:>16}{:>12}", "op", "FLOPs", "bytes", "FLOPs/byte")?;
        let mut line = |op: &str, work: Work| {
            let (flops, bytes) = (thousands(work.flops), thousands(work.bytes));
            writeln!(f, "{op:<64}{flops:>16}{bytes:>16}{:>12.2}", work.intensity())
        };
        let total = self.total();
        self.ops.iter().try_for_each(|(op, work)| line(op, *work))?;
        line("a step", total)?;
        writeln!(f, "\n{:<64}{:>32}", "buffer", "bytes")?;
        for (name, bytes) in &self.buffers {
            writeln!(f, "{name:<64}{:>32}", bytes.map_or("given".into(), thousands))?;
        }
        write!(f, "{:<64}{:>32}", "memory", thousands(self.memory()))
    }
}

impl Plan {
    /// Floating-point operations and bytes of each op of a step, and the memory of each buffer.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network, Plan};
    /// let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
    /// let cost = Plan::forward(&network, 32)?.cost();
    /// // A multiply-add a weight and row, a bias a sum, and a relu.
    /// let hidden = 32 * (2 * 784 * 128 + 128 + 128);
    /// assert_eq!(cost.total().flops, hidden + 32 * (2 * 128 * 10 + 10));
    /// println!("{cost}");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn cost(&self) -> Cost {
        Cost {
            ops: self.step.iter().map(|op| (self.title(op), op.work())).collect(),
            buffers: self.buffers.iter().map(|b| (b.name.clone(), b.bytes())).collect(),
        }
    }

    /// Of a step.
    pub(crate) fn work(&self) -> Work {
        self.step.iter().map(Op::work).sum()
    }
}

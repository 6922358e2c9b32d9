//! The cost of a plan: operations and memory traffic of each op, memory of each buffer.

use std::collections::BTreeMap;
use std::fmt;

use super::*;
use crate::network::thousands;

/// The cost of a plan for a full batch, made by [`Plan::cost`]. It prints as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// The ops of a step, named by [`Plan::title`].
    pub ops: Vec<(String, Work)>,
    /// The buffers. On a GPU, sizes are rounded up to 16 bytes. A GPU also needs 256 bytes of uniforms for each
    /// dispatch, and 1 to 4 MiB of scratch memory for split-K matmuls.
    pub buffers: Vec<BufferCost>,
    /// Peak bytes of values and gradients that are in use at the same op.
    pub alive: u64,
}

/// The memory of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct BufferCost {
    /// The name of the buffer.
    pub name: String,
    /// The size in bytes. `None` if it is only known at run time.
    pub bytes: Option<u64>,
    /// The index of the shared memory on a GPU. See [`Buffer::memory`].
    pub memory: Option<u32>,
}

impl Cost {
    /// The work of one step.
    pub fn total(&self) -> Work {
        self.ops.iter().map(|(_, work)| *work).sum()
    }

    /// Bytes of memory on a GPU. Values and gradients share memory if they are not in use at the same time. The data
    /// set and an app's buffers are not counted, because the plan does not know their sizes.
    pub fn memory(&self) -> u64 {
        let mut longest: BTreeMap<u32, u64> = BTreeMap::new();
        for (memory, bytes) in self.shared() {
            let all = longest.entry(memory).or_default();
            *all = bytes.max(*all);
        }
        self.own() + longest.into_values().sum::<u64>()
    }

    /// Bytes of memory without sharing, as on [`Device::Cpu`](crate::Device::Cpu).
    pub fn memory_without_sharing(&self) -> u64 {
        self.buffers.iter().filter_map(|buffer| buffer.bytes).sum()
    }

    /// A lower bound on the bytes of memory for any way of sharing: [`alive`](Self::alive), and the buffers that cannot
    /// share.
    pub fn least_memory(&self) -> u64 {
        self.own() + self.alive
    }

    fn own(&self) -> u64 {
        self.buffers.iter().filter(|buffer| buffer.memory.is_none()).filter_map(|buffer| buffer.bytes).sum()
    }

    fn shared(&self) -> impl Iterator<Item = (u32, u64)> {
        self.buffers.iter().filter_map(|buffer| buffer.memory.zip(buffer.bytes))
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
        writeln!(f, "\n{:<64}{:>12}{:>20}", "buffer", "memory", "bytes")?;
        for BufferCost { name, bytes, memory } in &self.buffers {
            let memory = memory.map_or("own".into(), |memory| memory.to_string());
            writeln!(f, "{name:<64}{memory:>12}{:>20}", bytes.map_or("given".into(), thousands))?;
        }
        let mut line = |what: &str, bytes: u64| write!(f, "{what:<64}{:>32}", thousands(bytes));
        line("memory without sharing", self.memory_without_sharing())?;
        line("\nmemory, lower bound: own, and the most in use at one op", self.least_memory())?;
        line("\nmemory", self.memory())
    }
}

impl Plan {
    /// The cost for a full batch: floating-point operations and bytes of each op of a step, and the memory of each
    /// buffer.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network, Plan};
    /// let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
    /// let cost = Plan::forward(&network, 32)?.cost();
    /// // Each row: a multiply-add per weight, and per unit a bias and a relu.
    /// let hidden = 32 * (2 * 784 * 128 + 128 + 128);
    /// assert_eq!(cost.total().flops, hidden + 32 * (2 * 128 * 10 + 10));
    /// println!("{cost}");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn cost(&self) -> Cost {
        let buffer = |b: &Buffer| BufferCost { name: b.name.clone(), bytes: b.bytes(), memory: b.memory };
        // Ops of a slice run several times.
        let (end, slices) = (self.end_of_slice(), self.share().own);
        let times = |i: usize| if i < end { slices } else { 1 };
        let of_step = |i: usize, op: &Op| (0..times(i)).map(|_| op.work()).sum();
        Cost {
            ops: self.step.iter().enumerate().map(|(i, op)| (self.title(op), of_step(i, op))).collect(),
            buffers: self.buffers.iter().map(buffer).collect(),
            alive: self.most_alive(),
        }
    }

    /// The work of one step.
    pub(crate) fn work(&self) -> Work {
        self.work_of_step().0
    }
}

//! Memory sharing: values and gradients of a step share memory if their lifetimes do not overlap.
//!
//! Only whole buffers share memory, because `wgpu` forbids a dispatch to read and write one buffer, even in different
//! ranges. The algorithm is "greedy by size" (Pisarchyk and Lee, "Efficient memory management for deep neural net
//! inference", 2020).

use std::cmp::Reverse;

use super::*;

/// The lifetime of a buffer: the indices in [`Plan::step`] of the first and the last op that use it.
pub(crate) type Life = [usize; 2];

impl Plan {
    /// The lifetime of each buffer that may share memory. `None` if the buffer is used outside the step: by the host,
    /// an app, the report or another step.
    pub(crate) fn lives(&self) -> Vec<Option<Life>> {
        let mut lives: Vec<Option<Life>> = vec![None; self.buffers.len()];
        let is_own = |b: &Buffer| b.role.is_transient() && b.shape.is_some() && b.contents.is_empty();
        let mut shares: Vec<bool> = self.buffers.iter().map(is_own).collect();
        for (at, op) in self.ops().enumerate() {
            let inputs = op.inputs();
            for BufferId(i) in inputs.iter().map(|tensor| tensor.buffer) {
                // A buffer that is read before it is written is filled outside the step.
                shares[i] &= lives[i].is_some();
            }
            for tensor in op.outputs().into_iter().map(|(tensor, _)| tensor).chain(inputs) {
                let BufferId(i) = tensor.buffer;
                lives[i].get_or_insert([at, at])[1] = at;
                shares[i] &= at < self.step.len();
            }
        }
        lives.into_iter().zip(shares).map(|(life, shares)| life.filter(|_| shares)).collect()
    }

    /// Assigns memory to each buffer.
    pub(super) fn share_memory(&mut self) {
        let lives = self.lives();
        let mut order: Vec<(usize, Life)> = (0..).zip(lives).filter_map(|(i, life)| Some((i, life?))).collect();
        // Buffers of equal length are placed in the order of their first use. This needs the fewest memories.
        order.sort_by_key(|&(i, life)| (Reverse(self.buffers[i].bytes()), life, i));
        self.buffers.iter_mut().for_each(|buffer| buffer.memory = None);
        let mut memories: Vec<Vec<Life>> = Vec::new();
        for (i, life) in order {
            let is_free = |lives: &Vec<Life>| lives.iter().all(|other| other[1] < life[0] || life[1] < other[0]);
            // Longer buffers come first, so every memory is long enough. The last free one is the shortest.
            let memory = memories.iter().rposition(is_free).unwrap_or(memories.len());
            if memory == memories.len() {
                memories.push(Vec::new());
            }
            memories[memory].push(life);
            self.buffers[i].memory = Some(memory as u32);
        }
    }

    /// The length of a shared memory in bytes.
    pub(crate) fn memory_bytes(&self, memory: u32) -> u64 {
        self.buffers.iter().filter(|b| b.memory == Some(memory)).filter_map(Buffer::bytes).max().unwrap_or(0)
    }

    /// Peak bytes of buffers that may share memory and are alive at the same op.
    pub(super) fn most_alive(&self) -> u64 {
        let lives = self.lives();
        let sum = |at: usize| {
            let buffers = self.buffers.iter().zip(&lives).filter(|(buffer, _)| buffer.memory.is_some());
            let alive = buffers.filter(|(_, life)| life.is_some_and(|[first, last]| (first..=last).contains(&at)));
            alive.filter_map(|(buffer, _)| buffer.bytes()).sum()
        };
        (0..self.step.len()).map(sum).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan of additions on buffers of these lengths. Each addition has an output and two inputs. The last buffer is
    /// the plan's output.
    fn plan(lengths: &[u32], sums: &[[usize; 3]]) -> Plan {
        let buffer = |(i, &len): (usize, &u32)| Buffer {
            name: format!("buffer {i}"),
            dtype: Dtype::F32,
            shape: Some(len.into()),
            role: if i == 0 { Role::Input(0) } else { Role::Activation },
            contents: Vec::new(),
            memory: None,
        };
        let mut buffers: Vec<Buffer> = lengths.iter().enumerate().map(buffer).collect();
        buffers.last_mut().unwrap().role = Role::Output(0);
        // Nothing runs, so the lengths need not match.
        let tensor = |i: usize| Tensor::new(BufferId(i), Dtype::F32, lengths[i]);
        let sum = |&[output, a, b]: &[usize; 3]| {
            Op::Combine(Combine { a: tensor(a), b: tensor(b), output: tensor(output), how: Combination::Add })
        };
        let step = sums.iter().map(sum).collect();
        let mut plan = Plan { name: "sums", batch: 1, buffers, step, report: Vec::new() };
        plan.share_memory();
        plan
    }

    fn memories(plan: &Plan) -> Vec<Option<u32>> {
        plan.buffers.iter().map(|buffer| buffer.memory).collect()
    }

    #[test]
    fn values_of_a_chain_lie_in_two_memories_by_turns() {
        let plan = plan(&[8; 6], &[[1, 0, 0], [2, 1, 1], [3, 2, 2], [4, 3, 3], [5, 4, 4]]);
        assert_eq!(memories(&plan), [None, Some(0), Some(1), Some(0), Some(1), None]);
        assert_eq!((plan.most_alive(), plan.cost().memory(), plan.cost().memory_without_sharing()), (64, 128, 192));
    }

    #[test]
    fn a_value_that_is_read_late_keeps_its_memory() {
        let plan = plan(&[8; 6], &[[1, 0, 0], [2, 1, 1], [3, 2, 2], [4, 3, 1], [5, 4, 4]]);
        assert_eq!(memories(&plan), [None, Some(0), Some(1), Some(2), Some(1), None]);
        assert_eq!(plan.cost().least_memory(), plan.cost().memory());
    }

    /// A buffer takes the shortest memory that fits, so that long memories stay free for long buffers.
    #[test]
    fn memories_are_as_long_as_the_longest_buffer_in_them() {
        let plan = plan(&[4, 4, 40, 4, 36, 4], &[[1, 0, 0], [2, 1, 1], [3, 2, 2], [4, 3, 3], [5, 4, 4]]);
        assert_eq!(memories(&plan), [None, Some(1), Some(0), Some(1), Some(0), None]);
        assert_eq!((plan.memory_bytes(0), plan.memory_bytes(1)), (160, 16));
    }

    #[test]
    fn what_a_step_does_not_write_first_or_its_report_reads_has_memory_of_its_own() {
        // Buffer 2 is read before it is written, and buffer 4 is unused.
        let mut plan = plan(&[8; 6], &[[1, 0, 2], [2, 1, 1], [3, 2, 2], [5, 3, 3]]);
        assert_eq!(memories(&plan), [None, Some(0), None, Some(0), None, None]);
        plan.report = plan.step.split_off(3);
        plan.share_memory();
        assert_eq!(memories(&plan), [None, Some(0), None, None, None, None]);
    }
}

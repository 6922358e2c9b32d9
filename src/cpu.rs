//! CPU executor: runs the CPU twins of the ops. It is the reference for GPUs, and it trains where there is no GPU.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timeslice;
use crate::ops::{BufferId, Op, Operands, Tensor};
use crate::plan::Plan;

/// A buffer of 32-bit words in main memory. Like `wgpu::Buffer`, a clone refers to the same buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuBuffer(Arc<Mutex<Vec<u32>>>);

impl CpuBuffer {
    pub(crate) fn new(words: Vec<u32>) -> Self {
        Self(Arc::new(Mutex::new(words)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        // A panic of another thread leaves whole words, so the data stay usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plan with its buffers in main memory. On a GPU some buffers share memory; here they do not. If a plan shares
/// memory wrongly, the GPU's numbers differ, and the lockstep names the op.
#[derive(Debug, Clone)]
pub(crate) struct CpuExecutor {
    plan: Arc<Plan>,
    buffers: Vec<CpuBuffer>,
}

impl CpuExecutor {
    /// Uses the buffers in `given`. Makes the other buffers and initialises them as the plan says.
    pub(crate) fn new(plan: Arc<Plan>, given: &[(BufferId, CpuBuffer)]) -> Self {
        let buffer = |i: usize| match given.iter().find(|(id, _)| id.0 == i) {
            Some((_, given)) => given.clone(),
            None => {
                let mut words = plan.buffers[i].contents.clone();
                words.resize(plan.buffers[i].words().unwrap_or(0) as usize, 0);
                CpuBuffer::new(words)
            }
        };
        let buffers = (0..plan.buffers.len()).map(buffer).collect();
        Self { plan, buffers }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn buffer(&self, id: BufferId) -> &CpuBuffer {
        &self.buffers[id.0]
    }

    pub(crate) fn bind(&mut self, id: BufferId, buffer: &CpuBuffer) {
        self.buffers[id.0] = buffer.clone();
    }

    /// Runs `steps` steps, then the sum of the metrics if `report` is set. In a browser it yields to the page every
    /// few milliseconds, even within a step.
    pub(crate) async fn run_steps(&self, steps: u32, report: bool) {
        let mut timeslice = Timeslice::start();
        self.run_pieces(steps, report, MOST_FLOPS, || timeslice.is_over().then(Timeslice::yield_now)).await;
    }

    /// Runs some ops of a step.
    pub(crate) async fn run_part(&self, part: Range<usize>) {
        let mut timeslice = Timeslice::start();
        let ops = self.plan.step[part].iter();
        self.run_ops(ops, MOST_FLOPS, || timeslice.is_over().then(Timeslice::yield_now)).await;
    }

    /// Runs steps in pieces of at most `most` floating-point operations. Between pieces it awaits the future of
    /// `pause`. Nothing is locked then, so other code may use the buffers.
    async fn run_pieces<P: Future>(&self, steps: u32, report: bool, most: u64, mut pause: impl FnMut() -> Option<P>) {
        let report = self.plan.report.iter().filter(|_| report);
        let ops = (0..steps).flat_map(|_| self.plan.ops_of_step()).chain(report);
        self.run_ops(ops, most, &mut pause).await;
    }

    async fn run_ops<'a, P: Future>(
        &'a self,
        ops: impl Iterator<Item = &'a Op>,
        most: u64,
        mut pause: impl FnMut() -> Option<P>,
    ) {
        let mut pieces = ops.flat_map(Op::parts).flat_map(|op| pieces(op, most).map(move |rows| (op, rows)));
        loop {
            let paused = {
                let mut memory = self.lock();
                loop {
                    let Some((op, rows)) = pieces.next() else { return };
                    memory.run(op, rows);
                    if let Some(paused) = pause() {
                        break paused;
                    }
                }
            };
            paused.await;
        }
    }

    /// The contents of a tensor.
    pub(crate) fn words(&self, tensor: Tensor) -> Vec<u32> {
        self.lock().words(tensor).to_vec()
    }

    /// Sets the contents of a tensor.
    pub(crate) fn set(&self, tensor: Tensor, words: &[u32]) {
        let mut buffer = self.buffer(tensor.buffer).lock();
        let range = self.plan.words_of(tensor, buffer.len());
        buffer[range].copy_from_slice(words);
    }

    /// Calls `look` with the contents of an op's operands.
    pub(crate) fn inspect<T>(&self, op: &Op, look: impl FnOnce(&Operands<'_>) -> T) -> T {
        let memory = self.lock();
        look(&Operands::all_read(&op.as_kernel().operands(), |tensor| memory.words(tensor)))
    }

    /// Runs one op that has no parts.
    pub(crate) fn run(&self, op: &Op) {
        self.lock().run(op, 0..op.as_kernel().rows());
    }

    fn lock(&self) -> Memory<'_> {
        Memory { plan: &self.plan, buffers: self.buffers.iter().map(CpuBuffer::lock).collect() }
    }
}

/// The largest number of floating-point operations in a piece of an op: a few milliseconds in a browser. Elsewhere
/// ops are not divided.
const MOST_FLOPS: u64 = if cfg!(target_family = "wasm") { 4_000_000 } else { u64::MAX };

/// The rows of each piece of an op.
fn pieces(op: &Op, most_flops: u64) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = op.as_kernel().rows().max(1);
    let each = match (rows, most_flops) {
        (1, _) | (_, u64::MAX) => rows,
        _ => (most_flops / (op.work().flops / rows as u64).max(1)).clamp(1, rows as u64) as usize,
    };
    (0..rows).step_by(each).map(move |first| first..rows.min(first + each))
}

/// All buffers of a plan, locked while ops run.
struct Memory<'a> {
    plan: &'a Plan,
    buffers: Vec<MutexGuard<'a, Vec<u32>>>,
}

impl Memory<'_> {
    fn words(&self, tensor: Tensor) -> &[u32] {
        let words = &self.buffers[tensor.buffer.0];
        &words[self.plan.words_of(tensor, words.len())]
    }

    /// Runs some rows of an op.
    fn run(&mut self, op: &Op, rows: Range<usize>) {
        let (plan, op) = (self.plan, op.as_kernel());
        let buffers = self.buffers.iter_mut().map(|buffer| buffer.as_mut_slice());
        op.twin(&mut Operands::new(&op.operands(), rows, buffers, |tensor, words| plan.words_of(tensor, words)));
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Role;
    use crate::{Activation::*, Adam, Dataset, Device, Loss, Network, Trainer, TrainerConfig};

    /// Yields within a step must not change the result.
    #[test]
    fn steps_in_pieces_leave_the_same_bits() {
        let network = Network::input(7).dense(9, Relu).dense(5, Tanh).dense(3, Identity).build().unwrap();
        let features = (0..11 * 7).map(|i| (i * 5 % 13) as f32 / 13.0).collect();
        let data = Dataset::from_f32(features, 7, (0..11).map(|row| row % 3).collect(), 3).unwrap();
        for keep_gradients in [false, true] {
            let after = |most: u64| {
                let config = TrainerConfig { batch: 4, keep_gradients, ..TrainerConfig::default() };
                let adam = Adam::default();
                let mut trainer = Trainer::new(Device::Cpu, &network, Loss::SoftmaxCrossEntropy, adam, config).unwrap();
                let matched = trainer.check_fits(&data).unwrap();
                trainer.bind_training(std::borrow::Cow::Borrowed(&data), &matched, 0).unwrap();
                let crate::executor::Executor::Cpu(executor) = &trainer.training else { unreachable!() };
                let mut pauses = 0;
                let pause = || {
                    pauses += 1;
                    Some(std::future::ready(()))
                };
                pollster::block_on(executor.run_pieces(5, true, most, pause));
                let words = |role| executor.buffer(executor.plan().find(role).unwrap()).lock().clone();
                let kept = [Role::Parameters, Role::Moments, Role::Totals].map(words);
                (kept, pauses)
            };
            let (whole, few) = after(u64::MAX);
            let (pieces, many) = after(1);
            assert_eq!(whole, pieces, "keep_gradients {keep_gradients}");
            assert!(many > 3 * few, "{many} pieces of {few} ops");
        }
    }

    #[test]
    fn a_narrow_network_in_pieces_puts_out_the_same_bits() {
        let network = Network::input(2).dense(8, Relu).dense(3, Sigmoid).build().unwrap();
        let weights = network.initial_parameters(5);
        let model = crate::Model::new(Device::Cpu, &network, &weights).unwrap();
        let plan = crate::Plan::forward(&network, 5).unwrap();
        assert!(plan.step.iter().any(|op| matches!(op, super::Op::Narrow(_))), "{plan}");
        let after = |most: u64| {
            let executor = model.forward_executor(plan.clone()).unwrap();
            let crate::executor::Executor::Cpu(executor) = &executor else { unreachable!() };
            let buffer = |role| executor.buffer(executor.plan().find(role).unwrap());
            buffer(Role::Input(0)).lock().iter_mut().zip(1..).for_each(|(x, i)| *x = (i as f32 * 0.25).to_bits());
            let mut pauses = 0;
            let pause = || {
                pauses += 1;
                Some(std::future::ready(()))
            };
            pollster::block_on(executor.run_pieces(1, false, most, pause));
            let words = buffer(Role::Output(0)).lock().clone();
            (words, pauses)
        };
        let ((whole, one), (pieces, five)) = (after(u64::MAX), after(1));
        assert_eq!((whole, one, five), (pieces, 1, 5));
    }
}

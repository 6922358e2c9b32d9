//! The CPU executor: the reference. One plain function per shader, in the file of the same stem, that a reader can
//! check against the textbook; and what trains where there is no GPU.

mod adam;
mod gather;
mod matmul;
mod metrics;
mod next_batch;
mod sgd;
mod softmax_cross_entropy;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::{cast_slice, cast_slice_mut};

use crate::plan::{BufferId, Epilogue, Op, Plan, RowMetrics, StepState, Tensor};

#[cfg(not(target_family = "wasm"))] // for the lockstep
pub(crate) use matmul::{activate, derivative, matmul};
pub(crate) use softmax_cross_entropy::first_largest;

/// 32-bit words in main memory, shared like a `wgpu::Buffer`: a clone is the same buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuBuffer(Arc<Mutex<Vec<u32>>>);

impl CpuBuffer {
    pub(crate) fn new(words: Vec<u32>) -> Self {
        Self(Arc::new(Mutex::new(words)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        // A panic elsewhere leaves whole words behind, so the data are as good as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plan with a buffer of main memory for each of its buffers.
#[derive(Debug, Clone)]
pub(crate) struct CpuExecutor {
    plan: Arc<Plan>,
    buffers: Vec<CpuBuffer>,
}

impl CpuExecutor {
    /// Buffers in `given` are used as they are; the others are made, filled with zeros.
    pub(crate) fn new(plan: Arc<Plan>, given: &[(BufferId, CpuBuffer)]) -> Self {
        let zeros = |words: Option<u64>| CpuBuffer::new(vec![0; words.unwrap_or(0) as usize]);
        let buffer = |i: usize| match given.iter().find(|(id, _)| id.0 == i) {
            Some((_, given)) => given.clone(),
            None => zeros(plan.buffers[i].words()),
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

    /// Runs `steps` steps.
    pub(crate) fn run_steps(&self, steps: u32) {
        let mut memory = self.lock();
        for _ in 0..steps {
            self.plan.step.iter().for_each(|op| memory.run(op));
        }
    }

    /// Sums up the metrics.
    pub(crate) fn run_report(&self) {
        let mut memory = self.lock();
        self.plan.report.iter().for_each(|op| memory.run(op));
    }

    /// What a tensor holds.
    #[cfg(not(target_family = "wasm"))] // for the lockstep
    pub(crate) fn words(&self, tensor: Tensor) -> Vec<u32> {
        self.lock().words(tensor).to_vec()
    }

    /// Runs one op.
    #[cfg(not(target_family = "wasm"))] // for the lockstep
    pub(crate) fn run(&self, op: &Op) {
        self.lock().run(op);
    }

    fn lock(&self) -> Memory<'_> {
        Memory(self.buffers.iter().map(CpuBuffer::lock).collect())
    }
}

/// Every buffer of a plan, held for as long as ops run.
struct Memory<'a>(Vec<MutexGuard<'a, Vec<u32>>>);

impl Memory<'_> {
    fn words(&self, tensor: Tensor) -> &[u32] {
        let words = &self.0[tensor.buffer.0];
        match tensor.len {
            0 => words,
            len => &words[tensor.offset as usize..][..len as usize],
        }
    }

    fn f32(&self, tensor: Tensor) -> &[f32] {
        cast_slice(self.words(tensor))
    }

    fn step(&self, tensor: Tensor) -> StepState {
        cast_slice(self.words(tensor))[0]
    }

    /// Runs an op: its outputs are copied out, handed to the twin beside its inputs, and copied back.
    fn run(&mut self, op: &Op) {
        let mut outputs: Vec<Vec<u32>> = op.outputs().iter().map(|&(t, _)| self.words(t).to_vec()).collect();
        {
            let mut outputs = outputs.iter_mut().map(Vec::as_mut_slice);
            let mut next = || outputs.next().expect("an output that Op::outputs names");
            match op {
                Op::NextBatch(op) => {
                    let (step, indices) = (next(), next());
                    let data = cast_slice(self.words(op.data));
                    next_batch::next_batch(op, &data[0], &mut cast_slice_mut(step)[0], indices);
                }
                Op::Gather(op) => {
                    let data = cast_slice(self.words(op.data));
                    let (features, indices) = (self.words(op.features), self.words(op.indices));
                    gather::gather(op, features, &data[0], &self.step(op.step), indices, cast_slice_mut(next()));
                }
                Op::Matmul(op) => {
                    let extra = match op.epilogue {
                        Epilogue::None => &[],
                        Epilogue::Bias { bias: t, .. } | Epilogue::Derivative { output: t, .. } => self.f32(t),
                    };
                    let c = cast_slice_mut(next());
                    let bias_gradient = op.bias_gradient.map(|_| cast_slice_mut(next()));
                    matmul::matmul(op, self.f32(op.a), self.f32(op.b), extra, c, bias_gradient);
                }
                Op::SoftmaxCrossEntropy(op) => {
                    let gradient = op.gradient.map(|_| cast_slice_mut(next()));
                    softmax_cross_entropy::softmax_cross_entropy(
                        op,
                        self.f32(op.logits),
                        self.words(op.labels),
                        &self.step(op.step),
                        self.words(op.indices),
                        gradient,
                        cast_slice_mut(next()),
                    );
                }
                Op::Sgd(op) => {
                    sgd::sgd(op, self.f32(op.gradients), cast_slice_mut(next()), cast_slice_mut(next()));
                }
                Op::Adam(op) => adam::adam(
                    op,
                    self.f32(op.gradients),
                    &self.step(op.step),
                    cast_slice_mut(next()),
                    cast_slice_mut(next()),
                    cast_slice_mut(next()),
                ),
                Op::Metrics(op) => {
                    let rows: &[RowMetrics] = cast_slice(self.words(op.rows));
                    cast_slice_mut(next())[0] = metrics::metrics(rows);
                }
            }
        }
        for ((tensor, _), words) in op.outputs().into_iter().zip(outputs) {
            let (start, len) = (tensor.offset as usize, words.len());
            self.0[tensor.buffer.0][start..start + len].copy_from_slice(&words);
        }
    }
}

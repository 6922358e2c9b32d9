//! The CPU executor: the reference. One plain function per shader, in the file of the same stem, that a reader can
//! check against the textbook; and what trains where there is no GPU.

mod accumulate;
mod copy_rows;
mod encode;
#[cfg(test)]
mod from_texture;
#[cfg(test)]
mod from_texture_random;
mod gather;
mod hash_grid;
mod hash_grid_gradient;
mod hash_grid_input;
mod hash_grid_scale;
mod hash_grid_scatter;
mod layer_norm;
mod layer_norm_input;
mod layer_norm_parameters;
mod matmul;
mod metrics;
mod narrow;
mod next_batch;
mod pointwise;
mod pointwise_loss;
mod softmax;
mod softmax_cross_entropy;
mod sum_squares;
#[cfg(test)]
mod to_texture;
mod update;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::{cast_slice, cast_slice_mut};

use crate::clock::Turn;
use crate::plan::{BufferId, DataInfo, Epilogue, Matmul, Op, Plan, StepState, Tensor};

pub(crate) use {
    encode::slope,
    hash_grid::{Corner, for_each_corner},
    hash_grid_scale::{scale_of, sums},
    matmul::matmul,
    pointwise::{activate, derivative},
    pointwise_loss::Target,
};
#[cfg(test)]
pub(crate) use {
    from_texture::from_texture,
    from_texture_random::{bilinear, from_texture_random},
    to_texture::to_texture,
};
pub(crate) use {
    pointwise::dropout_key,
    pointwise::dropout_threshold,
    softmax_cross_entropy::{class, first_largest},
};

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
    /// Buffers in `given` are used as they are; the others are made, filled as the plan says.
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

    /// Runs `steps` steps, then where wanted the sum of the metrics. In a browser the page gets a turn every few
    /// milliseconds, also in the middle of a step.
    pub(crate) async fn run_steps(&self, steps: u32, report: bool) {
        let mut turn = Turn::start();
        self.run_pieces(steps, report, MOST_FLOPS, || turn.is_over().then(Turn::give_way)).await;
    }

    /// Runs steps in pieces of at most `most` floating-point operations. Between pieces it awaits what `pause` returns,
    /// with nothing locked: others may use the buffers meanwhile.
    async fn run_pieces<P: Future>(&self, steps: u32, report: bool, most: u64, mut pause: impl FnMut() -> Option<P>) {
        let report = self.plan.report.iter().filter(|_| report);
        let ops = (0..steps).flat_map(|_| &self.plan.step).chain(report);
        let mut pieces = ops.flat_map(|op| pieces(op, most).map(move |rows| (op, rows)));
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

    /// What a tensor holds.
    pub(crate) fn words(&self, tensor: Tensor) -> Vec<u32> {
        self.lock().words(tensor).to_vec()
    }

    /// Runs one op.
    pub(crate) fn run(&self, op: &Op) {
        self.lock().run(op, 0..rows(op));
    }

    fn lock(&self) -> Memory<'_> {
        Memory(self.buffers.iter().map(CpuBuffer::lock).collect())
    }
}

/// Floating-point operations of a piece of an op: a few milliseconds in a browser. Elsewhere ops are not cut.
const MOST_FLOPS: u64 = if cfg!(target_family = "wasm") { 4_000_000 } else { u64::MAX };

/// Rows that an op can be cut between: of a matrix product those of C. Other ops are short, and are one row.
fn rows(op: &Op) -> usize {
    match op {
        Op::Matmul(op) => op.m as usize,
        Op::Narrow(op) => op.rows as usize,
        _ => 1,
    }
}

/// The rows of each piece of an op.
fn pieces(op: &Op, most_flops: u64) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = rows(op).max(1);
    let each = match (rows, most_flops) {
        (1, _) | (_, u64::MAX) => rows,
        _ => (most_flops / (op.work().flops / rows as u64).max(1)).clamp(1, rows as u64) as usize,
    };
    (0..rows).step_by(each).map(move |first| first..rows.min(first + each))
}

/// What some rows of an op write. The biases of a product come with its last row.
fn outputs(op: &Op, rows: &Range<usize>) -> Vec<Tensor> {
    let whole = op.outputs().into_iter().map(|(tensor, _)| tensor);
    let of_rows = |tensor: Tensor, columns: u32, end: Option<u32>| {
        let (first, end) = (rows.start as u32 * columns, end.unwrap_or(rows.end as u32 * columns));
        Tensor { offset: tensor.offset + first, len: end - first, ..tensor }
    };
    let op = match op {
        Op::Matmul(op) => op,
        Op::Narrow(op) => return vec![of_rows(op.output, op.outputs(), None)],
        _ => return whole.collect(),
    };
    let is_last = rows.end == op.m as usize;
    match op.epilogue {
        Epilogue::Update(_) => whole.map(|t| of_rows(t, op.n, is_last.then_some(t.len))).collect(),
        _ => std::iter::once(of_rows(op.c, op.n, None)).chain(op.bias_gradient.filter(|_| is_last)).collect(),
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

    fn data(&self, tensor: Tensor) -> DataInfo {
        cast_slice(self.words(tensor))[0]
    }

    /// Runs some rows of an op: its outputs are copied out, handed to the twin beside its inputs, and copied back.
    fn run(&mut self, op: &Op, rows: Range<usize>) {
        let tensors = outputs(op, &rows);
        let mut outputs: Vec<Vec<u32>> = tensors.iter().map(|&t| self.words(t).to_vec()).collect();
        {
            let mut outputs = outputs.iter_mut().map(Vec::as_mut_slice);
            let mut next = || outputs.next().expect("an output that Op::outputs names");
            match op {
                Op::NextBatch(op) => {
                    let (step, indices) = (next(), next());
                    next_batch::next_batch(op, &self.data(op.data), &mut cast_slice_mut(step)[0], indices);
                }
                Op::Gather(op) => {
                    let (features, indices, state) =
                        (self.words(op.features), self.words(op.indices), self.step(op.step));
                    gather::gather(op, features, &self.data(op.data), &state, indices, cast_slice_mut(next()));
                }
                Op::CopyRows(op) => copy_rows::copy_rows(op, self.words(op.input), next()),
                Op::Matmul(op @ Matmul { epilogue: Epilogue::Update(update), .. }) => {
                    let (a, b, state) = (self.f32(op.a), self.f32(op.b), self.step(update.step));
                    let parameters = cast_slice_mut(next());
                    let mut moments: Vec<&mut [f32]> = update.moments.iter().map(|_| cast_slice_mut(next())).collect();
                    matmul::matmul_update(op, rows, a, b, &state, parameters, &mut moments);
                }
                Op::Matmul(op) => {
                    let extra = op.extra().map_or(&[][..], |t| self.f32(t));
                    let bias_gradient = op.bias_gradient.filter(|_| rows.end == op.m as usize);
                    let c = cast_slice_mut(next());
                    let bias_gradient = bias_gradient.map(|_| cast_slice_mut(next()));
                    matmul::matmul_rows(op, rows, self.f32(op.a), self.f32(op.b), extra, c, bias_gradient);
                }
                Op::Pointwise(op) => {
                    let cursor = op.dropout.map(|d| (self.step(d.step), self.data(d.data)));
                    let cursor = cursor.as_ref().map(|(step, data)| (step, data));
                    let saved = op.saved.map(|t| self.f32(t));
                    pointwise::pointwise(op, self.f32(op.input), saved, cursor, cast_slice_mut(next()));
                }
                Op::Softmax(op) => {
                    let saved = op.saved.map(|t| self.f32(t));
                    softmax::softmax(op, self.f32(op.input), saved, cast_slice_mut(next()));
                }
                Op::LayerNorm(op) => {
                    let (x, scale, shift) = (self.f32(op.x), self.f32(op.scale), self.f32(op.shift));
                    layer_norm::layer_norm(op, x, scale, shift, cast_slice_mut(next()), cast_slice_mut(next()));
                }
                Op::LayerNormInput(op) => {
                    let (gradient, x, scale) = (self.f32(op.gradient), self.f32(op.x), self.f32(op.scale));
                    let statistics = self.f32(op.statistics);
                    layer_norm_input::layer_norm_input(op, gradient, x, scale, statistics, cast_slice_mut(next()));
                }
                Op::LayerNormParameters(op) => layer_norm_parameters::layer_norm_parameters(
                    op,
                    self.f32(op.gradient),
                    self.f32(op.x),
                    self.f32(op.statistics),
                    cast_slice_mut(next()),
                    cast_slice_mut(next()),
                ),
                Op::Encode(op) => {
                    let gradient = op.gradient.map(|t| self.f32(t));
                    encode::encode(op, self.f32(op.x), gradient, cast_slice_mut(next()));
                }
                Op::HashGrid(op) => {
                    let (x, levels, table) = (self.f32(op.x), self.words(op.levels), self.f32(op.table));
                    hash_grid::hash_grid(op, x, levels, table, cast_slice_mut(next()));
                }
                Op::HashGridScale(op) => {
                    hash_grid_scale::hash_grid_scale(op, self.f32(op.gradient), cast_slice_mut(next()));
                }
                Op::HashGridScatter(op) => {
                    let (x, levels) = (self.f32(op.x), self.words(op.levels));
                    let (gradient, scales) = (self.f32(op.gradient), self.f32(op.scales));
                    hash_grid_scatter::hash_grid_scatter(op, x, levels, gradient, scales, cast_slice_mut(next()));
                }
                Op::HashGridGradient(op) => {
                    let (sums, gradient) = (cast_slice_mut(next()), cast_slice_mut(next()));
                    hash_grid_gradient::hash_grid_gradient(self.f32(op.scales), self.words(op.blocks), sums, gradient);
                }
                Op::HashGridInput(op) => {
                    let (x, levels, table) = (self.f32(op.x), self.words(op.levels), self.f32(op.table));
                    hash_grid_input::hash_grid_input(
                        op,
                        x,
                        levels,
                        table,
                        self.f32(op.gradient),
                        cast_slice_mut(next()),
                    );
                }
                Op::PointwiseLoss(loss) | Op::SoftmaxCrossEntropy(loss) => {
                    let run = match op {
                        Op::PointwiseLoss(_) => pointwise_loss::pointwise_loss,
                        _ => softmax_cross_entropy::softmax_cross_entropy,
                    };
                    let batch = pointwise_loss::Batch {
                        targets: self.words(loss.targets),
                        data: self.data(loss.data),
                        state: self.step(loss.step),
                        indices: self.words(loss.indices),
                    };
                    let gradient = loss.gradient.map(|_| cast_slice_mut(next()));
                    run(loss, self.f32(loss.output), &batch, gradient, cast_slice_mut(next()));
                }
                Op::Accumulate(op) => {
                    let (gradients, state) = (self.f32(op.gradients), self.step(op.step));
                    accumulate::accumulate(op, gradients, &state, cast_slice_mut(next()));
                }
                Op::SumSquares(op) => sum_squares::sum_squares(op, self.f32(op.input), cast_slice_mut(next())),
                Op::Update(op) => {
                    let parameters = cast_slice_mut(next());
                    let mut moments: Vec<&mut [f32]> = op.moments.iter().map(|_| cast_slice_mut(next())).collect();
                    let multipliers = op.multipliers.map(|t| self.f32(t));
                    let scale = op.scale.map(|t| self.f32(t)[0]);
                    let (gradients, state) = (self.f32(op.gradients), self.step(op.step));
                    update::update(op, gradients, &state, multipliers, scale, parameters, &mut moments);
                }
                Op::Narrow(op) => {
                    let input = &self.f32(op.input)[rows.start * op.inputs() as usize..];
                    narrow::narrow(op, input, self.f32(op.parameters), cast_slice_mut(next()))
                }
                Op::NonFinite(op) => {
                    let (input, state) = (self.f32(op.input), self.step(op.step));
                    metrics::non_finite(input, &state, &mut cast_slice_mut(next())[0]);
                }
                Op::Metrics(op) => {
                    cast_slice_mut(next())[0] = metrics::metrics(cast_slice(self.words(op.slots)));
                }
            }
        }
        for (tensor, words) in tensors.into_iter().zip(outputs) {
            let (start, len) = (tensor.offset as usize, words.len());
            self.0[tensor.buffer.0][start..start + len].copy_from_slice(&words);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Role;
    use crate::{Activation::*, Adam, Dataset, Device, Loss, Network, Trainer, TrainerConfig};

    /// A page gets a turn in the middle of a step: what comes of the step must not depend on where.
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
                trainer.bind_training(std::borrow::Cow::Borrowed(&data), 0).unwrap();
                let crate::device::Executor::Cpu(executor) = &trainer.training else { unreachable!() };
                let mut pauses = 0;
                let pause = || {
                    pauses += 1;
                    Some(std::future::ready(()))
                };
                pollster::block_on(executor.run_pieces(5, true, most, pause));
                let words = |role| executor.buffer(executor.plan().find(role).unwrap()).lock().clone();
                let kept = [Role::Parameters, Role::Moment1, Role::Moment2, Role::Totals].map(words);
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
            let crate::device::Executor::Cpu(executor) = &executor else { unreachable!() };
            let buffer = |role| executor.buffer(executor.plan().find(role).unwrap());
            buffer(Role::Input).lock().iter_mut().zip(1..).for_each(|(x, i)| *x = (i as f32 * 0.25).to_bits());
            let mut pauses = 0;
            let pause = || {
                pauses += 1;
                Some(std::future::ready(()))
            };
            pollster::block_on(executor.run_pieces(1, false, most, pause));
            let words = buffer(Role::Output).lock().clone();
            (words, pauses)
        };
        let ((whole, one), (pieces, five)) = (after(u64::MAX), after(1));
        assert_eq!((whole, one, five), (pieces, 1, 5));
    }
}

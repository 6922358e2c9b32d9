//! Lockstep: runs a plan on the GPU and on the CPU reference, and compares every output op by op.
//!
//! Before an op, both sides hold the same bits, except in outputs that the op writes completely: on the GPU, these are
//! filled with NaN. After the op, each output must agree within the rounding errors of that op (`src/ops/bounds.rs`).
//! The GPU then continues with the reference's numbers. So errors do not add up, and the first op that diverges is the
//! faulty one.
//!
//! A fused op that stands for several ops is compared part by part, each on the GPU's numbers from the parts before it.
//!
//! An op without a CPU reference (a "CPU twin") runs only on the GPU, and the CPU continues with the GPU's numbers. The
//! [`Comparison`] of such an op names the function without a twin. The lockstep still checks that the op writes each
//! output.

mod gradient;
#[cfg(not(target_family = "wasm"))]
mod layer;
mod parts;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuExecutor, Reading};
use crate::ops::{Access, Bounds, BufferId, Op, Tensor};
use crate::plan::{Life, Plan};
pub use gradient::{Differences, GradientComparison, GradientFault, compare_gradient};
#[cfg(not(target_family = "wasm"))]
pub use layer::{LayerReport, check_layer};
use parts::{Part, PartsRun};

/// A plan bound to the GPU executor and the CPU executor.
#[derive(Debug)]
pub struct Lockstep {
    gpu: Gpu,
    plan: Arc<Plan>,
    on_gpu: GpuExecutor,
    on_cpu: CpuExecutor,
    lives: Vec<Option<Life>>,
}

/// The comparison of one op.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The op: see [`Plan::describe`].
    pub op: String,
    /// The largest error divided by its bound; at most 1 if GPU and CPU agree.
    pub worst: f64,
    /// The first number that does not agree, if any.
    pub divergence: Option<Divergence>,
    /// What lacks a CPU twin, if the op could not be compared.
    pub skipped: Option<String>,
}

/// Two numbers that should agree but do not.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// Name of the buffer.
    pub buffer: String,
    /// Index in the op's part of the buffer, in 32-bit words.
    pub index: usize,
    /// The GPU's number. Integers are converted by value.
    pub gpu: f64,
    /// The reference's number; NaN if the op has no twin.
    pub cpu: f64,
    /// The largest allowed difference; 0 for integers and other exact values.
    pub bound: f64,
    /// Whether the GPU did not write this number.
    pub unwritten: bool,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.op)?;
        match (&self.divergence, &self.skipped) {
            (Some(divergence), _) => write!(f, "{divergence}"),
            (None, Some(what)) => write!(f, "not compared, as {what} has no CPU twin"),
            (None, None) => write!(f, "agrees with its CPU twin; largest error {:.2} of the bound", self.worst),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buffer, index, gpu, cpu, bound, unwritten } = self;
        match unwritten {
            true => write!(f, "{buffer}[{index}] is not written"),
            false => {
                write!(f, "{buffer}[{index}]: expected {cpu:e} (CPU twin) within {bound:.1e}, got {gpu:e}")
            }
        }
    }
}

/// A quiet NaN that arithmetic does not produce. Before an op, the outputs on the GPU are filled with it. It also fills
/// the padding after the end of a buffer.
const POISON: u32 = 0x7fc0_5afe;

impl Lockstep {
    /// Binds a plan, with kernels that check their indices and loops, so any plan and any contents are allowed. Every
    /// buffer starts as zeros.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, plan: Plan) -> Result<Self> {
        let plan = Arc::new(plan);
        let on_gpu = GpuExecutor::checked(gpu, plan.clone(), &[])?;
        Ok(Self::of(gpu, plan, on_gpu))
    }

    /// Binds a plan with the kernels of training, which have no checks.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Safety
    /// Tensors must have the lengths of their op's dimensions, and lie within their buffers. Row numbers, batch sizes
    /// and the rows of a data set must fit the buffers that are [`set`](Self::set).
    pub unsafe fn new_unchecked(gpu: &Gpu, plan: Plan) -> Result<Self> {
        let plan = Arc::new(plan);
        let on_gpu = GpuExecutor::new(gpu, plan.clone(), &[])?;
        Ok(Self::of(gpu, plan, on_gpu))
    }

    fn of(gpu: &Gpu, plan: Arc<Plan>, on_gpu: GpuExecutor) -> Self {
        let on_cpu = CpuExecutor::new(plan.clone(), &[]);
        let lives = plan.lives();
        Self { gpu: gpu.clone(), plan, on_gpu, on_cpu, lives }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Sets the contents of a buffer on both sides. The data set, and the inputs and outputs of a forward pass, must
    /// be set.
    ///
    /// # Errors
    /// [`Error::Shape`] if `contents` is shorter than the plan's buffer; [`Error::OutOfMemory`].
    pub fn set<T: bytemuck::Pod>(&mut self, buffer: BufferId, contents: &[T]) -> Result<()> {
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytemuck::cast_slice::<T, u8>(contents));
        let mut padded = words.clone();
        padded.resize(words.len().next_multiple_of(4), POISON);
        let uploaded = self.gpu.upload(&self.plan.buffer(buffer).name, bytemuck::cast_slice(&padded))?;
        self.on_gpu.bind(buffer, uploaded)?;
        self.on_cpu.bind(buffer, &CpuBuffer::new(words));
        Ok(())
    }

    /// The contents of a buffer, the same on both sides, as f32.
    pub fn get(&self, buffer: BufferId) -> Vec<f32> {
        bytemuck::cast_slice(&self.on_cpu.buffer(buffer).lock()).to_vec()
    }

    /// Adds `by` to one number on the GPU only, to test that the lockstep detects an error of that size.
    ///
    /// # Panics
    /// If the buffer has no such word.
    pub fn disturb_gpu(&mut self, buffer: BufferId, word: usize, by: f32) {
        let value = f32::from_bits(self.on_cpu.buffer(buffer).lock()[word]) + by;
        let target = self.on_gpu.buffer(buffer).expect("a buffer that has been set or made");
        self.gpu.queue().write_buffer(target, word as u64 * 4, &value.to_ne_bytes());
    }

    /// Runs every op of the plan once on both sides. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn run(&mut self) -> Result<Vec<Comparison>> {
        let ops = self.plan.ops().count();
        let comparisons = (0..ops).map(|index| self.compare(index)).collect::<Result<Vec<_>>>()?;
        Ok(comparisons.concat())
    }

    /// Runs and compares one op, or each of its parts.
    #[cfg(not(target_family = "wasm"))]
    fn compare(&mut self, index: usize) -> Result<Vec<Comparison>> {
        let plan = self.plan.clone();
        let Some(op) = plan.ops().nth(index) else {
            return Err(Error::shape("number of an op", format!("below {}", plan.ops().count()), index));
        };
        let run = self.run_op(index, op)?;
        let (comparisons, made) = self.gpu.block_on(run.finish())?;
        if comparisons.iter().any(|comparison| comparison.skipped.is_some()) {
            made.into_iter().for_each(|(tensor, words)| self.on_cpu.set(tensor, &words));
        }
        Ok(comparisons)
    }

    /// `run` for browsers, and for apps that poll: submits all ops, without waiting. [`Running::finish`] waits for the
    /// GPU's outputs and compares them.
    ///
    /// # Errors
    /// As `run`; [`Error::Shape`] if an op has no CPU twin, because here the reference cannot continue with the GPU's
    /// numbers.
    pub fn start(&mut self) -> Result<Running> {
        let plan = self.plan.clone();
        if let Some((op, what)) = plan.ops().find_map(|op| Some((op, op.as_kernel().without_twin()?))) {
            return Err(Error::shape(plan.describe(op), "an op with a CPU twin", format!("{what}; use Lockstep::run")));
        }
        Ok(Running { ops: plan.ops().enumerate().map(|(i, op)| self.run_op(i, op)).collect::<Result<_>>()? })
    }

    fn run_op(&mut self, index: usize, op: &Op) -> Result<Run> {
        let skipped = op.as_kernel().without_twin();
        let has_parts = !std::ptr::eq(op.parts(), std::slice::from_ref(op));
        let mut parts = has_parts.then(|| PartsRun::before(&self.on_cpu, op));
        let bounds = match &skipped {
            _ if has_parts => Vec::new(),
            None => self.on_cpu.inspect(op, |at| op.as_kernel().bounds(at)),
            Some(_) => op.outputs().iter().map(|_| Bounds::Exact).collect(),
        };
        op.parts().iter().flat_map(Op::outputs).for_each(|(tensor, access)| self.prepare(index, tensor, access));
        let mut encoder = self.gpu.encoder();
        self.on_gpu.record_op(&mut encoder, index);
        self.gpu.submit(encoder)?;
        if skipped.is_none() {
            op.parts().iter().for_each(|part| self.on_cpu.run(part));
        }
        if let Some(run) = &mut parts {
            for part in op.parts() {
                let reading = |(tensor, access)| Ok((tensor, access, self.take(tensor, skipped.is_none())?));
                let outputs = part.outputs().into_iter().map(reading).collect::<Result<_>>()?;
                run.push(Part { op: part.clone(), outputs });
            }
        }
        if let Some(parts) = parts {
            return Ok(Run::Parts(parts));
        }
        let output = |((tensor, access), bounds): ((Tensor, Access), Bounds)| {
            let gpu = self.take(tensor, skipped.is_none())?;
            let cpu = skipped.is_none().then(|| self.on_cpu.words(tensor));
            let buffer = self.plan.buffer(tensor.buffer).name.clone();
            Ok((tensor, Output { buffer, gpu, cpu, bounds, is_poisoned: access == Access::Write }))
        };
        let outputs = op.outputs().into_iter().zip(bounds).map(output).collect::<Result<Vec<_>>>()?;
        let (tensors, outputs) = outputs.into_iter().unzip();
        Ok(Run::Op(tensors, OpRun { op: self.plan.describe(op), outputs, skipped }))
    }

    /// Prepares an output for the op with this index: fills it with NaN if the op writes all of it.
    fn prepare(&self, index: usize, tensor: Tensor, access: Access) {
        let words = tensor.words();
        let buffer = self.plan.buffer(tensor.buffer);
        match access {
            Access::Write if buffer.words() == Some(words.end as u64) => {
                self.write(tensor, words.start, &vec![POISON; words.len().next_multiple_of(4)]);
            }
            Access::Write => self.write(tensor, words.start, &vec![POISON; words.len()]),
            // Several ops write parts of this buffer. Before the first of them, its shared memory still holds another
            // buffer's numbers.
            _ if buffer.memory.is_some() && self.lives[tensor.buffer.0].is_some_and(|[first, _]| first == index) => {
                self.write(tensor, words.start, &self.on_cpu.words(tensor));
            }
            _ => {}
        }
    }

    /// Reads an output of the GPU. With `replace`, the GPU continues with the CPU's numbers.
    fn take(&self, tensor: Tensor, replace: bool) -> Result<Reading> {
        let cpu = self.on_cpu.words(tensor);
        let start = self.plan.words_of(tensor, cpu.len()).start;
        let gpu = read(&self.gpu, self.gpu_buffer(tensor), start..start + cpu.len())?;
        if replace {
            self.write(tensor, start, &cpu);
        }
        Ok(gpu)
    }

    fn gpu_buffer(&self, tensor: Tensor) -> &wgpu::Buffer {
        self.on_gpu.buffer(tensor.buffer).expect("a buffer that was made, or has been set")
    }

    fn write(&self, tensor: Tensor, start: usize, words: &[u32]) {
        self.gpu.queue().write_buffer(self.gpu_buffer(tensor), start as u64 * 4, bytemuck::cast_slice(words));
    }
}

/// Submits a copy of a part of a buffer.
fn read(gpu: &Gpu, buffer: &wgpu::Buffer, words: Range<usize>) -> Result<Reading> {
    let mut encoder = gpu.encoder();
    let readback = gpu.record_readback(&mut encoder, buffer, words.start as u64 * 4..words.end as u64 * 4)?;
    gpu.submit(encoder)?;
    readback.read(gpu)
}

/// Ops that the GPU is running.
#[derive(Debug)]
pub struct Running {
    ops: Vec<Run>,
}

#[derive(Debug)]
enum Run {
    /// An op and its outputs.
    Op(Vec<Tensor>, OpRun),
    Parts(PartsRun),
}

impl Run {
    /// The comparison of the op or of each of its parts, and the GPU's outputs.
    async fn finish(self) -> Result<(Vec<Comparison>, Vec<(Tensor, Vec<u32>)>)> {
        match self {
            Self::Op(tensors, run) => {
                let (comparison, made) = run.finish().await?;
                Ok((vec![comparison], tensors.into_iter().zip(made).collect()))
            }
            Self::Parts(run) => run.finish().await,
        }
    }
}

#[derive(Debug)]
struct OpRun {
    op: String,
    outputs: Vec<Output>,
    skipped: Option<String>,
}

/// An op's output in a buffer, on its way from the GPU.
#[derive(Debug)]
struct Output {
    buffer: String,
    gpu: Reading,
    /// `None` if the op has no twin.
    cpu: Option<Vec<u32>>,
    bounds: Bounds,
    is_poisoned: bool,
}

impl Running {
    /// Waits for the GPU and returns the comparisons.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn finish(self) -> Result<Vec<Comparison>> {
        let mut comparisons = Vec::new();
        for op in self.ops {
            comparisons.extend(op.finish().await?.0);
        }
        Ok(comparisons)
    }
}

impl OpRun {
    /// The comparison of the op, and the GPU's outputs.
    async fn finish(self) -> Result<(Comparison, Vec<Vec<u32>>)> {
        let mut comparison = Comparison { op: self.op, worst: 0.0, divergence: None, skipped: self.skipped };
        let mut made = Vec::new();
        for Output { buffer, gpu, cpu, bounds, is_poisoned } in self.outputs {
            let gpu = gpu.finish().await?;
            let value = |word: u32, bound: f64| match bounds {
                Bounds::Whole(_) => f64::from(word as i32),
                _ if bound > 0.0 => f64::from(f32::from_bits(word)),
                _ => word.into(),
            };
            for (i, &word) in gpu.iter().enumerate() {
                let cpu = cpu.as_ref().map(|cpu| cpu[i]);
                let bound = bounds.of(i);
                let unwritten = is_poisoned && word == POISON && cpu != Some(POISON);
                let share = match cpu {
                    _ if unwritten => f64::INFINITY,
                    Some(cpu) => error(word, cpu, &bounds, bound),
                    None => 0.0,
                };
                comparison.worst = comparison.worst.max(share);
                if share > 1.0 && comparison.divergence.is_none() {
                    let cpu = cpu.map_or(f64::NAN, |cpu| value(cpu, bound));
                    let (buffer, gpu) = (buffer.clone(), value(word, bound));
                    comparison.divergence = Some(Divergence { buffer, index: i, gpu, cpu, bound, unwritten });
                }
            }
            made.push(gpu);
        }
        Ok((comparison, made))
    }
}

/// The difference of two words divided by the bound. Infinite if they must be equal but are not, or if only one is
/// NaN.
fn error(gpu: u32, cpu: u32, bounds: &Bounds, bound: f64) -> f64 {
    let value = |word: u32| match bounds {
        Bounds::Whole(_) => f64::from(word as i32),
        _ => f64::from(f32::from_bits(word)),
    };
    let (x, y) = (value(gpu), value(cpu));
    // NaN has many bit patterns.
    let both_nan = x.is_nan() && y.is_nan() && bound != 0.0;
    if gpu == cpu || both_nan || (x == y && bound > 0.0) {
        0.0
    } else if bound > 0.0 && (x - y).is_finite() {
        (x - y).abs() / bound
    } else {
        f64::INFINITY
    }
}

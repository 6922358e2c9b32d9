//! Any plan on the GPU and on the CPU reference side by side: op by op, every output compared.
//!
//! Before an op both sides hold the same bits, and what it is to overwrite holds NaN on the GPU; after it each output
//! must agree within what the arithmetic of that op allows (`bounds/`), and the GPU then goes on from the
//! reference's numbers. So an op answers for its own error only, and the first one that diverges is the culprit.
//!
//! An op without a CPU twin runs on the GPU only, and the reference goes on from the GPU's numbers: its comparison says
//! what was skipped, and that each of its outputs was written is still checked.

mod gradient;
#[cfg(not(target_family = "wasm"))]
mod layer;

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

/// A plan bound to both executors.
#[derive(Debug)]
pub struct Lockstep {
    gpu: Gpu,
    plan: Arc<Plan>,
    on_gpu: GpuExecutor,
    on_cpu: CpuExecutor,
    lives: Vec<Option<Life>>,
}

/// How an op did.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The op, as [`Plan::describe`] has it.
    pub op: String,
    /// The largest error as a share of what is allowed; at most 1 where the two agree.
    pub worst: f64,
    /// Where they do not agree: the first such number.
    pub divergence: Option<Divergence>,
    /// What lacks a CPU twin, if the op could not be compared.
    pub skipped: Option<String>,
}

/// Two numbers that ought to agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// The buffer.
    pub buffer: String,
    /// The index in the op's part of the buffer, in 32-bit words.
    pub index: usize,
    /// The GPU's number; integers are given by value.
    pub gpu: f64,
    /// The reference's; NaN where the op has no twin.
    pub cpu: f64,
    /// How far they may lie apart; 0 for integers and for what must be exact.
    pub bound: f64,
    /// Whether the GPU has not written that number at all.
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

/// What overwritten outputs hold before an op, and what follows a buffer up to the end of its binding: a quiet NaN that
/// no arithmetic makes, told by its last bits.
const POISON: u32 = 0x7fc0_5afe;

impl Lockstep {
    /// Binds a plan, with kernels that check their indices and loops, as any plan may be given and any contents set;
    /// every buffer starts as zeros.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, plan: Plan) -> Result<Self> {
        let plan = Arc::new(plan);
        let on_gpu = GpuExecutor::checked(gpu, plan.clone(), &[])?;
        Ok(Self::of(gpu, plan, on_gpu))
    }

    /// Binds a plan with the very kernels that training uses, which check nothing.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Safety
    /// Tensors must be as long as their op's dimensions say, and lie within their buffers; row numbers, batch sizes and
    /// the rows of a data set must fit the buffers that are [`set`](Self::set).
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

    /// Fills a buffer on both sides. Plans leave the data set and the ends of a forward pass open: these must be set.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is shorter than the plan's buffer;
    /// [`Error::OutOfMemory`].
    pub fn set<T: bytemuck::Pod>(&mut self, buffer: BufferId, contents: &[T]) -> Result<()> {
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytemuck::cast_slice::<T, u8>(contents));
        let mut padded = words.clone();
        padded.resize(words.len().next_multiple_of(4), POISON);
        let uploaded = self.gpu.upload(&self.plan.buffer(buffer).name, bytemuck::cast_slice(&padded))?;
        self.on_gpu.bind(buffer, uploaded)?;
        self.on_cpu.bind(buffer, &CpuBuffer::new(words));
        Ok(())
    }

    /// What a buffer holds, on both sides, as f32.
    pub fn get(&self, buffer: BufferId) -> Vec<f32> {
        bytemuck::cast_slice(&self.on_cpu.buffer(buffer).lock()).to_vec()
    }

    /// Adds `by` to one number on the GPU only: to see that a lockstep would catch an error of that size.
    ///
    /// # Panics
    /// Where the buffer has no such word.
    pub fn disturb_gpu(&mut self, buffer: BufferId, word: usize, by: f32) {
        let value = f32::from_bits(self.on_cpu.buffer(buffer).lock()[word]) + by;
        let target = self.on_gpu.buffer(buffer).expect("a buffer that has been set or made");
        self.gpu.queue().write_buffer(target, word as u64 * 4, &value.to_ne_bytes());
    }

    /// Runs every op of the plan once, on both sides. Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn run(&mut self) -> Result<Vec<Comparison>> {
        let ops = self.plan.ops().count();
        (0..ops).map(|index| self.compare(index)).collect()
    }

    /// Runs one op.
    #[cfg(not(target_family = "wasm"))]
    fn compare(&mut self, index: usize) -> Result<Comparison> {
        let plan = self.plan.clone();
        let Some(op) = plan.ops().nth(index) else {
            return Err(Error::shape("number of an op", format!("below {}", plan.ops().count()), index));
        };
        let run = self.run_op(index, op)?;
        let (comparison, made) = self.gpu.block_on(run.finish())?;
        if comparison.skipped.is_some() {
            for ((tensor, _), words) in op.outputs().into_iter().zip(made) {
                let mut buffer = self.on_cpu.buffer(tensor.buffer).lock();
                let range = plan.words_of(tensor, buffer.len());
                buffer[range].copy_from_slice(&words);
            }
        }
        Ok(comparison)
    }

    /// `run` for browsers, and for apps that poll. Submits; what the GPU makes is compared when the answer is awaited,
    /// and held until then.
    ///
    /// # Errors
    /// As `run`; [`Error::Shape`] for a plan with an op that has no CPU twin, as nothing goes on from the GPU's numbers
    /// here.
    pub fn start(&mut self) -> Result<Running> {
        let plan = self.plan.clone();
        if let Some((op, what)) = plan.ops().find_map(|op| Some((op, op.as_kernel().without_twin()?))) {
            return Err(Error::shape(plan.describe(op), "an op with a CPU twin", format!("{what}; use Lockstep::run")));
        }
        Ok(Running { ops: plan.ops().enumerate().map(|(i, op)| self.run_op(i, op)).collect::<Result<_>>()? })
    }

    fn run_op(&mut self, index: usize, op: &Op) -> Result<OpRun> {
        let skipped = op.as_kernel().without_twin();
        let bounds = match &skipped {
            None => self.on_cpu.inspect(op, |at| op.as_kernel().bounds(at)),
            Some(_) => op.outputs().iter().map(|_| Bounds::Exact).collect(),
        };
        for (tensor, access) in op.outputs() {
            let words = tensor.words();
            let buffer = self.plan.buffer(tensor.buffer);
            match access {
                Access::Write if buffer.words() == Some(words.end as u64) => {
                    self.write(tensor, words.start, &vec![POISON; words.len().next_multiple_of(4)]);
                }
                Access::Write => self.write(tensor, words.start, &vec![POISON; words.len()]),
                // Where the op is the first of several to write it, memory that is shared holds other buffers' numbers.
                _ if buffer.memory.is_some()
                    && self.lives[tensor.buffer.0].is_some_and(|[first, _]| first == index) =>
                {
                    self.write(tensor, words.start, &self.on_cpu.words(tensor));
                }
                _ => {}
            }
        }
        let mut encoder = self.gpu.encoder();
        self.on_gpu.record_op(&mut encoder, index);
        self.gpu.submit(encoder)?;
        if skipped.is_none() {
            self.on_cpu.run(op);
        }

        let output = |((tensor, access), bounds): ((Tensor, Access), Bounds)| {
            let cpu = self.on_cpu.words(tensor);
            let start = self.plan.words_of(tensor, cpu.len()).start;
            let gpu = read(&self.gpu, self.gpu_buffer(tensor), start..start + cpu.len())?;
            let cpu = skipped.is_none().then_some(cpu);
            if let Some(cpu) = &cpu {
                self.write(tensor, start, cpu);
            }
            let is_poisoned = access == Access::Write;
            Ok(Output { buffer: self.plan.buffer(tensor.buffer).name.clone(), gpu, cpu, bounds, is_poisoned })
        };
        let outputs = op.outputs().into_iter().zip(bounds).map(output).collect::<Result<_>>()?;
        Ok(OpRun { op: self.plan.describe(op), outputs, skipped })
    }

    fn gpu_buffer(&self, tensor: Tensor) -> &wgpu::Buffer {
        self.on_gpu.buffer(tensor.buffer).expect("a buffer that was made, or has been set")
    }

    fn write(&self, tensor: Tensor, start: usize, words: &[u32]) {
        self.gpu.queue().write_buffer(self.gpu_buffer(tensor), start as u64 * 4, bytemuck::cast_slice(words));
    }
}

/// Submits a copy of what a buffer holds.
fn read(gpu: &Gpu, buffer: &wgpu::Buffer, words: Range<usize>) -> Result<Reading> {
    let mut encoder = gpu.encoder();
    let readback = gpu.record_readback(&mut encoder, buffer, words.start as u64 * 4..words.end as u64 * 4)?;
    gpu.submit(encoder)?;
    readback.read(gpu)
}

/// Ops that the GPU is at.
#[derive(Debug)]
pub struct Running {
    ops: Vec<OpRun>,
}

#[derive(Debug)]
struct OpRun {
    op: String,
    outputs: Vec<Output>,
    skipped: Option<String>,
}

/// What an op has left in a buffer, on its way from the GPU.
#[derive(Debug)]
struct Output {
    buffer: String,
    gpu: Reading,
    /// Nothing where the op has no twin.
    cpu: Option<Vec<u32>>,
    bounds: Bounds,
    is_poisoned: bool,
}

impl Running {
    /// How the ops did.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn finish(self) -> Result<Vec<Comparison>> {
        let mut comparisons = Vec::new();
        for op in self.ops {
            comparisons.push(op.finish().await?.0);
        }
        Ok(comparisons)
    }
}

impl OpRun {
    /// How the op did, and what the GPU has made.
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

/// The distance of two words as a share of the bound, infinite where they may not differ and do, or where only one is
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

//! A layer by itself: what an author checks before the layer trains.

mod gradients;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Comparison, GradientComparison, Lockstep, POISON};
use crate::config::TrainerConfig;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuExecutor, Region};
use crate::network::{Graph, Layer, Network};
use crate::ops::Access;
use crate::optimizer::Sgd;
use crate::plan::{Buffer, BufferId, CustomOp, DataInfo, Op, Plan, Role, Tensor};
use crate::random::{Stream, uniform};
use crate::shape::Shape;

/// 32-bit words behind a tensor in which a write is noticed; at least four times the tensor.
const GUARD_WORDS: usize = 1 << 22;

/// What these words hold: an f32 near 0.01, which changes where something is added to it too.
const GUARD: u32 = 0x3c49_ba5e;

/// What [`check_layer`] has compared. Prints as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// The layer's name: its kind, and its number in the network that was made for the check.
    pub layer: String,
    /// Each op of the forward and backward pass, compared with its CPU twin; those without a twin say so.
    pub ops: Vec<Comparison>,
    /// The gradient of each input and of each parameter, by name.
    pub gradients: Vec<(String, GradientComparison)>,
}

impl fmt::Display for LayerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} is right", self.layer)?;
        for op in &self.ops {
            write!(f, "\n  {op}")?;
        }
        for (name, GradientComparison { compared, unclear, worst, bound, .. }) in &self.gradients {
            write!(
                f,
                "\n  gradient of {name}: {compared} numbers agree with central differences, {unclear} are unclear; "
            )?;
            write!(f, "largest error {worst:.2} of the bound, largest bound {bound:.1e}")?;
        }
        Ok(())
    }
}

/// Checks a layer on random data: that its kernels compile, write all of their tensors and nothing else, agree with
/// their CPU twins, give the same bits again, and that its gradients are right.
///
/// `inputs` has the shape of one sample of each input, and `rows` is the batch size. Small shapes do: a kernel that
/// depends on the shape is checked at several. Inputs are uniform in −1 to 1. Initial weights are moved by up to a
/// quarter, so that no bias is 0. A layer must not be steeper than differences with steps of 1.5e-5 can tell: check a
/// hash grid, say, with few levels.
///
/// - **Writes**: behind each tensor that an own kernel writes lie 4 million numbers, or four times the tensor, in which
///   a write is noticed. In training bindings end with the tensor and own kernels check their indices, so that such a
///   write changes nothing.
/// - **Gradients**: at most 256 numbers of each tensor, evenly spread, are compared with central differences of a
///   random weighted sum L of the outputs: forward passes on the GPU in f32, summed in f64.
///   See [`compare_gradient`](super::compare_gradient). With u = 2⁻²⁴ and n the numbers that one output can depend on,
///   rounding moves L by u √n (m ‖g‖ + ‖w · dL/dw‖): m is the largest output, g are the weights in L of the outputs
///   that change, and w · dL/dw is the product of each input or parameter and its gradient. A gradient is rounded by
///   2 u √(n · rows) of its largest number.
///
/// Works for built-in layers too. Blocks, submits and polls; not for browsers.
///
/// ```no_run
/// use wgrad::{Activation::*, Dense, Gpu, lockstep::check_layer};
/// let report = check_layer(&Gpu::request()?, Dense::new(16, Tanh), [[8]], 4)?;
/// println!("{report}");
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Layer`] for the first fault: it names the layer, the kernel, the tensor and the index. Errors of
/// [`Graph::layer`] where the layer does not take such inputs. [`Error::LimitExceeded`], [`Error::OutOfMemory`],
/// [`Error::DeviceLost`].
pub fn check_layer<S: Into<Shape>>(
    gpu: &Gpu,
    layer: impl Into<Layer>,
    inputs: impl IntoIterator<Item = S>,
    rows: u32,
) -> Result<LayerReport> {
    let mut graph = Graph::new();
    let inputs = (1..).zip(inputs);
    let inputs: Vec<_> = inputs.map(|(i, shape)| graph.input(format!("input_{i}"), shape)).collect();
    let outputs = graph.push(layer.into(), &inputs, None)?;
    let network = graph.build((1..).zip(outputs).map(|(i, output)| (format!("output_{i}"), output)))?;
    let mut check = Check::new(gpu, network, rows)?;
    let ops = check.ops()?;
    let gradients = check.gradients()?;
    Ok(LayerReport { layer: check.layer, ops, gradients })
}

/// A layer under check.
struct Check {
    layer: String,
    network: Network,
    rows: u32,
    lockstep: Lockstep,
    /// The loss is the sum of the outputs, one after the other, times these.
    weights: Vec<f32>,
    /// Weights and states as they are before the step.
    parameters: Vec<f32>,
    saved: wgpu::Buffer,
    /// The outputs of all steps of a central difference.
    outputs: wgpu::Buffer,
}

impl Check {
    fn new(gpu: &Gpu, network: Network, rows: u32) -> Result<Self> {
        let layer = network.nodes().first().map_or_else(String::new, |node| node.name.clone());
        let fault = |fault: String| Error::Layer { layer: layer.clone(), fault };
        let config = TrainerConfig { batch: rows, ..TrainerConfig::default() };
        let ends = network.input_specs().len();
        let plan = Plan::chain(&network, &Sgd::default().into(), &config, &vec![true; ends])?;
        let mut lockstep = Lockstep::new(gpu, plan).map_err(|error| match error {
            Error::Gpu { what, reason } => fault(format!("{what} does not compile: {reason}")),
            other => other,
        })?;

        let random = |stream: u32, i: usize| (2.0 * uniform(1, Stream::Check, stream, i as u32) - 1.0) as f32;
        let mut parameters = network.initial_parameters(1);
        for weight in network.parameters().iter().flat_map(|parameter| parameter.range()) {
            let by = 0.25 * random(0, weight);
            parameters[weight] = if parameters[weight] == 0.0 { by } else { parameters[weight] * (1.0 + by) };
        }
        lockstep.set_role(Role::Parameters, &parameters)?;
        lockstep.set_role(Role::Data(0), &[DataInfo { rows, ..DataInfo::default() }])?;
        let mut weights = Vec::new();
        let words = |features: u32| rows as usize * features as usize;
        for (i, end) in (0..).zip(network.input_specs()) {
            let x: Vec<f32> = (0..words(end.features())).map(|at| random(2 * i + 1, at)).collect();
            lockstep.set_role(Role::Input(i), &x)?;
        }
        for (o, end) in (0..).zip(network.output_specs()) {
            let given: Vec<f32> = (0..words(end.features())).map(|at| random(2 * o + 2, at)).collect();
            lockstep.set_role(Role::OutputGradient(o), &given)?;
            weights.extend(given);
        }
        let saved = gpu.upload("saved parameters", bytemuck::cast_slice(&parameters))?;
        let outputs = gpu.zeros("outputs of the check", gradients::outputs_bytes(weights.len()))?;
        Ok(Self { layer, network, rows, lockstep, weights, parameters, saved, outputs })
    }

    fn fault(&self, fault: impl Into<String>) -> Error {
        Error::Layer { layer: self.layer.clone(), fault: fault.into() }
    }

    /// Runs the forward and the backward pass, op by op.
    fn ops(&mut self) -> Result<Vec<Comparison>> {
        let plan = self.lockstep.plan.clone();
        let mut comparisons = Vec::new();
        for (index, op) in plan.step[..plan.phases()[1].end].iter().enumerate() {
            if let Op::CustomOp(op) = op {
                self.check_guards(op)?;
            }
            let comparison = self.lockstep.compare(index)?;
            if let Some(divergence) = &comparison.divergence {
                return Err(self.fault(format!("kernel {}: {divergence}", name(op))));
            }
            // What moves the batch is no part of the layer.
            if !matches!(op, Op::NextBatch(_)) {
                comparisons.push(comparison);
            }
        }
        Ok(comparisons)
    }

    /// Runs a kernel by itself, each tensor that it writes followed by words that must stay as they are.
    fn check_guards(&self, op: &CustomOp) -> Result<()> {
        let (gpu, plan) = (&self.lockstep.gpu, &self.lockstep.plan);
        let most = (gpu.largest_binding() / 4) as usize;
        let mut alone = Op::from(op.clone());
        let (mut buffers, mut given, mut guarded) = (Vec::new(), Vec::new(), Vec::new());
        for ((_, tensor, access), moved) in op.tensors().zip(alone.tensors_mut()) {
            let id = BufferId(buffers.len());
            // A buffer whose length the plan does not know is bound whole.
            buffers.push(Buffer {
                shape: None,
                memory: None,
                contents: Vec::new(),
                ..plan.buffer(tensor.buffer).clone()
            });
            *moved = Tensor::new(id, tensor.dtype, tensor.shape);
            let mut words = self.lockstep.on_cpu.words(tensor);
            let len = words.len();
            if access == Access::Write {
                words.fill(POISON);
            }
            if access != Access::Read {
                words.resize((len + GUARD_WORDS.max(4 * len)).min(most).max(len), GUARD);
            }
            let end = words.len();
            let buffer = gpu.upload(&plan.buffer(tensor.buffer).name, bytemuck::cast_slice(&words))?;
            guarded.push((buffer.clone(), len..end));
            given.push((id, Region::from(buffer)));
        }
        let plan = Plan { name: "guarded", batch: self.rows, buffers, step: vec![alone], report: Vec::new() };
        let executor = GpuExecutor::checked(gpu, Arc::new(plan), &given)?;
        let mut encoder = gpu.encoder();
        executor.record_op(&mut encoder, 0);
        gpu.submit(encoder)?;
        for ((name, ..), (buffer, behind)) in op.tensors().zip(guarded).filter(|(_, (_, behind))| !behind.is_empty()) {
            let len = behind.start;
            if let Some(at) = read(gpu, &buffer, behind)?.iter().position(|&word| word != GUARD) {
                let (kernel, at) = (op.name(), len + at);
                return Err(self.fault(format!("kernel {kernel} writes {name}[{at}], but {name} has {len} numbers")));
            }
        }
        Ok(())
    }

    /// Which ops make the outputs, and which make everything but the updates.
    fn phases(&self) -> [Range<usize>; 2] {
        let [forward, backward, _] = self.lockstep.plan.phases();
        // The first op moves the batch, the last one says that the backward pass has run.
        [1..forward.end, 1..backward.end.saturating_sub(1)]
    }

    /// Refuses the first kernel that leaves other bits when the same step runs again.
    fn check_repeats(&self, before: &[(BufferId, Vec<u32>)], after: &[(BufferId, Vec<u32>)]) -> Result<()> {
        let plan = &self.lockstep.plan;
        for op in &plan.step[self.phases()[1].clone()] {
            for (tensor, _) in op.outputs() {
                let left = before.iter().zip(after).find(|((id, _), _)| *id == tensor.buffer);
                let Some(((_, before), (_, after))) = left else { continue };
                let [before, after] = [before, after].map(|words| &words[tensor.words()]);
                if let Some(at) = before.iter().zip(after).position(|(a, b)| a != b) {
                    let [a, b] = [before, after].map(|words| f32::from_bits(words[at]));
                    let (kernel, tensor) = (name(op), &plan.buffer(tensor.buffer).name);
                    let why = "invocations race, or the kernel reads the old value";
                    let fault =
                        format!("kernel {kernel}: {tensor}[{at}] is {a:e}, and {b:e} when it runs again: {why}");
                    return Err(self.fault(fault));
                }
            }
        }
        Ok(())
    }

    /// Records ops again, from the states before the step.
    fn record(&self, encoder: &mut wgpu::CommandEncoder, ops: Range<usize>) {
        let start = u64::from(self.network.trained_words()) * 4;
        let bytes = self.parameters.len() as u64 * 4 - start;
        if bytes > 0 {
            let to = self.lockstep.on_gpu.of(Role::Parameters);
            encoder.copy_buffer_to_buffer(&self.saved, start, to, start, bytes);
        }
        self.lockstep.on_gpu.record_part(encoder, "check", ops);
    }

    /// Runs the forward and the backward pass again, on the GPU alone; what they leave.
    fn run_again(&self) -> Result<Vec<(BufferId, Vec<u32>)>> {
        let Lockstep { gpu, plan, on_gpu, .. } = &self.lockstep;
        let mut encoder = gpu.encoder();
        self.record(&mut encoder, self.phases()[1].clone());
        gpu.submit(encoder)?;
        let is_left =
            |role: Role| matches!(role, Role::Output(_) | Role::InputGradient(_) | Role::Gradients | Role::Parameters);
        let mut left = Vec::new();
        for id in (0..plan.buffers.len()).map(BufferId).filter(|id| is_left(plan.buffer(*id).role)) {
            if let (Some(buffer), Some(words)) = (on_gpu.buffer(id), plan.buffer(id).words()) {
                left.push((id, read(gpu, buffer, 0..words as usize)?));
            }
        }
        Ok(left)
    }
}

impl Lockstep {
    fn set_role<T: bytemuck::Pod>(&mut self, role: Role, contents: &[T]) -> Result<()> {
        self.plan.find(role).map_or(Ok(()), |id| self.set(id, contents))
    }
}

/// The name of a kernel, in errors.
fn name(op: &Op) -> &str {
    match op {
        Op::CustomOp(op) => op.name(),
        op => op.kernel(),
    }
}

/// What a buffer holds.
fn read(gpu: &Gpu, buffer: &wgpu::Buffer, words: Range<usize>) -> Result<Vec<u32>> {
    gpu.block_on(super::read(gpu, buffer, words)?.finish())
}

//! Checks of a single layer, for authors of custom layers.

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

/// Number of 32-bit guard words after a tensor, in which a write is detected; at least four times the tensor.
const GUARD_WORDS: usize = 1 << 22;

/// Value of the guard words: an f32 near 0.01, which also changes if something is added to it.
const GUARD: u32 = 0x3c49_ba5e;

/// The result of [`check_layer`]. Prints as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// Name of the layer: its kind and its number in the network of the check.
    pub layer: String,
    /// The comparison of each op of the forward and backward pass with its CPU twin. It says if the op has no twin.
    pub ops: Vec<Comparison>,
    /// The comparison of the gradient of each input and each parameter, by name.
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

/// Checks a layer on random data.
///
/// It checks that the layer's kernels compile, write all of their tensors and nothing else, agree with their CPU
/// twins, and give the same bits again. It also checks the gradients.
///
/// `inputs` has the shape of one sample of each input, and `rows` is the batch size. Small shapes are enough. If a
/// kernel depends on the shape, check several shapes. Inputs are uniform in −1 to 1. Initial weights are changed by
/// up to a quarter, so that no bias is 0. The layer must not be too steep for differences with steps of 1.5e-5: for
/// example, check a hash grid with few levels.
///
/// - **Writes**: guard words follow each tensor that a custom kernel writes: 4 million, or four times the tensor. A
///   write to them is detected. (In training such a write has no effect: bindings end with the tensor, and custom
///   kernels check their indices.)
/// - **Gradients**: at most 256 elements of each tensor, evenly spread, are compared with central differences. See
///   [`compare_gradient`](super::compare_gradient). The loss L is a random weighted sum of the outputs. Forward
///   passes run on the GPU in f32; the sum is in f64.
/// - **Rounding**: with u = 2⁻²⁴, rounding changes L by u √n (m ‖g‖ + ‖w · dL/dw‖). Here n is the number of values
///   that one output can depend on, m the largest output, and g the weights in L of the outputs that change. w ·
///   dL/dw is the product of each input or parameter and its gradient. A gradient's own rounding error is 2 u √(n ·
///   rows) times its largest element.
///
/// It also works for built-in layers. Blocks, submits and polls; not for browsers.
///
/// ```no_run
/// use wgrad::{Activation::*, Dense, Gpu, lockstep::check_layer};
/// let report = check_layer(&Gpu::request()?, Dense::new(16, Tanh), [[8]], 4)?;
/// println!("{report}");
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// - [`Error::Layer`] for the first fault. It names the layer, the kernel, the tensor and the index.
/// - Errors of [`Graph::layer`] if the layer does not accept such inputs.
/// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
    /// The loss is the sum of the outputs, each multiplied by one of these weights.
    weights: Vec<f32>,
    /// Weights and states before the step.
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
        let inputs = network.input_specs().len();
        let plan = Plan::chain(&network, &Sgd::default().into(), &config, &vec![true; inputs])?;
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
        for (i, spec) in (0..).zip(network.input_specs()) {
            let x: Vec<f32> = (0..words(spec.features())).map(|at| random(2 * i + 1, at)).collect();
            lockstep.set_role(Role::Input(i), &x)?;
        }
        for (o, spec) in (0..).zip(network.output_specs()) {
            let given: Vec<f32> = (0..words(spec.features())).map(|at| random(2 * o + 2, at)).collect();
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
            let compared = self.lockstep.compare(index)?;
            if let Some(divergence) = compared.iter().find_map(|comparison| comparison.divergence.as_ref()) {
                return Err(self.fault(format!("kernel {}: {divergence}", name(op))));
            }
            // This op advances the batch and is not part of the layer.
            if !matches!(op, Op::NextBatch(_)) {
                comparisons.extend(compared);
            }
        }
        Ok(comparisons)
    }

    /// Runs one kernel; each tensor that it writes is followed by guard words.
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

    /// The ops of the forward pass, and all ops except the updates.
    fn phases(&self) -> [Range<usize>; 2] {
        let [forward, backward, _] = self.lockstep.plan.phases();
        // The first op advances the batch. The last op marks the backward pass as done.
        [1..forward.end, 1..backward.end.saturating_sub(1)]
    }

    /// Returns an error for the first kernel that gives other bits when the same step runs again.
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

    /// Records ops again, starting from the states before the step.
    fn record(&self, encoder: &mut wgpu::CommandEncoder, ops: Range<usize>) {
        let start = u64::from(self.network.trained_words()) * 4;
        let bytes = self.parameters.len() as u64 * 4 - start;
        if bytes > 0 {
            let to = self.lockstep.on_gpu.of(Role::Parameters);
            encoder.copy_buffer_to_buffer(&self.saved, start, to, start, bytes);
        }
        self.lockstep.on_gpu.record_part(encoder, "check", ops);
    }

    /// Runs the forward and the backward pass again, only on the GPU. Returns the resulting buffers.
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

/// The name of a kernel in errors.
fn name(op: &Op) -> &str {
    match op {
        Op::CustomOp(op) => op.name(),
        op => op.kernel(),
    }
}

/// The contents of a part of a buffer.
fn read(gpu: &Gpu, buffer: &wgpu::Buffer, words: Range<usize>) -> Result<Vec<u32>> {
    gpu.block_on(super::read(gpu, buffer, words)?.finish())
}

//! Custom kernels: WGSL from the application.

use std::fmt::Write;
use std::sync::Arc;

use super::*;
use crate::error::{Error, Result};

/// A custom kernel: its WGSL text, the f32 tensors that it binds by name, and its number of invocations. A
/// [`CustomLayer`](crate::CustomLayer) adds it to a plan.
///
/// The text declares neither bindings nor an entry point. It declares `fn run(i: u32)`, which is called once for each
/// `i` below the number of invocations. A workgroup has 64 invocations. Each tensor is an `array<f32>` with the
/// tensor's name. Its length is the constant `<name>_length`. (`arrayLength` can be larger, because bindings are
/// padded.) [Constants](Self::constant) are available by their names. Compiler messages show the line numbers of the
/// text.
///
/// The kernel is compiled with bounds checks. A read outside of a tensor returns an unspecified number. A write
/// outside of it is dropped, or changes another number of the same tensor.
/// [`check_layer`](crate::lockstep::check_layer) finds such writes.
///
/// ```
/// # use wgrad::{CustomOp, LayerOps, Result};
/// # fn forward(ops: &mut LayerOps<'_>) -> Result<()> {
/// let (x, y) = (ops.inputs[0], ops.outputs[0]);
/// let square = CustomOp::new("square", "fn run(i: u32) { y[i] = x[i] * x[i]; }").read("x", x).write("y", y);
/// ops.run(square.invocations(y.len()))
/// # }
/// ```
#[derive(Clone)]
pub struct CustomOp {
    name: String,
    text: String,
    tensors: Vec<(String, Operand)>,
    constants: Vec<(String, Word)>,
    invocations: u32,
    /// Number of workgroups, if the text has its own entry point.
    workgroups: Option<u32>,
    flops: u64,
    twin: Option<Twin>,
}

/// The kernel's computation in Rust.
type TwinFunction = Arc<dyn Fn(&mut TwinTensors<'_, '_>) + Send + Sync>;

#[derive(Clone)]
struct Twin {
    share: f32,
    run: TwinFunction,
}

const LANES: u32 = 64;

/// Most invocations whose numbers fit in 32 bits after the grid is folded and rounded up.
const MOST_CALLS: u32 = 1 << 31;

/// Storage bindings that every device allows, not counting the uniforms.
const MOST_TENSORS: usize = 7;

impl CustomOp {
    /// A kernel with this name, which plans, profiles and errors show. It binds no tensors yet and runs once.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (tensors, constants) = (Vec::new(), Vec::new());
        let (name, text) = (name.into(), text.into());
        Self { name, text, tensors, constants, invocations: 1, workgroups: None, flops: 0, twin: None }
    }

    /// Binds a tensor that the kernel only reads.
    pub fn read(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::read(tensor))
    }

    /// Binds a tensor that the kernel overwrites: it must write every number and read none.
    pub fn write(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::write(tensor))
    }

    /// Binds a tensor that the kernel reads and writes, or partly writes, such as a layer's state.
    pub fn change(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::change(tensor))
    }

    fn bind(mut self, name: impl Into<String>, operand: Operand) -> Self {
        self.tensors.push((name.into(), operand));
        self
    }

    /// Declares a constant for the text: an `f32` or a `u32`.
    pub fn constant(mut self, name: impl Into<String>, value: impl Into<Word>) -> Self {
        self.constants.push((name.into(), value.into()));
        self
    }

    /// Number of calls of `run`, 1 to 2³¹. Default: 1.
    pub fn invocations(mut self, count: u32) -> Self {
        self.invocations = count;
        self
    }

    /// Runs `count` workgroups of an entry point `main` that the text declares, instead of `run`. Kernels that use
    /// workgroup memory need this. The index of a workgroup is `workgroup_id.y * num_workgroups.x + workgroup_id.x`.
    /// It can be `count` or more; such a workgroup must do nothing.
    pub fn workgroups(mut self, count: u32) -> Self {
        self.workgroups = Some(count);
        self
    }

    /// Floating-point operations of all invocations together. Default: 0. [`Plan::cost`](crate::Plan::cost) reports
    /// them, and the number of steps per submission depends on them.
    pub fn flops(mut self, flops: u64) -> Self {
        self.flops = flops;
        self
    }

    /// CPU twin: the same computation in Rust, for the CPU and the lockstep. A number from the GPU may differ by
    /// `share` times the largest number of its tensor. For a sum of n terms of similar size, use a few times n ·
    /// 6e-8.
    pub fn twin(mut self, share: f32, run: impl Fn(&mut TwinTensors<'_, '_>) + Send + Sync + 'static) -> Self {
        self.twin = Some(Twin { share, run: Arc::new(run) });
        self
    }

    /// Name of the kernel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tensors that the kernel binds, with their names in the text and their access.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Tensor, Access)> {
        self.tensors.iter().filter_map(|(name, operand)| Some((&**name, operand.tensor?, operand.access)))
    }

    /// Puts the layer's name before the kernel's name.
    pub(crate) fn of_layer(mut self, layer: &str) -> Self {
        self.name = format!("{layer}.{}", self.name);
        self
    }

    /// Returns an error if the definition makes no valid shader.
    pub(crate) fn check(&self) -> Result<()> {
        let fault =
            |expected: &str, actual: String| Err(Error::shape(format!("kernel {}", self.name), expected, actual));
        let is_name = |name: &str| {
            let mut chars = name.chars();
            chars.next().is_some_and(|c| c.is_ascii_alphabetic())
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let names: Vec<&str> = self
            .tensors
            .iter()
            .map(|(name, _)| &**name)
            .chain(self.constants.iter().map(|(name, _)| &**name))
            .collect();
        if let Some(name) =
            names.iter().enumerate().find_map(|(i, name)| (!is_name(name) || names[..i].contains(name)).then_some(name))
        {
            return fault("a unique WGSL identifier as the name of each tensor and constant", format!("{name:?}"));
        }
        if self.tensors.len() > MOST_TENSORS {
            return fault("at most 7 tensors, which every device can bind", self.tensors.len().to_string());
        }
        if let Some((name, value)) = self.constants.iter().find_map(|(name, value)| match value {
            Word::F32(value) if !value.is_finite() => Some((name, value)),
            _ => None,
        }) {
            return fault("finite constants", format!("{name} = {value}"));
        }
        if self.workgroups.is_none() && !(1..=MOST_CALLS).contains(&self.invocations) {
            return fault("1 to 2³¹ invocations", self.invocations.to_string());
        }
        if let Some(Twin { share, .. }) = self.twin.as_ref().filter(|twin| !twin.share.is_finite() || twin.share < 0.0)
        {
            return fault("a tolerance (share) of the CPU twin that is finite and at least 0", share.to_string());
        }
        match self.text.contains("arrayLength") {
            true => fault("`<name>_length` as a tensor's length", "arrayLength, which includes padding".into()),
            false => Ok(()),
        }
    }

    /// The text, followed by the generated declarations. The lines of the text keep their numbers.
    fn source(&self) -> String {
        let mut text = self.text.clone() + "\n";
        for (binding, (name, operand)) in (1..).zip(&self.tensors) {
            let access = if operand.is_written() { "read_write" } else { "read" };
            let length = operand.tensor.map_or(0, |tensor| tensor.len());
            let _ = writeln!(text, "@group(0) @binding({binding}) var<storage, {access}> {name}: array<f32>;");
            let _ = writeln!(text, "const {name}_length: u32 = {length}u;");
        }
        for (name, value) in &self.constants {
            let _ = match value {
                Word::U32(value) => writeln!(text, "const {name}: u32 = {value}u;"),
                Word::F32(value) => writeln!(text, "const {name}: f32 = {value:?};"),
            };
        }
        if self.workgroups.is_none() {
            let _ = write!(
                text,
                "@compute @workgroup_size({LANES})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) grid: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {{
    let i = (workgroup.y * grid.x + workgroup.x) * {LANES}u + lane;
    if i < {}u {{
        run(i);
    }}
}}
",
                self.invocations
            );
        }
        text
    }
}

impl Kernel for CustomOp {
    fn stem(&self) -> &'static str {
        "custom"
    }

    fn detail(&self) -> String {
        format!(" {}", self.name)
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        self.tensors.iter_mut().filter_map(|(_, operand)| operand.tensor.as_mut()).collect()
    }

    fn operands(&self) -> Vec<Operand> {
        self.tensors.iter().map(|(_, operand)| *operand).collect()
    }

    fn flops(&self) -> u64 {
        self.flops
    }

    fn launches(&self, _: &Adapter) -> Vec<Launch> {
        let workgroups = self.workgroups.unwrap_or(self.invocations.div_ceil(LANES));
        let shader = Shader { checked: true, ..shader(self.name.clone(), self.source(), []) };
        let uniforms = uniforms![workgroups];
        vec![Launch { shader, uniforms, bindings: self.operands(), workgroups: workgroups.into() }]
    }

    fn without_twin(&self) -> Option<String> {
        self.twin.is_none().then(|| format!("kernel {}", self.name))
    }

    fn twin(&self, at: &mut Operands<'_>) {
        if let Some(twin) = &self.twin {
            (twin.run)(&mut TwinTensors { op: self, at });
        }
    }

    /// The author's `share` of the largest number of each tensor.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let operands = self.operands();
        let mut made: Vec<Vec<u32>> =
            operands.iter().filter(|o| o.is_written()).filter_map(|o| o.tensor).map(|t| at.words(t).to_vec()).collect();
        let Some(twin) = &self.twin else { return made.iter().map(|_| Bounds::Exact).collect() };
        self.twin(&mut at.with_outputs(&operands, &mut made));
        let bound = |made: Vec<u32>| {
            let largest =
                made.iter().map(|word| f32::from_bits(*word).abs()).filter(|x| x.is_finite()).fold(0.0, f32::max);
            Bounds::Each(vec![f64::from(twin.share) * f64::from(largest); made.len()])
        };
        made.into_iter().map(bound).collect()
    }
}

impl Debug for CustomOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomOp").field("name", &self.name).field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

/// Two CPU twins are equal if they are the same closure.
impl PartialEq for CustomOp {
    fn eq(&self, other: &Self) -> bool {
        let twins = match (&self.twin, &other.twin) {
            (Some(a), Some(b)) => a.share == b.share && Arc::ptr_eq(&a.run, &b.run),
            (a, b) => a.is_none() && b.is_none(),
        };
        let tensors = |op: &Self| {
            op.tensors().map(|(name, tensor, access)| (name.to_owned(), tensor, access)).collect::<Vec<_>>()
        };
        twins
            && (&self.name, &self.text, &self.constants) == (&other.name, &other.text, &other.constants)
            && (self.invocations, self.workgroups, self.flops) == (other.invocations, other.workgroups, other.flops)
            && tensors(self) == tensors(other)
    }
}

/// Tensors of a [`CustomOp`] for its CPU twin, by name, row-major.
pub struct TwinTensors<'a, 'b> {
    op: &'a CustomOp,
    at: &'a mut Operands<'b>,
}

impl<'b> TwinTensors<'_, 'b> {
    fn tensor(&self, name: &str) -> Tensor {
        let found = self.op.tensors().find(|(other, ..)| *other == name);
        found.unwrap_or_else(|| panic!("kernel {} binds no tensor {name}", self.op.name)).1
    }

    /// Values of a tensor that the op only reads.
    ///
    /// # Panics
    /// If the op reads no tensor of this name.
    pub fn read(&self, name: &str) -> &'b [f32] {
        self.at.f32s(self.tensor(name))
    }

    /// Values of a tensor that the op writes. They can be taken once. A tensor that is changed holds its earlier
    /// values.
    ///
    /// # Panics
    /// If the op writes no tensor of this name, or if it has been taken.
    pub fn write(&mut self, name: &str) -> &'b mut [f32] {
        self.at.out(self.tensor(name))
    }
}

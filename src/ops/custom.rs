//! Kernels of an app's own.

use std::fmt::Write;
use std::sync::Arc;

use super::*;
use crate::error::{Error, Result};

/// A kernel of an app's own: WGSL, the f32 tensors that it binds by name, and how many invocations run. A
/// [`CustomLayer`](crate::CustomLayer) adds it to a plan.
///
/// The text declares no bindings and no entry point. It declares `fn run(i: u32)`, which is called once for each `i`
/// below the number of invocations, 64 to a workgroup. Each tensor is an `array<f32>` of its name, and its length is
/// the constant `<name>_length`. (`arrayLength` may be larger, as bindings are padded.) [Constants](Self::constant) go
/// by their names. Line numbers in a compiler's messages are those of the text.
///
/// It is compiled with bounds checks: what is read outside of a tensor is some number, what is written there is lost,
/// or changes another number of the same tensor. [`check_layer`](crate::lockstep::check_layer) finds such writes.
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
    /// Invocations of a workgroup, where the text has an entry point of its own.
    workgroups: Option<u32>,
    flops: u64,
    twin: Option<Twin>,
}

/// What the kernel does, in Rust.
type TwinFunction = Arc<dyn Fn(&mut TwinTensors<'_, '_>) + Send + Sync>;

#[derive(Clone)]
struct Twin {
    share: f32,
    run: TwinFunction,
}

const LANES: u32 = 64;

/// Up to here the invocations of a grid that is folded, and so rounded up, have numbers of 32 bits.
const MOST_CALLS: u32 = 1 << 31;

/// Storage bindings that every device allows, without that of the uniforms.
const MOST_TENSORS: usize = 7;

impl CustomOp {
    /// A kernel of this name, for plans, profiles and errors. It binds no tensors yet and runs once.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (tensors, constants) = (Vec::new(), Vec::new());
        let (name, text) = (name.into(), text.into());
        Self { name, text, tensors, constants, invocations: 1, workgroups: None, flops: 0, twin: None }
    }

    /// Binds a tensor that is read only.
    pub fn read(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::read(tensor))
    }

    /// Binds a tensor that is overwritten: every number of it is written, none is read.
    pub fn write(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::write(tensor))
    }

    /// Binds a tensor that is read and written, or written in part: a layer's state.
    pub fn change(self, name: impl Into<String>, tensor: Tensor) -> Self {
        self.bind(name, operands::change(tensor))
    }

    fn bind(mut self, name: impl Into<String>, operand: Operand) -> Self {
        self.tensors.push((name.into(), operand));
        self
    }

    /// A constant of the text: an `f32` or a `u32`.
    pub fn constant(mut self, name: impl Into<String>, value: impl Into<Word>) -> Self {
        self.constants.push((name.into(), value.into()));
        self
    }

    /// How many times `run` is called, 1 to 2³¹. Default 1.
    pub fn invocations(mut self, count: u32) -> Self {
        self.invocations = count;
        self
    }

    /// Runs `count` workgroups of an entry point `main` that the text declares, instead of `run`: for kernels whose
    /// invocations share workgroup memory. The number of a workgroup is `workgroup_id.y * num_workgroups.x +
    /// workgroup_id.x`, and may be `count` or more: such workgroups have nothing to do.
    pub fn workgroups(mut self, count: u32) -> Self {
        self.workgroups = Some(count);
        self
    }

    /// Floating-point operations of all invocations, for [`Plan::cost`](crate::Plan::cost) and for how many steps make
    /// a submission. Default 0.
    pub fn flops(mut self, flops: u64) -> Self {
        self.flops = flops;
        self
    }

    /// The same in Rust, for the CPU and the lockstep. A number that the GPU makes may be off by `share` of the largest
    /// one of its tensor: of a sum of n terms of about one size, a few times n · 6e-8.
    pub fn twin(mut self, share: f32, run: impl Fn(&mut TwinTensors<'_, '_>) + Send + Sync + 'static) -> Self {
        self.twin = Some(Twin { share, run: Arc::new(run) });
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Each tensor that it binds, by the name in its text.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Tensor, Access)> {
        self.tensors.iter().filter_map(|(name, operand)| Some((&**name, operand.tensor?, operand.access)))
    }

    /// With the layer's name before its own.
    pub(crate) fn of_layer(mut self, layer: &str) -> Self {
        self.name = format!("{layer}.{}", self.name);
        self
    }

    /// Refuses what makes no shader.
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
            return fault("names of tensors and constants that are identifiers, each once", format!("{name:?}"));
        }
        if self.tensors.len() > MOST_TENSORS {
            return fault("at most 7 tensors, as every device can bind", self.tensors.len().to_string());
        }
        if let Some((name, value)) =
            self.constants.iter().find(|(_, value)| matches!(value, Word::F32(value) if !value.is_finite()))
        {
            return fault("finite constants", format!("{name} = {value:?}"));
        }
        if self.workgroups.is_none() && !(1..=MOST_CALLS).contains(&self.invocations) {
            return fault("1 to 2³¹ invocations", self.invocations.to_string());
        }
        if let Some(Twin { share, .. }) = self.twin.as_ref().filter(|twin| !twin.share.is_finite() || twin.share < 0.0)
        {
            return fault("a twin's share that is finite and at least 0", share.to_string());
        }
        match self.text.contains("arrayLength") {
            true => fault("`<name>_length` for a tensor's length, as bindings are padded", "arrayLength".into()),
            false => Ok(()),
        }
    }

    /// The text, then what it does not declare itself: so lines keep their numbers.
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

    /// The share that the author states, of the largest number of each tensor.
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

/// Twins are the same where they are one closure.
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

/// What a twin reads and writes: the tensors of its [`CustomOp`] by name, row-major.
pub struct TwinTensors<'a, 'b> {
    op: &'a CustomOp,
    at: &'a mut Operands<'b>,
}

impl<'b> TwinTensors<'_, 'b> {
    fn tensor(&self, name: &str) -> Tensor {
        let found = self.op.tensors().find(|(other, ..)| *other == name);
        found.unwrap_or_else(|| panic!("kernel {} binds no tensor {name}", self.op.name)).1
    }

    /// What a tensor that is only read holds.
    ///
    /// # Panics
    /// Where the op reads no tensor of this name.
    pub fn read(&self, name: &str) -> &'b [f32] {
        self.at.f32s(self.tensor(name))
    }

    /// A tensor that is written, to be asked for once. One that is changed holds what it held before.
    ///
    /// # Panics
    /// Where the op writes no tensor of this name, or where it has been asked for.
    pub fn write(&mut self, name: &str) -> &'b mut [f32] {
        self.at.out(self.tensor(name))
    }
}

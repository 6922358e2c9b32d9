//! What an op asks of a GPU: texts, uniforms, workgroups. Nothing here knows of wgpu.

use std::borrow::Cow;

use super::{Kernel, MatmulKernel, Operand};

/// The largest workgroup of any kernel.
pub(crate) const MOST_INVOCATIONS: u32 = 256;

/// The most workgroup memory of any kernel, in bytes: two tiles of 128 vec4s for each of four slices of a product, and
/// 64 rows of 64 numbers in `narrow`. Every device of WebGPU has it.
pub(crate) const MOST_WORKGROUP_MEMORY: u32 = 16384;

/// Steps that a loop of a kernel may have on a software adapter: Mesa's lavapipe gives an invocation 65,535 loop
/// iterations, then silently stops looping, and no kernel takes two a step.
pub(crate) const LONGEST_LOOP: u32 = 1 << 15;

/// What launches may depend on of an adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// Whether the adapter is the CPU itself.
    pub software: bool,
    /// Threads that a software adapter shares the workgroups of a dispatch among.
    pub threads: u32,
    /// Lanes of a subgroup, where products are best made by subgroups.
    pub matmul_subgroup: Option<u32>,
    /// Whether memory is best read in vectors of 64-bit words.
    pub wide_access: bool,
    /// Whether an invocation may hold some 120 numbers in registers at no loss.
    pub many_registers: bool,
    /// The kernel that makes products wherever it can, where not that of the rule.
    pub products: Option<MatmulKernel>,
}

/// WGSL and what is fixed when it is compiled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shader {
    /// For errors and tools.
    pub name: Cow<'static, str>,
    pub source: Cow<'static, str>,
    /// Values of the shader's `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Whether it checks its own indices and loops: in plans that are not known to be sound.
    pub checked: bool,
}

/// A shader that checks nothing.
pub(crate) fn shader(
    name: impl Into<Cow<'static, str>>,
    source: impl Into<Cow<'static, str>>,
    constants: impl Into<Vec<(&'static str, f64)>>,
) -> Shader {
    Shader { name: name.into(), source: source.into(), constants: constants.into(), checked: false }
}

/// A dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub shader: Shader,
    /// The members of the shader's uniform struct, in order: binding 0.
    pub uniforms: Vec<Uniform>,
    /// Storage bindings from 1 on.
    pub bindings: Vec<Operand>,
    /// How many, before they are folded into two dimensions.
    pub workgroups: u64,
}

impl Launch {
    /// Of all that an op binds.
    pub fn of(op: &impl Kernel, shader: Shader, uniforms: Vec<Uniform>, workgroups: impl Into<u64>) -> Self {
        Self { shader, uniforms, bindings: op.operands(), workgroups: workgroups.into() }
    }

    /// For each storage binding, whether the kernel writes it.
    pub fn writable(&self) -> Vec<bool> {
        self.bindings.iter().map(Operand::is_written).collect()
    }

    /// Of the uniforms.
    pub fn bytes(&self) -> Vec<u8> {
        self.uniforms.iter().flat_map(|uniform| uniform.1.bits().to_ne_bytes()).collect()
    }
}

/// A member of a uniform struct: its name and its value.
pub(crate) type Uniform = (&'static str, Word);

/// A 32-bit number: a constant of a [`CustomOp`](super::CustomOp).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Word {
    /// A whole number.
    U32(u32),
    /// A number.
    F32(f32),
}

impl Word {
    fn bits(self) -> u32 {
        match self {
            Self::U32(value) => value,
            Self::F32(value) => value.to_bits(),
        }
    }
}

impl From<u32> for Word {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for Word {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

/// The uniforms of these names: `uniforms![rows, zero: 0u32]`.
macro_rules! uniforms {
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        vec![$((stringify!($name), uniforms!(@ $name $($value)?).into())),*]
    };
    (@ $name:ident $value:expr) => { $value };
    (@ $name:ident) => { $name };
}
pub(crate) use uniforms;

/// Invocations of a row and rows of a workgroup, for kernels that reduce rows. Short rows: an invocation for each, and
/// no barriers to wait at; few to a workgroup where workgroups are what threads share. Long ones: a workgroup for each.
pub(crate) fn lanes_and_rows(columns: u32, adapter: &Adapter) -> (u32, u32) {
    match columns {
        ..=64 if adapter.software => (1, 16),
        ..=64 => (1, 64),
        _ => (64, 1),
    }
}

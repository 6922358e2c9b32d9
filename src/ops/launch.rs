//! Launches: what a dispatch needs (shader, uniforms, bindings, workgroups). This file does not depend on wgpu.

use std::borrow::Cow;

use super::{Kernel, MatmulKernel, Operand};

/// Invocations of the largest workgroup of any kernel.
pub(crate) const MOST_INVOCATIONS: u32 = 256;

/// Most workgroup memory of any kernel, in bytes. A matmul stores two tiles of 128 vec4s for each of four slices.
/// `narrow` stores 64 rows of 64 numbers. Every WebGPU device has this much.
pub(crate) const MOST_WORKGROUP_MEMORY: u32 = 16384;

/// Most steps of a kernel's loop on a software adapter. Mesa's lavapipe silently ends the loops of an invocation
/// after 65,535 iterations. Every kernel needs fewer than two iterations per step.
pub(crate) const LONGEST_LOOP: u32 = 1 << 15;

/// Properties of an adapter that launches depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// True if the adapter is the CPU itself.
    pub software: bool,
    /// Threads of a software adapter, which share the workgroups of a dispatch.
    pub threads: u32,
    /// Lanes of a subgroup, if a matmul is fastest with subgroups.
    pub matmul_subgroup: Option<u32>,
    /// True if memory is read fastest in vectors of 64-bit words.
    pub wide_access: bool,
    /// True if an invocation can hold about 120 numbers in registers without a loss of speed.
    pub many_registers: bool,
    /// Matmul kernel to use wherever it can run. `None`: the kernel that the rule chooses.
    pub forced_matmul: Option<MatmulKernel>,
}

/// A WGSL shader and its compile-time settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shader {
    /// Label for errors and tools.
    pub name: Cow<'static, str>,
    pub source: Cow<'static, str>,
    /// Values of the shader's `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// True if the shader checks its own indices and loops. Set in plans that are not known to be sound.
    pub checked: bool,
}

/// A shader without index and loop checks.
pub(crate) fn shader(
    name: impl Into<Cow<'static, str>>,
    source: impl Into<Cow<'static, str>>,
    constants: impl Into<Vec<(&'static str, f64)>>,
) -> Shader {
    Shader { name: name.into(), source: source.into(), constants: constants.into(), checked: false }
}

/// One dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub shader: Shader,
    /// Members of the shader's uniform struct, in order. The struct is binding 0. If there are none, the shader has no
    /// binding 0.
    pub uniforms: Vec<Uniform>,
    /// Storage bindings, from binding 1.
    pub bindings: Vec<Operand>,
    /// Number of workgroups, before they are folded into two dimensions.
    pub workgroups: u64,
}

impl Launch {
    /// A launch that binds all operands of an op.
    pub fn of(op: &impl Kernel, shader: Shader, uniforms: Vec<Uniform>, workgroups: impl Into<u64>) -> Self {
        Self { shader, uniforms, bindings: op.operands(), workgroups: workgroups.into() }
    }

    /// For each binding, from that of the uniforms on: whether the kernel writes it. `None` if nothing is bound, because
    /// the kernel has no uniforms.
    pub fn writable(&self) -> Vec<Option<bool>> {
        let uniforms = (!self.uniforms.is_empty()).then_some(false);
        std::iter::once(uniforms).chain(self.bindings.iter().map(|binding| Some(binding.is_written()))).collect()
    }

    /// Bytes of the uniform struct.
    pub fn bytes(&self) -> Vec<u8> {
        self.uniforms.iter().flat_map(|uniform| uniform.1.bits().to_ne_bytes()).collect()
    }
}

/// A member of a uniform struct: its name and value.
pub(crate) type Uniform = (&'static str, Word);

/// A 32-bit constant of a [`CustomOp`](super::CustomOp).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Word {
    /// An unsigned integer.
    U32(u32),
    /// A floating-point number.
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

/// Lists uniforms by name: `uniforms![rows, zero: 0u32]`.
macro_rules! uniforms {
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        vec![$((stringify!($name), uniforms!(@ $name $($value)?).into())),*]
    };
    (@ $name:ident $value:expr) => { $value };
    (@ $name:ident) => { $name };
}
pub(crate) use uniforms;

/// Invocations per row and rows per workgroup, for kernels that reduce rows. A short row has one invocation, which
/// needs no barriers. A long row has a workgroup. Software adapters get small workgroups, so that all threads have
/// work.
pub(crate) fn lanes_and_rows(columns: u32, adapter: &Adapter) -> (u32, u32) {
    match columns {
        ..=64 if adapter.software => (1, 16),
        ..=64 => (1, 64),
        _ => (64, 1),
    }
}

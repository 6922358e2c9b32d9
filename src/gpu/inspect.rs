//! The kernels that a plan becomes on each class of adapter, without a device: for tests and the example `kernels`.

use super::{Gpu, Variants, kernels};
use crate::plan::{Op, Plan};

/// A dispatch as a GPU gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Index of its op in [`Plan::ops`].
    pub op: usize,
    /// Name of the shader.
    pub name: String,
    /// WGSL.
    pub source: String,
    /// Values of the `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Bytes of the uniform struct, binding 0.
    pub uniforms: Vec<u8>,
    /// Size of the grid.
    pub workgroups: u64,
}

/// Classes of adapters that get different kernels.
pub const ADAPTERS: [&str; 5] = ["software8", "software16", "software", "gpu", "large-registers"];

/// The kernels of a plan on a class of [`ADAPTERS`], in order; `None` for another name. Software adapters have 2 threads.
pub fn kernels(plan: &Plan, adapter: &str) -> Option<Vec<Kernel>> {
    let variants = Variants::of_class(adapter)?;
    Some(of_ops(plan, |op| kernels::launches(op, variants)))
}

impl Gpu {
    /// The kernels of a plan on this GPU, in order.
    #[doc(hidden)]
    pub fn kernels(&self, plan: &Plan) -> Vec<Kernel> {
        of_ops(plan, |op| self.launches(op))
    }
}

impl Variants {
    /// What an adapter of a class in [`ADAPTERS`] gets.
    pub(super) fn of_class(adapter: &str) -> Option<Self> {
        let software = Self { software: true, threads: 2, ..Self::default() };
        let hardware = Self { threads: 2, ..Self::default() };
        Some(match adapter {
            "software8" => Self { matmul_subgroup: Some(8), wide_access: true, ..software },
            "software16" => Self { matmul_subgroup: Some(16), ..software },
            "software" => software,
            "gpu" => hardware,
            "large-registers" => Self { many_registers: true, ..hardware },
            _ => return None,
        })
    }
}

fn of_ops(plan: &Plan, launches: impl Fn(&Op) -> Vec<kernels::Launch>) -> Vec<Kernel> {
    let kernel = |op: usize, launch: kernels::Launch| Kernel {
        op,
        name: launch.shader.name.into(),
        source: launch.shader.source.into(),
        constants: launch.shader.constants,
        uniforms: launch.uniforms,
        workgroups: launch.workgroups,
    };
    plan.ops().enumerate().flat_map(|(i, op)| launches(op).into_iter().map(move |launch| kernel(i, launch))).collect()
}

//! The kernels of a plan on each class of adapter, without a device: for tests and the example `kernels`.

use crate::gpu::Gpu;
use crate::ops::{Adapter, Launch, Shader};
use crate::plan::Plan;
use crate::texture_io::{FORMATS, from_texture, from_texture_crops, from_texture_random, to_texture};

/// A kernel with its constants, uniforms and grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// Name of the shader.
    pub name: String,
    /// WGSL source.
    pub source: String,
    /// Values of the `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Bytes of the uniform struct at binding 0.
    pub uniforms: Vec<u8>,
    /// Number of workgroups, before they are divided over two dimensions. 0 if the size of a texture determines it.
    pub workgroups: u64,
}

/// Classes of adapters with different kernels.
pub const ADAPTERS: [&str; 5] = ["software8", "software16", "software", "gpu", "large-registers"];

/// The kernels of each op of a plan, in the order of [`Plan::ops`], for a class of [`ADAPTERS`]. `None` for another
/// name. Software adapters have 2 threads.
pub fn kernels(plan: &Plan, adapter: &str) -> Option<Vec<Vec<Kernel>>> {
    let adapter = Adapter::of_class(adapter)?;
    Some(plan.ops().map(|op| op.launches(&adapter).into_iter().map(Kernel::from).collect()).collect())
}

/// The kernels that read and write textures, for 3 channels. They are the same on every adapter.
pub fn textures() -> Vec<Kernel> {
    let crops = [true, false].map(|texture| from_texture_crops(texture, vec![]));
    let reading = [from_texture(3), from_texture_random(3, 64)].into_iter().chain(crops);
    let writing = FORMATS.map(|(_, format)| to_texture(format, 3, 0, 3));
    let kernel = |shader| Kernel::of(Vec::new(), shader, 0);
    reading.chain(writing).map(kernel).collect()
}

impl Gpu {
    /// The kernels of each op of a plan on this GPU.
    #[doc(hidden)]
    pub fn kernels(&self, plan: &Plan) -> Vec<Vec<Kernel>> {
        plan.ops().map(|op| self.launches(op).into_iter().map(Kernel::from).collect()).collect()
    }
}

impl Kernel {
    fn of(uniforms: Vec<u8>, shader: Shader, workgroups: u64) -> Self {
        let Shader { name, source, constants, .. } = shader;
        Self { name: name.into(), source: source.into(), constants, uniforms, workgroups }
    }
}

impl From<Launch> for Kernel {
    fn from(launch: Launch) -> Self {
        Self::of(launch.bytes(), launch.shader, launch.workgroups)
    }
}

impl Adapter {
    /// The tuning for a class in [`ADAPTERS`].
    pub(crate) fn of_class(adapter: &str) -> Option<Self> {
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

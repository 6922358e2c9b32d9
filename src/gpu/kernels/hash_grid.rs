//! Host side of `shaders/hash_grid.wgsl`.

use super::{Launch, declarations, read, write};
use crate::gpu::pipelines::Shader;
use crate::plan::{GridShape, HashGridForward};

pub(super) const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HashGridUniforms {
    rows: u32,
    levels: u32,
    groups: u32,
}

const SOURCE: &str = include_str!("../../../shaders/hash_grid.wgsl");

pub(super) fn launch(op: &HashGridForward) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    let groups = rows.div_ceil(LANES);
    Launch {
        shader: Shader {
            name: format!("hash_grid {features}").into(),
            source: source(features).into(),
            constants: vec![("DIMENSIONS", dimensions.into())],
        },
        uniforms: bytemuck::bytes_of(&HashGridUniforms { rows, levels, groups }).to_vec(),
        bindings: vec![read(op.x), read(op.levels), read(op.table), write(op.y)],
        workgroups: u64::from(groups) * u64::from(levels),
    }
}

/// The text for so many features of an entry.
pub(super) fn source(features: u32) -> String {
    let features = match features {
        1 => "f32",
        2 => "vec2f",
        _ => "vec4f",
    };
    SOURCE.replace("alias Features = vec2f;", &format!("alias Features = {features};"))
}

/// What the other kernels of a hash grid follow.
pub(super) fn functions() -> &'static str {
    declarations(SOURCE)
}

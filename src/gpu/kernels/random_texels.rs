//! Host side of `shaders/random_texels.wgsl`.

use super::shader;
use crate::gpu::pipelines::Shader;

/// Rows of a workgroup.
pub(crate) const LANES: u32 = 64;

pub(crate) fn random_texels(channels: u32, rows: u32) -> Shader {
    let source = include_str!("../../../shaders/random_texels.wgsl");
    shader("random_texels", source, &[("CHANNELS", channels.into()), ("ROWS", rows.into())])
}

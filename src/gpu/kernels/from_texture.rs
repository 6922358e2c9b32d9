//! Host side of `shaders/from_texture.wgsl`.

use super::shader;
use crate::gpu::pipelines::Shader;

pub(crate) fn from_texture(channels: u32) -> Shader {
    let source = include_str!("../../../shaders/from_texture.wgsl");
    shader("from_texture", source, &[("CHANNELS", channels.into())])
}

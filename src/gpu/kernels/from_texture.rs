//! Host side of `shaders/from_texture.wgsl`.

use super::shader;
use crate::ops::*;

pub(crate) fn from_texture(channels: u32) -> Shader {
    let source = text!("shared/texture_rows.wgsl", "from_texture.wgsl");
    shader("from_texture", source, &[("CHANNELS", channels.into())])
}

//! Host side of `shaders/from_texture_random.wgsl`.

use super::shader;
use crate::ops::*;

/// Rows of a workgroup.
pub(crate) const LANES: u32 = 64;

pub(crate) fn from_texture_random(channels: u32, rows: u32) -> Shader {
    let source = text!("shared/texture_rows.wgsl", "shared/pcg4d.wgsl", "from_texture_random.wgsl");
    shader("from_texture_random", source, &[("CHANNELS", channels.into()), ("ROWS", rows.into())])
}

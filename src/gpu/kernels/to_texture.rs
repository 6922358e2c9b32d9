//! Host side of `shaders/to_texture.wgsl.in`.

use crate::gpu::template;
use crate::ops::*;

/// The formats that it can write, with their names in WGSL: those that every device can store to and that hold colours.
pub(crate) const FORMATS: [(wgpu::TextureFormat, &str); 5] = [
    (wgpu::TextureFormat::Rgba8Unorm, "rgba8unorm"),
    (wgpu::TextureFormat::Rgba8Snorm, "rgba8snorm"),
    (wgpu::TextureFormat::Rgba16Float, "rgba16float"),
    (wgpu::TextureFormat::Rgba32Float, "rgba32float"),
    (wgpu::TextureFormat::R32Float, "r32float"),
];

/// For a format by its name in WGSL, and rows of which the first begins at the word `first`, the next ones `stride` words
/// further each.
pub(crate) fn to_texture(format: &str, channels: u32, first: u32, stride: u32) -> Shader {
    let formats = FORMATS.map(|(_, known)| (known, known == format));
    Shader {
        name: format!("to_texture {format}").into(),
        source: template::expand(text!("to_texture.wgsl.in"), &[], &formats).into(),
        constants: vec![("CHANNELS", channels.into()), ("FIRST", first.into()), ("STRIDE", stride.into())],
    }
}

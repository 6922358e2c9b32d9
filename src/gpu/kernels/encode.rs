//! Host side of `shaders/encode.wgsl`.

use super::{Launch, read, shader, write};
use crate::network::Encoding;
use crate::plan::Encode;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct EncodeUniforms {
    numbers: u32,
    outputs: u32,
    scale: f32,
    offset: f32,
}

pub(super) fn launch(op: &Encode) -> Launch {
    let (encoding, [scale, offset]) = match op.encoding {
        Encoding::Identity { scale, offset } => (0, [scale, offset]),
        Encoding::Frequency { .. } => (1, [0.0; 2]),
        Encoding::TriangleWave { .. } => (2, [0.0; 2]),
        Encoding::OneBlob { .. } => (3, [0.0; 2]),
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    };
    let numbers = op.output.len;
    let uniforms = EncodeUniforms { numbers, outputs: op.encoding.features(), scale, offset };
    let constants = [("ENCODING", f64::from(encoding)), ("GRADIENT", op.gradient.is_some().into())];
    Launch {
        shader: shader("encode", include_str!("../../../shaders/encode.wgsl"), &constants),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.x), read(op.gradient), write(op.output)],
        workgroups: numbers.div_ceil(LANES).into(),
    }
}

//! Host side of `shaders/encode.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::excerpt::{excerpt, only_case};
use crate::gpu::texts::text;
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

const SOURCE: &str = text!("shared/bits.wgsl", "encode.wgsl");

pub(super) fn launch(op: &Encode) -> Launch {
    let (encoding, [scale, offset]) = constants(op.encoding);
    let numbers = op.output.len;
    let uniforms = EncodeUniforms { numbers, outputs: op.encoding.features(), scale, offset };
    let constants = [("ENCODING", f64::from(encoding)), ("GRADIENT", op.gradient.is_some().into())];
    Launch {
        shader: shader("encode", SOURCE, &constants),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.x), read(op.gradient), write(op.output)],
        workgroups: numbers.div_ceil(LANES).into(),
    }
}

/// The shader's number for an encoding, and what that one takes.
fn constants(encoding: Encoding) -> (u32, [f32; 2]) {
    match encoding {
        Encoding::Identity { scale, offset } => (0, [scale, offset]),
        Encoding::Frequency { .. } => (1, [0.0; 2]),
        Encoding::TriangleWave { .. } => (2, [0.0; 2]),
        Encoding::OneBlob { .. } => (3, [0.0; 2]),
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

/// For texts of other kinds, appends `fn NAME(x: f32, k: u32) -> f32`, feature k of a coordinate, and what it calls, whose
/// names begin with `prefix`.
pub(in crate::gpu) fn feature(texts: &mut Vec<String>, encoding: Encoding, name: &str, prefix: &str) {
    let (code, [scale, offset]) = constants(encoding);
    let text = only_case(SOURCE, code).replace("switch ENCODING", &format!("switch {code}u"));
    let text = text.replace("u.outputs", &format!("{}u", encoding.features()));
    let text = text.replace("u.scale", &format!("{scale:?}")).replace("u.offset", &format!("{offset:?}"));
    excerpt(texts, &text, "feature", |called| match called {
        "feature" => name.to_owned(),
        called => format!("{prefix}{called}"),
    });
}

//! Host side of `shaders/encode.wgsl`.

use crate::gpu::excerpt::excerpt;
use crate::network::Encoding;
use crate::ops::*;

const LANES: u32 = 64;

pub(crate) fn launch(op: &Encode) -> Launch {
    let [scale, offset] = scale_and_offset(op.encoding);
    let numbers = op.output.len();
    let uniforms = uniforms![ numbers, outputs: op.encoding.features(), scale, offset ];
    Launch {
        shader: Shader {
            name: format!("encode {}", op.encoding.kind()).into(),
            source: (functions(op.encoding).to_owned() + text!("encode.wgsl")).into(),
            constants: vec![("GRADIENT", op.gradient.is_some().into())],
        },
        uniforms,
        bindings: vec![read(op.x), read(op.gradient), write(op.output)],
        workgroups: numbers.div_ceil(LANES).into(),
    }
}

/// The text of an encoding: `feature`, `slope` and what they call.
fn functions(encoding: Encoding) -> &'static str {
    macro_rules! file {
        ($name:literal) => {
            text!("shared/bits.wgsl", "encodings/functions.wgsl", concat!("encodings/", $name, ".wgsl"))
        };
    }
    match encoding {
        Encoding::Identity { .. } => file!("identity"),
        Encoding::Frequency { .. } => file!("frequency"),
        Encoding::TriangleWave { .. } => file!("triangle_wave"),
        Encoding::OneBlob { .. } => file!("one_blob"),
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

/// What `identity` takes.
fn scale_and_offset(encoding: Encoding) -> [f32; 2] {
    match encoding {
        Encoding::Identity { scale, offset } => [scale, offset],
        _ => [0.0; 2],
    }
}

/// For texts of other kinds, appends `fn NAME(x: f32, k: u32) -> f32`, feature k of a coordinate, and what it calls, whose
/// names begin with `prefix`.
pub(crate) fn feature(texts: &mut Vec<String>, encoding: Encoding, name: &str, prefix: &str) {
    let [scale, offset] = scale_and_offset(encoding);
    let text = functions(encoding).replace("u.outputs", &format!("{}u", encoding.features()));
    let text = text.replace("u.scale", &format!("{scale:?}")).replace("u.offset", &format!("{offset:?}"));
    excerpt(texts, &text, "feature", |called| match called {
        "feature" => name.to_owned(),
        called => format!("{prefix}{called}"),
    });
}

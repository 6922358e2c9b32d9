//! WGSL text of encodings.

use super::{Encode, EncodePart};
use crate::encoding::Encoding;
use crate::ops::{excerpt, text};

/// File of an encoding, which defines `feature`, `slope` and the functions that they call.
fn file(encoding: Encoding) -> &'static str {
    macro_rules! file {
        ($name:literal) => {
            text!("shared/bits.wgsl", "encodings/functions.wgsl", concat!("encodings/", $name, ".wgsl.in"))
        };
    }
    match encoding {
        Encoding::Identity { .. } => file!("identity"),
        Encoding::Frequency { .. } => file!("frequency"),
        Encoding::TriangleWave { .. } => file!("triangle_wave"),
        Encoding::OneBlob { .. } => file!("one_blob"),
        Encoding::SphericalHarmonics { .. } => file!("spherical_harmonics"),
        Encoding::HashGrid(_) => unreachable!("hash grids have ops of their own"),
    }
}

/// For texts of other kernels too: appends `fn NAME(x: f32, k: u32) -> f32`, which returns feature k of a coordinate,
/// and the functions that it calls. Their names begin with `prefix`. If `of` is "slope" instead of "feature", it returns
/// the derivative of the feature. Spherical harmonics take a vec3f, and their slope also an axis.
pub(crate) fn feature(texts: &mut Vec<String>, encoding: Encoding, of: &str, name: &str, prefix: &str) {
    let mut text = file(encoding).replace("OUTPUTS", &format!("{}u", encoding.features()));
    if let Encoding::Identity { scale, offset } = encoding {
        text = text.replace("SCALE", &format!("{scale:?}")).replace("OFFSET", &format!("{offset:?}"));
    }
    excerpt(texts, &text, of, |called| match called {
        called if called == of => name.to_owned(),
        called => format!("{prefix}{called}"),
    });
}

/// A text with the whole file of an encoding, for tests of the files. Ops take single functions out of them.
#[cfg(test)]
pub(crate) fn whole(encoding: Encoding) -> String {
    let constants =
        "const SCALE: f32 = 2.0;\nconst OFFSET: f32 = 1.0;\nconst OUTPUTS: u32 = 4u;\nconst WIDTH: u32 = 1u;\n";
    let encode = "fn encode(row: u32, column: u32) {\n    output[row] = f32(column);\n}\n";
    [constants, file(encoding), encode, text!("encode.wgsl.in")].concat()
}

/// Text of an op: the functions of its encodings, and `encode`, which computes an element of a row.
pub(super) fn source(op: &Encode) -> String {
    let of = if op.gradient.or(op.tangent).is_some() { "slope" } else { "feature" };
    let mut texts = Vec::new();
    let mut body = String::new();
    let mut start = 0;
    for (n, part) in op.parts.iter().enumerate() {
        let name = format!("{of}_{n}");
        feature(&mut texts, part.encoding, of, &name, "");
        let end = start + op.columns_of(part);
        body += &format!("    if column < {end}u {{\n        let i = column - {start}u;\n");
        body += &match (op.gradient, op.tangent) {
            (Some(_), _) => gradient(op, part, &name),
            (None, Some(_)) => tangent(op, part, &name),
            (None, None) => forward(op, part, &name),
        };
        body += "        return;\n    }\n";
        start = end;
    }
    let encode = format!("const WIDTH: u32 = {}u;\n\nfn encode(row: u32, column: u32) {{\n{body}}}\n", op.width());
    texts.concat() + &encode + text!("encode.wgsl.in")
}

fn forward(op: &Encode, part: &EncodePart, feature: &str) -> String {
    let (outputs, first, each) = (op.features(), part.first_feature, part.encoding.features());
    let point = point(op, part, &format!("i / {each}u"));
    format!("        output[row * {outputs}u + {first}u + i] = {feature}({point}, i % {each}u);\n")
}

fn tangent(op: &Encode, part: &EncodePart, slope: &str) -> String {
    let (inputs, coordinate) = (op.coordinates(), part.first_coordinate);
    let (outputs, first, each) = (op.features(), part.first_feature, part.encoding.features());
    let group = part.encoding.group();
    let point = point(op, part, &format!("i / {each}u"));
    let term = |axis: u32| {
        let number = if group > 1 { format!(", {axis}u") } else { String::new() };
        format!("tangent[first + {axis}u] * {slope}(point, i % {each}u{number})")
    };
    let sum = (0..group).map(term).collect::<Vec<_>>().join(" + ");
    format!(
        "        let point = {point};
        let first = row * {inputs}u + {coordinate}u + i / {each}u * {group}u;
        output[row * {outputs}u + {first}u + i] = {sum};
"
    )
}

fn gradient(op: &Encode, part: &EncodePart, slope: &str) -> String {
    let (inputs, coordinate) = (op.coordinates(), part.first_coordinate);
    let (outputs, first, each) = (op.features(), part.first_feature, part.encoding.features());
    let group = part.encoding.group();
    let point = point(op, part, &format!("i / {group}u"));
    let axis = if group > 1 { format!(", i % {group}u") } else { String::new() };
    format!(
        "        let point = {point};
        let first = row * {outputs}u + {first}u + i / {group}u * {each}u;
        var sum = 0.0;
        for (var k = 0u; k < {each}u; k++) {{
            sum += gradient[first + k] * {slope}(point, k{axis});
        }}
        output[row * {inputs}u + {coordinate}u + i] = sum;
"
    )
}

/// The coordinates that are encoded together: group number `group` of a part.
fn point(op: &Encode, part: &EncodePart, group: &str) -> String {
    let first = format!("row * {}u + {}u", op.coordinates(), part.first_coordinate);
    match part.encoding.group() {
        1 => format!("x[{first} + {group}]"),
        each => format!("direction({first} + {group} * {each}u)"),
    }
}

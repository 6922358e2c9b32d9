//! Host side of `shaders/hash_grid.wgsl.in`.

use crate::gpu::excerpt::excerpt;
use crate::gpu::template;
use crate::ops::*;

pub(crate) const LANES: u32 = 64;

const SOURCE: &str = text!("hash_grid.functions.wgsl", "hash_grid.wgsl.in");

pub(crate) fn launch(op: &HashGridForward) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    let groups = rows.div_ceil(LANES);
    Launch {
        shader: Shader {
            name: format!("hash_grid {features}").into(),
            source: source(features).into(),
            constants: vec![("DIMENSIONS", dimensions.into())],
        },
        uniforms: uniforms![rows, levels, groups],
        bindings: vec![read(op.x), read(op.levels), read(op.table), write(op.y)],
        workgroups: u64::from(groups) * u64::from(levels),
    }
}

/// The text for so many features of an entry.
pub(crate) fn source(features: u32) -> String {
    let conditions = [
        ("entries have 1 feature", features == 1),
        ("entries have 2 features", features == 2),
        ("entries have 4 features", features == 4),
    ];
    template::expand(SOURCE, &[], &conditions)
}

/// The type of an entry.
fn of_entry(features: u32) -> &'static str {
    match features {
        1 => "f32",
        2 => "vec2f",
        _ => "vec4f",
    }
}

/// For texts of other kinds, appends `fn NAME(point: vec4f, level: vec4u) -> Features`, the features of a point in a level,
/// and what it calls, whose names begin with `prefix`. The table stands in an array of vec4f, from number `table` on.
pub(crate) fn interpolation(
    texts: &mut Vec<String>,
    [dimensions, features]: [u32; 2],
    (parameters, table): (&str, u32),
    name: &str,
    prefix: &str,
) {
    let first = table / 4;
    let entry = match features {
        1 => format!("return {parameters}[{first}u + i / 4u][i % 4u];"),
        2 => {
            let quad = format!("let quad = {parameters}[{first}u + i / 2u];");
            format!("{quad}\n    return select(quad.xy, quad.zw, i % 2u == 1u);")
        }
        _ => format!("return {parameters}[{first}u + i];"),
    };
    let text = SOURCE.replace("Features", of_entry(features)).replace("return table[i];", &entry);
    let text = text.replace("DIMENSIONS", &format!("{dimensions}u"));
    excerpt(texts, &text, "interpolated", |called| match called {
        "interpolated" => name.to_owned(),
        // Of this grid alone.
        "entry_of_table" => format!("{name}_entry"),
        called => format!("{prefix}{called}"),
    });
}

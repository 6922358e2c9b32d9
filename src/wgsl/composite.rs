//! WGSL text of composite encodings: encodings of parts of a row.

use super::encodings::{Row, grid_prefix, levels};
use super::gradients::of_feature;
use crate::encoding::{Encoding, HashGrid};
use crate::ops::writer::push;
use crate::ops::{feature, interpolation, level_slope};
use crate::plan::NarrowEncoding;

/// Writes `fn NAME(input, i: u32) -> vec4f`, features 4 i to 4 i + 3. Functions that it calls are appended to `shared`.
/// Their names have the number `n` of the encoding and the number of the part. With `gradient` also `NAME_gradient`: see
/// [`gradients`](super::gradients).
pub fn composite(
    text: &mut String,
    shared: &mut Vec<String>,
    parts: &[NarrowEncoding],
    row: &Row,
    (function, n): (&str, usize),
    (prefix, parameters): (&str, &str),
    gradient: bool,
) {
    let (mut numbers, mut quads, mut slopes) = (String::new(), String::new(), String::new());
    for (k, part) in parts.iter().enumerate() {
        let (first, end) = (part.first_output, part.first_output + part.outputs);
        push(&mut numbers, format_args!("    if i < {end}u {{\n        let j = i - {first}u;"));
        push(&mut slopes, format_args!("        if n >= {first}u && n < {end}u {{\n        let f = n - {first}u;"));
        let slope = format!("{prefix}slope_{n}_{k}");
        match part.encoding {
            Encoding::HashGrid(grid) => {
                let names = [format!("{prefix}level_{n}_{k}"), format!("{prefix}levels_{n}_{k}")];
                let (grid_and_inputs, grid_prefix) = ((grid, part.inputs), grid_prefix(prefix, grid));
                interpolation(shared, grid_and_inputs, (parameters, part.table), &names[0], &grid_prefix);
                if gradient {
                    level_slope(shared, grid_and_inputs, &names[0], &slope, &grid_prefix);
                    slopes += &of_grid_feature(part, grid, row, &slope, &names[1]);
                }
                levels(text, grid, part.inputs, &names[1]);
                let point = point(row, part);
                push(&mut numbers, format_args!("        {}\n    }}", one_feature(grid, &point, &names)));
                // Four features of the grid are found together.
                if first % 4 == 0 && part.outputs % 4 == 0 {
                    push(&mut quads, format_args!("    if i >= {}u && i < {}u {{", first / 4, end / 4));
                    push(&mut quads, format_args!("        let j = i - {}u;", first / 4));
                    push(&mut quads, format_args!("        {}\n    }}", four_features(grid, &point, &names)));
                }
            }
            encoding => {
                let name = format!("{prefix}feature_{n}_{k}");
                feature(shared, encoding, "feature", &name, &format!("{prefix}encoding_"));
                if gradient {
                    feature(shared, encoding, "slope", &slope, &format!("{prefix}encoding_"));
                    slopes += &of_feature(part, row, &slope);
                }
                let (each, group, coordinate) = (encoding.features(), encoding.group(), part.first_input);
                let of = |axis: u32| row.number(&format!("({}u + j / {each}u * {group}u)", coordinate + axis));
                let x = match group {
                    1 => of(0),
                    _ => format!("vec3f({})", [0, 1, 2].map(of).join(", ")),
                };
                push(&mut numbers, format_args!("        return {name}({x}, j % {each}u);\n    }}"));
            }
        }
        slopes += "        }\n";
    }
    let (input, number) = (row.input(), format!("{prefix}number_{n}"));
    push(text, format_args!("fn {number}({input}, i: u32) -> f32 {{\n{numbers}    return 0.0;\n}}"));
    let last = parts.iter().map(|part| part.outputs).sum::<u32>() - 1;
    let each = [0, 1, 2, 3].map(|k| format!("{number}(input, min(i * 4u + {k}u, {last}u))"));
    push(
        text,
        format_args!("fn {function}({input}, i: u32) -> vec4f {{\n{quads}    return vec4f({});\n}}", each.join(", ")),
    );
    if gradient {
        row.begin(text, function, 4);
        push(
            text,
            format_args!("    for (var k = 0u; k < 4u; k++) {{\n        let n = i * 4u + k;\n{slopes}    }}\n}}"),
        );
    }
}

/// The point that a hash grid encodes.
fn point(row: &Row, part: &NarrowEncoding) -> String {
    let of = |i: u32| match i < part.inputs {
        true => row.number(&format!("{}u", part.first_input + i)),
        false => "0.0".into(),
    };
    format!("vec4f({})", [0, 1, 2, 3].map(of).join(", "))
}

/// Adds the part of feature `f` of a grid, whose gradient is g\[k\].
fn of_grid_feature(part: &NarrowEncoding, grid: HashGrid, row: &Row, slope: &str, levels: &str) -> String {
    let each = grid.features_per_level;
    let among = |n: u32, numbers: &str, number: &str| {
        format!("select(vec{n}f(0.0), vec{n}f(g[k]), vec{n}u({numbers}) == vec{n}u({number}))")
    };
    let g = match each {
        1 => "g[k]".into(),
        2 => among(2, "0u, 1u", "f % 2u"),
        4 => among(4, "0u, 1u, 2u, 3u", "f % 4u"),
        _ => {
            let [first, second] = ["0u, 1u, 2u, 3u", "4u, 5u, 6u, 7u"].map(|numbers| among(4, numbers, "f % 8u"));
            format!("mat2x4f({first}, {second})")
        }
    };
    let mut text = format!("        let slope = {slope}({}, {levels}[f / {each}u], {g});\n", point(row, part));
    for (axis, component) in (0..part.inputs).zip(["x", "y", "z", "w"]) {
        let (j, add) = (part.first_input + axis, row.add());
        text += &format!("        {{ let j = {j}u; let part = slope.{component}; {add} }}\n");
    }
    text
}

/// Returns feature `j` of a grid.
fn one_feature(grid: HashGrid, point: &str, [level, levels]: &[String; 2]) -> String {
    let each = grid.features_per_level;
    let call = format!("{level}({point}, {levels}[j / {each}u])");
    match each {
        1 => format!("return {call};"),
        8 => format!("let level = {call};\n        return select(level[0], level[1], j % 8u >= 4u)[j % 4u];"),
        _ => format!("return {call}[j % {each}u];"),
    }
}

/// Returns the features 4 `j` to 4 `j` + 3 of a grid.
fn four_features(grid: HashGrid, point: &str, [level, levels]: &[String; 2]) -> String {
    match grid.features_per_level {
        8 => format!(
            "let level = {level}({point}, {levels}[j / 2u]);\n        return select(level[0], level[1], j % 2u == 1u);"
        ),
        each => {
            let each = 4 / each;
            let calls = (0..each).map(|k| format!("{level}({point}, {levels}[j * {each}u + {k}u])"));
            format!("return vec4f({});", calls.collect::<Vec<_>>().join(", "))
        }
    }
}

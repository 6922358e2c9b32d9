//! WGSL text of encodings: functions that return a few features of a row at a time, so that no row is stored. Other
//! functions take the gradient of these features and add their part of the input's gradient.

use super::composite::composite;
use super::{gradients, of_type};
use crate::encoding::{Encoding, GridInterpolation, GridStorage, HashGrid};
use crate::ops::writer::{part, push};
use crate::ops::{feature, interpolation, level_slope};
use crate::plan::NarrowEncoding;

/// `fn encoded(input, i: u32) -> vec4f`: features 4 i to 4 i + 3 after all encodings. Past the end of the row it
/// repeats the last feature. Other `numbers` than 4 are those of a hash grid's level. Names begin with `prefix`. With
/// `gradient` also `encoded_gradient`: see [`gradients`](super::gradients).
pub fn functions(
    encodings: &[Vec<NarrowEncoding>],
    numbers: u32,
    prefix: &str,
    parameters: &str,
    gradient: bool,
) -> String {
    let mut text = String::new();
    // Functions that several encodings share are written once.
    let mut shared = Vec::new();
    let Some(first) = encodings.first() else { return text };
    let inputs = first.iter().map(|part| part.inputs).sum();
    for (n, parts) in encodings.iter().enumerate() {
        let function =
            if n + 1 == encodings.len() { format!("{prefix}encoded") } else { format!("{prefix}encoded_{n}") };
        let row = Row { inputs, before: n.checked_sub(1).map(|before| format!("{prefix}encoded_{before}")) };
        let [encoding] = &parts[..] else {
            composite(&mut text, &mut shared, parts, &row, (&function, n), (prefix, parameters), gradient);
            continue;
        };
        // Encodings after another read four numbers of it at a time.
        let numbers = if n + 1 == encodings.len() { numbers } else { 4 };
        match encoding.encoding {
            Encoding::HashGrid(grid) => {
                let names = [function, format!("{prefix}level_{n}"), format!("{prefix}levels_{n}")];
                let (grid_and_inputs, table) = ((grid, encoding.inputs), (parameters, encoding.table));
                let grid_prefix = grid_prefix(prefix, grid);
                let counts = [encoding.inputs, numbers];
                interpolation(&mut shared, grid_and_inputs, table, &names[1], &grid_prefix);
                hash_grid(&mut text, grid, &row, counts, &names);
                if gradient {
                    let slope = format!("{prefix}slope_{n}");
                    level_slope(&mut shared, grid_and_inputs, &names[1], &slope, &grid_prefix);
                    gradients::hash_grid(&mut text, grid, &row, counts, [&names[0], &slope, &names[2]]);
                }
            }
            of_numbers => {
                let names = [function, format!("{prefix}feature_{n}"), format!("{prefix}number_{n}")];
                let feature_prefix = format!("{prefix}encoding_");
                feature(&mut shared, of_numbers, "feature", &names[1], &feature_prefix);
                one_by_one(&mut text, encoding, &row, &names);
                if gradient {
                    let slope = format!("{prefix}slope_{n}");
                    feature(&mut shared, of_numbers, "slope", &slope, &feature_prefix);
                    gradients::one_by_one(&mut text, encoding, &row, [&names[0], &slope]);
                }
            }
        }
    }
    shared.concat() + &text
}

/// The first part of the names that grids with the same options share.
pub fn grid_prefix(prefix: &str, grid: HashGrid) -> String {
    let of_storage = if grid.storage == GridStorage::Tiled { "tiled_" } else { "" };
    let of_interpolation = match grid.interpolation {
        GridInterpolation::Linear => "",
        GridInterpolation::Smoothstep => "smoothstep_",
        GridInterpolation::Nearest => "nearest_",
    };
    format!("{prefix}{of_storage}{of_interpolation}grid_")
}

/// The input row of an encoding.
pub struct Row {
    /// The length of the network's input.
    pub inputs: u32,
    /// The function that returns four features of the row. `None` for the network's input.
    pub before: Option<String>,
}

impl Row {
    pub fn input(&self) -> String {
        format!("input: {}", of_type(self.inputs))
    }

    /// The WGSL text of element `i` of the row.
    pub fn number(&self, i: &str) -> String {
        match &self.before {
            Some(before) => format!("{before}(input, {i} / 4u)[{i} % 4u]"),
            None if self.inputs == 1 => "input".into(),
            None => format!("input[{i}]"),
        }
    }

    /// The WGSL text of the whole row, at most four elements, as a point.
    pub fn point(&self, numbers: u32) -> String {
        let of = |i| match &self.before {
            _ if i >= numbers => "0.0".into(),
            Some(_) => part("before", i, 4),
            None => part("input", i, numbers),
        };
        format!("vec4f({})", [0, 1, 2, 3].map(of).join(", "))
    }
}

/// Encodes each group of coordinates separately. The features of a group are adjacent.
fn one_by_one(text: &mut String, at: &NarrowEncoding, row: &Row, [function, feature, number]: &[String; 3]) {
    let (input, features, last) = (row.input(), at.encoding.features(), at.outputs - 1);
    let of = match at.encoding.group() {
        1 => row.number("j"),
        _ => format!("vec3f({})", [0, 1, 2].map(|k| row.number(&format!("(j * 3u + {k}u)"))).join(", ")),
    };
    push(
        text,
        format_args!(
            "fn {number}({input}, i: u32) -> f32 {{
    let j = min(i, {last}u) / {features}u;
    return {feature}({of}, min(i, {last}u) % {features}u);
}}
fn {function}({input}, i: u32) -> vec4f {{"
        ),
    );
    let numbers = [0, 1, 2, 3].map(|k| format!("{number}(input, i * 4u + {k}u)"));
    push(text, format_args!("    return vec4f({});\n}}", numbers.join(", ")));
}

/// Encodes the row as a point. The features of the levels are concatenated.
fn hash_grid(
    text: &mut String,
    grid: HashGrid,
    row: &Row,
    [dimensions, numbers]: [u32; 2],
    [function, level, levels]: &[String; 3],
) {
    self::levels(text, grid, dimensions, levels);
    let last = grid.levels - 1;
    push(text, format_args!("fn {function}({}, i: u32) -> {} {{", row.input(), of_type(numbers)));
    if let Some(before) = &row.before {
        push(text, format_args!("    let before = {before}(input, 0u);"));
    }
    push(text, format_args!("    let point = {};", row.point(dimensions)));
    if grid.features_per_level == 8 {
        push(text, format_args!("    let features = {level}(point, {levels}[min(i / 2u, {last}u)]);"));
        push(text, format_args!("    return select(features[0], features[1], i % 2u == 1u);\n}}"));
        return;
    }
    let each = numbers / grid.features_per_level;
    let quad = (0..each).map(|k| format!("{level}(point, {levels}[min(i * {each}u + {k}u, {last}u)])"));
    push(text, format_args!("    return {}({});\n}}", of_type(numbers), quad.collect::<Vec<_>>().join(", ")));
}

/// The table of a grid's levels.
pub fn levels(text: &mut String, grid: HashGrid, dimensions: u32, name: &str) {
    let table: Vec<String> = grid.levels(dimensions).iter().map(|level| format!("vec4u{:?}", level.words())).collect();
    let table = table.join(", ").replace(['['], "(").replace([']'], ")");
    push(text, format_args!("const {name} = array<vec4u, {}>({table});", grid.levels));
}

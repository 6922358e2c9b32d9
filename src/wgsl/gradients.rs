//! WGSL text of the encodings' gradients: `fn NAME_gradient(input, i: u32, g, gradient: ptr<function, ..>)`. NAME is
//! the function of an encoding. `g` is the gradient of the numbers that NAME(input, i) returns, and 0 past the end of
//! the row. The function adds their part of the gradient of `input`. An encoding after another passes its part on.

use super::encodings::Row;
use super::of_type;
use crate::encoding::HashGrid;
use crate::ops::writer::push;
use crate::plan::NarrowEncoding;

impl Row {
    /// Begins the function.
    pub fn begin(&self, text: &mut String, function: &str, numbers: u32) {
        let (input, ty, g) = (self.input(), of_type(self.inputs), of_type(numbers));
        push(text, format_args!("fn {function}_gradient({input}, i: u32, g: {g}, gradient: ptr<function, {ty}>) {{"));
    }

    /// Adds `part` to the gradient of element `j` of the row. Both are names in the text.
    pub fn add(&self) -> String {
        match (&self.before, self.inputs) {
            (Some(before), _) => {
                let part = "select(vec4f(0.0), vec4f(part), vec4u(0u, 1u, 2u, 3u) == vec4u(j % 4u))";
                format!("{before}_gradient(input, j / 4u, {part}, gradient);")
            }
            (None, 1) => "*gradient += part;".into(),
            // Vectors are not indexed, because some compilers would keep them in memory.
            (None, n @ 2..=4) => {
                let indices = &["0u", "1u", "2u", "3u"][..n as usize];
                let indices = indices.join(", ");
                format!("*gradient += select(vec{n}f(0.0), vec{n}f(part), vec{n}u({indices}) == vec{n}u(j));")
            }
            (None, _) => "(*gradient)[j] += part;".into(),
        }
    }
}

/// Encodings of each coordinate: the gradient of a feature times the slope of the feature.
pub fn one_by_one(text: &mut String, at: &NarrowEncoding, row: &Row, [function, slope]: [&str; 2]) {
    row.begin(text, function, 4);
    let outputs = at.outputs;
    push(text, format_args!("    for (var k = 0u; k < 4u && i * 4u + k < {outputs}u; k++) {{"));
    push(text, format_args!("        let f = i * 4u + k;\n{}    }}\n}}", of_feature(at, row, slope)));
}

/// Adds the part of feature `f` of an encoding, whose gradient is g\[k\].
pub fn of_feature(at: &NarrowEncoding, row: &Row, slope: &str) -> String {
    let (features, first, add) = (at.encoding.features(), at.first_input, row.add());
    match at.encoding.group() {
        1 => format!(
            "        let j = {first}u + f / {features}u;
        let part = g[k] * {slope}({}, f % {features}u);
        {add}
",
            row.number("j")
        ),
        _ => {
            let of = |axis: u32| row.number(&format!("({}u + f / {features}u * 3u)", first + axis));
            format!(
                "        let point = vec3f({});
        for (var axis = 0u; axis < 3u; axis++) {{
            let j = {first}u + f / {features}u * 3u + axis;
            let part = g[k] * {slope}(point, f % {features}u, axis);
            {add}
        }}
",
                [0, 1, 2].map(of).join(", ")
            )
        }
    }
}

/// A hash grid: the slopes of the levels that have these features.
pub fn hash_grid(
    text: &mut String,
    grid: HashGrid,
    row: &Row,
    [dimensions, numbers]: [u32; 2],
    [function, slope, levels]: [&str; 3],
) {
    row.begin(text, function, numbers);
    if let Some(before) = &row.before {
        push(text, format_args!("    let before = {before}(input, 0u);"));
    }
    push(text, format_args!("    let point = {};", row.point(dimensions)));
    let (last, features) = (grid.levels - 1, grid.features_per_level);
    let (index, parts): (_, &[&str]) = match (numbers / features, features) {
        (0, _) => ("i / 2u", &["mat2x4f(select(vec4f(0.0), g, i % 2u == 0u), select(vec4f(0.0), g, i % 2u == 1u))"]),
        (1, _) => ("i", &["g"]),
        (_, 1) => ("i * 4u", &["g.x", "g.y", "g.z", "g.w"]),
        _ => ("i * 2u", &["g.xy", "g.zw"]),
    };
    let terms = (0..).zip(parts);
    let terms = terms.map(|(k, g)| format!("{slope}(point, {levels}[min({index} + {k}u, {last}u)], {g})"));
    push(text, format_args!("    let slope = {};", terms.collect::<Vec<_>>().join("\n        + ")));
    let axes = ["slope.x", "slope.y", "slope.z", "slope.w"];
    match &row.before {
        Some(before) => {
            let of = |i: usize| if i < dimensions as usize { axes[i] } else { "0.0" };
            let part = [0, 1, 2, 3].map(of).join(", ");
            push(text, format_args!("    {before}_gradient(input, 0u, vec4f({part}), gradient);"));
        }
        None => {
            let part = axes[..dimensions as usize].join(", ");
            push(text, format_args!("    *gradient += {}({part});", of_type(dimensions)));
        }
    }
    text.push_str("}\n");
}

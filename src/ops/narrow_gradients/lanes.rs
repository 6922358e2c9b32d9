//! The kernels for software adapters, whose subgroups have 8 lanes: a workgroup is one subgroup.

use super::*;
use crate::ops::octets::{OCTETS, Octets, has_whole_octets};
use crate::ops::template::expand;
use crate::ops::writer;

/// Rows of C of a tile. More rows use a load of B more often, but the driver compiles longer.
const ROWS: u32 = 32;

/// Fewest rows of a slice. Two slices need a second dispatch, which takes as long as a few hundred rows.
const ROWS_OF_SLICE: u32 = 1024;

/// Most slices. The second dispatch reads all their sums.
const SLICES: u32 = 64;

/// Widest thin tensor: see `shaders/software/narrow_gradients.wgsl.in`.
const WIDEST_THIN: u32 = 16;

/// A matmul by tiles.
#[derive(PartialEq)]
enum Kind {
    Wide,
    ThinA,
    ThinB,
}

impl Kind {
    fn of(op: &Matmul) -> Self {
        let is_thin = |tensor: &Tensor| tensor.columns() <= WIDEST_THIN && !has_whole_octets(tensor);
        match op {
            op if is_thin(&op.b) => Self::ThinB,
            op if is_thin(&op.a) => Self::ThinA,
            _ => Self::Wide,
        }
    }
}

impl NarrowGradients {
    /// One dispatch if there is one slice and its sums can be updated or stored as octets, otherwise two.
    pub(super) fn launches_by_lanes(&self) -> Vec<Launch> {
        let Some(written) = self.written() else { return Vec::new() };
        let rows_of_slice = self.batch().div_ceil(SLICES).next_multiple_of(8).max(ROWS_OF_SLICE);
        let slices = self.batch().div_ceil(rows_of_slice);
        let words = written.len();
        let scratch = u64::from(words) * u64::from(slices);
        let whole = slices == 1 && self.is_wide() && self.rows.len() <= 2;
        let store = match whole {
            true => {
                let stores = "\nfn store_sums(slice: u32, first: u32, column: u32, columns: u32, sums: Eight) {
    if column < columns {
        store_gradients((first + column) / 8u, sums.even, sums.odd);
    }
}\n";
                self.store_gradients(self.rows.len() + 1) + stores
            }
            false => {
                let (name, binding, wide) = ("parts", self.rows.len() + 1, self.is_wide());
                let stores = "\nfn store_sums(slice: u32, first: u32, column: u32, columns: u32, sums: Eight) {
    store_parts(slice * WORDS + first, column, columns, sums);
}\n";
                Octets { name, binding, wide, written: true, thin: false }.text() + stores
            }
        };
        let (tiles, table, text) = self.tiles_by_lanes(rows_of_slice, &store);
        let constants = if whole { self.step_constants() } else { Vec::new() };
        let mut bindings: Vec<Operand> = self.rows.iter().map(|&tensor| read(tensor)).collect();
        match whole {
            true => bindings = self.bindings_after(bindings),
            false => bindings.push(write_scratch(scratch)),
        }
        let first = Launch {
            shader: shader("narrow_gradients.lanes", text + &table, constants),
            uniforms: Vec::new(),
            bindings,
            workgroups: u64::from(tiles) * u64::from(slices),
        };
        if whole {
            return vec![first];
        }
        let sizes = writer::constants(&[("SLICES", slices), ("WORDS", words)]);
        let text = [
            OCTETS,
            &sizes,
            &self.gaps(written),
            &self.store_gradients(2),
            text!("software/narrow_gradients.sums.wgsl.in"),
        ];
        let second = Launch {
            shader: shader("narrow_gradients.sums", text.concat(), self.step_constants()),
            uniforms: Vec::new(),
            bindings: self.bindings_after(vec![read_scratch(scratch)]),
            workgroups: (words / 8).div_ceil(64).into(),
        };
        vec![first, second]
    }

    /// Whether all tensors that are accessed as octets consist of whole octets.
    fn is_wide(&self) -> bool {
        self.rows.iter().all(|rows| rows.len().is_multiple_of(8))
            && self.matmuls().all(|op| match Kind::of(op) {
                Kind::Wide => has_whole_octets(&op.a) && has_whole_octets(&op.b),
                Kind::ThinA => has_whole_octets(&op.b),
                Kind::ThinB => has_whole_octets(&op.a),
            })
    }

    fn step_constants(&self) -> Vec<(&'static str, f64)> {
        self.step.as_ref().map_or(Vec::new(), |step| step.constants())
    }

    /// Bindings of the kernel that stores the gradients or updates the weights. `first` are those before.
    fn bindings_after(&self, mut first: Vec<Operand>) -> Vec<Operand> {
        match &self.step {
            Some(step) => {
                first.resize(2, read(None));
                first.into_iter().chain(step.operands()).collect()
            }
            None => first.into_iter().chain([change(self.gradients)]).collect(),
        }
    }

    /// `store_gradients`: stores eight gradients, or updates eight weights. The bindings before `binding` are in use. The
    /// step has fixed ones from 3 on, so those between are declared but not used.
    fn store_gradients(&self, binding: usize) -> String {
        match &self.step {
            Some(_) => {
                let octets = OptimizerStep::WIDE_TEXT.replace(text!("software/words.wgsl"), "");
                let unused = |i| format!("@group(0) @binding({i}) var<storage, read> unused_{i}: array<vec4f>;\n");
                (binding..3).map(unused).collect::<String>()
                    + &octets
                    + "\nfn store_gradients(at: u32, evens: vec4f, odds: vec4f) {
    if !skips_batch() {
        apply(at, load_octet(at), evens, odds, read_cursor());
    }
}\n"
            }
            None => format!(
                "@group(0) @binding({binding}) var<storage, read_write> gradients: array<vec4<u64>>;

fn store_gradients(at: u32, evens: vec4f, odds: vec4f) {{
    gradients[at] = interleave(evens, odds);
}}\n"
            ),
        }
    }

    /// `is_gap`: which words are in no tensor. The first dispatch does not write them.
    fn gaps(&self, written: Tensor) -> String {
        let tensors = self.matmuls().flat_map(|op| [Some(op.c), op.bias_gradient]).flatten();
        let mut ranges: Vec<(u32, u32)> =
            tensors.map(|t| (t.offset - written.offset, t.offset - written.offset + t.len())).collect();
        ranges.sort_unstable();
        let ends = ranges.iter().map(|range| range.1);
        let starts = ranges.iter().skip(1).map(|range| range.0).chain([written.len()]);
        let gaps: Vec<String> = ends
            .zip(starts)
            .filter(|(end, start)| end < start)
            .map(|(end, start)| format!("((words >= vec4u({end}u)) & (words < vec4u({start}u)))"))
            .collect();
        let gaps = if gaps.is_empty() { "vec4<bool>(false)".into() } else { gaps.join("\n        | ") };
        format!("\nfn is_gap(words: vec4u) -> vec4<bool> {{\n    return {gaps};\n}}\n")
    }

    /// Number of tiles, and the text of the first dispatch.
    fn tiles_by_lanes(&self, rows_of_slice: u32, store: &str) -> (u32, String, String) {
        let written = self.written().map_or(0, |tensor| tensor.offset);
        let place = |tensor: Tensor| {
            let buffer = self.rows.iter().position(|rows| rows.buffer == tensor.buffer).expect("a buffer of the op");
            format!("{buffer}u, {}u", tensor.offset - self.rows[buffer].offset)
        };
        let (mut wide, mut thin, mut widest_thin) = (Vec::new(), Vec::new(), 0);
        for op in self.matmuls() {
            let (m, n, c) = (op.a.columns(), op.b.columns(), op.c.offset - written);
            let kind = Kind::of(op);
            let bias = op.bias_gradient.map_or("NONE".into(), |bias| format!("{}u", bias.offset - written));
            let tile = |first: u32| {
                let bias = if first == 0 { &bias } else { "NONE" };
                let (a, b, b_is_thin) = (place(op.a), place(op.b), kind == Kind::ThinB);
                format!("Tile({a}, {m}u, {first}u, {b}, {n}u, {c}u, {bias}, {b_is_thin})")
            };
            match kind {
                Kind::Wide => wide.extend((0..m).step_by(ROWS as usize).map(tile)),
                Kind::ThinA | Kind::ThinB => {
                    widest_thin = widest_thin.max(if kind == Kind::ThinA { m } else { n });
                    thin.push(tile(0));
                }
            }
        }
        let conditions = [("tiles are wide", !wide.is_empty()), ("tiles are thin", !thin.is_empty())];
        let (share, parts) = (ROWS / 8, 64 / ROWS);
        let counts = [
            ("row", ROWS),
            ("rows", ROWS),
            ("next row", ROWS - 1),
            ("couple", ROWS / 2),
            ("pair", 4),
            ("share", share),
            ("part", parts),
            ("parts", parts),
            ("load", 4 / parts),
            ("step", 4),
            ("eight", 8),
            ("column", widest_thin),
            ("columns", widest_thin),
        ];
        let text = expand(text!("software/narrow_gradients.wgsl.in"), &counts, &conditions);
        let sizes = writer::constants(&[
            ("BATCH", self.batch()),
            ("SLICE", rows_of_slice),
            ("TILES", (wide.len() + thin.len()) as u32),
            ("WIDE_TILES", wide.len() as u32),
            ("WORDS", self.written().map_or(0, |tensor| tensor.len())),
        ]);
        let tiles: Vec<String> = wide.into_iter().chain(thin).collect();
        let table = format!("\nconst TABLE = array<Tile, {}>(\n    {}\n);\n", tiles.len(), tiles.join(",\n    "));
        let heading = [OCTETS, &sizes, &self.rows_text(), store].concat();
        (tiles.len() as u32, table, heading + &text)
    }

    /// Declares the buffers of A and B, and the functions that read them.
    fn rows_text(&self) -> String {
        let (wide, mut text) = (self.is_wide(), String::new());
        for i in 0..self.rows.len() {
            text += &Octets { name: &format!("rows_{i}"), binding: i + 1, wide, written: false, thin: false }.text();
        }
        for (function, parameters, arguments, of, zero) in [
            ("load", "first: u32, column: u32, columns: u32", "first, column, columns", "Eight", "Eight(ZERO, ZERO)"),
            ("word_of", "at: u32", "at", "f32", "0.0"),
        ] {
            text += &format!("\nfn {function}_rows(buffer: u32, {parameters}) -> {of} {{\n");
            match self.rows.len() {
                1 => text += &format!("    return {function}_rows_0({arguments});\n"),
                buffers => {
                    text += &format!("    var loaded = {zero};\n");
                    for i in 0..buffers {
                        text += &format!(
                            "    if buffer == {i}u {{\n        loaded = {function}_rows_{i}({arguments});\n    }}\n"
                        );
                    }
                    text += "    return loaded;\n";
                }
            }
            text += "}\n";
        }
        text
    }
}

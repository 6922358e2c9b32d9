//! The texts of the kernels that make products. All follow an activation, or the functions of `update.wgsl` where the sums
//! are gradients.

use super::rule::{Large, MatmulKernel, Panel, Parts, Plain, Split, Subgroup, Tiled, Vector, Wide};
use crate::activation::Activation;
use crate::gpu::kernels::{WORDS, update};
use crate::ops::{template, text};

const TILED: &str = text!("matmul.wgsl.in");
const UNIFORMS: &str = text!("matmul.uniforms.wgsl");
const SUMS: &str = text!("matmul.sums.wgsl.in");
const LOADS: &str = text!("matmul.loads.wgsl.in");
const LARGE: &str = text!("matmul.large.wgsl.in");
const PARTS: &str = text!("matmul.parts.wgsl.in");
const VECTOR: &str = text!("matmul.vector.wgsl.in");
const PLAIN: &str = text!("matmul.plain.wgsl.in");
const SUBGROUP: &str = text!("software/matmul.subgroup.wgsl.in");
const WIDE: &str = text!("software/matmul.wide.wgsl.in");
const WIDE_PANEL: &str = text!("software/matmul.wide.panel.wgsl.in");
const WIDE_BLOCK: &str = text!("software/matmul.wide.block.wgsl.in");
const WIDE_SUMS: &str = text!("software/matmul.wide.sums.wgsl");

/// Slices of k that a workgroup sums where it makes a part.
const SLICES: u32 = 4;

/// What a kernel's text depends on.
#[derive(Debug, Clone, Copy)]
pub(in crate::gpu::kernels) struct MatmulText {
    pub kernel: MatmulKernel,
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// Whether the rows of C are a multiple of 4 long.
    pub aligned: bool,
    pub activation: Activation,
    /// Whether the sums are gradients, for an optimizer.
    pub updates: bool,
    /// Whether C is a single row.
    pub c_is_row: bool,
}

impl MatmulText {
    /// Rows and columns of C per workgroup, where it makes a tile.
    pub fn tile(self) -> Option<[u32; 2]> {
        match self.kernel {
            Tiled { .. } | Split { .. } => Some([32, 32]),
            Large => Some([64, 64]),
            Parts { .. } | Plain | Vector { .. } | Panel { .. } => None,
            Subgroup { rows, lanes } => Some([rows, 4 * lanes]),
            Wide { rows } => Some([rows, 64]),
        }
    }

    pub fn name(self) -> String {
        let Self { transpose_a, aligned, activation, updates, .. } = self;
        let flag = |name, set| if set { name } else { "" };
        let whole = flag(" aligned", aligned);
        let transposed = flag(" A transposed", transpose_a);
        let kernel = match self.kernel {
            Tiled { slices } => format!("matmul {slices}{whole}"),
            Large => format!("matmul.large{whole}"),
            Split { .. } => "matmul split".into(),
            Parts { .. } => format!("matmul.parts{whole}"),
            Vector { lanes } => {
                let (row, along) = (flag(" row", self.c_is_row), flag(" rows", self.outputs_are_rows()));
                format!("matmul.vector {lanes}{row}{along}{whole}")
            }
            Plain => format!("matmul.plain{whole}"),
            Subgroup { rows, lanes } => format!("matmul.subgroup {rows}x{lanes}{whole}"),
            Wide { rows } => format!("matmul.wide {rows}{transposed}"),
            Panel { steps } => format!("matmul.wide panel {steps}{transposed}"),
        };
        if updates { format!("{kernel} update") } else { format!("{kernel} {activation}") }
    }

    /// The functions that the sums go through, the uniforms, what the kernel shares with others,
    /// then the kernel.
    pub fn source(self) -> String {
        let conditions = self.conditions();
        let expand = |text, counts: &[_]| template::expand(text, counts, &conditions);
        let functions = if self.updates { update::functions() } else { self.activation.function().text };
        let (loads, sums) = match self.kernel {
            Wide { .. } | Panel { .. } if self.updates => (WORDS, update::OCTET),
            Wide { .. } | Panel { .. } => (WORDS, WIDE_SUMS),
            Parts { .. } | Plain | Vector { .. } => ("", SUMS),
            Tiled { .. } | Split { .. } | Large | Subgroup { .. } => (LOADS, SUMS),
        };
        let kernel = match self.kernel {
            Plain => PLAIN.to_owned(),
            Parts { .. } => expand(PARTS, &[("load", 4)]),
            Tiled { slices } => expand(TILED, &[("slices", slices)]),
            Split { .. } => expand(TILED, &[("slices", SLICES)]),
            Large => expand(LARGE, &[("row", 8), ("step", 16), ("quarter", 4)]),
            Vector { lanes } => expand(VECTOR, &[("lanes", lanes), ("parts", self.vector_parts())]),
            Subgroup { rows, lanes } => expand(SUBGROUP, &of_subgroup(rows, lanes)),
            Wide { rows } => expand(WIDE, &of_wide(rows)),
            Panel { steps } => expand(WIDE_PANEL, &of_panel(steps)),
        };
        let block = match self.serves_both_passes() {
            true => expand(WIDE_BLOCK, &[("step", 8), ("load", 8), ("pair", 4)]),
            false => String::new(),
        };
        [functions, UNIFORMS, loads, &expand(sums, &[]), &block, &kernel].concat()
    }

    /// All that any of the texts asks for.
    fn conditions(self) -> Vec<(&'static str, bool)> {
        let Self { transpose_a, aligned, updates, c_is_row, .. } = self;
        let rows = self.outputs_are_rows();
        let in_parts = matches!(self.kernel, Split { .. });
        let sliced = in_parts || matches!(self.kernel, Tiled { slices } if slices > 1);
        vec![
            ("A is transposed", transpose_a),
            ("A is as it is", !transpose_a),
            ("k is in slices", sliced),
            ("the sums are of a part of k", in_parts),
            ("the sums are of all of k", !in_parts),
            ("the sums are no gradients", !updates),
            ("C takes the sums", !updates && !in_parts),
            ("C takes the sums, in whole vectors", !updates && !in_parts && aligned),
            ("C takes the sums, in rows of any length", !updates && !in_parts && !aligned),
            ("the sums are gradients", updates),
            ("the sums are gradients, in whole vectors", updates && aligned),
            ("the sums are gradients, in rows of any length", updates && !aligned),
            ("C is a column", !c_is_row),
            ("C is a row", c_is_row),
            ("outputs are rows of the matrix", rows),
            ("outputs are columns of the matrix", !rows),
            ("several invocations share columns", self.vector_parts() > 1),
            ("each invocation has columns of its own", self.vector_parts() == 1),
        ]
    }

    /// Whether the kernel asks the uniforms, where others have constants, for what forward and backward passes differ in.
    fn serves_both_passes(self) -> bool {
        matches!(self.kernel, Panel { .. } | Wide { .. }) && !self.transpose_a
    }

    /// Constants that the text does not depend on, so that neither should its pipelines.
    pub fn ignores(self) -> &'static [&'static str] {
        match self.kernel {
            _ if self.serves_both_passes() => &["TRANSPOSE_B", "EPILOGUE", "BIAS"],
            Split { .. } => &["EPILOGUE", "BIAS", "CONTINUES"],
            Parts { .. } => &["TRANSPOSE_A", "TRANSPOSE_B", "A_ALIGNED", "B_ALIGNED"],
            _ => &[],
        }
    }

    /// Of a product with a vector: whether each output is the sum over a row of the matrix, or over a column.
    fn outputs_are_rows(self) -> bool {
        if self.c_is_row { self.transpose_b } else { !self.transpose_a }
    }

    /// How many invocations of that kernel share the steps of a column.
    fn vector_parts(self) -> u32 {
        if matches!(self.kernel, Vector { lanes: 64 }) { 4 } else { 1 }
    }

    /// Outputs of a workgroup of that kernel.
    pub fn vector_outputs(self) -> u32 {
        match self.kernel {
            Vector { lanes } if !self.outputs_are_rows() => 4 * lanes / self.vector_parts(),
            _ => 4,
        }
    }
}

/// What repeats in a kernel that keeps the sums of so many rows, and how often.
fn of_subgroup(rows: u32, lanes: u32) -> [(&'static str, u32); 6] {
    [
        ("row", rows),
        ("rows", rows),
        ("lanes", lanes),
        ("group", rows.div_ceil(lanes)),
        ("next row", rows.min(lanes) - 1),
        ("later row", rows.saturating_sub(lanes)),
    ]
}

/// The same in words of 64 bits. Of a transposed A, `share` lanes have the rows of one step, and a load `parts` steps.
fn of_wide(rows: u32) -> Vec<(&'static str, u32)> {
    let share = rows / 8;
    let parts = 4.min(8 / share);
    let of_transposed =
        [("k", 4), ("share", share), ("part", parts), ("parts", parts), ("load", 4 / parts), ("pair", rows / 2)];
    let of_others = [("step", 8), ("pair of steps", 4)];
    [&of_subgroup(rows, 8)[..], &of_transposed, &of_others].concat()
}

/// The same for a panel of so many steps.
fn of_panel(steps: u32) -> [(&'static str, u32); 7] {
    [
        ("steps", steps),
        ("step", steps),
        ("pair", steps / 2),
        ("eight", steps / 8),
        ("earlier step", steps - 8),
        ("earlier steps", steps - 8),
        ("new step", 8),
    ]
}

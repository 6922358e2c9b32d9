//! Texts of the matmul kernels. A text consists of an epilogue, the loads of the operands, and the kernel of a tile.

use super::{Epilogue, K, Layout, Matmul, MatmulKernel, Tile, Window, convolution, rule};
use crate::activation::Activation;
use crate::ops::template::expand;
use crate::ops::{OptimizerStep, text};

/// Slices of k per workgroup if k is split.
const SLICES: u32 = 4;

/// Epilogue in the text of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum EpilogueText {
    /// Writes the sums to C, after this activation or its derivative.
    Sums(Activation),
    /// Passes the sums to an optimizer.
    Update,
    /// Writes the partial sums of a split to scratch memory.
    Split,
}

impl EpilogueText {
    pub fn of(op: &Matmul) -> Self {
        match op.epilogue {
            Epilogue::None => Self::Sums(Activation::Identity),
            Epilogue::Bias { activation, .. } | Epilogue::Derivative { activation, .. } => Self::Sums(activation),
            Epilogue::Update(_) => Self::Update,
        }
    }

    /// Name of a kernel. It includes a custom activation, so that compile errors name it.
    pub fn named(self, kernel: &str) -> String {
        match self {
            Self::Sums(f @ Activation::Custom(_)) => format!("{kernel} {f}"),
            _ => kernel.into(),
        }
    }

    /// Text for kernels with four columns per invocation. `aligned` means that rows of C are whole vectors.
    fn text(self, aligned: bool, addend: bool) -> String {
        let (functions, text) = match (self, aligned) {
            (Self::Sums(f), true) => (f.text(), text!("matmul.epilogue.wgsl.in", "matmul.sums.wgsl.in")),
            (Self::Sums(f), false) => (f.text(), text!("matmul.epilogue.wgsl.in", "matmul.sums.rows.wgsl.in")),
            (Self::Update, true) => {
                (OptimizerStep::TEXT, text!("matmul.epilogue.update.wgsl.in", "matmul.update.wgsl.in"))
            }
            (Self::Update, false) => {
                (OptimizerStep::TEXT, text!("matmul.epilogue.update.wgsl.in", "matmul.update.rows.wgsl.in"))
            }
            (Self::Split, _) => return text!("matmul.epilogue.wgsl.in", "matmul.part.wgsl.in").into(),
        };
        functions.to_owned() + &of_addend(text, addend) + text!("matmul.whole.wgsl.in")
    }

    /// Text for kernels that access memory in words of 64 bits.
    fn wide_text(self, addend: bool) -> String {
        match self {
            Self::Update => OptimizerStep::WIDE_TEXT.into(),
            Self::Sums(f) => {
                let text = text!(
                    "software/words.wgsl",
                    "software/matmul.wide.passes.wgsl.in",
                    "software/matmul.wide.sums.wgsl.in"
                );
                f.text().to_owned() + &of_addend(text, addend)
            }
            Self::Split => unreachable!("only kernels of four columns sum parts"),
        }
    }
}

/// Text of an epilogue, with or without an addend.
fn of_addend(text: &str, addend: bool) -> String {
    expand(text, &[], &[("there is an addend", addend), ("there is no addend", !addend)])
}

/// Name and text of a kernel.
pub(super) fn source(
    op: &Matmul,
    MatmulKernel { tile, k }: MatmulKernel,
    epilogue: EpilogueText,
    lanes: u32,
) -> (String, String) {
    let transposed = op.layout == Layout::Tn;
    let conditions = [
        ("A is transposed", transposed),
        ("A is not transposed", !transposed),
        ("the epilogue is an update", epilogue == EpilogueText::Update),
        ("the epilogue stores C", epilogue != EpilogueText::Update),
        ("A is stored", op.window.is_none()),
        ("A is an image", op.window.is_some()),
    ];
    let (window, loads) = match op.window {
        Some(_) => (text!("matmul.window.wgsl"), text!("matmul.loads.window.wgsl.in")),
        None => ("", text!("matmul.loads.rows.wgsl.in")),
    };
    let loads = if matches!(tile, Tile::Square32 | Tile::Square64 | Tile::Subgroup { .. }) { loads } else { "" };
    let expand = |text, counts: &[_]| expand(text, counts, &conditions);
    let of_window = |text: &dyn Fn(&Window) -> String| op.window.as_ref().map(text).unwrap_or_default();
    let (name, kernel) = match tile {
        Tile::Square32 => {
            let slices = match k {
                K::Whole => 1,
                K::Slices(slices) => slices,
                K::Parts(_) => SLICES,
            };
            ("matmul", expand(text!("matmul.loads.wgsl.in", "matmul.wgsl.in"), &[("slices", slices)]))
        }
        Tile::Square64 => {
            let counts = [("row", 8), ("step", 16), ("quarter", 4)];
            ("matmul.large", expand(text!("matmul.loads.wgsl.in", "matmul.large.wgsl.in"), &counts))
        }
        Tile::Vector { lanes } if outputs_are_rows(op) => (
            "matmul.vector.rows",
            expand(text!("matmul.vector.wgsl.in", "matmul.vector.rows.wgsl.in"), &[("lanes", lanes)]),
        ),
        Tile::Vector { lanes } => {
            let counts = [("lanes", lanes), ("parts", lanes_of_column(lanes))];
            ("matmul.vector.columns", expand(text!("matmul.vector.wgsl.in", "matmul.vector.columns.wgsl.in"), &counts))
        }
        Tile::Direct { quads } => ("matmul.direct", of_window(&|window| convolution::direct(op, window, quads))),
        Tile::Grouped { lanes } => ("matmul.grouped", of_window(&|window| convolution::grouped(op, window, lanes))),
        Tile::Plain => ("matmul.plain", expand(text!("matmul.plain.wgsl.in"), &[])),
        Tile::Subgroup { rows } => {
            let text = text!("matmul.loads.wgsl.in", "software/matmul.subgroup.wgsl.in");
            ("matmul.subgroup", expand(text, &of_subgroup(rows, lanes)))
        }
        Tile::Wide { rows } => ("matmul.wide", expand(text!("software/matmul.wide.wgsl.in"), &of_wide(rows))),
        Tile::Panel => {
            let text = text!("software/matmul.wide.panel.wgsl.in");
            ("matmul.wide.panel", expand(text, &of_panel(rule::steps_of_panel(op))))
        }
        Tile::Sliding => unreachable!("it has texts of its own"),
    };
    let name = epilogue.named(name);
    let epilogue = match tile {
        Tile::Wide { .. } | Tile::Panel => epilogue.wide_text(op.addend.is_some()),
        _ => epilogue.text(op.n().is_multiple_of(4), op.addend.is_some()),
    };
    let block = match serves_both_passes(op, tile) {
        true => expand(text!("software/matmul.wide.block.wgsl.in"), &[("step", 8), ("load", 8), ("pair", 4)]),
        false => String::new(),
    };
    let name = if op.window.is_some() { format!("{name}.window") } else { name };
    (name, [&epilogue, text!("matmul.uniforms.wgsl"), window, loads, &block, &kernel].concat())
}

/// Text of the second dispatch of split-K.
pub(super) fn source_of_sum(op: &Matmul, epilogue: EpilogueText) -> String {
    let kernel = expand(text!("matmul.uniforms.wgsl", "matmul.parts.wgsl.in"), &[("load", 4)], &[]);
    epilogue.text(op.n().is_multiple_of(4), op.addend.is_some()) + &kernel
}

/// Whether the kernel reads the differences of forward and backward passes from uniforms instead of constants. Both
/// passes then share one pipeline, because the driver takes long to compile it.
pub(super) fn serves_both_passes(op: &Matmul, tile: Tile) -> bool {
    matches!(tile, Tile::Panel | Tile::Wide { .. }) && op.layout != Layout::Tn
}

/// For a matmul with a vector: whether outputs are sums over rows of the matrix. Otherwise they are sums over
/// columns.
fn outputs_are_rows(op: &Matmul) -> bool {
    if op.n() > 1 { op.layout == Layout::Nt } else { op.layout != Layout::Tn }
}

/// Invocations of the kernel for columns that share the steps of a column.
fn lanes_of_column(lanes: u32) -> u32 {
    if lanes == 64 { 4 } else { 1 }
}

/// Outputs per workgroup of the vector kernels.
pub(super) fn vector_outputs(op: &Matmul, lanes: u32) -> u32 {
    if outputs_are_rows(op) { 4 } else { 4 * lanes / lanes_of_column(lanes) }
}

/// Repetitions in a kernel that keeps the sums of this many rows.
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

/// Repetitions for words of 64 bits. If A is transposed, `share` lanes hold the rows of a step, and a load has
/// `parts` steps.
fn of_wide(rows: u32) -> Vec<(&'static str, u32)> {
    let share = rows / 8;
    let parts = 4.min(8 / share);
    let of_transposed =
        [("k", 4), ("share", share), ("part", parts), ("parts", parts), ("load", 4 / parts), ("pair", rows / 2)];
    let of_others = [("step", 8), ("pair of steps", 4)];
    [&of_subgroup(rows, 8)[..], &of_transposed, &of_others].concat()
}

/// Repetitions for a panel of this many steps.
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

//! Host side of `shaders/matmul.wgsl.in` and of its variants: the launch, the rule that chooses among them, and their texts.

mod rule;
mod text;

use super::update;
use crate::activation::Activation;
use crate::ops::*;

pub(crate) use rule::MatmulKernel;
use rule::{Panel, Parts, Split, Vector, Wide};
pub(super) use text::MatmulText;

/// Blocks of 4x4 outputs that a workgroup of the plain kernel makes.
const PLAIN_BLOCKS: u32 = 16;

/// The launches of a product by a kernel: two where its k is split over workgroups.
pub(crate) fn launches(op: &Matmul, kernel: MatmulKernel, variants: Adapter) -> Vec<Launch> {
    let Split { parts } = kernel else { return vec![launch(op, kernel, variants)] };
    let scratch = scratch_bytes(op, kernel);
    let mut first = launch(&Matmul { epilogue: Epilogue::None, ..op.clone() }, kernel, variants);
    first.bindings = vec![read(op.a), read(op.b), Operand { scratch, ..write(None) }];
    let mut second = launch(op, Parts { parts }, variants);
    second.bindings[..2].copy_from_slice(&[Operand { scratch, ..read(None) }, read(None)]);
    vec![first, second]
}

/// What the launches of a product by a kernel need beside its operands.
pub(crate) fn scratch_bytes(op: &Matmul, kernel: MatmulKernel) -> u64 {
    let Split { parts } = kernel else { return 0 };
    u64::from(cut(op, parts).0) * u64::from(quads_of_part(op)) * 16
}

/// A part is C in rows of whole vectors and, as one more row, the column sums of B where they are asked for.
fn quads_of_part(op: &Matmul) -> u32 {
    (op.m + u32::from(op.bias_gradient.is_some())) * op.n.div_ceil(4)
}

/// How many parts k is cut into where so many are wanted, and the steps of each: whole turns of all slices of a workgroup.
fn cut(op: &Matmul, parts: u32) -> (u32, u32) {
    let steps = op.slice.len() as u32;
    let each = steps.div_ceil(parts).max(1).next_multiple_of(64);
    (steps.div_ceil(each), each)
}

fn launch(op: &Matmul, kernel: MatmulKernel, variants: Adapter) -> Launch {
    let (epilogue, activation) = match op.epilogue {
        _ if op.slice.end < op.k => (0, Activation::Identity),
        Epilogue::None | Epilogue::Update(_) => (0, Activation::Identity),
        Epilogue::Bias { activation, .. } => (1, activation),
        Epilogue::Derivative { activation, .. } => (2, activation),
    };
    let update = match &op.epilogue {
        Epilogue::Update(update) => Some(update.as_ref()),
        _ => None,
    };
    let transpose_a = op.layout == Layout::Tn;
    // A single column is the same numbers either way; as a row it is read in whole vectors.
    let transpose_b = op.layout == Layout::Nt || op.n == 1;
    let aligned = op.n.is_multiple_of(4);
    let updates = update.is_some();
    let c_is_row = op.n > 1 && op.m == 1;
    let text = MatmulText { kernel, transpose_a, transpose_b, aligned, activation, updates, c_is_row };
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let extra = op.extra();
    let Matmul { m, n, k, .. } = *op;
    let (k_start, k_end) = (op.slice.start, op.slice.end);
    let mut constants = vec![
        ("TRANSPOSE_A", f64::from(transpose_a)),
        ("TRANSPOSE_B", f64::from(transpose_b)),
        ("A_ALIGNED", f64::from(row_of_a.is_multiple_of(4))),
        ("B_ALIGNED", f64::from(row_of_b.is_multiple_of(4))),
        ("EPILOGUE", f64::from(epilogue)),
        ("BIAS", f64::from(epilogue == 1 && extra.is_some())),
        ("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some())),
        ("CONTINUES", f64::from(op.slice.start > 0)),
    ];
    constants.retain(|(name, _)| !text.ignores().contains(name));
    match update {
        Some(update) => constants.extend(update::constants(update)),
        None => constants.extend(activation.constant()),
    }
    let (parts, part_steps) = match kernel {
        Split { parts } | Parts { parts } => cut(op, parts),
        _ => (1, k_end - k_start),
    };
    let (tiles, tiles_n) = match text.tile() {
        Some([rows, columns]) => (op.m.div_ceil(rows) * op.n.div_ceil(columns), op.n.div_ceil(columns)),
        None if let Panel { .. } = kernel => {
            let tiles_n = op.n.div_ceil(64);
            (tiles_n * rule::tiles_of_rows(op, tiles_n, variants.threads), tiles_n)
        }
        None if let Vector { .. } = kernel => (op.m.max(op.n).div_ceil(text.vector_outputs()), 1),
        None if let Parts { .. } = kernel => (quads_of_part(op).div_ceil(64), 1),
        None => ((op.m.div_ceil(4) * op.n.div_ceil(4)).div_ceil(PLAIN_BLOCKS), 1),
    };
    let block = if let Wide { rows } = kernel { rule::block(op, rows) } else { 1 };
    let bias_at = op.bias_gradient.map_or(0, |bias| bias.offset.wrapping_sub(op.c.offset));
    let [transpose_b, aux] = [transpose_b, epilogue > 0 && extra.is_some()].map(u32::from);
    let uniforms = uniforms![
        m,
        n,
        k,
        k_start,
        k_end,
        tiles_n,
        tiles,
        bias_at,
        transpose_b,
        epilogue,
        aux,
        parts,
        part_steps,
        block,
    ];
    let mut bindings = vec![read(op.a), read(op.b)];
    bindings.extend(match update {
        None => vec![read(extra), write(op.c), write(op.bias_gradient)],
        Some(update) => update.bound(),
    });
    Launch {
        shader: Shader { name: text.name().into(), source: text.source().into(), constants },
        uniforms,
        bindings,
        workgroups: u64::from(tiles) * if let Split { .. } = kernel { parts.into() } else { 1 },
    }
}

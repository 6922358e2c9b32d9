//! Dispatches of a matmul.

use super::text::{self, EpilogueText};
use super::{Epilogue, K, Layout, Matmul, MatmulKernel, Tile, convolution, rule, sliding};
use crate::ops::*;

/// Blocks of 4x4 outputs per workgroup of the plain kernel.
const PLAIN_BLOCKS: u32 = 16;

/// Dispatches of a matmul. With split-K there are two: the second adds the partial sums of the first.
pub(crate) fn launches(op: &Matmul, kernel: MatmulKernel, adapter: &Adapter) -> Vec<Launch> {
    let epilogue = EpilogueText::of(op);
    debug_assert!(op.addend.is_none() || epilogue != EpilogueText::Update, "an update has no addend");
    if kernel.tile == Tile::Sliding {
        return sliding::launches(op, epilogue, adapter);
    }
    let mut first =
        launch(op, kernel, if let K::Parts(_) = kernel.k { EpilogueText::Split } else { epilogue }, adapter);
    let K::Parts(splits) = kernel.k else { return vec![first] };
    let second = add_splits(op, epilogue, splits_of(op, splits).0, &mut first);
    vec![first, second]
}

/// Second dispatch of split-K, which adds the partial sums. Binds scratch memory to the first dispatch instead of
/// outputs.
pub(super) fn add_splits(op: &Matmul, epilogue: EpilogueText, splits: u32, first: &mut Launch) -> Launch {
    let words = u64::from(splits) * u64::from(quads_of_split(op)) * 4;
    first.bindings.truncate(2);
    first.bindings.push(write_scratch(words));
    let workgroups = quads_of_split(op).div_ceil(64);
    let mut bindings = op.operands();
    bindings[..2].copy_from_slice(&[read_scratch(words), read(None)]);
    Launch {
        shader: shader(epilogue.named("matmul.parts"), text::source_of_sum(op, epilogue), constants(op, epilogue)),
        uniforms: uniforms(op, (splits, 0), 1, [workgroups, 1]),
        bindings,
        workgroups: workgroups.into(),
    }
}

/// Vectors in the partial sums of a split. They are C in rows of whole vectors, and one more row for the column sums
/// of B if they are requested.
fn quads_of_split(op: &Matmul) -> u32 {
    (op.m() + u32::from(op.bias_gradient.is_some())) * op.n().div_ceil(4)
}

/// Number of splits of k, at most `splits`, and the steps of each. The steps are a multiple of 64, which is one
/// iteration of all slices of a workgroup.
fn splits_of(op: &Matmul, splits: u32) -> (u32, u32) {
    let each = op.k().div_ceil(splits).max(1).next_multiple_of(64);
    (op.k().div_ceil(each), each)
}

fn launch(op: &Matmul, kernel: MatmulKernel, epilogue: EpilogueText, adapter: &Adapter) -> Launch {
    let [m, n, k] = op.shape();
    let lanes = adapter.matmul_subgroup.unwrap_or(1);
    let (name, source) = text::source(op, kernel, epilogue, lanes);
    let tiles_of = |[rows, columns]: [u32; 2]| [m.div_ceil(rows) * n.div_ceil(columns), n.div_ceil(columns)];
    let tiles = match kernel.tile {
        Tile::Square32 => tiles_of([32, 32]),
        Tile::Square64 => tiles_of([64, 64]),
        Tile::Subgroup { rows } => tiles_of([rows, 4 * lanes]),
        Tile::Wide { rows } => tiles_of([rows, 64]),
        Tile::Panel => {
            let tiles_n = n.div_ceil(64);
            [tiles_n * rule::tiles_of_rows(op, tiles_n, adapter.threads), tiles_n]
        }
        Tile::Vector { lanes } => [m.max(n).div_ceil(text::vector_outputs(op, lanes)), 1],
        Tile::Sliding => unreachable!("it has launches of its own"),
        Tile::Direct { quads } => convolution::direct_tiles(op, quads),
        Tile::Grouped { .. } => tiles_of([4, 4]),
        Tile::Plain => [(m.div_ceil(4) * n.div_ceil(4)).div_ceil(PLAIN_BLOCKS), 1],
    };
    // Contiguous numbers per row. With a window, they are the channels of a tap.
    let row_of_a = match op.window {
        Some(window) => window.channels,
        None if op.layout == Layout::Tn => m,
        None => k,
    };
    let row_of_b = match op.window {
        Some(window) if op.layout == Layout::Nt => window.channels,
        _ if transposes_b(op) => k,
        _ => n,
    };
    let is_vector = matches!(kernel.tile, Tile::Vector { .. });
    let mut constants = constants(op, epilogue);
    match is_vector {
        true => constants.push(("C_IS_ROW", (n > 1).into())),
        false => constants.extend([
            ("TRANSPOSE_A", f64::from(op.layout == Layout::Tn)),
            ("TRANSPOSE_B", transposes_b(op).into()),
            ("A_ALIGNED", row_of_a.is_multiple_of(4).into()),
            ("B_ALIGNED", row_of_b.is_multiple_of(4).into()),
        ]),
    }
    if let Some(window) = &op.window {
        constants.extend(window.constants());
        constants.push(("OTHER_WEIGHTS", (op.layout == Layout::Nt).into()));
        if let Tile::Direct { .. } | Tile::Grouped { .. } = kernel.tile {
            constants.push(("N", n.into()));
        }
    }
    if text::serves_both_passes(op, kernel.tile) {
        constants.retain(|(name, _)| !["TRANSPOSE_B", "EPILOGUE", "BIAS"].contains(name));
    }
    let mut bindings = op.operands();
    if is_vector && n > 1 {
        bindings.swap(0, 1); // the matrix comes first
    }
    let splits = if let K::Parts(splits) = kernel.k { splits_of(op, splits) } else { (1, k) };
    let block = if let Tile::Wide { rows } = kernel.tile { rule::block(op, rows) } else { 1 };
    let tiles_of_workgroup = if let Tile::Grouped { lanes } = kernel.tile { lanes } else { 1 };
    Launch {
        shader: shader(name, source, constants),
        uniforms: uniforms(op, splits, block, tiles),
        bindings,
        workgroups: (u64::from(tiles[0]) * u64::from(splits.0)).div_ceil(tiles_of_workgroup.into()),
    }
}

/// Whether B is read as transposed. A single column is read as a row, so that it is read in whole vectors.
fn transposes_b(op: &Matmul) -> bool {
    op.layout == Layout::Nt || op.n() == 1
}

/// Number of the epilogue in the shaders.
pub(super) fn epilogue_number(op: &Matmul) -> u32 {
    match op.epilogue {
        Epilogue::None | Epilogue::Update(_) => 0,
        Epilogue::Bias { .. } => 1,
        Epilogue::Derivative { .. } => 2,
    }
}

/// Compile-time constants of an epilogue.
fn constants(op: &Matmul, epilogue: EpilogueText) -> Vec<(&'static str, f64)> {
    let mut constants = vec![("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some()))];
    match (epilogue, &op.epilogue) {
        (EpilogueText::Split, _) => {}
        (_, Epilogue::Update(step)) => constants.extend(step.constants()),
        (EpilogueText::Sums(activation), _) => {
            constants.extend([("EPILOGUE", epilogue_number(op).into()), ("BIAS", op.extra().is_some().into())]);
            constants.extend(activation.constant());
        }
        (EpilogueText::Update, _) => unreachable!("its epilogue is an update"),
    }
    constants
}

/// Uniforms of a matmul: the number of splits of k and the steps of each, the rows of tiles in a block, the tiles.
fn uniforms(op: &Matmul, (splits, split_steps): (u32, u32), block: u32, [tiles, tiles_n]: [u32; 2]) -> Vec<Uniform> {
    let [m, n, k] = op.shape();
    // Offset of the biases from the weights.
    let bias_at = op.bias_gradient.map_or(0, |bias| bias.offset.wrapping_sub(op.c.offset));
    let [transpose_b, aux] = [transposes_b(op), op.extra().is_some()].map(u32::from);
    let epilogue = epilogue_number(op);
    uniforms![
        m, n, k, tiles_n, tiles, bias_at, transpose_b, epilogue, aux, parts: splits, part_steps: split_steps, block
    ]
}

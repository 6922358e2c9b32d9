//! Kernels for convolutions: the repetitions and conditions of their texts, and their numbers of tiles.

use super::{Layout, Matmul, Window};
use crate::ops::template::expand;
use crate::ops::text;

/// Invocations per workgroup of the direct kernel, and neighbouring positions per invocation.
const LANES: u32 = 64;
const POSITIONS: u32 = 4;
/// Most neighbouring taps that share loaded elements.
const MOST_TAPS: u32 = 7;

/// Vectors of four columns in a group.
fn quads_of_group(op: &Matmul) -> u32 {
    (op.n() / op.groups()).div_ceil(4)
}

/// Vectors of columns per invocation of the direct kernel, at most `most`. They belong to one group.
pub(super) fn quads(op: &Matmul, most: u32) -> u32 {
    (1..=most).rev().find(|&quads| quads_of_group(op).is_multiple_of(quads)).unwrap_or(1)
}

/// Whether the direct kernel can compute a matmul with this many vectors of columns per invocation.
pub(super) fn fits_direct(op: &Matmul, quads: u32) -> bool {
    let whole_groups = op.groups() == 1 || (op.n() / op.groups()).is_multiple_of(4);
    let is_forward = op.window.is_some() && op.layout != Layout::Tn && op.bias_gradient.is_none();
    is_forward && whole_groups && (1..=4).contains(&quads) && quads_of_group(op).is_multiple_of(quads)
}

/// Strips of positions. The last strip of a row may be shorter.
fn strips(op: &Matmul, window: &Window) -> u32 {
    let columns = window.columns.positions;
    op.m() / columns * columns.div_ceil(POSITIONS)
}

/// Tiles of the direct kernel: the total, and the number along the columns of C.
pub(super) fn direct_tiles(op: &Matmul, quads: u32) -> [u32; 2] {
    let tiles_n = op.n().div_ceil(4 * quads);
    [op.window.map_or(0, |window| strips(op, &window).div_ceil(LANES)) * tiles_n, tiles_n]
}

/// Whether at least three of four positions in strips exist.
pub(super) fn fills_strips(op: &Matmul) -> bool {
    op.window.is_some_and(|window| op.m() / 3 >= strips(op, &window))
}

/// Text of the direct kernel.
pub(super) fn direct(op: &Matmul, window: &Window, quads: u32) -> String {
    let along = &window.columns;
    // Neighbouring taps and neighbouring positions read neighbouring elements.
    let shared = [along.down, along.up, along.step.unsigned_abs()] == [1; 3] && along.taps <= MOST_TAPS;
    let taps = if shared { along.taps } else { 1 };
    let inputs_in_fours = window.group_channels().is_multiple_of(4);
    let along_inputs = op.layout == Layout::Nt;
    let weights_in_fours = op.n().is_multiple_of(4) && (inputs_in_fours || !along_inputs);
    let inputs = if inputs_in_fours { 4 } else { 1 };
    let counts = [
        ("position", POSITIONS),
        ("quad", quads),
        ("quads", quads),
        ("input", inputs),
        ("inputs", inputs),
        ("tap", taps),
        ("taps", taps),
        ("element", POSITIONS + taps - 1),
    ];
    let conditions = [
        ("inputs are loaded as vectors", inputs_in_fours),
        ("inputs are loaded one by one", !inputs_in_fours),
        ("weights are loaded as vectors", weights_in_fours),
        ("weights are loaded one by one", !weights_in_fours),
        ("weights lie along inputs", along_inputs),
        ("weights lie along columns", !along_inputs),
    ];
    expand(text!("matmul.direct.wgsl.in"), &counts, &conditions)
}

/// Text of the kernel for grouped convolutions.
pub(super) fn grouped(op: &Matmul, window: &Window, lanes: u32) -> String {
    // In a depthwise convolution, columns and channels are the same.
    let are_channels = window.groups == op.n() && window.channels == op.n() && op.n().is_multiple_of(4);
    let conditions = [
        ("A is transposed", op.layout == Layout::Tn),
        ("A is not transposed", op.layout != Layout::Tn),
        ("channels are loaded as vectors", are_channels),
        ("channels are loaded one by one", !are_channels),
    ];
    expand(text!("matmul.grouped.wgsl.in"), &[("lanes", lanes), ("row", 4)], &conditions)
}

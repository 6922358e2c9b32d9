//! Convolution kernels for software adapters, which slide along the rows of an image. They compute convolutions, and
//! the gradients of their inputs. Gradients of weights have stride 1.

use super::launches::{add_splits, epilogue_number};
use super::text::EpilogueText;
use super::{Axis, Epilogue, Layout, Matmul, Window};
use crate::ops::*;

/// Vectors of weights or sums that are kept, 18 KiB, and most channels of the image that they cover.
const KEPT: u32 = 576;
const MOST_CHANNELS: u32 = 16;
/// Vector multiply-adds per iteration, all unrolled. A processor has to decode longer code again and again.
const MULTIPLY_ADDS: u32 = 1200;
/// Most sums per channel of C with which a lane can compute four channels.
const FEW_SUMS: u32 = 36;
/// Most taps along a dimension.
const MOST_TAPS: u32 = 8;
/// Largest stride whose gradients, or transposed convolutions, these kernels compute.
const MOST_UP: u32 = 4;
/// Workgroups that each thread should have.
const WORKGROUPS_OF_THREAD: u32 = 8;
/// Most iterations of all loops of an invocation. A strip of outputs takes one more than it has positions.
const MOST_ITERATIONS: u32 = LONGEST_LOOP;

/// Numbers that a text is expanded with. Convolutions with equal numbers share a pipeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sliding {
    /// Taps of the kernel. If `up` is above 1: the most taps that an output reads.
    taps: [u32; 2],
    /// Channels of C per lane: 1, 2 or 4.
    columns: u32,
    /// Channels of the image whose weights, or weight gradients, are kept.
    block: u32,
    /// Numbers per load of the image.
    load: u32,
    /// Rows of outputs that are computed together.
    out: u32,
    /// Stride along the height.
    down: u32,
    /// Whether one block has all channels, and no text for several blocks would be the same otherwise.
    one_block: bool,
}

/// The window as a kernel with stride 1 along the width reads it, and the channels before its first tap. With a stride
/// of 2, a pair of image columns is one column with twice the channels. Weights before and after the taps are 0.
fn folded(window: &Window) -> Option<(Window, u32)> {
    let columns = window.columns;
    let Axis { length, taps, down, step, first, up, .. } = columns;
    if down == 1 {
        return Some((*window, 0));
    }
    let lead = first.rem_euclid(down as i32) as u32;
    let groups = (taps + lead).div_ceil(down);
    // At most half of the weights are 0.
    let fits = length.is_multiple_of(down) && (step, up) == (1, 1) && down * groups < 2 * taps;
    let first = first.div_euclid(down as i32);
    let columns = Axis { length: length / down, taps: groups, down: 1, first, ..columns };
    fits.then_some((Window { channels: window.channels * down, columns, ..*window }, lead * window.channels))
}

impl Sliding {
    /// Numbers for a matmul; `None` if these kernels cannot compute it.
    pub fn of(op: &Matmul) -> Option<Self> {
        let (window, _) = folded(op.window.as_ref()?)?;
        let axes = [window.rows, window.columns];
        let is_gradient = op.layout == Layout::Tn;
        let down = window.rows.down;
        let has_stride = op.window.is_some_and(|window| window.rows.down > 1 || window.columns.down > 1);
        if has_stride
            && (op.layout != Layout::Nn || window.rows.up > 1 || window.rows.step != 1 || down > window.rows.taps)
        {
            return None;
        }
        let most_up = if is_gradient { 1 } else { MOST_UP };
        let steps = axes.map(|axis| if axis.taps == 1 { 0 } else { axis.step });
        let slides =
            |(axis, step): (&Axis, i32)| axis.up <= most_up && (-1..=1).contains(&step) && (axis.up == 1 || step <= 0);
        let has_update = matches!(op.epilogue, Epilogue::Update(_)) || op.bias_gradient.is_some();
        let taps = axes.map(|axis| axis.taps.div_ceil(axis.up));
        let fits = axes.iter().zip(steps).all(slides) && taps.iter().all(|taps| *taps <= MOST_TAPS);
        if !fits || steps[0] * steps[1] < 0 || has_update && !is_gradient {
            return None;
        }
        let n = op.n();
        let number = taps[0] * taps[1];
        // The sums of a gradient are carried from one iteration to the next, so many at a time are slow.
        let few = !is_gradient || number * window.channels <= FEW_SUMS;
        let most = if n > 16 && few { 4 } else { n.div_ceil(8).next_power_of_two().min(2) };
        // Transposed weights are loaded in squares: this many input channels and output channels.
        let divides = |columns: &u32| {
            n.is_multiple_of(*columns) && (op.layout != Layout::Nt || window.channels.is_multiple_of(*columns))
        };
        let columns = [4, 2, 1].into_iter().filter(|columns| *columns <= most).find(divides)?;
        let out = if columns == 1 { 4 } else { 2 };
        let most = (KEPT.min(MULTIPLY_ADDS / out) / (columns * number)).min(MOST_CHANNELS);
        let block_of_many = (most + 1).next_power_of_two() / 2;
        let block = if window.channels <= most { window.channels } else { block_of_many };
        let one_block = block == window.channels && block != block_of_many;
        let load = [8, 4, 2, 1].into_iter().find(|load| block % load == 0 && window.channels % load == 0)?;
        let iterations = number + window.columns.positions.saturating_add(1);
        let sliding = Self { taps, columns, block, load, out, down, one_block };
        let is_square = op.layout != Layout::Nt || block.is_multiple_of(columns);
        (is_square && iterations <= MOST_ITERATIONS / (window.channels.div_ceil(block) + 1)).then_some(sliding)
    }

    fn expand(self, text: &str, addend: bool) -> String {
        let Self { taps: [tap_rows, taps], columns, block, load, out, down, one_block } = self;
        let rows = (out - 1) * down + tap_rows;
        let words = (block / load).next_power_of_two();
        let halves = load.div_ceil(4);
        let chains = if columns == 4 { 1 } else { taps.min(3) };
        let counts = [
            ("row", rows),
            ("tap rows", tap_rows),
            ("tap_rows", tap_rows),
            ("tap row", tap_rows),
            ("tap", taps),
            ("taps", taps),
            ("kept", taps - 1),
            ("columns", columns),
            ("column", columns),
            ("other", columns),
            ("square", block / columns),
            ("block", block),
            ("new", block),
            ("step", tap_rows * taps * block),
            ("earlier", (tap_rows * taps - 1) * block),
            ("v", load),
            ("half", halves),
            ("halves", halves),
            ("component", load.min(4)),
            ("word", block / load),
            ("words", words),
            ("load", (rows * words).div_ceil(8)),
            ("out", out),
            ("down", down),
            ("chain", chains),
            ("later chain", chains - 1),
        ];
        let in_squares = columns > 1 && block.is_multiple_of(columns);
        let conditions = [
            ("a lane has 1", columns == 1),
            ("a lane has 2", columns == 2),
            ("a lane has 4", columns == 4),
            ("a load is 8", load == 8),
            ("a load is less", load < 8),
            ("a load is 4", load == 4),
            ("a load is 2", load == 2),
            ("a load is 1", load == 1),
            ("there are several blocks", !one_block),
            ("there is an addend", addend),
            ("there is no addend", !addend),
            ("weights are loaded in squares", in_squares),
            ("weights are loaded one by one", !in_squares),
        ];
        template::expand(text, &counts, &conditions)
    }
}

/// One dispatch, or two for the gradient of weights: the second adds the partial sums of the first.
pub(super) fn launches(op: &Matmul, epilogue: EpilogueText, adapter: &Adapter) -> Vec<Launch> {
    let (Some(sliding), Some((window, lead))) = (Sliding::of(op), op.window.as_ref().and_then(folded)) else {
        return Vec::new();
    };
    let is_gradient = op.layout == Layout::Tn;
    let (rows, columns) = (window.rows, window.columns);
    let positions = if is_gradient { op.k() } else { op.m() };
    let blocks = window.channels.div_ceil(sliding.block);
    let groups = op.n().div_ceil(8 * sliding.columns);
    let strips_of_image = rows.positions.div_ceil(rows.up * sliding.out);
    let strips = positions.div_ceil(window.positions()) * strips_of_image;
    // Workgroups loop over the blocks of channels and then over the derivatives, or have one block each.
    let (times, side_by_side) =
        if is_gradient { (1, groups * blocks) } else { (blocks + 1, groups * rows.up * columns.up) };
    let iterations = sliding.taps[0] * sliding.taps[1];
    let longest = (MOST_ITERATIONS / times - iterations) / (columns.positions + 1);
    let chunks = (WORKGROUPS_OF_THREAD * adapter.threads).div_ceil(side_by_side).max(strips.div_ceil(longest));
    let strips_of_chunk = strips.div_ceil(chunks.min(strips));
    let chunks = strips.div_ceil(strips_of_chunk);
    let is_flipped = [rows, columns].iter().any(|axis| axis.step < 0 && axis.taps > 1);
    let rows_of_part = op.m() + u32::from(op.bias_gradient.is_some());
    let uniforms = uniforms![
        height: rows.length, width: columns.length, channels: window.channels, out_height: rows.positions,
        out_width: columns.positions, n: op.n(), first_y: rows.first as u32, first_x: columns.first as u32,
        up_y: rows.up, up_x: columns.up, tap_rows: rows.taps, tap_columns: columns.taps, turns: iterations,
        flipped: u32::from(is_flipped), transposed: u32::from(op.layout == Layout::Nt), lead,
        weights_of_row: op.window.map_or(0, |window| window.columns.taps * window.channels), strips_of_image, strips,
        chunks, groups, rows_of_part, epilogue: epilogue_number(op), aux: u32::from(op.extra().is_some()),
    ];
    let workgroups = u64::from(side_by_side) * u64::from(chunks);
    let launch = |name: String, text: String, constants| Launch {
        shader: shader(name, text, constants),
        uniforms: uniforms.clone(),
        bindings: op.operands(),
        workgroups,
    };
    let words = if sliding.load > 1 || sliding.columns > 1 { text!("software/words.wgsl") } else { "" };
    let expand = |text| words.to_owned() + &sliding.expand(text, op.addend.is_some());
    match (op.layout, epilogue) {
        (Layout::Nn | Layout::Nt, EpilogueText::Sums(activation)) => {
            let text = text!(
                "software/matmul.wide.sliding.columns.wgsl.in",
                "software/matmul.wide.passes.wgsl.in",
                "software/matmul.wide.sliding.wgsl.in"
            );
            let constants = activation.constant().into_iter().collect();
            vec![launch(epilogue.named("matmul.wide.sliding"), expand(text) + activation.text(), constants)]
        }
        _ => {
            let text =
                text!("software/matmul.wide.sliding.columns.wgsl.in", "software/matmul.wide.sliding.gradient.wgsl.in");
            let constants = vec![("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some()))];
            let mut first = launch("matmul.wide.sliding.gradient".into(), expand(text), constants);
            let second = add_splits(op, epilogue, chunks, &mut first);
            vec![first, second]
        }
    }
}

//! Host side of `shaders/matmul.wgsl.in` and of its variant for software adapters, `shaders/matmul.subgroup.wgsl.in`. Both
//! follow the functions of `pointwise.wgsl`.
//!
//! Which one: `Variants::matmul_subgroup`, by adapter. How large a tile the variant has: by the size of the product.

use super::{Launch, Variants, declarations, pointwise, read, write};
use crate::activation::Activation;
use crate::gpu::pipelines::Shader;
use crate::plan::{Epilogue, Layout, Matmul};

/// Rows and columns of C per workgroup of the tiled kernel.
const TILE: u32 = 32;

/// Rows of a tile of the subgroup variant: many, so that each load of B serves many; but few where the product takes
/// less time than the driver's compiler would take over more rows.
const SUBGROUP_ROWS: [u32; 2] = [8, 32];
const SMALL_PRODUCT: u64 = 1 << 19;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MatmulUniforms {
    m: u32,
    n: u32,
    k: u32,
    k_start: u32,
    k_end: u32,
    tiles_n: u32,
    tiles: u32,
}

pub(super) fn launch(op: &Matmul, variants: Variants) -> Launch {
    let (epilogue, activation) = match op.epilogue {
        Epilogue::None => (0, Activation::Identity),
        Epilogue::Bias { activation, .. } => (1, activation),
        Epilogue::Derivative { activation, .. } => (2, activation),
    };
    let (name, source, [tile_m, tile_n]) = match variants.matmul_subgroup {
        None => (format!("matmul {activation}").into(), tiled_source(activation).into(), [TILE, TILE]),
        Some(lanes) => {
            let size = u64::from(op.m) * u64::from(op.n) * u64::from(op.k);
            let rows = SUBGROUP_ROWS[usize::from(size > SMALL_PRODUCT)];
            let epilogue = (epilogue > 0).then_some(activation);
            let (aligned, wide) = (op.n.is_multiple_of(4), variants.wide_access);
            let text = SubgroupText { rows, lanes, aligned, wide, epilogue };
            (text.name().into(), text.source().into(), [rows, 4 * lanes])
        }
    };
    let transpose_a = op.layout == Layout::Tn;
    // A single column is the same numbers either way; as a row it is read in whole vectors.
    let transpose_b = op.layout == Layout::Nt || op.n == 1;
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let extra = op.extra();
    let mut constants = vec![
        ("TRANSPOSE_A", f64::from(transpose_a)),
        ("TRANSPOSE_B", f64::from(transpose_b)),
        ("A_ALIGNED", f64::from(row_of_a.is_multiple_of(4))),
        ("B_ALIGNED", f64::from(row_of_b.is_multiple_of(4))),
        ("EPILOGUE", f64::from(epilogue)),
        ("BIAS", f64::from(epilogue == 1 && extra.is_some())),
        ("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some())),
    ];
    constants.extend(pointwise::constants(activation));
    let tiles_n = op.n.div_ceil(tile_n);
    let tiles = op.m.div_ceil(tile_m) * tiles_n;
    let uniforms =
        MatmulUniforms { m: op.m, n: op.n, k: op.k, k_start: op.slice.start, k_end: op.slice.end, tiles_n, tiles };
    Launch {
        shader: Shader { name, source, constants },
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.a), read(op.b), read(extra), write(op.c), write(op.bias_gradient)],
        workgroups: tiles.into(),
    }
}

const TILED: &str = include_str!("../../../shaders/matmul.wgsl.in");
const SUBGROUP: &str = include_str!("../../../shaders/matmul.subgroup.wgsl.in");

/// The tiled kernel's text.
pub(super) fn tiled_source(activation: Activation) -> String {
    pointwise::functions(activation) + TILED
}

/// What the text of the subgroup variant is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubgroupText {
    /// Of a tile.
    pub rows: u32,
    pub lanes: u32,
    /// Whether the rows of C are a multiple of 4 long.
    pub aligned: bool,
    /// Whether memory is read in words of 64 bits.
    pub wide: bool,
    /// The activation of an epilogue, if there is one.
    pub epilogue: Option<Activation>,
}

impl SubgroupText {
    pub fn name(self) -> String {
        let Self { rows, lanes, aligned, wide, epilogue } = self;
        let flag = |name, set| if set { name } else { "" };
        let epilogue = epilogue.map_or("sums".into(), |activation| activation.to_string());
        format!("matmul.subgroup {rows}x{lanes}{}{} {epilogue}", flag(" aligned", aligned), flag(" wide", wide))
    }

    /// The declarations of the tiled kernel's file, then the template with its repetitions written out and its choices
    /// made.
    pub fn source(self) -> String {
        let Self { rows, lanes, aligned, wide, epilogue } = self;
        let pass = if epilogue.is_some() { 1 } else { 8 };
        let mut source = pointwise::functions(epilogue.unwrap_or_default()) + declarations(TILED);
        let mut lines = SUBGROUP.lines();
        while let Some(line) = lines.next() {
            let mut until = |end: &str| lines.by_ref().take_while(|l| l.trim() != end).collect::<Vec<_>>();
            match line.trim() {
                "// for each row" => {
                    let block = until("// end");
                    for row in 0..rows {
                        // After the last rows come none: the last one's number will do.
                        let later_row = (row + pass).min(rows - 1);
                        let names = [("{row}", row), ("{later_row}", later_row), ("{group}", row / lanes)];
                        push(&mut source, &block, &names);
                    }
                }
                "// for each row of a pass" => {
                    let block = until("// end");
                    (0..pass).for_each(|i| push(&mut source, &block, &[("{i}", i)]));
                }
                "// for each group" => {
                    let block = until("// end");
                    for group in 0..rows.div_ceil(lanes) {
                        push(&mut source, &block, &[("{group}", group)]);
                    }
                }
                choice if choice.starts_with("// if ") => {
                    let taken = match choice {
                        "// if memory is read in words of 64 bits" => wide,
                        "// if memory is read in words of 32 bits" => !wide,
                        "// if the rows of C are a multiple of 4 long, in words of 64 bits" => aligned && wide,
                        "// if the rows of C are a multiple of 4 long, in words of 32 bits" => aligned && !wide,
                        "// if the rows of C are of any length" => !aligned,
                        _ => unreachable!("{choice}"),
                    };
                    let block = until("// end");
                    push(&mut source, if taken { &block } else { &[] }, &[]);
                }
                _ => push(&mut source, &[line], &[("{rows}", rows), ("{lanes}", lanes), ("{pass}", pass)]),
            }
        }
        source
    }
}

/// Appends lines with some names replaced by numbers.
fn push(source: &mut String, lines: &[&str], names: &[(&str, u32)]) {
    for line in lines {
        let replaced = names.iter().fold(line.to_string(), |line, (name, n)| line.replace(name, &n.to_string()));
        source.push_str(&replaced);
        source.push('\n');
    }
}

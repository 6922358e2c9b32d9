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
    let (name, source, [tile_m, tile_n]) = match variants.matmul_subgroup {
        None => ("matmul".into(), tiled_source().into(), [TILE, TILE]),
        Some(lanes) => {
            let size = u64::from(op.m) * u64::from(op.n) * u64::from(op.k);
            let rows = SUBGROUP_ROWS[usize::from(size > SMALL_PRODUCT)];
            let aligned = op.n.is_multiple_of(4);
            let wide = variants.wide_access;
            let flag = |name, set| if set { name } else { "" };
            let name = format!("matmul.subgroup {rows}x{lanes}{}{}", flag(" aligned", aligned), flag(" wide", wide));
            (name.into(), subgroup_source(rows, lanes, aligned, wide).into(), [rows, 4 * lanes])
        }
    };
    let transpose_a = op.layout == Layout::Tn;
    // A single column is the same numbers either way; as a row it is read in whole vectors.
    let transpose_b = op.layout == Layout::Nt || op.n == 1;
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let (epilogue, activation) = match op.epilogue {
        Epilogue::None => (0, Activation::Identity),
        Epilogue::Bias { activation, .. } => (1, activation),
        Epilogue::Derivative { activation, .. } => (2, activation),
    };
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
pub(super) fn tiled_source() -> String {
    pointwise::functions().to_owned() + TILED
}

/// The variant's text: the declarations of the tiled kernel's file, then the template with its repetitions written out
/// and its choices made.
pub(super) fn subgroup_source(rows: u32, lanes: u32, aligned: bool, wide: bool) -> String {
    let mut source = pointwise::functions().to_owned() + declarations(TILED);
    let mut lines = SUBGROUP.lines();
    while let Some(line) = lines.next() {
        let mut until = |end: &str| lines.by_ref().take_while(|l| l.trim() != end).collect::<Vec<_>>();
        match line.trim() {
            "// for each row" => {
                let block = until("// end");
                for row in 0..rows {
                    // After the last rows come none: the last one's number will do.
                    let later_row = (row + 8).min(rows - 1);
                    push(&mut source, &block, &[("{row}", row), ("{later_row}", later_row), ("{group}", row / lanes)]);
                }
            }
            "// for each of eight" => {
                let block = until("// end");
                (0..8).for_each(|i| push(&mut source, &block, &[("{i}", i)]));
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
            _ => push(&mut source, &[line], &[("{rows}", rows), ("{lanes}", lanes)]),
        }
    }
    source
}

/// Appends lines with some names replaced by numbers.
fn push(source: &mut String, lines: &[&str], names: &[(&str, u32)]) {
    for line in lines {
        let replaced = names.iter().fold(line.to_string(), |line, (name, n)| line.replace(name, &n.to_string()));
        source.push_str(&replaced);
        source.push('\n');
    }
}

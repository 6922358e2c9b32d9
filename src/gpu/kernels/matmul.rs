//! Host side of `shaders/matmul.wgsl` and of its variant for software adapters, `shaders/matmul.subgroup.wgsl.in`.
//!
//! Which one: `Variants::matmul_subgroup`, by adapter. How large a tile the variant has: by the size of the product.

use super::{Launch, Variants, declarations, read, write};
use crate::gpu::pipelines::Shader;
use crate::network::Activation;
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
    padding: u32,
}

pub(super) fn launch(op: &Matmul, variants: Variants) -> Launch {
    let (name, source, [tile_m, tile_n]) = match variants.matmul_subgroup {
        None => ("matmul".into(), TILED.into(), [TILE, TILE]),
        Some(lanes) => {
            let size = u64::from(op.m) * u64::from(op.n) * u64::from(op.k);
            let rows = SUBGROUP_ROWS[usize::from(size > SMALL_PRODUCT)];
            (format!("matmul.subgroup {rows}x{lanes}").into(), subgroup_source(rows, lanes).into(), [rows, 4 * lanes])
        }
    };
    let (transpose_a, transpose_b) = (op.layout == Layout::Tn, op.layout == Layout::Nt);
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let (epilogue, activation, extra) = match op.epilogue {
        Epilogue::None => (0, Activation::Identity, None),
        Epilogue::Bias { bias, activation } => (1, activation, Some(bias)),
        Epilogue::Derivative { output, activation } => (2, activation, Some(output)),
    };
    let constants = vec![
        ("TRANSPOSE_A", f64::from(transpose_a)),
        ("TRANSPOSE_B", f64::from(transpose_b)),
        ("A_ALIGNED", f64::from(row_of_a % 4 == 0)),
        ("B_ALIGNED", f64::from(row_of_b % 4 == 0)),
        ("EPILOGUE", f64::from(epilogue)),
        ("ACTIVATION", f64::from(code(activation))),
        ("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some())),
    ];
    let tiles_n = op.n.div_ceil(tile_n);
    let tiles = op.m.div_ceil(tile_m) * tiles_n;
    let uniforms = MatmulUniforms {
        m: op.m,
        n: op.n,
        k: op.k,
        k_start: op.slice.start,
        k_end: op.slice.end,
        tiles_n,
        tiles,
        padding: 0,
    };
    Launch {
        shader: Shader { name, source, constants },
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![
            read(op.a),
            read(op.b),
            // Without an epilogue the kernel does not read it; any readable tensor will do.
            read(extra.unwrap_or(op.a)),
            write(op.c),
            op.bias_gradient.and_then(write),
        ],
        workgroups: tiles.into(),
    }
}

/// The shader's number for an activation.
fn code(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Sigmoid => 2,
        Activation::Tanh => 3,
    }
}

const TILED: &str = include_str!("../../../shaders/matmul.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/matmul.subgroup.wgsl.in");

/// The variant's text: the declarations of the tiled kernel's file, then the template with its repetitions written out.
pub(super) fn subgroup_source(rows: u32, lanes: u32) -> String {
    let mut source = declarations(TILED).to_owned();
    let mut lines = SUBGROUP.lines();
    while let Some(line) = lines.next() {
        let (each, count) = match line.trim() {
            "// for each row" => ("{row}", rows),
            "// for each group" => ("{group}", rows.div_ceil(lanes)),
            _ => ("", 1),
        };
        if each.is_empty() {
            source += &line.replace("{rows}", &rows.to_string()).replace("{lanes}", &lanes.to_string());
            source.push('\n');
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "// end").collect();
        for i in 0..count {
            for line in &block {
                let group = if each == "{row}" { i / lanes } else { i };
                let next_row = (i + 1).min(rows - 1);
                source += &line
                    .replace("{row}", &i.to_string())
                    .replace("{next_row}", &next_row.to_string())
                    .replace("{group}", &group.to_string());
                source.push('\n');
            }
        }
    }
    source
}

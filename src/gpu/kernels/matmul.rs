//! Host side of `shaders/matmul.wgsl` and of its variant for subgroups.

use super::{Launch, Variants, read, shader, write};
use crate::network::Activation;
use crate::plan::{Epilogue, Layout, Matmul};

/// Rows and columns of the tile that a workgroup computes.
const TILE: u32 = 32;

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

pub(super) fn launch(op: &Matmul, _variants: Variants) -> Launch {
    let (transpose_a, transpose_b) = (op.layout == Layout::Tn, op.layout == Layout::Nt);
    let row_of_a = if transpose_a { op.m } else { op.k };
    let row_of_b = if transpose_b { op.k } else { op.n };
    let (epilogue, activation, extra) = match op.epilogue {
        Epilogue::None => (0, Activation::Identity, None),
        Epilogue::Bias { bias, activation } => (1, activation, Some(bias)),
        Epilogue::Derivative { output, activation } => (2, activation, Some(output)),
    };
    let constants = [
        ("TRANSPOSE_A", f64::from(transpose_a)),
        ("TRANSPOSE_B", f64::from(transpose_b)),
        ("A_ALIGNED", f64::from(row_of_a % 4 == 0)),
        ("B_ALIGNED", f64::from(row_of_b % 4 == 0)),
        ("EPILOGUE", f64::from(epilogue)),
        ("ACTIVATION", f64::from(code(activation))),
        ("BIAS_GRADIENT", f64::from(op.bias_gradient.is_some())),
    ];
    let tiles_n = op.n.div_ceil(TILE);
    let tiles = op.m.div_ceil(TILE) * tiles_n;
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
        shader: shader("matmul", include_str!("../../../shaders/matmul.wgsl"), &constants),
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

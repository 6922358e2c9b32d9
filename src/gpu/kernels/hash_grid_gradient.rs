//! Host side of `shaders/hash_grid_gradient.wgsl`.

use crate::ops::*;

const LANES: u32 = 64;

pub(crate) fn launch(op: &HashGridGradient) -> Launch {
    let quads = op.sums.len() / 4;
    Launch {
        shader: shader("hash_grid_gradient", text!("hash_grid_gradient.wgsl"), &[]),
        uniforms: uniforms![quads],
        bindings: vec![read(op.scales), read(op.blocks), write(op.sums), write(op.table_gradient)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

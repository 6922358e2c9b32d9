//! Host side of `shaders/hash_grid_input.wgsl`.

use super::hash_grid::LANES;
use crate::ops::*;

pub(crate) fn launch(op: &HashGridInput) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    Launch {
        shader: shader(
            "hash_grid_input",
            text!("hash_grid.functions.wgsl", "hash_grid_input.wgsl"),
            &[("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        ),
        uniforms: uniforms![rows, levels],
        bindings: vec![read(op.x), read(op.levels), read(op.table), read(op.gradient), write(op.output)],
        workgroups: rows.div_ceil(LANES).into(),
    }
}

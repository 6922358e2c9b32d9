//! Host side of `shaders/hash_grid_scatter.wgsl`.

use super::hash_grid::LANES;
use crate::ops::*;

pub(crate) fn launch(op: &HashGridScatter) -> Launch {
    let GridShape { rows, dimensions, levels, features } = op.shape;
    let groups = rows.div_ceil(LANES);
    Launch {
        shader: shader(
            "hash_grid_scatter",
            text!("shared/bits.wgsl", "hash_grid.functions.wgsl", "hash_grid_scatter.wgsl"),
            &[("DIMENSIONS", dimensions.into()), ("FEATURES", features.into())],
        ),
        uniforms: uniforms![rows, levels, groups],
        bindings: vec![read(op.x), read(op.levels), read(op.gradient), read(op.scales), write(op.sums)],
        workgroups: u64::from(groups) * u64::from(levels),
    }
}

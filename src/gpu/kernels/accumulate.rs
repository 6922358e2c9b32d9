//! Host side of `shaders/accumulate.wgsl`.

use crate::ops::*;

const LANES: u32 = 64;

pub(crate) fn launch(op: &Accumulate) -> Launch {
    let quads = op.sum.len() / 4;
    Launch {
        shader: shader("accumulate", text!("shared/step_state.wgsl", "accumulate.wgsl"), &[("MEAN", op.mean.into())]),
        uniforms: uniforms![quads],
        bindings: vec![read(op.gradients), read(op.step), write(op.sum)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

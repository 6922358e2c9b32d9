//! Host side of `shaders/sum_squares.wgsl`.

use crate::ops::*;

pub(crate) fn launch(op: &SumSquares) -> Launch {
    let source = text!("sum_squares.wgsl");
    let uniforms = uniforms![ quads: op.input.len() / 4, limit: op.limit.unwrap_or(0.0) ];
    Launch {
        shader: shader("sum_squares", source, &[("LIMIT", op.limit.is_some().into())]),
        uniforms,
        bindings: vec![read(op.input), write(op.output)],
        workgroups: op.output.len().into(),
    }
}

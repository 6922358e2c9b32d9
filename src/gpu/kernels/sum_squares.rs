//! Host side of `shaders/sum_squares.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::SumSquares;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SumSquaresUniforms {
    quads: u32,
    limit: f32,
}

pub(super) fn launch(op: &SumSquares) -> Launch {
    let source = text!("sum_squares.wgsl");
    let uniforms = SumSquaresUniforms { quads: op.input.len / 4, limit: op.limit.unwrap_or(0.0) };
    Launch {
        shader: shader("sum_squares", source, &[("LIMIT", op.limit.is_some().into())]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.input), write(op.output)],
        workgroups: op.output.len.into(),
    }
}

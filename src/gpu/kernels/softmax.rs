//! Host side of `shaders/softmax.wgsl`.

use super::{Launch, Variants, lanes_and_rows, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::Softmax;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SoftmaxUniforms {
    rows: u32,
    columns: u32,
}

pub(super) fn launch(op: &Softmax, variants: Variants) -> Launch {
    let (lanes, rows) = lanes_and_rows(op.columns, variants);
    Launch {
        shader: shader(
            "softmax",
            text!("softmax.wgsl"),
            &[("LANES", lanes.into()), ("ROWS", rows.into()), ("GRADIENT", op.saved.is_some().into())],
        ),
        uniforms: bytemuck::bytes_of(&SoftmaxUniforms { rows: op.rows, columns: op.columns }).to_vec(),
        bindings: vec![read(op.input), read(op.saved), write(op.output)],
        workgroups: op.rows.div_ceil(rows).into(),
    }
}

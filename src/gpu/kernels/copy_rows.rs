//! Host side of `shaders/copy_rows.wgsl`.

use super::{Launch, read, shader, write};
use crate::gpu::texts::text;
use crate::plan::CopyRows;

const LANES: u64 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CopyRowsUniforms {
    columns: u32,
    words: u32,
    input_first: u32,
    input_stride: u32,
    output_first: u32,
    output_stride: u32,
}

pub(super) fn launch(op: &CopyRows) -> Launch {
    let words = op.rows * op.columns;
    let CopyRows { columns, input_first, input_stride, output_first, output_stride, .. } = *op;
    let uniforms = CopyRowsUniforms { columns, words, input_first, input_stride, output_first, output_stride };
    Launch {
        shader: shader("copy_rows", text!("copy_rows.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.input), write(op.output)],
        workgroups: u64::from(words).div_ceil(LANES),
    }
}

//! Host side of `shaders/copy_rows.wgsl`.

use crate::ops::*;

const LANES: u64 = 64;

pub(crate) fn launch(op: &CopyRows) -> Launch {
    let CopyRows { input, output } = op;
    Launch {
        shader: shader("copy_rows", text!("copy_rows.wgsl"), &[]),
        uniforms: uniforms![
            columns: input.columns(),
            words: input.len(),
            input_first: input.offset,
            input_stride: input.strides[0],
            output_first: output.offset,
            output_stride: output.strides[0],
        ],
        bindings: op.operands(),
        workgroups: u64::from(input.len()).div_ceil(LANES),
    }
}

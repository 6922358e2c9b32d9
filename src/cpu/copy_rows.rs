//! Twin of `shaders/copy_rows.wgsl`.

use crate::plan::CopyRows;

pub fn copy_rows(op: &CopyRows, input: &[u32], output: &mut [u32]) {
    let columns = op.columns as usize;
    let start = |first: u32, stride: u32, row: u32| first as usize + row as usize * stride as usize;
    for row in 0..op.rows {
        let from = &input[start(op.input_first, op.input_stride, row)..][..columns];
        output[start(op.output_first, op.output_stride, row)..][..columns].copy_from_slice(from);
    }
}

//! Twin of `shaders/copy_rows.wgsl`.

use crate::plan::{CopyRows, Tensor};

pub fn copy_rows(op: &CopyRows, input: &[u32], output: &mut [u32]) {
    let columns = op.input.columns() as usize;
    // Of what has no gaps the slice begins with the first row; of an app's buffer it is all of it.
    let start = |t: Tensor, words: usize, row: usize| {
        let first = if words == t.words().len() { 0 } else { t.offset as usize };
        first + row * t.strides[0] as usize
    };
    for row in 0..op.input.rows() as usize {
        let from = &input[start(op.input, input.len(), row)..][..columns];
        let to = start(op.output, output.len(), row);
        output[to..][..columns].copy_from_slice(from);
    }
}

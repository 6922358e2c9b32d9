//! Twin of `shaders/gather.wgsl`.

use crate::dataset::U8_SCALE;
use crate::plan::{DataInfo, Gather, StepState};

pub fn gather(op: &Gather, features: &[u32], data: &DataInfo, state: &StepState, indices: &[u32], x: &mut [f32]) {
    let columns = op.columns as usize;
    for (row, out) in x.chunks_exact_mut(columns).enumerate() {
        if row >= state.rows as usize {
            out.fill(0.0);
            continue;
        }
        let index = indices[row] as usize;
        if data.bytes != 0 {
            let start = data.feature(index, columns.div_ceil(4));
            let bytes = bytemuck::cast_slice::<u32, u8>(&features[start..]);
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = f32::from(byte) * U8_SCALE;
            }
        } else {
            let start = data.feature(index, columns);
            out.copy_from_slice(bytemuck::cast_slice(&features[start..start + columns]));
        }
    }
}

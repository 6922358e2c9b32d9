//! Twin of `shaders/softmax.wgsl`.

use crate::plan::Softmax;

pub fn softmax(op: &Softmax, input: &[f32], saved: Option<&[f32]>, output: &mut [f32]) {
    let columns = op.columns as usize;
    for (row, out) in output.chunks_exact_mut(columns).enumerate() {
        let x = &input[row * columns..][..columns];
        match saved {
            None => softmax_of(x, out),
            Some(y) => {
                let y = &y[row * columns..][..columns];
                let along: f32 = x.iter().zip(y).map(|(dy, y)| dy * y).sum();
                out.iter_mut().zip(x.iter().zip(y)).for_each(|(dz, (dy, y))| *dz = y * (dy - along));
            }
        }
    }
}

/// Of one row.
pub fn softmax_of(x: &[f32], y: &mut [f32]) {
    let largest = x[super::first_largest(x)];
    let sum: f32 = x.iter().map(|z| (z - largest).exp()).sum();
    y.iter_mut().zip(x).for_each(|(y, z)| *y = (z - largest).exp() / sum);
}

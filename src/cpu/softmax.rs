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
                let along: f64 = x.iter().zip(y).map(|(dy, y)| f64::from(*dy) * f64::from(*y)).sum();
                let dz = |(dy, y): (&f32, &f32)| (f64::from(*y) * (f64::from(*dy) - along)) as f32;
                out.iter_mut().zip(x.iter().zip(y).map(dz)).for_each(|(out, dz)| *out = dz);
            }
        }
    }
}

/// Of one row.
pub fn softmax_of(x: &[f32], y: &mut [f32]) {
    let largest = x[crate::ops::first_largest(x)];
    // In f64, as rows may be long.
    let exp = |z: f32| (f64::from(z) - f64::from(largest)).exp();
    let sum: f64 = x.iter().map(|z| exp(*z)).sum();
    y.iter_mut().zip(x).for_each(|(y, z)| *y = (exp(*z) / sum) as f32);
}

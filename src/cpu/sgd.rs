//! Twin of `shaders/sgd.wgsl`.

use crate::plan::SgdUpdate;

pub fn sgd(op: &SgdUpdate, gradients: &[f32], parameters: &mut [f32], velocity: &mut [f32]) {
    for ((w, v), g) in parameters.iter_mut().zip(velocity).zip(gradients) {
        *v = op.options.momentum * *v + g;
        *w -= op.options.learning_rate * *v;
    }
}

//! Twin of `shaders/narrow.wgsl` and of its variant.

use std::ops::Range;

use crate::activation::Activation;
use crate::ops::softmax_of;
use crate::plan::{Narrow, NarrowLayer};

pub fn narrow(op: &Narrow, rows: Range<usize>, input: &[f32], parameters: &[f32], output: &mut [f32]) {
    let (inputs, outputs) = (op.inputs() as usize, op.outputs() as usize);
    let all = input.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs));
    for (x, y) in all.skip(rows.start).take(rows.len()) {
        let row = op.layers.iter().fold(x.to_vec(), |row, layer| of_layer(layer, &row, parameters));
        y.copy_from_slice(&row);
    }
}

/// activation(x · W + b).
fn of_layer(layer: &NarrowLayer, x: &[f32], parameters: &[f32]) -> Vec<f32> {
    let units = layer.units as usize;
    let tensor = |offset: u32, len: usize| &parameters[offset as usize..][..len];
    let mut y = layer.bias.map_or(vec![0.0; units], |bias| tensor(bias, units).to_vec());
    for (x, weights) in x.iter().zip(tensor(layer.weight, x.len() * units).chunks_exact(units)) {
        y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
    }
    match layer.activation {
        Activation::Softmax => softmax_of(&y.clone(), &mut y),
        activation => y.iter_mut().for_each(|y| *y = activation.value(*y)),
    }
    y
}

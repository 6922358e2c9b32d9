//! A network in one op: each layer passes on the errors of the one before, and adds its own.

use super::f64s;
use crate::activation::Activation;
use crate::ops::*;

pub(crate) fn of_narrow(op: &Narrow, memory: &Operands<'_>) -> Bounds {
    let (input, parameters) = (f64s(memory, op.input), f64s(memory, op.parameters));
    let bound = |x: &[f64]| {
        let exact = x.iter().map(|&x| (x, 0.0)).collect();
        op.layers.iter().fold(exact, |row: Vec<(f64, f64)>, layer| of_layer(layer, &row, &parameters))
    };
    Bounds::Each(input.chunks_exact(op.inputs() as usize).flat_map(bound).map(|(_, error)| error).collect())
}

/// A row of values, and how far the two sides may lie apart: what the weights make of the errors that come in; the
/// roundings of two sums, of numbers that may be larger by those errors; and what the activation makes of it all.
pub(crate) fn of_layer(layer: &NarrowLayer, x: &[(f64, f64)], parameters: &[f64]) -> Vec<(f64, f64)> {
    let units = layer.units as usize;
    let roundings = 2.0 * (x.len() as f64 + 2.0) * U;
    let sums: Vec<(f64, f64)> = (0..units)
        .map(|j| {
            let bias = layer.bias.map_or(0.0, |bias| parameters[bias as usize + j]);
            let (mut sum, mut magnitude, mut error) = (bias, bias.abs(), FLUSHED);
            for (k, &(x, off)) in x.iter().enumerate() {
                let w = parameters[layer.weight as usize + k * units + j];
                sum += x * w;
                magnitude += (x.abs() + off) * w.abs();
                error += off * w.abs() + FLUSHED;
            }
            (sum, error + roundings * magnitude)
        })
        .collect();
    match layer.activation {
        Activation::Softmax => {
            let (z, errors): (Vec<f64>, Vec<f64>) = sums.into_iter().unzip();
            // Logits that are off by e at most move a probability by a factor of e^2e at most.
            let factor = (2.0 * errors.into_iter().fold(0.0, f64::max)).exp_m1();
            of_softmax_row(&z).map(|(y, own)| (y, own * (1.0 + factor) + y * factor)).collect()
        }
        activation => {
            let of = |(z, error)| (f64::from(activation.value(z as f32)), activation.value_bound(z, error));
            sums.into_iter().map(of).collect()
        }
    }
}

//! Bounds that have not moved to their ops yet.

pub(crate) mod update;

use crate::cpu::matmul;
use crate::ops::*;
use update::Off;

/// The state of a cursor.
fn state(memory: &Operands<'_>, tensor: Tensor) -> StepState {
    memory.step(tensor)
}

pub(crate) fn f32s(memory: &Operands<'_>, tensor: Tensor) -> Vec<f32> {
    memory.f32s(tensor).to_vec()
}

pub(crate) fn f64s(memory: &Operands<'_>, tensor: Tensor) -> Vec<f64> {
    memory.f64s(tensor)
}

pub(crate) fn of_matmul(op: &Matmul, memory: &Operands<'_>) -> Vec<Bounds> {
    if let Epilogue::Update(update) = &op.epilogue {
        return of_matmul_update(op, update, memory);
    }
    let abs = |tensor| f32s(memory, tensor).into_iter().map(f32::abs).collect::<Vec<_>>();
    let before = |tensor: Tensor| if op.slice.start == 0 { vec![0.0; tensor.len() as usize] } else { abs(tensor) };
    // Σ|a·b|: the product of the absolute values, on top of what the slices before have left.
    let sums = Matmul { epilogue: Epilogue::None, ..op.clone() };
    let (a, b, mut magnitude) = (abs(op.a), abs(op.b), before(op.c));
    let mut column_magnitude = op.bias_gradient.map(before);
    matmul(&sums, &a, &b, &[], &mut magnitude, column_magnitude.as_deref_mut());
    let roundings = 2.0 * (op.slice.len() as f64 + 2.0) * U;
    let of_sums = |magnitudes: Vec<f32>| magnitudes.into_iter().map(|m| roundings * f64::from(m)).collect();

    let mut bounds: Vec<f64> = of_sums(magnitude);
    if !matches!(op.epilogue, Epilogue::None) {
        let mut exact = before(op.c);
        matmul(
            &sums,
            &f32s(memory, op.a),
            &f32s(memory, op.b),
            &[],
            &mut exact,
            column_magnitude.clone().as_deref_mut(),
        );
        let n = op.n as usize;
        match op.epilogue {
            Epilogue::None | Epilogue::Update(_) => {}
            Epilogue::Bias { bias, activation } => {
                let bias = bias.map(|bias| f32s(memory, bias));
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let z = exact[i] + bias.as_ref().map_or(0.0, |bias| bias[i % n]);
                    *bound += 2.0 * U * f64::from(z.abs());
                    *bound = activation.value_bound(f64::from(z), *bound);
                }
            }
            Epilogue::Derivative { saved, activation } => {
                let saved = f32s(memory, saved);
                for (i, bound) in bounds.iter_mut().enumerate() {
                    let slope = f64::from(activation.derivative(saved[i]).abs());
                    let off = activation.derivative_bound(f64::from(saved[i]));
                    *bound = *bound * slope + f64::from(exact[i].abs()) * (off + slope * 2.0 * U);
                }
            }
        }
    }
    std::iter::once(bounds).chain(column_magnitude.map(of_sums)).map(Bounds::Each).collect()
}

/// The gradients err as sums do, and the update goes on from there.
pub(crate) fn of_matmul_update(op: &Matmul, update: &Update, memory: &Operands<'_>) -> Vec<Bounds> {
    let (a, b) = (f32s(memory, op.a), f32s(memory, op.b));
    let abs = |values: &[f32]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let sums = Matmul { epilogue: Epilogue::None, ..op.clone() };
    let weights = op.c.len() as usize;
    let products = |a: &[f32], b: &[f32]| {
        let mut all = vec![0.0; update.parameters.len() as usize];
        let (c, rest) = all.split_at_mut(weights);
        let biases =
            op.bias_gradient.map(|bias| &mut rest[(bias.offset - op.c.offset) as usize - weights..][..op.n as usize]);
        matmul(&sums, a, b, &[], c, biases);
        all
    };
    let roundings = 2.0 * (op.slice.len() as f64 + 2.0) * U;
    let off = |(value, magnitude): (f32, f32)| Off { value: value.into(), off: roundings * f64::from(magnitude) };
    let gradients: Vec<Off> = products(&a, &b).into_iter().zip(products(&abs(&a), &abs(&b))).map(off).collect();
    update::of_update_by(update, &gradients, memory)
}

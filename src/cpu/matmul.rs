//! Twin of `shaders/matmul.wgsl.in` and of its variants.

use std::ops::Range;

use crate::plan::{Epilogue, Layout, Matmul, StepState};

/// `extra` is what the epilogue reads: the bias, if there is one, or what the activation's derivative takes.
pub fn matmul(op: &Matmul, a: &[f32], b: &[f32], extra: &[f32], c: &mut [f32], bias_gradient: Option<&mut [f32]>) {
    matmul_rows(op, 0..op.m as usize, a, b, extra, c, bias_gradient);
}

/// As [`matmul`], of some rows of C; `c` holds those rows alone.
pub fn matmul_rows(
    op: &Matmul,
    rows: Range<usize>,
    a: &[f32],
    b: &[f32],
    extra: &[f32],
    c: &mut [f32],
    bias_gradient: Option<&mut [f32]>,
) {
    let (m, n, k) = (op.m as usize, op.n as usize, op.k as usize);
    let slice = op.slice.start as usize..op.slice.end as usize;
    if slice.start == 0 {
        c.fill(0.0);
    }
    for (i, row) in rows.zip(c.chunks_exact_mut(n)) {
        match op.layout {
            Layout::Nn | Layout::Tn => {
                let at = |p: usize| if op.layout == Layout::Nn { a[i * k + p] } else { a[p * m + i] };
                let of_b = |p: usize| &b[p * n..][..n];
                // Four terms at a time, each sum in the same order: a row of C is read and written a quarter as often.
                let fours = slice.start..slice.end - slice.len() % 4;
                for p in fours.clone().step_by(4) {
                    let a: [f32; 4] = std::array::from_fn(|i| at(p + i));
                    let rows = of_b(p).iter().zip(of_b(p + 1)).zip(of_b(p + 2)).zip(of_b(p + 3));
                    for (c, (((b0, b1), b2), b3)) in row.iter_mut().zip(rows) {
                        *c = *c + a[0] * b0 + a[1] * b1 + a[2] * b2 + a[3] * b3;
                    }
                }
                for p in fours.end..slice.end {
                    let a = at(p);
                    for (c, &b) in row.iter_mut().zip(of_b(p)) {
                        *c += a * b;
                    }
                }
            }
            Layout::Nt => {
                let a = &a[i * k..][slice.clone()];
                for (j, c) in row.iter_mut().enumerate() {
                    *c += dot(a, &b[j * k..][slice.clone()]);
                }
            }
        }
        match op.epilogue {
            Epilogue::None | Epilogue::Update(_) => {}
            Epilogue::Bias { activation, .. } => {
                for (j, c) in row.iter_mut().enumerate() {
                    *c = activation.value(*c + extra.get(j).copied().unwrap_or(0.0));
                }
            }
            Epilogue::Derivative { activation, .. } => {
                for (c, &saved) in row.iter_mut().zip(&extra[i * n..]) {
                    *c *= activation.derivative(saved);
                }
            }
        }
    }
    if let Some(sums) = bias_gradient {
        if slice.start == 0 {
            sums.fill(0.0);
        }
        for p in slice {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum += if op.layout == Layout::Nt { b[j * k + p] } else { b[p * n + j] };
            }
        }
    }
}

/// A product whose sums are gradients: makes those of some rows of the weights, then updates them. `parameters` are as the
/// update says from the first of those rows on, `moments` are all; the biases come with the last row.
pub fn matmul_update(
    op: &Matmul,
    rows: Range<usize>,
    a: &[f32],
    b: &[f32],
    state: &StepState,
    parameters: &mut [f32],
    moments: &mut [f32],
) {
    let Epilogue::Update(update) = &op.epilogue else { unreachable!("its only caller has looked") };
    let (first, weights_end) = (rows.start * op.n as usize, rows.len() * op.n as usize);
    let bias = op.bias_gradient.filter(|_| rows.end == op.m as usize);
    let biases_start = bias.map_or(parameters.len(), |bias| (bias.offset - op.c.offset) as usize - first);
    let mut gradients = vec![0.0; parameters.len()];
    let (weights, rest) = gradients.split_at_mut(weights_end);
    let biases = bias.map(|bias| &mut rest[biases_start - weights_end..][..bias.len() as usize]);
    matmul_rows(op, rows, a, b, &[], weights, biases);
    // The gap between weights and biases stays as it is.
    for range in [0..weights_end, biases_start..parameters.len()] {
        let (at, gradients) = (first + range.start, &gradients[range.clone()]);
        super::update::update(update, at, gradients, state, None, None, &mut parameters[range], moments);
    }
}

/// Eight sums side by side, so that the compiler may use vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BufferId, Dtype, Tensor};

    /// Several terms at a time are still added one after the other: weights trained on the CPU keep their bits.
    #[test]
    fn sums_are_in_the_order_of_k() {
        let (m, n, k) = (3, 5, 11);
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 313.0 - 1.6;
        let a: Vec<f32> = (0..m * k).map(number).collect();
        let b: Vec<f32> = (0..k * n).map(|i| number(i + 500)).collect();
        let tensor = Tensor::new(BufferId(0), Dtype::F32, 0);
        for layout in [Layout::Nn, Layout::Tn] {
            for slice in [0..k, 0..3, 0..8, 0..1] {
                let op = Matmul {
                    a: tensor,
                    b: tensor,
                    c: tensor,
                    m: m as u32,
                    n: n as u32,
                    k: k as u32,
                    slice: slice.start as u32..slice.end as u32,
                    layout,
                    epilogue: Epilogue::None,
                    bias_gradient: None,
                };
                let mut c = vec![0.0; m * n];
                matmul(&op, &a, &b, &[], &mut c, None);
                for (at, c) in c.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let of_a = |p: usize| if layout == Layout::Nn { a[i * k + p] } else { a[p * m + i] };
                    let sum = slice.clone().fold(0.0f32, |sum, p| sum + of_a(p) * b[p * n + j]);
                    assert_eq!(c.to_bits(), sum.to_bits(), "{layout:?} {slice:?} {i} {j}");
                }
            }
        }
    }
}

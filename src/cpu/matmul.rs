//! Twin of `shaders/matmul.wgsl` and of its variants.

use super::pointwise::{activate, derivative};
use crate::plan::{Epilogue, Layout, Matmul};

/// `extra` is what the epilogue reads: the bias, if there is one, or what the activation's derivative takes.
pub fn matmul(op: &Matmul, a: &[f32], b: &[f32], extra: &[f32], c: &mut [f32], bias_gradient: Option<&mut [f32]>) {
    let (m, n, k) = (op.m as usize, op.n as usize, op.k as usize);
    let slice = op.slice.start as usize..op.slice.end as usize;
    if slice.start == 0 {
        c.fill(0.0);
    }
    for (i, row) in c.chunks_exact_mut(n).enumerate() {
        match op.layout {
            Layout::Nn | Layout::Tn => {
                for p in slice.clone() {
                    let a = if op.layout == Layout::Nn { a[i * k + p] } else { a[p * m + i] };
                    for (c, &b) in row.iter_mut().zip(&b[p * n..]) {
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
            Epilogue::None => {}
            Epilogue::Bias { activation, .. } => {
                for (j, c) in row.iter_mut().enumerate() {
                    *c = activate(activation, *c + extra.get(j).copied().unwrap_or(0.0));
                }
            }
            Epilogue::Derivative { activation, .. } => {
                for (c, &saved) in row.iter_mut().zip(&extra[i * n..]) {
                    *c *= derivative(activation, saved);
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

//! Matrix products of several sizes and shapes, in the three layouts of training.

use serde_json::json;
use wgrad::plan::{BufferId, Layout};
use wgrad::{Gpu, runner::Runner};

use super::common::Result;
use super::timing::{Effort, seconds};
use super::{Measured, Random};

/// \[m, n, k\].
type Shape = [u32; 3];

const SQUARES: [u32; 4] = [256, 512, 1024, 2048];

/// What networks have: a first layer forward and backward, one row, narrow layers of many rows.
const SHAPES: [(Layout, Shape); 6] = [
    (Layout::Nn, [128, 512, 784]),
    (Layout::Nt, [128, 512, 256]),
    (Layout::Tn, [784, 512, 128]),
    (Layout::Nn, [1, 1024, 1024]),
    (Layout::Nn, [8192, 64, 64]),
    (Layout::Tn, [64, 64, 8192]),
];

pub fn measure(gpu: &Gpu, effort: Effort, quick: bool, mut done: impl FnMut(&Measured)) -> Result<Vec<Measured>> {
    let squares = if quick { &[128] } else { &SQUARES[..] };
    let squares = squares.iter().flat_map(|&n| [Layout::Nn, Layout::Nt, Layout::Tn].map(|layout| (layout, [n; 3])));
    let shapes = if quick { &SHAPES[..3] } else { &SHAPES[..] };
    let mut measured = Vec::new();
    for (layout, shape) in squares.chain(shapes.iter().copied()) {
        let product = product(gpu, effort, layout, shape)?;
        done(&product);
        measured.push(product);
    }
    Ok(measured)
}

fn product(gpu: &Gpu, effort: Effort, layout: Layout, shape: Shape) -> Result<Measured> {
    let [m, n, k] = shape;
    let mut runner = Runner::product(gpu, shape, layout)?;
    let mut random = Random(1);
    let [a, b] = [m * k, k * n].map(|len| random.f32s(len as usize));
    runner.set(BufferId(0), &a)?;
    runner.set(BufferId(1), &b)?;
    let seconds = seconds(gpu, effort, |encoder, repetitions| runner.record_steps(encoder, repetitions));
    check(layout, shape, &a, &b, &runner.get(BufferId(2))?)?;
    let layout = format!("{layout:?}").to_uppercase();
    let title = if m == n && n == k { format!("{layout} {m}") } else { format!("{layout} {m}x{n}x{k}") };
    let details = json!({ "layout": layout, "m": m, "n": n, "k": k });
    let work = runner.plan().cost().total();
    Ok(Measured { label: title.clone(), title, work, seconds, rows: m, details })
}

/// Compares some numbers of C with sums in f64. A sum of k products in f32 errs by at most (k + 1) u Σ|a·b|.
fn check(layout: Layout, [m, n, k]: Shape, a: &[f32], b: &[f32], c: &[f32]) -> Result<()> {
    let a_at =
        |row: usize, i: usize| if layout == Layout::Tn { a[i * m as usize + row] } else { a[row * k as usize + i] };
    let b_at = |i: usize, column: usize| {
        if layout == Layout::Nt { b[column * k as usize + i] } else { b[i * n as usize + column] }
    };
    let mut random = Random(2);
    for _ in 0..16 {
        let (row, column) = (random.below(m) as usize, random.below(n) as usize);
        let terms = || (0..k as usize).map(|i| f64::from(a_at(row, i)) * f64::from(b_at(i, column)));
        let (exact, magnitude): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
        let bound = (f64::from(k) + 1.0) * f64::from(f32::EPSILON) / 2.0 * magnitude;
        let actual = f64::from(c[row * n as usize + column]);
        if (actual - exact).abs().is_nan() || (actual - exact).abs() > bound {
            let what = format!("{layout:?} {m}x{n}x{k}: C[{row}, {column}]");
            return Err(format!("{what} is {actual}, expected {exact} within {bound:e}: run the example doctor").into());
        }
    }
    Ok(())
}

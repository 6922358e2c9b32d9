//! Measures matrix multiplications and convolutions of several sizes, in the three layouts that training uses.

use serde_json::json;
use wgrad::plan::{BufferId, Layout, Op};
use wgrad::{Conv, Gpu, plan_runner::PlanRunner};

use super::common::Result;
use super::timing::{Effort, seconds};
use super::{Measured, Random};

/// \[m, n, k\].
type Shape = [u32; 3];

const SQUARES: [u32; 4] = [256, 512, 1024, 2048];

/// Shapes of network layers: a first layer forward and backward, a batch of 1, and narrow layers with a large batch.
const SHAPES: [(Layout, Shape); 6] = [
    (Layout::Nn, [128, 512, 784]),
    (Layout::Nt, [128, 512, 256]),
    (Layout::Tn, [784, 512, 128]),
    (Layout::Nn, [1, 1024, 1024]),
    (Layout::Nn, [8192, 64, 64]),
    (Layout::Tn, [64, 64, 8192]),
];

/// Batch size, sample shape, output channels: the second layer of Keras' convnet, and a layer of ResNet-20's first
/// stage.
const CONVOLUTIONS: [(u32, [u32; 3], u32); 2] = [(128, [13, 13, 32], 64), (32, [32, 32, 16], 16)];

/// Measures all cases. Calls `done` after each case.
pub fn measure(gpu: &Gpu, effort: Effort, quick: bool, mut done: impl FnMut(&Measured)) -> Result<Vec<Measured>> {
    let squares = if quick { &[128] } else { &SQUARES[..] };
    let squares = squares.iter().flat_map(|&n| [Layout::Nn, Layout::Nt, Layout::Tn].map(|layout| (layout, [n; 3])));
    let shapes = if quick { &SHAPES[..3] } else { &SHAPES[..] };
    let mut measured = Vec::new();
    for (layout, shape) in squares.chain(shapes.iter().copied()) {
        let matmul = matmul(gpu, effort, layout, shape)?;
        done(&matmul);
        measured.push(matmul);
    }
    // Each convolution, and the matrix multiplication with the same m, n and k.
    let convolutions =
        CONVOLUTIONS.iter().flat_map(|of| [Layout::Nn, Layout::Nt, Layout::Tn].map(|layout| (layout, of)));
    for (layout, &(batch, sample, channels)) in convolutions.filter(|_| !quick) {
        let (convolution, shape) = convolution(gpu, effort, layout, batch, sample, channels)?;
        for one in [convolution, matmul(gpu, effort, layout, shape)?] {
            done(&one);
            measured.push(one);
        }
    }
    Ok(measured)
}

/// Measures a 3x3 convolution. Also returns m, n and k of its matrix multiplication.
fn convolution(
    gpu: &Gpu,
    effort: Effort,
    layout: Layout,
    batch: u32,
    sample: [u32; 3],
    channels: u32,
) -> Result<(Measured, Shape)> {
    let conv = if sample[2] == channels { Conv::new(channels, 3).same() } else { Conv::new(channels, 3) };
    let mut runner = PlanRunner::convolution(gpu, batch, sample, &conv, layout)?;
    let mut random = Random(1);
    for buffer in 0..2 {
        let numbers = runner.plan().buffers[buffer].words().unwrap_or(0) as usize;
        runner.set(BufferId(buffer), &random.f32s(numbers))?;
    }
    let seconds = seconds(gpu, effort, |encoder, repetitions| runner.record_steps(encoder, repetitions));
    let [height, width, inputs] = sample;
    let layout = format!("{layout:?}").to_uppercase();
    let title = format!("{layout} {height}x{width}x{inputs}, 3x3 to {channels}, batch {batch}");
    if !runner.get(BufferId(2))?.iter().all(|x| x.is_finite()) {
        return Err(format!("{title}: the result is not finite: run the example doctor").into());
    }
    let Op::Matmul(matmul) = &runner.plan().step[0] else { unreachable!("a convolution is a matmul op") };
    let (shape, work) = (matmul.shape(), runner.plan().cost().total());
    let [m, n, k] = shape;
    let details = json!({ "layout": layout, "m": m, "n": n, "k": k, "sample": sample, "batch": batch });
    Ok((Measured { label: title.clone(), title, work, seconds, rows: m, details }, shape))
}

fn matmul(gpu: &Gpu, effort: Effort, layout: Layout, shape: Shape) -> Result<Measured> {
    let [m, n, k] = shape;
    let mut runner = PlanRunner::matmul(gpu, shape, layout)?;
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

/// Compares 16 elements of C with sums in f64. The error bound of a sum of k products in f32 is (k + 1) u Σ|a·b|.
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

//! Losses, their gradients, and the softmax.

use wgrad::plan::*;
use wgrad::{Activation, Loss};

use crate::page::{Line, Section, Table, Value, short};
use crate::run::{Both, DATA, STEP, shaped, tensor};

/// Unit in the last place (ulp) of f32, relative.
const ULP: f64 = 1.0 / 8_388_608.0;

/// The target of a row.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    Label(u32),
    Values(&'a [f32]),
}
use Target::*;

/// Loss and gradient of one row on the GPU and on the CPU.
fn of(loss: Loss, output: &[f32], target: Target, weight: f32) -> [(f32, Vec<f32>); 2] {
    let outputs = output.len();
    let mut words: Vec<u32> = match target {
        Label(label) => vec![label],
        Values(values) => values.iter().map(|t| t.to_bits()).collect(),
    };
    words.push(weight.to_bits());
    let op = Op::LossOp(LossOp {
        loss,
        positions: 1,
        weight: 1.0,
        output: shaped(0, [1, outputs as u32]),
        targets: tensor(1, words.len()),
        data: tensor(6, DATA as usize),
        step: tensor(2, STEP as usize),
        indices: tensor(3, 1),
        gradient: Some(shaped(4, [1, outputs as u32])),
        metrics: shaped(5, [1, 1, 1, 4]),
        activation: Activation::Identity,
    });
    let buffers = [
        ("output", outputs as u32, Role::Activation),
        ("targets", words.len() as u32, Role::Targets(0)),
        ("step", STEP, Role::Step),
        ("indices", 1, Role::Indices),
        ("gradient", outputs as u32, Role::ActivationGradient),
        ("metrics", 4, Role::RowMetrics),
        ("data", DATA, Role::Data(0)),
    ];
    let mut both = Both::new(&buffers, op);
    both.set(0, output);
    both.set(1, &words);
    both.set(2, &[StepState { step: 1, rows: 1, ..StepState::default() }]);
    both.set(3, &[0u32]);
    both.set(5, &[RowMetrics::default()]);
    let values = u32::from(matches!(target, Values(_)));
    both.set(6, &[DataInfo { rows: 1, values, weighted: 1, ..DataInfo::default() }]);
    both.run();
    let [gpu, cpu] = both.get(4);
    let [on_gpu, on_cpu] = both.get(5).map(|metrics| metrics[0]);
    [(on_gpu, gpu), (on_cpu, cpu)]
}

/// A line of the page: the loss and the gradient of the first output. Exact values come with their tolerances.
fn line(
    input: String,
    [(gpu, gpu_gradient), (cpu, cpu_gradient)]: [(f32, Vec<f32>); 2],
    [(loss, off), (gradient, of_gradient)]: [(f64, f64); 2],
) -> Line {
    let loss = Value { exact: loss, gpu, cpu, off };
    let gradient = Value { exact: gradient, gpu: gpu_gradient[0], cpu: cpu_gradient[0], off: of_gradient };
    Line { input, values: vec![loss, gradient], shown: true }
}

fn table(text: &str, input: &'static str, lines: Vec<Line>) -> Table {
    Table { text: text.into(), input, outputs: vec!["loss", "gradient"], lines }
}

/// Losses that are functions of the error of one output, and their derivatives.
fn of_error(loss: Loss, error: f64) -> [f64; 2] {
    // The sign is 0 at 0, and NaN for NaN.
    let sign = if error == 0.0 || error.is_nan() { error } else { error.signum() };
    match loss {
        Loss::MeanAbsoluteError => [error.abs(), sign],
        Loss::Huber { delta } if error.abs() <= f64::from(delta) => [0.5 * error * error, error],
        Loss::Huber { delta } => {
            let delta = f64::from(delta);
            [delta * (error.abs() - 0.5 * delta), delta * sign]
        }
        _ => [error * error, 2.0 * error],
    }
}

/// A relative loss of one output and its derivative. The divisor counts as a constant, except for the densities.
fn of_relative(loss: Loss, y: f64, t: f64) -> [f64; 2] {
    let sign = if y == t { 0.0 } else { (y - t).signum() };
    let over = |divisor: f64| [(y - t).abs() / divisor, sign / divisor];
    match loss {
        Loss::RelativeL2 { epsilon } => {
            let share = (y - t) / (y * y + f64::from(epsilon));
            [(y - t) * share, 2.0 * share]
        }
        Loss::RelativeL1 { epsilon } => over(y.abs() + f64::from(epsilon)),
        Loss::Mape { epsilon } => over(t.abs() + f64::from(epsilon)),
        Loss::Smape { epsilon } => over((y.abs() + t.abs()) / 2.0 + f64::from(epsilon)),
        Loss::LogL1 => [(y - t).abs().ln_1p(), sign / (1.0 + (y - t).abs())],
        Loss::Variance { epsilon } => {
            let epsilon = f64::from(epsilon);
            let density = y.max(0.0) + epsilon;
            [t * t / density * (1.0 - y.min(0.0) / epsilon), -(t / density).powi(2)]
        }
        Loss::DensityCrossEntropy { epsilon } => {
            let epsilon = f64::from(epsilon);
            let density = y.max(0.0) + epsilon;
            [-t * (density.ln() + y.min(0.0) / epsilon), -t / density]
        }
        other => panic!("{other:?} has no formula here"),
    }
}

/// The relative losses of outputs and targets that are 0, small, large and huge.
fn relative_tables() -> Vec<Table> {
    let epsilon = 0.01;
    let rows =
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1e-6, 1e-6], [1e19, 0.0], [2e19, 1e19], [3e38, 0.0], [3e38, 3e38]];
    let densities = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-2.0, 1.0], [1.0, 1.0], [1e19, 1e19], [3e38, 3e38]];
    let tables = [
        ("Relative L2", Loss::RelativeL2 { epsilon }, &rows[..]),
        ("Relative L1", Loss::RelativeL1 { epsilon }, &rows),
        ("MAPE", Loss::Mape { epsilon }, &rows),
        ("SMAPE", Loss::Smape { epsilon }, &rows),
        ("Log L1", Loss::LogL1, &rows),
        ("Variance", Loss::Variance { epsilon }, &densities),
        ("Cross-entropy of a density", Loss::DensityCrossEntropy { epsilon }, &densities),
    ];
    let of_loss = |(name, loss, rows): (&str, Loss, &[[f32; 2]])| {
        let lines = rows.iter().map(|&[y, t]| {
            let exact = of_relative(loss, y.into(), t.into());
            // Roundings of the difference, the squares, the sums and the quotients. WGSL's logarithm has an absolute
            // error of 2⁻²¹ near 1.
            let of_log = if matches!(loss, Loss::DensityCrossEntropy { .. }) { 4.0 * ULP * f64::from(t) } else { 0.0 };
            let [value, slope] = exact.map(|value| (value, 16.0 * ULP * value.abs()));
            let input = format!("{}, {}", short(y.into()), short(t.into()));
            line(input, of(loss, &[y], Values(&[t]), 1.0), [(value.0, value.1 + of_log), slope])
        });
        let of_epsilon = if loss == Loss::LogL1 { "" } else { ", epsilon 0.01" };
        table(&format!("{name}{of_epsilon}."), "y, t", lines.collect())
    };
    tables.into_iter().map(of_loss).collect()
}

fn luminance_table() -> Table {
    let rows: [[[f32; 3]; 2]; 5] = [
        [[0.0; 3], [0.0; 3]],
        [[0.0; 3], [1.0, 0.0, 0.0]],
        [[1.0, 0.5, 0.25], [0.0; 3]],
        [[0.587, -0.299, 0.0], [0.0; 3]],
        [[3e38, 3e38, 1e38], [1e38; 3]],
    ];
    let lines = rows.map(|[y, t]| {
        let [r, g, b] = y.map(f64::from);
        let [luminance, size] =
            [(r, g, b), (r.abs(), g.abs(), b.abs())].map(|(r, g, b)| 0.299 * r + 0.587 * g + 0.114 * b);
        let divisor = luminance * luminance + f64::from(0.01f32);
        let errors = [0, 1, 2].map(|i| f64::from(y[i]) - f64::from(t[i]));
        let exact = [errors.iter().map(|e| e * e / divisor).sum::<f64>() / 3.0, 2.0 * errors[0] / divisor / 3.0];
        // Red, green and blue may cancel in the luminance: its error of 2 ulp of the sum of magnitudes counts twice.
        let share = (16.0 + 4.0 * luminance.abs() * size / divisor) * ULP;
        let exact = exact.map(|value| (value, share * value.abs()));
        let text = |colour: [f32; 3]| colour.map(|x| short(x.into())).join(" ");
        let results = of(Loss::RelativeL2Luminance { epsilon: 0.01 }, &y, Values(&t), 1.0);
        line(format!("{}, {}", text(y), text(t)), results, exact)
    });
    table("Relative L2 by the luminance, epsilon 0.01.", "y, t", lines.into())
}

fn error_table(text: &str, loss: Loss, rows: &[[f32; 2]]) -> Table {
    let lines = rows.iter().map(|&[y, t]| {
        let exact = of_error(loss, f64::from(y) - f64::from(t));
        // One rounding each for the difference, the square and the factors.
        let exact = exact.map(|value| (value, 8.0 * ULP * value.abs()));
        line(format!("{}, {}", short(y.into()), short(t.into())), of(loss, &[y], Values(&[t]), 1.0), exact)
    });
    table(text, "y, t", lines.collect())
}

const ERRORS: [[f32; 2]; 10] = [
    [1e-30, 0.0],
    [1e-10, 0.0],
    [-1e-6, 0.0],
    [3e38, 3e38],
    [1e19, 0.0],
    [2e19, 0.0],
    [3e38, 0.0],
    [3e38, -3e38],
    [f32::INFINITY, 0.0],
    [f32::NAN, 0.0],
];

/// ln(1 + e^z) - t z, computed as sums of numbers with the same sign, and sigmoid(z) - t.
fn cross_entropy(z: f64, t: f64) -> [f64; 2] {
    let e = (-z.abs()).exp();
    let against = if z > 0.0 { 1.0 - t } else { t };
    let gradient = e / (1.0 + e) - against;
    [e.ln_1p() + z.abs() * against, if z > 0.0 { -gradient } else { gradient }]
}

fn binary_table() -> Table {
    let mut lines = Vec::new();
    for z in [0.0, 16.0, -16.0, 20.0, -20.0, 30.0, -30.0, 80.0, -80.0, 3e38, -3e38, f32::INFINITY, f32::NAN] {
        for t in [0.0, 0.5, 1.0] {
            let exact = cross_entropy(f64::from(z), f64::from(t));
            let share = (16.0 + 2.0 * f64::from(z.abs()).min(100.0)) * ULP;
            let results = of(Loss::BinaryCrossEntropy, &[z], Values(&[t]), 1.0);
            let exact = exact.map(|value| (value, share * value.abs()));
            let line = line(format!("{}, {t}", short(z.into())), results, exact);
            lines.push(Line { shown: z.is_nan() || z >= 20.0 && z != 30.0 && (t != 0.5 || z == 20.0), ..line });
        }
    }
    let text = "\
Binary cross-entropy of a logit z. The logit −z with the target 1 − t gives the same loss and the negative gradient.
The loss of an infinite logit is infinite or NaN, even if the prediction is correct. The run then ends with an error.";
    table(text, "z, t", lines)
}

/// Softmax cross-entropy in f64 and its gradient for the first output.
fn softmax_cross_entropy(z: &[f32], target: Target, smoothing: f64) -> [f64; 2] {
    let n = z.len() as f64;
    let z: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
    let t: Vec<f64> = (0..z.len())
        .map(|c| match target {
            Label(label) => f64::from(u8::from(c as u32 == label)),
            Values(values) => values[c].into(),
        })
        .map(|t| (1.0 - smoothing) * t + smoothing / n)
        .collect();
    let largest = (0..z.len()).reduce(|best, c| if z[c] > z[best] { c } else { best }).expect("a class");
    let exps: Vec<f64> = z.iter().map(|value| (value - z[largest]).exp()).collect();
    let others: f64 = (0..z.len()).filter(|c| *c != largest).map(|c| exps[c]).sum();
    let along: f64 = (0..z.len()).filter(|c| t[*c] != 0.0).map(|c| t[c] * (z[c] - z[largest])).sum();
    let total: f64 = t.iter().sum();
    let spoilt = exps.iter().sum::<f64>() * 0.0;
    [others.ln_1p() * total - along + spoilt, exps[0] / exps.iter().sum::<f64>() * total - t[0]]
}

fn softmax_table() -> Table {
    let long = vec![3e38; 1000];
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let mut dominated = vec![0.0; 1000];
    dominated[999] = 30.0;
    let mut spoilt = vec![0.0; 1000];
    spoilt[999] = nan;
    let rows: [(&str, &[f32], Target, f32); 21] = [
        ("0, 0; label 0", &[0.0, 0.0], Label(0), 0.0),
        ("3e38, 3e38; label 0", &[3e38, 3e38], Label(0), 0.0),
        ("1000 times 3e38; label 999", &long, Label(999), 0.0),
        ("20, 0; label 0", &[20.0, 0.0], Label(0), 0.0),
        ("999 times 0, 30; label 999", &dominated, Label(999), 0.0),
        ("0, 20; label 0", &[0.0, 20.0], Label(0), 0.0),
        ("80, 0, 0; label 0", &[80.0, 0.0, 0.0], Label(0), 0.0),
        ("1e-6, 0; label 0", &[1e-6, 0.0], Label(0), 0.0),
        ("1e10, 0; label 1", &[1e10, 0.0], Label(1), 0.0),
        ("3e38, -3e38; label 0", &[3e38, -3e38], Label(0), 0.0),
        ("3e38, -3e38; label 1", &[3e38, -3e38], Label(1), 0.0),
        ("20, 0; targets 1, 0", &[20.0, 0.0], Values(&[1.0, 0.0]), 0.0),
        ("20, 0; targets 0.5, 0.5", &[20.0, 0.0], Values(&[0.5, 0.5]), 0.0),
        ("20, 0; label 0, smoothing 1e-7", &[20.0, 0.0], Label(0), 1e-7),
        ("20, 0; label 0, smoothing 0.1", &[20.0, 0.0], Label(0), 0.1),
        ("0, -inf; label 0", &[0.0, -inf], Label(0), 0.0),
        ("0, -inf; label 1", &[0.0, -inf], Label(1), 0.0),
        ("-inf, -inf; label 0", &[-inf, -inf], Label(0), 0.0),
        ("inf, 0; label 0", &[inf, 0.0], Label(0), 0.0),
        ("NaN, 0; label 1", &[nan, 0.0], Label(1), 0.0),
        ("999 times 0, NaN; label 0", &spoilt, Label(0), 0.0),
    ];
    let lines = rows.into_iter().map(|(input, z, target, smoothing)| {
        let loss = match smoothing {
            0.0 => Loss::SoftmaxCrossEntropy,
            _ => Loss::SmoothedSoftmaxCrossEntropy { smoothing },
        };
        let [exact, gradient] = softmax_cross_entropy(z, target, smoothing.into());
        // Errors of exp and of the sum. The gradient is the difference of two numbers up to 1.
        let share = (16.0 + 2.0 * 20.0 + z.len() as f64) * ULP;
        line(input.into(), of(loss, z, target, 1.0), [(exact, share * exact.abs()), (gradient, 4.0 * ULP)])
    });
    let text = "\
Softmax cross-entropy, and its gradient for the first logit. The gradient is the difference of two numbers from 0 to
1. Its tolerance is absolute: 4 ulp of 1.";
    table(text, "logits; targets", lines.collect())
}

fn weights_table() -> Table {
    let rows = [(2.0, 0.0), (2.0, 1e-30), (2.0, 1e30), (2.0, 3e38), (1e19, 1e10), (2e19, 1e-30), (2e19, 0.0)];
    let lines = rows.into_iter().map(|(y, weight): (f32, f32)| {
        // In f32 the square overflows before it is multiplied by the weight.
        let square = if y > 1.8e19 { f64::INFINITY } else { f64::from(y).powi(2) };
        let exact = [square * f64::from(weight), 2.0 * f64::from(y) * f64::from(weight)];
        let exact = exact.map(|value| (value, 8.0 * ULP * value.abs()));
        let input = format!("{}, {}", short(y.into()), short(weight.into()));
        line(input, of(Loss::MeanSquaredError, &[y], Values(&[0.0]), weight), exact)
    });
    let text = "\
Row weights, with the mean squared error and a target of 0. The weight multiplies the row's loss in f32. An infinite
loss stays infinite, and an infinite loss times 0 is NaN. Both end the run.";
    table(text, "y, weight", lines.collect())
}

pub fn section() -> Section {
    let text = "\
Each line is a batch with one row: its loss, and the gradient of the first output. An infinite or NaN loss ends the
run with `Error::NonFiniteLoss`. Tolerances are relative: 8 ulp for losses of the error y − t, and 16 + 2 min(|z|,
100) ulp for losses with exp. This is the error that WGSL allows for exp.";
    let squares = "Mean squared error. With one output, the sum of squares is equal.";
    let mut tables = vec![
        error_table(squares, Loss::MeanSquaredError, &ERRORS),
        error_table("Mean absolute error.", Loss::MeanAbsoluteError, &ERRORS),
        error_table("Huber, delta 1.", Loss::Huber { delta: 1.0 }, &[&ERRORS[..], &[[1.0, 0.0], [-1.5, 0.0]]].concat()),
        error_table("Huber, delta 1e30.", Loss::Huber { delta: 1e30 }, &[[1e19, 0.0], [2e19, 0.0], [3e38, 0.0]]),
        binary_table(),
        softmax_table(),
        weights_table(),
    ];
    let renderer = relative_tables().into_iter().chain([luminance_table()]);
    tables.splice(4..4, renderer);
    // With one output the sum of squares equals the mean: checked, not shown.
    let sum = error_table("Sum of squares.", Loss::SumOfSquares, &ERRORS);
    tables[0].lines.extend(sum.lines.into_iter().map(|line| Line { shown: false, ..line }));
    Section { title: "Losses", text: text.into(), tables }
}

/// The softmax as a layer: the first output of a row, and its derivative with respect to the first input.
pub fn softmax_section() -> Section {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let long = vec![-3e38; 1000];
    let rows: [(&str, &[f32]); 10] = [
        ("3e38, 3e38", &[3e38, 3e38]),
        ("1000 times -3e38", &long),
        ("1e-30, 0", &[1e-30, 0.0]),
        ("0, 80", &[0.0, 80.0]),
        ("0, 3e38", &[0.0, 3e38]),
        ("3e38, -3e38", &[3e38, -3e38]),
        ("0, -inf", &[0.0, -inf]),
        ("-inf, -inf", &[-inf, -inf]),
        ("inf, 0", &[inf, 0.0]),
        ("NaN, 0", &[nan, 0.0]),
    ];
    let lines = rows.into_iter().map(|(input, z)| {
        let op = |input, saved, output| Op::Softmax(Softmax { input, saved, output });
        let run = |input: &[f32], saved: Option<&[f32]>| {
            let [a, b, c] = [0, 1, 2].map(|buffer| shaped(buffer, [1, z.len() as u32]));
            let buffers = ["input", "saved", "output"].map(|name| (name, z.len() as u32, Role::Activation));
            let mut both = Both::new(&buffers, op(a, saved.map(|_| b), c));
            both.set(0, input);
            both.set(1, saved.unwrap_or(input));
            both.run();
            both.get(2)
        };
        let y = run(z, None);
        let mut dy = vec![0.0; z.len()];
        dy[0] = 1.0;
        let dz = run(&dy, Some(&y[1]));
        let largest = z.iter().fold(f64::NEG_INFINITY, |largest, z| largest.max(f64::from(*z)));
        let exps: Vec<f64> = z.iter().map(|z| (f64::from(*z) - largest).exp()).collect();
        let exact = exps[0] / exps.iter().sum::<f64>();
        let off = (16.0 + 2.0 * 80.0 + z.len() as f64) * ULP * exact;
        let slope = exact * (1.0 - exact);
        let value = Value { exact, gpu: y[0][0], cpu: y[1][0], off };
        let slope = Value { exact: slope, gpu: dz[0][0], cpu: dz[1][0], off: off + 2.0 * ULP };
        Line { input: input.into(), values: vec![value, slope], shown: true }
    });
    let text = "\
The softmax as a layer: the first output of a row, and its derivative with respect to the first input. The tolerance
is relative: that of exp, plus one ulp for each number in the sum. The derivative is computed from the output, so its
tolerance is 2 ulp of 1 larger.";
    let lines = lines.collect();
    let table = Table { text: String::new(), input: "z", outputs: vec!["value", "derivative"], lines };
    Section { title: "Softmax", text: text.into(), tables: vec![table] }
}

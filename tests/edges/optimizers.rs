//! The first update of every optimizer, and gradient clipping by norm.

use wgrad::plan::*;
use wgrad::{AdaBound, Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};

use crate::page::{Line, Section, Table, Value, short};
use crate::run::{Both, STEP, tensor};

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;
/// Number of parameters.
const LEN: usize = 64;
const RATE: f32 = 0.01;
/// The initial weight.
const WEIGHT: f32 = 0.5;

const GRADIENTS: [f32; 12] = [0.0, 1e-38, 1e-30, 1e-20, 1.0, -1e10, 1e18, 1e20, -1e30, 3e38, f32::INFINITY, f32::NAN];
/// The gradients that the page shows.
const SHOWN: [f32; 6] = [1e-20, 1e18, 1e20, 3e38, f32::INFINITY, f32::NAN];

fn optimizers() -> [(&'static str, Optimizer); 8] {
    [
        ("Sgd", Sgd::default().into()),
        ("Sgd, momentum 0.9, Nesterov", Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into()),
        ("RmsProp", RmsProp::default().into()),
        ("Adagrad", Adagrad::default().into()),
        ("Adam", Adam::default().into()),
        ("AdamW", AdamW::default().into()),
        ("Lion", Lion::default().into()),
        ("AdaBound", AdaBound::default().into()),
    ]
}

/// The weight after the first step in f64. The moments are 0 before it.
fn exact(optimizer: Optimizer, g: f64) -> f64 {
    let (rate, w) = (f64::from(RATE), f64::from(WEIGHT));
    let step = |beta: f32, epsilon: f32| (1.0 - f64::from(beta)).sqrt() * g.abs() + f64::from(epsilon);
    match optimizer {
        Optimizer::Sgd(Sgd { nesterov: true, momentum, .. }) => w - rate * (1.0 + f64::from(momentum)) * g,
        Optimizer::Sgd(_) => w - rate * g,
        Optimizer::RmsProp(o) => w - rate * g / step(o.alpha, o.epsilon),
        Optimizer::Adagrad(o) => w - rate * g / step(0.0, o.epsilon),
        Optimizer::Adam(o) => w - rate * g / step(0.0, o.epsilon),
        Optimizer::AdamW(o) => w * (1.0 - rate * f64::from(o.weight_decay)) - rate * g / step(0.0, o.epsilon),
        Optimizer::AdaBound(o) => {
            let [beta1, beta2] = [o.beta1, o.beta2].map(f64::from);
            let limit = rate * f64::from(o.final_learning_rate / o.learning_rate);
            let gamma = f64::from(o.gamma);
            let step = rate * (1.0 - beta2).sqrt() / (1.0 - beta1) / step(o.beta2, o.epsilon);
            w - step.clamp(limit * (gamma / (gamma + 1.0)), limit * ((gamma + 1.0) / gamma)) * (1.0 - beta1) * g
        }
        _ => w - rate * if g == 0.0 || g.is_nan() { g } else { g.signum() },
    }
}

fn update(optimizer: Optimizer, gradients: Tensor, scale: Option<Tensor>) -> Op {
    let moments = LEN * optimizer.moments() as usize;
    let step = OptimizerStep {
        optimizer,
        parameters: tensor(0, LEN),
        moments: (moments > 0).then(|| tensor(2, moments)),
        cursor: tensor(3, STEP as usize),
        multipliers: None,
        absolute_decay: 0.0,
        averages: Averages::default(),
        clip: None,
        accumulates: false,
    };
    Op::Update(Update { step, gradients, scale })
}

/// Buffers of the ops; the last two are for [`clipped`].
const BUFFERS: [(&str, u32, Role); 6] = [
    ("w", LEN as u32, Role::Parameters),
    ("g", LEN as u32, Role::Gradients),
    ("moments", 2 * LEN as u32, Role::Moments),
    ("step", STEP, Role::Step),
    ("sums", SUM_PARTS, Role::SquareSums),
    ("scale", 1, Role::GradientScale),
];

fn start(both: &mut Both, weight: f32, rate: f32, gradients: &[f32]) {
    both.set(0, &[weight; LEN]);
    both.set(1, gradients);
    both.set(2, &[0.0f32; 2 * LEN]);
    both.set(3, &[StepState { step: 1, update: 1, due: 1, learning_rate: rate, ..StepState::default() }]);
    both.run();
}

fn table((name, optimizer): (&str, Optimizer)) -> Table {
    let mut both = Both::new(&BUFFERS, update(optimizer, tensor(1, LEN), None));
    let gradients: Vec<f32> = (0..LEN).map(|i| GRADIENTS[i % GRADIENTS.len()]).collect();
    start(&mut both, WEIGHT, RATE, &gradients);
    let [gpu, cpu] = both.get(0);
    let line = |(i, g): (usize, &f32)| {
        let exact = exact(optimizer, f64::from(*g));
        let off = 64.0 * U * (exact - f64::from(WEIGHT)).abs() + 2.0 * U * exact.abs();
        let shown = SHOWN.iter().any(|shown| shown.to_bits() == g.to_bits());
        // Lines that are not shown must be right. Lines with an overflow to NaN are shown.
        let value = Value { exact, gpu: gpu[i], cpu: cpu[i], off };
        let overflows = g.abs() > 1e19 && gpu[i].is_nan() && cpu[i].is_nan();
        Line { input: short((*g).into()), values: vec![value], shown: shown || overflows }
    };
    let lines = GRADIENTS.iter().enumerate().map(line).collect();
    Table { text: format!("`{name}`"), input: "gradient", outputs: vec!["weight"], lines }
}

pub fn section() -> Section {
    let text = "\
The first update of a weight of 0.5 with learning rate 0.01 and default hyperparameters otherwise. The test has more
gradients than this page.

If the square of a gradient or the weight overflows f32, the weight becomes NaN. The next loss is then NaN, and
training ends with an error. An infinite mean of squares would be worse: every later step would be 0, without an
error.

Squares of gradients below 1e-19 are flushed to 0, so only epsilon divides these gradients. This matters only for an
epsilon below 1e-18.

The tolerance is 64 roundings (2^-24) of the step, plus two of the weight.";
    Section { title: "Optimizers", text: text.into(), tables: optimizers().map(table).into() }
}

/// The first gradient after clipping: SGD with learning rate 1 subtracts it from a weight of 0.
fn clipped(input: &str, limit: f32, gradients: &[f32]) -> Line {
    let (sums, scale) = (tensor(4, SUM_PARTS as usize), tensor(5, 1));
    let ops = [
        Op::SumSquares(SumSquares { input: tensor(1, LEN), output: sums, limit: None }),
        Op::SumSquares(SumSquares { input: sums, output: scale, limit: Some(limit) }),
        update(Sgd::default().into(), tensor(1, LEN), Some(scale)),
    ];
    let mut both = Both::of(&BUFFERS, ops);
    start(&mut both, 0.0, 1.0, gradients);
    let norm = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let exact = f64::from(gradients[0]) * (f64::from(limit) / (norm + 1e-6)).min(1.0);
    let [gpu, cpu] = both.get(0);
    let value = Value { exact, gpu: -gpu[0], cpu: -cpu[0], off: 64.0 * U * exact.abs() };
    Line { input: input.into(), values: vec![value], shown: true }
}

pub fn clip_section() -> Section {
    let with_first = |first: f32| [vec![first], vec![1.0; LEN - 1]].concat();
    let lines = vec![
        clipped("64 times 1e-30, limit 1", 1.0, &[1e-30; LEN]),
        clipped("64 times 1e-3, limit 1", 1.0, &[1e-3; LEN]),
        clipped("64 times 1e10, limit 1", 1.0, &[1e10; LEN]),
        clipped("64 times 1e19, limit 1", 1.0, &[1e19; LEN]),
        clipped("64 times 3e38, limit 1", 1.0, &[3e38; LEN]),
        clipped("64 times 3e38, limit 1e30", 1e30, &[3e38; LEN]),
        clipped("1e20, 63 times 1, limit 0.001", 0.001, &with_first(1e20)),
        clipped("inf, 63 times 1, limit 1", 1.0, &with_first(f32::INFINITY)),
        clipped("NaN, 63 times 1, limit 1", 1.0, &with_first(f32::NAN)),
    ];
    let text = "\
The first gradient after `Clip::Norm`. If the sum of squares would overflow f32, the gradients are scaled first. If a
gradient is infinite or NaN, every trained weight becomes NaN. `Clip::Value` clips an infinite gradient to its limit
and keeps NaN.

The tolerance is 64 roundings (2^-24).";
    let table = Table { text: String::new(), input: "gradients", outputs: vec!["clipped"], lines };
    Section { title: "Gradient clipping by norm", text: text.into(), tables: vec![table] }
}

/// A section without tables: `tests/overflow.rs` tests the sums, `src/ops/next_batch.rs` the orders.
pub fn sums_section() -> Section {
    let text = "\
The loss of an epoch or an evaluation is a sum over all rows. Each row's loss is added to one of many slots. Every 8th
row, the sum of a slot moves to a second level. Every 64th row, that sum moves to a third level, and so on up to five
levels. Therefore no sum has many terms. 20 million equal rows give their loss to within 1e-6 on both devices; the
error of a single f32 sum is several percent. If the sum of finite losses exceeds 3.4e38, it is infinite, and training
ends with an error.

Up to 32 rows are shuffled by random keys, so all orders have the same probability. More rows are shuffled by a
Feistel network. The tests count all orders of 2 to 7 rows, and the positions and neighbours of 8 rows and more.";
    Section { title: "Sums over many rows, and shuffling", text: text.into(), tables: vec![] }
}

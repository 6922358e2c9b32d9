//! What a plan costs: arithmetic and traffic of each op, memory of each buffer.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use super::*;
use crate::activation::Activation;
use crate::network::{Encoding, thousands};
use crate::optimizer::{Adagrad, Lion, RmsProp, Sgd};

/// Arithmetic, and traffic with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Floating-point operations. Each +, −, ×, ÷, comparison, root, exponential, logarithm, tanh and erf of the op's formula
    /// counts as one, so a multiply-add as two; integers, and what there is one of in a dispatch, count nothing. How
    /// many instructions an exponential takes is the GPU's affair.
    pub flops: u64,
    /// Bytes that must be read and written at least: each number once, or twice where it is read and written again. What
    /// a kernel reads several times, as products do, it had better find in a cache. Of a data set, whose kind a plan
    /// does not know, f32 features are counted, and as targets labels for classes and f32 for other losses.
    pub bytes: u64,
}

impl Work {
    /// Floating-point operations a byte: the x axis of a roofline.
    pub fn intensity(self) -> f64 {
        self.flops as f64 / self.bytes as f64
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}

/// What a plan costs, for a full batch: [`Plan::cost`]. Print it for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Each op of a step, as [`Plan::title`] has it.
    pub ops: Vec<(String, Work)>,
    /// Each buffer's name, and its size in bytes where the plan knows it. On a GPU sizes are rounded up to 16, and
    /// beside these there are 256 bytes of uniforms for each dispatch, and 1 to 4 MiB of scratch memory where products split k.
    pub buffers: Vec<(String, Option<u64>)>,
}

impl Cost {
    /// Of a step.
    pub fn total(&self) -> Work {
        self.ops.iter().map(|(_, work)| *work).sum()
    }

    /// Bytes of all buffers whose size the plan knows: all but the data set, and the ends of a forward pass.
    pub fn memory(&self) -> u64 {
        self.buffers.iter().filter_map(|(_, bytes)| *bytes).sum()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<64}{:>16}{:>16}{:>12}", "op", "FLOPs", "bytes", "FLOPs/byte")?;
        let mut line = |op: &str, work: Work| {
            let (flops, bytes) = (thousands(work.flops), thousands(work.bytes));
            writeln!(f, "{op:<64}{flops:>16}{bytes:>16}{:>12.2}", work.intensity())
        };
        let total = self.total();
        self.ops.iter().try_for_each(|(op, work)| line(op, *work))?;
        line("a step", total)?;
        writeln!(f, "\n{:<64}{:>32}", "buffer", "bytes")?;
        for (name, bytes) in &self.buffers {
            writeln!(f, "{name:<64}{:>32}", bytes.map_or("given".into(), thousands))?;
        }
        write!(f, "{:<64}{:>32}", "memory", thousands(self.memory()))
    }
}

impl Plan {
    /// Floating-point operations and bytes of each op of a step, and the memory of each buffer.
    ///
    /// ```
    /// use wgrad::{Activation::*, Network, Plan};
    /// let network = Network::input(784).dense(128, Relu).dense(10, Identity).build()?;
    /// let cost = Plan::forward(&network, 32)?.cost();
    /// // A multiply-add a weight and row, a bias a sum, and a relu.
    /// let hidden = 32 * (2 * 784 * 128 + 128 + 128);
    /// assert_eq!(cost.total().flops, hidden + 32 * (2 * 128 * 10 + 10));
    /// println!("{cost}");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn cost(&self) -> Cost {
        Cost {
            ops: self.step.iter().map(|op| (self.title(op), op.work())).collect(),
            buffers: self.buffers.iter().map(|b| (b.name.clone(), b.words().map(|words| words * 4))).collect(),
        }
    }

    /// Of a step.
    pub(crate) fn work(&self) -> Work {
        self.step.iter().map(Op::work).sum()
    }
}

impl Op {
    /// Its arithmetic and traffic.
    pub fn work(&self) -> Work {
        Work { flops: self.flops(), bytes: 4 * self.words() }
    }

    fn flops(&self) -> u64 {
        let len = |tensor: &Tensor| u64::from(tensor.len);
        let rows_and_columns = |rows: u32, columns: u32| (u64::from(rows), u64::from(rows) * u64::from(columns));
        match self {
            // Integers; and the learning rate, once.
            Op::NextBatch(_) => 0,
            // Copies; bytes are scaled, but a plan does not know of them.
            Op::Gather(_) | Op::CopyRows(_) => 0,
            // Looks at bits.
            Op::NonFinite(_) => 0,
            Op::Matmul(op) => of_matmul(op),
            Op::Pointwise(op) => {
                let function =
                    if op.saved.is_some() { derivative(op.activation) + 1 } else { activation(op.activation) };
                len(&op.input) * (function + u64::from(op.dropout.is_some()))
            }
            // Largest, difference, exponential, sum, quotient; or product, sum, difference, product.
            Op::Softmax(op) => len(&op.input) * if op.saved.is_some() { 4 } else { 5 },
            // Of a row: two means, epsilon, the root and its reciprocal. Of a number: 1 for the mean, 3 for the variance, 4.
            Op::LayerNorm(op) => {
                let (rows, numbers) = rows_and_columns(op.rows, op.columns);
                5 * rows + 8 * numbers
            }
            // Of a row: two means. Of a number: x̂ 2, dy · scale 1, the sums 3, and 4.
            Op::LayerNormInput(op) => {
                let (rows, numbers) = rows_and_columns(op.rows, op.columns);
                2 * rows + 10 * numbers
            }
            // x̂ 2, its product, two sums.
            Op::LayerNormParameters(op) => 5 * rows_and_columns(op.rows, op.columns).1,
            Op::Encode(op) => of_encode(op),
            // Of a corner: its shares and their product; then its entry's numbers, multiplied and added, each way.
            Op::HashGrid(op) => of_corners(&op.shape, 5 + 2 * u64::from(op.shape.features)),
            Op::HashGridScale(op) => len(&op.gradient) * 2,
            Op::HashGridScatter(op) => of_corners(&op.shape, 5 + 3 * u64::from(op.shape.features)),
            Op::HashGridGradient(op) => len(&op.sums),
            Op::HashGridInput(op) => of_corners(&op.shape, 12 + 2 * u64::from(op.shape.features)),
            Op::PointwiseLoss(op) | Op::SoftmaxCrossEntropy(op) => of_loss(op),
            Op::Accumulate(op) => len(&op.sum) * if op.mean { 2 } else { 1 },
            // The second op sums, takes the root, adds, divides, compares.
            Op::SumSquares(op) => match op.limit {
                None => 2 * len(&op.input),
                Some(_) => len(&op.input) + 4,
            },
            Op::Update(op) => of_update(op),
            Op::Metrics(op) => op.count.into(),
            Op::Narrow(op) => u64::from(op.rows) * op.layers.iter().map(of_narrow_layer).sum::<u64>(),
        }
    }

    /// 32-bit words read and written.
    fn words(&self) -> u64 {
        let read = |tensors: Vec<Tensor>| tensors.iter().map(|t| u64::from(t.len)).sum::<u64>();
        let written = |outputs: Vec<(Tensor, Access)>| {
            let words =
                |(t, access): &(Tensor, Access)| u64::from(t.len) * if *access == Access::Write { 1 } else { 2 };
            outputs.iter().map(words).sum::<u64>()
        };
        let tensors = read(self.inputs()) + written(self.outputs());
        match self {
            // Of its operands it reads a slice of k.
            Op::Matmul(op) => {
                let operands = u64::from(op.a.len) + u64::from(op.b.len);
                tensors - operands + operands * op.slice.len() as u64 / u64::from(op.k)
            }
            // From the data set, whose tensors have no length.
            Op::Gather(op) => tensors + u64::from(op.batch) * u64::from(op.columns),
            // An app's buffer has no length here, and of it only the rows count.
            Op::CopyRows(op) => 2 * u64::from(op.rows) * u64::from(op.columns),
            // Of a table, the entries at the corners of each point's cells.
            Op::HashGrid(HashGridForward { shape, table, .. })
            | Op::HashGridInput(HashGridInput { shape, table, .. }) => {
                tensors - u64::from(table.len) + of_corners(shape, shape.features.into())
            }
            Op::HashGridScatter(op) => {
                tensors - 2 * u64::from(op.sums.len) + of_corners(&op.shape, 2 * u64::from(op.shape.features))
            }
            Op::SoftmaxCrossEntropy(op) => tensors + u64::from(op.batch),
            Op::PointwiseLoss(op) => tensors + u64::from(op.batch) * u64::from(op.outputs),
            _ => tensors,
        }
    }
}

/// So much for each corner of each point's cell in each level.
fn of_corners(shape: &GridShape, each: u64) -> u64 {
    (u64::from(shape.rows) * u64::from(shape.levels) * each) << shape.dimensions
}

/// Of each feature, or of its slope and the sum. A sine's series has 14 steps, its argument 4.
fn of_encode(op: &Encode) -> u64 {
    let features = u64::from(op.rows) * u64::from(op.columns) * u64::from(op.encoding.features());
    let gradient = op.gradient.is_some();
    let each = match op.encoding {
        Encoding::Identity { .. } => 2,
        Encoding::Frequency { .. } => 18 + if gradient { 4 } else { 0 },
        Encoding::TriangleWave { .. } => 6,
        Encoding::OneBlob { .. } => 18,
        Encoding::HashGrid(_) => 0,
    };
    features * each
}

fn of_matmul(op: &Matmul) -> u64 {
    let (m, n, k) = (u64::from(op.m), u64::from(op.n), op.slice.len() as u64);
    let epilogue = match &op.epilogue {
        Epilogue::None => 0,
        Epilogue::Bias { bias, activation: function } => m * n * (u64::from(bias.is_some()) + activation(*function)),
        Epilogue::Derivative { activation: function, .. } => m * n * (derivative(*function) + 1),
        Epilogue::Update(update) => of_update(update),
    };
    let column_sums = if op.bias_gradient.is_some() { n * k } else { 0 };
    2 * m * n * k + epilogue + column_sums
}

/// Of a row: what the layer's product and its softmax would take.
fn of_narrow_layer(layer: &NarrowLayer) -> u64 {
    let end = if layer.activation == Activation::Softmax { 5 } else { activation(layer.activation) };
    u64::from(layer.units) * (2 * u64::from(layer.inputs) + u64::from(layer.bias.is_some()) + end)
}

/// Of an activation.
fn activation(function: Activation) -> u64 {
    match function {
        Activation::Identity | Activation::Softmax => 0,
        Activation::Relu | Activation::Tanh => 1,
        Activation::LeakyRelu(_) => 2,
        Activation::Softplus | Activation::Sigmoid => 3,
        Activation::Elu(_) | Activation::Silu | Activation::HardSigmoid => 4,
        Activation::Selu | Activation::GeluErf | Activation::HardSwish => 5,
        Activation::GeluTanh => 9,
    }
}

/// Of a derivative, from what is saved for it.
fn derivative(function: Activation) -> u64 {
    match function {
        Activation::Identity | Activation::Softmax => 0,
        Activation::Relu | Activation::LeakyRelu(_) => 1,
        Activation::Elu(_) | Activation::Selu | Activation::Sigmoid | Activation::Tanh | Activation::HardSigmoid => 2,
        Activation::Softplus => 3,
        Activation::HardSwish => 4,
        Activation::Silu => 7,
        Activation::GeluErf => 10,
        Activation::GeluTanh => 18,
    }
}

fn of_loss(op: &LossOp) -> u64 {
    let (rows, numbers) = (u64::from(op.batch), u64::from(op.batch) * u64::from(op.outputs));
    let gradient = |count: u64| if op.gradient.is_some() { count } else { 0 };
    // Of an output's loss, and of its derivative.
    let (value, slope) = match op.loss {
        // Of classes: largest, difference, exponential, its sum, the target's sum, product and sum; then quotient,
        // product, difference, weight and mean. Smoothing takes a product and a sum.
        Loss::SoftmaxCrossEntropy => return 5 * rows + (7 + gradient(5)) * numbers,
        Loss::SmoothedSoftmaxCrossEntropy { .. } => return 5 * rows + (9 + gradient(5)) * numbers,
        Loss::MeanSquaredError | Loss::SumOfSquares => (2, 1),
        Loss::MeanAbsoluteError => (2, 1),
        Loss::Huber { .. } => (5, 2),
        Loss::BinaryCrossEntropy => (5, 4),
    };
    // Of a number: its sum; the derivative, the activation's, weight and mean. Of a row: mean, weight and sum.
    let through = derivative(op.activation) + 1;
    3 * rows + (value + 1 + gradient(slope + through + 2)) * numbers
}

fn of_update(op: &Update) -> u64 {
    // Each formula ends with a product with the rate and a difference.
    let formula = match op.optimizer {
        Optimizer::Sgd(Sgd { momentum: 0.0, .. }) => 2,
        Optimizer::Sgd(Sgd { nesterov, .. }) => {
            if nesterov {
                7
            } else {
                5
            }
        }
        Optimizer::RmsProp(RmsProp { momentum, .. }) => {
            if momentum == 0.0 {
                9
            } else {
                11
            }
        }
        Optimizer::Adagrad(Adagrad { .. }) => 7,
        Optimizer::Adam(_) | Optimizer::AdamW(_) => 13,
        Optimizer::Lion(Lion { .. }) => 9,
    };
    let decay = if op.optimizer.weight_decay().0 == 0.0 { 0 } else { 2 };
    let limits = if op.clip.is_some() { 2 } else { 0 } + u64::from(op.scale.is_some());
    let groups = if op.multipliers.is_some() { 2 } else { 0 };
    u64::from(op.parameters.len) * (formula + decay + limits + groups)
}

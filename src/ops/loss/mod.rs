//! Losses and their gradients.

mod pointwise;
mod softmax_cross_entropy;

#[cfg(test)]
pub(crate) use self::pointwise::source as pointwise_loss;
use super::*;
use crate::activation::Activation;
use crate::loss::Loss;

/// Text between the functions of an activation and the kernel.
const SHARED: &str = text!(
    "shared/step_state.wgsl",
    "shared/data_info.wgsl",
    "shared/row_metrics.wgsl",
    "shared/bits.wgsl",
    "shared/pcg4d.wgsl",
    "shared/row_random.wgsl.in",
    "shared/loss.wgsl.in"
);

/// A loss, its gradient, and the running loss and correct count of each row. A row of the loss is a position of a
/// sample: row r is position r mod `positions` of sample r / `positions` of the batch.
///
/// The targets of a sample are one label for each position, or `outputs` numbers for each position. If the data have
/// weights, the sample's weight follows. It applies to all positions of the sample.
///
/// A position whose label is [ignored](DataInfo::ignored) has loss 0 and gradient 0, and is not counted. The gradient
/// of a mean is still divided by the number of all positions, including ignored ones (as in Keras). Weights of rows
/// do not change this number.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOp {
    /// The loss function.
    pub loss: Loss,
    /// Positions per sample; 1 if a sample has one row of outputs.
    pub positions: u32,
    /// Weight of this loss in a sum of several losses; 1 for a single loss. It multiplies the gradient, but not the
    /// running loss.
    pub weight: f32,
    /// \[batch · positions, outputs\]: outputs of the network, or logits if the loss takes logits.
    pub output: Tensor,
    /// Targets of the whole data set.
    pub targets: Tensor,
    /// Description of the data set: one [`DataInfo`].
    pub data: Tensor,
    /// The cursor: one [`StepState`].
    pub step: Tensor,
    /// \[batch\]: row numbers.
    pub indices: Tensor,
    /// \[batch · positions, outputs\], written. Rows that a partial batch lacks become zeros.
    pub gradient: Option<Tensor>,
    /// \[levels, turns, batch · positions, 4\]: slots of running metrics, each a [`RowMetrics`](super::RowMetrics),
    /// added to. The steps use the `turns` slots of a row in rotation, so that sums stay short when batches are
    /// small. The first level has the counts.
    ///
    /// After each 8th row of a slot, its sum of losses moves to the slot's next level. After each 64th row, that sum
    /// moves one level further. No sum has many terms, so the sum of millions of losses is accurate.
    pub metrics: Tensor,
    /// Activation that made the output. Its derivative must be computable from its output. The gradient
    /// is that of its input.
    pub activation: Activation,
}

impl LossOp {
    /// Slots per level.
    pub(crate) fn slots(&self) -> u32 {
        self.turns() * self.output.rows()
    }

    fn turns(&self) -> u32 {
        self.metrics.shape[1]
    }

    /// Number of valid rows of the batch.
    fn valid_rows(&self, state: &StepState) -> u32 {
        state.rows.saturating_mul(self.positions)
    }

    /// Terms of a gradient's error bound that all losses share:
    /// - the factor of an unweighted derivative;
    /// - the absolute error if a number is flushed to zero before it is multiplied by a weight;
    /// - relative roundings: of the product with the loss's weight, and of a number of rows that f32 cannot
    ///   represent.
    fn scale(&self, target: &Target<'_>, row_divisor: f64, rows: f64) -> (f64, f64, f64) {
        let (own, weight) = (f64::from(self.weight).abs(), f64::from(target.weight).abs());
        let product = if self.weight == 1.0 { 0.0 } else { U };
        let count = if rows > 1.0 / U { ULP } else { 0.0 };
        let share = own / (row_divisor * rows);
        (weight * share, FLUSHED * (1.0 + weight) * share, product + count)
    }

    /// Slot of a row in this step.
    fn slot(&self, row: usize, state: &StepState) -> usize {
        (state.step % self.turns() * self.output.rows()) as usize + row
    }

    /// Number of levels that a slot's sum moves up after the slot has counted `rows` rows.
    fn moves_up(&self, rows: u32) -> usize {
        (1..self.metrics.shape[0]).take_while(|&level| rows.is_multiple_of(8u32.pow(level))).count()
    }

    /// Outputs and targets of each valid row.
    fn rows<'a>(&self, at: &Operands<'a>) -> impl Iterator<Item = (&'a [f32], Target<'a>)> + use<'a> {
        let (targets, indices, data) = (at.words(self.targets), at.words(self.indices), at.data(self.data));
        let (outputs, positions) = (self.output.columns() as usize, self.positions as usize);
        let state = at.step(self.step);
        let rows = at.f32s(self.output).chunks_exact(outputs).enumerate().take(self.valid_rows(&state) as usize);
        rows.map(move |(row, y)| {
            let (sample, mut position, mut all) = (indices[row / positions], row % positions, positions);
            if data.target_factor != 0 {
                let [left, top] = data.crop_corner(sample, &state).map(|at| (at * data.target_factor) as usize);
                let (width, crop) = (data.target_width as usize, data.target_crop_width as usize);
                position = (top + position / crop) * width + left + position % crop;
                let of_position = if data.values != 0 { outputs } else { 1 };
                all = (data.target_stride - data.weighted) as usize / of_position;
            }
            (y, Target::of(sample, position, all, targets, outputs, &data))
        })
    }
}

impl LossOp {
    /// For texts of other kernels: appends `fn NAME(row: u32)`, which adds the loss of a row and stores its gradient, and
    /// the functions that it calls. Their names begin with `prefix`. `read` is the expression of output `i` of row `row`,
    /// and `store` the statement that stores `value` as its gradient. The number `row * u.outputs + i` has the constant
    /// `u.outputs`. The text declares `targets`, `data`, `state`, `indices` and `metrics`.
    pub(crate) fn excerpt(&self, texts: &mut Vec<String>, name: &str, prefix: &str, [read, store]: [&str; 2]) {
        let launch = self.launches(&Adapter::default()).remove(0);
        let text = with_constants(&launch);
        let text = text.replace("output[row * u.outputs + i]", read);
        let text = text.replace("gradient[row * u.outputs + i] = value;", store);
        excerpt(texts, &text, "add_row", |called| match called {
            "add_row" => name.to_owned(),
            called => format!("{prefix}{called}"),
        });
    }
}

impl Kernel for LossOp {
    fn stem(&self) -> &'static str {
        if self.loss.is_softmax() { "softmax_cross_entropy" } else { "pointwise_loss" }
    }

    fn options(&self) -> String {
        let positions = if self.positions == 1 { String::new() } else { format!(", {} positions", self.positions) };
        let weight = if self.weight == 1.0 { String::new() } else { format!(", weight {}", self.weight) };
        format!(" {:?}{positions}{weight}", self.loss)
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        [&mut self.output, &mut self.targets, &mut self.data, &mut self.step, &mut self.indices, &mut self.metrics]
            .into_iter()
            .chain(&mut self.gradient)
            .collect()
    }

    fn operands(&self) -> Vec<Operand> {
        let data = [self.output, self.targets, self.data, self.step, self.indices].map(read);
        data.into_iter().chain([change(self.metrics), write(self.gradient)]).collect()
    }

    fn flops(&self) -> u64 {
        let (rows, numbers) = (u64::from(self.output.rows()), u64::from(self.output.len()));
        let weight = u64::from(self.weight != 1.0);
        let gradient = |count: u64| if self.gradient.is_some() { count + weight } else { 0 };
        // Flops of an output's loss, and of its derivative.
        let (value, slope) = match self.loss {
            // Per class: largest, difference, exponential, its sum, the target's sum, product and sum. Gradient:
            // quotient, product, difference, weight and mean. Smoothing adds a product and a sum.
            Loss::SoftmaxCrossEntropy => return 5 * rows + (7 + gradient(5)) * numbers,
            Loss::SmoothedSoftmaxCrossEntropy { .. } => return 5 * rows + (9 + gradient(5)) * numbers,
            Loss::MeanSquaredError | Loss::SumOfSquares | Loss::MeanAbsoluteError => (2, 1),
            Loss::Huber { .. } => (5, 2),
            Loss::BinaryCrossEntropy => (5, 4),
            Loss::RelativeL2 { .. } => (5, 1),
            Loss::RelativeL2Luminance { .. } => (10, 1),
            Loss::RelativeL1 { .. } | Loss::Mape { .. } => (3, 1),
            Loss::Smape { .. } => (6, 1),
            Loss::LogL1 => (3, 2),
            Loss::Variance { .. } => (5, 1),
            Loss::DensityCrossEntropy { .. } => (5, 1),
            Loss::Custom(own) => own.flops().into(),
        };
        // Per number: sum, derivative, the activation's derivative, weight and mean. Per row: mean, weight and sum.
        let through = self.activation.flops()[1] + 1;
        3 * rows + (value + 1 + gradient(slope + through + 2)) * numbers
    }

    // Only the targets of the batch count.
    fn bytes(&self) -> u64 {
        let rest = self.operands().iter().map(Operand::traffic).sum::<u64>() - self.targets.bytes();
        rest + u64::from(self.output.rows() / self.positions) * self.targets.bytes()
    }

    fn launches(&self, adapter: &Adapter) -> Vec<Launch> {
        let [rows, outputs] = [self.output.rows(), self.output.columns()];
        let (lanes, rows_each) = lanes_and_rows(outputs, adapter);
        let (mut shader, option) = match self.loss.is_softmax() {
            true => softmax_cross_entropy::shader(self),
            false => pointwise::shader(self),
        };
        shader.constants.extend([
            ("LANES", lanes.into()),
            ("ROWS", rows_each.into()),
            ("POSITIONS", self.positions.into()),
            ("WEIGHT", self.weight.into()),
            ("GRADIENT", self.gradient.is_some().into()),
            ("LEVELS", self.metrics.shape[0].into()),
        ]);
        vec![Launch {
            shader,
            uniforms: [uniforms![rows, outputs, turns: self.turns()], vec![option]].concat(),
            bindings: self.operands(),
            workgroups: rows.div_ceil(rows_each).into(),
        }]
    }

    fn without_twin(&self) -> Option<String> {
        self.loss.without_twin().or_else(|| self.activation.without_twin())
    }

    fn twin(&self, at: &mut Operands<'_>) {
        let (rows, state) = (self.rows(at), at.step(self.step));
        let metrics: &mut [RowMetrics] = at.out(self.metrics);
        let mut gradient: Option<&mut [f32]> = self.gradient.map(|gradient| at.out(gradient));
        if let Some(gradient) = &mut gradient {
            gradient.fill(0.0);
        }
        let run = if self.loss.is_softmax() { softmax_cross_entropy::row } else { pointwise::row };
        let valid_rows = self.valid_rows(&state) as f32;
        for (row, (y, target)) in rows.enumerate().filter(|(_, (_, target))| !target.ignored) {
            let gradient = gradient.as_mut().map(|gradient| &mut gradient[row * y.len()..][..y.len()]);
            let (loss, correct) = run(self, y, &target, valid_rows, gradient);
            let mut at = self.slot(row, &state);
            let slot = &mut metrics[at];
            slot.rows += 1;
            slot.correct += u32::from(correct);
            if !loss.is_finite() && slot.non_finite_step == 0 {
                slot.non_finite_step = state.step;
            }
            let (moves, mut sum) = (self.moves_up(slot.rows), slot.loss + loss);
            for _ in 0..moves {
                metrics[at].loss = 0.0;
                at += self.slots() as usize;
                sum += metrics[at].loss;
            }
            metrics[at].loss = sum;
        }
    }

    /// Slots of other turns must not change. The sum of a slot has the error of the row and the rounding of a sum.
    fn bounds(&self, at: &Operands<'_>) -> Vec<Bounds> {
        let (rows, state) = (self.rows(at), at.step(self.step));
        let before: &[RowMetrics] = bytemuck::cast_slice(at.words(self.metrics));
        let (mut gradients, mut slots) = (Vec::new(), vec![0.0; before.len()]);
        let bound = if self.loss.is_softmax() { softmax_cross_entropy::bound } else { pointwise::bound };
        for (row, (y, target)) in rows.enumerate() {
            if target.ignored {
                gradients.resize(gradients.len() + y.len(), 0.0);
                continue;
            }
            let (loss, mut off) = bound(self, y, &target, self.valid_rows(&state).into(), &mut gradients);
            let mut at = self.slot(row, &state);
            let mut sum = (f64::from(before[at].loss) + loss).abs();
            off += 2.0 * U * (loss.abs() + sum);
            for _ in 0..self.moves_up(before[at].rows + 1) {
                at += self.slots() as usize;
                sum += f64::from(before[at].loss).abs();
                off += 2.0 * U * sum;
            }
            slots[at] = off;
        }
        gradients.resize(self.output.len() as usize, 0.0);
        let gradients = self.gradient.map(|_| Bounds::Each(gradients));
        [Bounds::Losses(slots)].into_iter().chain(gradients).collect()
    }
}

/// Targets of a row, and the weight of its sample.
struct Target<'a> {
    words: &'a [u32],
    outputs: usize,
    values: bool,
    weight: f32,
    ignored: bool,
}

impl<'a> Target<'a> {
    fn of(sample: u32, position: usize, positions: usize, targets: &'a [u32], outputs: usize, data: &DataInfo) -> Self {
        let (values, weighted) = (data.values != 0, data.weighted != 0);
        let width = if values { outputs } else { 1 };
        let of_sample = &targets[data.target(sample)..];
        let words = &of_sample[position * width..][..width];
        let weight = if weighted { f32::from_bits(of_sample[positions * width]) } else { 1.0 };
        let ignored = !values && data.ignored != 0 && words[0] == data.ignored - 1;
        Self { words, outputs, values, weight, ignored }
    }

    /// The label; `None` if targets are numbers.
    fn label(&self) -> Option<usize> {
        (!self.values).then(|| self.words[0] as usize)
    }

    /// Target of an output.
    fn value(&self, output: usize) -> f32 {
        match self.label() {
            None => f32::from_bits(self.words[output]),
            Some(label) if self.outputs == 1 => label as f32,
            Some(label) => f32::from(u8::from(label == output)),
        }
    }

    /// Class of the target.
    fn class(&self) -> usize {
        let largest = || argmax(&(0..self.outputs).map(|i| self.value(i)).collect::<Vec<_>>());
        self.label().unwrap_or_else(largest)
    }
}

/// Predicted class of a row of outputs: the largest output, or the first of equal ones. `None` if the row contains
/// NaN.
pub(crate) fn class(z: &[f32]) -> Option<usize> {
    (!z.iter().any(|z| z.is_nan())).then(|| argmax(z))
}

/// Index of the largest number, or of the first of equal ones. NaN is never the largest.
pub(crate) fn argmax(z: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in z.iter().enumerate() {
        if *value > z[best] || z[best].is_nan() {
            best = i;
        }
    }
    best
}

//! A plan under construction.

use super::layers::{Before, Kind, Placed, Stage, hash_grid, stages};
use super::narrow::narrow_under;
use super::*;
use crate::activation::Activation;
use crate::config::Clip;
use crate::error::Error;
use crate::network::PARAMETER_ALIGNMENT;
use crate::schedule::Schedule;

/// The cursor in what batches come from.
pub(crate) struct DataSet {
    pub data: Tensor,
    pub step: Tensor,
    indices: Tensor,
}

/// Levels of slots, each with sums of 8 of the level before: for 2²⁶ rows, and with less accuracy for more.
fn levels(slots: u32) -> u32 {
    (26u32.saturating_sub(slots.ilog2()) / 3).max(1)
}

/// Slots of the running metrics, at least: where there were fewer, the sums of millions of losses would outgrow what a step adds.
const FEWEST_SLOTS: u32 = 1024;

/// Collects the buffers and ops of a plan.
pub(crate) struct Builder<'a> {
    network: &'a Network,
    pub batch: u32,
    parameters: Tensor,
    gradients: Option<Tensor>,
    /// Over all parameters.
    optimizer_step: Option<OptimizerStep>,
    /// Whether each layer's gradients go straight into it.
    fused: bool,
    stages: Vec<Placed>,
    plan: Plan,
}

impl<'a> Builder<'a> {
    pub fn new(name: &'static str, network: &'a Network, batch: u32) -> Result<Self> {
        if batch == 0 {
            return Err(Error::shape("batch", "at least 1 row", 0));
        }
        let plan = Plan { name, batch, buffers: Vec::new(), step: Vec::new(), report: Vec::new() };
        let parameters = Tensor::new(BufferId(0), Dtype::F32, network.parameter_words());
        let mut builder = Self {
            network,
            batch,
            parameters,
            gradients: None,
            optimizer_step: None,
            fused: false,
            stages: Vec::new(),
            plan,
        };
        builder.buffer("parameters", [network.parameter_words()], Role::Parameters)?;
        Ok(builder)
    }

    pub fn finish(self) -> Plan {
        self.plan
    }

    pub fn push(&mut self, op: Op) {
        self.plan.step.push(op);
    }

    /// Adds a buffer and returns the tensor that is all of it.
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, role: Role) -> Result<Tensor> {
        let shape = shape.into();
        limit(&format!("buffer {name} {shape:?}"), shape.elements(), LONGEST_TENSOR, "words")?;
        Ok(self.add(name, shape, role))
    }

    /// A buffer whose size has been checked.
    fn add(&mut self, name: &str, shape: impl Into<Shape>, role: Role) -> Tensor {
        let (buffer, dtype, shape) = (BufferId(self.plan.buffers.len()), role.dtype(), shape.into());
        self.plan.buffers.push(Buffer { name: name.into(), dtype, shape: Some(shape), role, contents: Vec::new() });
        Tensor::new(buffer, dtype, shape)
    }

    /// A buffer that is given at run time, of rows of this shape.
    fn given(&mut self, name: &str, row: u32, role: Role) -> Tensor {
        let tensor = self.add(name, row, role);
        self.plan.buffers[tensor.buffer.0].shape = None;
        tensor
    }

    pub fn fill(&mut self, tensor: Tensor, contents: Vec<u32>) {
        self.plan.buffers[tensor.buffer.0].contents = contents;
    }

    /// The weights of parameter number `i` of the network.
    pub fn parameter(&self, i: usize) -> Tensor {
        let parameter = &self.network.parameters()[i];
        let shape = Shape::from(&parameter.shape[..]);
        Tensor { offset: parameter.offset, ..Tensor::new(self.parameters.buffer, Dtype::F32, shape) }
    }

    /// Their gradient.
    pub fn parameter_gradient(&self, i: usize) -> Tensor {
        let gradients = self.gradients.expect("backward() makes the buffer first");
        Tensor { buffer: gradients.buffer, ..self.parameter(i) }
    }

    /// The optimizer's step that the products of a dense layer's backward pass make themselves, if they do: of the
    /// weights, and of the biases behind them.
    pub fn update_of(&self, weight: usize, bias: Option<usize>) -> Option<OptimizerStep> {
        let step = self.optimizer_step.as_ref().filter(|_| self.fused)?;
        let (weight, last) = (self.parameter(weight), self.parameter(bias.unwrap_or(weight)));
        Some(step.part(weight.offset, last.offset + last.len() - weight.offset))
    }

    pub fn data_set(&mut self, learning_rate: f32, schedule: Schedule, accumulate: u32) -> Result<DataSet> {
        limit("rows of the batch", self.batch.into(), LARGEST_BATCH.into(), "rows")?;
        let set = DataSet {
            data: self.add("data", words::<DataInfo>(), Role::Data(0)),
            step: self.add("step", words::<StepState>(), Role::Step),
            indices: self.add("indices", self.batch, Role::Indices),
        };
        self.fill(set.step, bytemuck::cast_slice(&[StepState::default()]).to_vec());
        let DataSet { data, step, indices } = set;
        self.push(Op::NextBatch(NextBatch { data, step, indices, accumulate, learning_rate, schedule }));
        Ok(set)
    }

    pub fn gather(&mut self, set: &DataSet) -> Result<Tensor> {
        let columns = self.network.inputs();
        let x = self.buffer("input", [self.batch, columns], Role::Activation)?;
        let features = self.given("features", columns, Role::Features(0));
        let DataSet { data, step, indices } = *set;
        self.push(Op::Gather(Gather { features, data, step, indices, x }));
        Ok(x)
    }

    /// Adds the whole network as one op, where it is narrow enough and has no encodings; but for what the loss computes itself.
    pub fn narrow(&mut self, input: Tensor, output: Tensor, loss: Option<Loss>) -> bool {
        let parameters = self.parameters;
        let network = narrow_under(self.network, loss).ok().filter(|network| network.encodings.is_empty());
        let found = network.is_some();
        let op = |layers| Op::Narrow(Narrow { input, parameters, output, layers });
        self.plan.step.extend(network.map(|network| op(network.layers)));
        found
    }

    /// Adds every layer, but for what the loss computes itself; dropout only where masks have a data set's seed and
    /// step to draw on.
    pub fn forward(
        &mut self,
        input: Tensor,
        output: Option<Tensor>,
        loss: Option<Loss>,
        masks: Option<&DataSet>,
    ) -> Result<()> {
        let stages = stages(self.network, loss, masks);
        let last = stages.len() - 1;
        let mut input = input;
        for (i, stage) in stages.into_iter().enumerate() {
            let output = match output {
                Some(output) if i == last => output,
                _ => self.buffer(&stage.name, [self.batch, stage.outputs], Role::Activation)?,
            };
            let statistics = match stage.kind {
                Kind::LayerNorm { .. } => {
                    limit("features to normalise", stage.inputs.into(), LONGEST_ROW.into(), "features")?;
                    Some(self.buffer(&format!("{}.statistics", stage.name), [self.batch, 2], Role::Statistics)?)
                }
                Kind::Softmax => {
                    limit("classes", stage.inputs.into(), LONGEST_ROW.into(), "classes")?;
                    None
                }
                _ => None,
            };
            let levels = match stage.kind {
                Kind::HashGrid(grid) => Some(hash_grid::levels(grid, &stage, self)?),
                _ => None,
            };
            let placed = Placed { stage, input, output, statistics, levels };
            placed.forward(self);
            self.stages.push(placed);
            input = output;
        }
        Ok(())
    }

    /// Adds the loss and the report; returns the gradient of the last stage's sums where it is asked for.
    pub fn loss(&mut self, loss: Loss, set: &DataSet, gradient: bool) -> Result<Option<Tensor>> {
        loss.check(self.network.output_activation())?;
        // What `Model::predict_proba` will put behind the network must go there.
        if loss.link() != Activation::Identity && self.network.output_activation() == Activation::Identity {
            self.network.to_builder().activation(loss.link()).build()?;
        }
        let outputs = self.network.outputs();
        if loss.is_softmax() && outputs < 2 {
            return Err(Error::shape(
                "outputs under a softmax and cross-entropy",
                "at least 2, one for each class; of two classes, binary cross-entropy tells by 1",
                outputs,
            ));
        }
        limit("outputs under a loss", outputs.into(), LONGEST_ROW.into(), "outputs")?;
        let turns = (FEWEST_SLOTS / self.batch).max(1);
        let levels = levels(turns * self.batch);
        let slots =
            self.buffer("row_metrics", [levels * turns * self.batch, words::<RowMetrics>()], Role::RowMetrics)?;
        let totals = self.buffer("totals", [words::<RowMetrics>()], Role::Totals)?;
        let last = self.stages.last().expect("forward() comes first");
        let (output, (activation, saved)) = (last.output, last.end());
        let name = format!("{}.gradient", last.stage.name);
        // What the loss kernel cannot do itself is done after it.
        let fused = activation.differentiates_from_output();
        let gradient = match gradient {
            true => Some(self.buffer(&name, [self.batch, outputs], Role::ActivationGradient)?),
            false => None,
        };
        let targets = self.given("targets", if loss.is_softmax() { 1 } else { outputs }, Role::Targets(0));
        let op = LossOp {
            loss,
            positions: 1,
            weight: 1.0,
            output,
            targets,
            data: set.data,
            step: set.step,
            indices: set.indices,
            gradient,
            metrics: Tensor::new(slots.buffer, slots.dtype, [levels, turns, self.batch, words::<RowMetrics>()]),
            activation: if fused { activation } else { Activation::Identity },
        };
        self.push(Op::LossOp(op));
        self.plan.report.push(Op::Metrics(Metrics { slots, totals }));
        match gradient {
            Some(gradient) if !fused => {
                let sums = self.buffer(&format!("{name}.sums"), [self.batch, outputs], Role::ActivationGradient)?;
                let before = Before { gradient: sums, activation, saved };
                Ok(Some(self.through(gradient, &before)))
            }
            gradient => Ok(gradient),
        }
    }

    /// From the gradient of the network's outputs to that of its last stage's sums.
    pub fn gradient_of_sums(&mut self, gradient: Tensor) -> Result<Tensor> {
        let last = self.stages.last().expect("forward() comes first");
        let (activation, saved) = last.end();
        if activation == Activation::Identity {
            return Ok(gradient);
        }
        let (name, shape) = (format!("{}.gradient", last.stage.name), [self.batch, last.stage.outputs]);
        let sums = self.buffer(&name, shape, Role::ActivationGradient)?;
        Ok(self.through(gradient, &Before { gradient: sums, activation, saved }))
    }

    /// From the gradient of a layer's outputs to that of its sums: through its activation.
    pub fn through(&mut self, input: Tensor, before: &Before) -> Tensor {
        if before.activation == Activation::Identity {
            return input;
        }
        let Before { gradient: output, activation, saved } = *before;
        self.push(Op::Pointwise(Pointwise { input, saved: Some(saved), output, activation, dropout: None }));
        output
    }

    /// Whether the product that makes a stage's gradients can hand them to the optimizer: there is one, and the weights and
    /// biases can be bound together.
    fn can_fuse(&self, stage: &Stage, step: &OptimizerStep) -> bool {
        let (Some(first), Some(last)) = (stage.parameters.clone().next(), stage.parameters.clone().last()) else {
            return true;
        };
        let (first, last) = (self.parameter(first), self.parameter(last));
        matches!(stage.kind, Kind::Dense { .. }) && last.offset + last.len() - first.offset <= step.longest()
    }

    /// Adds the gradients of all weights but those of frozen layers, back to the first layer that has one, or to the
    /// input where its gradient is asked for too. They go straight into the optimizer where nothing else needs them; else
    /// [`update`](Self::update) has more to do.
    pub fn backward(
        &mut self,
        gradient: Option<Tensor>,
        config: &TrainerConfig,
        input_gradient: Option<Tensor>,
    ) -> Result<()> {
        self.fused = !config.keep_gradients
            && config.accumulate == 1
            && !matches!(config.clip, Some(Clip::Norm(_)))
            && self.optimizer_step.as_ref().is_some_and(|step| {
                step.multipliers.is_none() && self.stages.iter().all(|placed| self.can_fuse(&placed.stage, step))
            });
        if !self.fused {
            self.gradients = Some(self.buffer("gradients", [self.network.parameter_words()], Role::Gradients)?);
        }
        let trained = |stage: &Stage| {
            stage.parameters.clone().next().is_some_and(|p| config.multipliers(self.network, p)[0] != 0.0)
        };
        let trained: Vec<bool> = self.stages.iter().map(|placed| trained(&placed.stage)).collect();
        let first = if input_gradient.is_some() { Some(0) } else { trained.iter().position(|&t| t) };
        let (Some(mut gradient), Some(first)) = (gradient, first) else { return Ok(()) };
        let stages = std::mem::take(&mut self.stages);
        for i in (first..stages.len()).rev() {
            let before = match i.checked_sub(1) {
                Some(j) if i > first => {
                    let (activation, saved) = stages[j].end();
                    let name = format!("{}.gradient", stages[j].stage.name);
                    let shape = [self.batch, stages[j].stage.outputs];
                    Some(Before { gradient: self.buffer(&name, shape, Role::ActivationGradient)?, activation, saved })
                }
                // Before the first stage there is no activation.
                _ => input_gradient.map(|gradient| Before {
                    gradient,
                    activation: Activation::Identity,
                    saved: stages[0].input,
                }),
            };
            gradient = stages[i].backward(gradient, before, trained[i], self)?;
        }
        self.stages = stages;
        if let Some(output) = input_gradient.filter(|wanted| *wanted != gradient) {
            // An activation at the start hands back what it was given: its derivative has been applied by then.
            let (activation, saved) = (Activation::Identity, None);
            self.push(Op::Pointwise(Pointwise { input: gradient, saved, output, activation, dropout: None }));
        }
        Ok(())
    }

    /// Makes the optimizer's buffers.
    pub fn optimizer(&mut self, optimizer: &Optimizer, config: &TrainerConfig, set: &DataSet) {
        let parameters = self.parameters;
        let len = parameters.len();
        let multipliers = self.multipliers(config);
        let shape = [len / PARAMETER_ALIGNMENT, optimizer.moments(), PARAMETER_ALIGNMENT];
        let moments = (shape[1] > 0).then(|| self.add("moments", shape, Role::Moments));
        let clip = match config.clip {
            Some(Clip::Value(limit)) => Some(limit),
            _ => None,
        };
        self.optimizer_step = Some(OptimizerStep {
            optimizer: *optimizer,
            parameters,
            moments,
            cursor: set.step,
            multipliers,
            clip,
            accumulates: config.accumulate > 1,
        });
    }

    /// Adds the update of all parameters, where the products have not made it. A chain's update runs once, and only after a
    /// backward pass.
    pub fn update(&mut self, config: &TrainerConfig, mean: bool, chain: Option<&DataSet>) {
        let Some(mut gradients) = self.gradients else { return };
        let mut all = self.optimizer_step.take().expect("optimizer() comes first");
        let (len, step) = (all.parameters.len(), all.cursor);
        if let Some(set) = chain {
            all.accumulates = true;
            self.mark(set, 1);
        }
        if config.accumulate > 1 {
            let sum = self.add("accumulated_gradients", len, Role::AccumulatedGradients);
            self.push(Op::Accumulate(Accumulate { gradients, sum, step, mean }));
            gradients = sum;
        }
        let mut scale = None;
        if let Some(Clip::Norm(limit)) = config.clip {
            let sums = self.add("square_sums", SUM_PARTS, Role::SquareSums);
            let factor = self.add("gradient_scale", 1, Role::GradientScale);
            self.push(Op::SumSquares(SumSquares { input: gradients, output: sums, limit: None }));
            self.push(Op::SumSquares(SumSquares { input: sums, output: factor, limit: Some(limit) }));
            scale = Some(factor);
        }
        let longest = all.longest();
        for start in (0..len).step_by(longest as usize) {
            let len = longest.min(len - start);
            let (step, gradients) = (all.part(start, len), gradients.part(start, len));
            self.push(Op::Update(Update { step, gradients, scale }));
        }
        if let Some(set) = chain {
            self.mark(set, 2);
        }
    }

    /// Tells a chain's cursor of a pass that has run.
    fn mark(&mut self, set: &DataSet, chain_pass: u32) {
        let data = self.add(&format!("chain_pass_{chain_pass}"), words::<DataInfo>(), Role::ChainMarks);
        let info = DataInfo { chain: 2, chain_pass, ..DataInfo::default() };
        self.fill(data, bytemuck::cast_slice(&[info]).to_vec());
        // Numbers no rows.
        let (step, indices) = (set.step, set.indices.part(0, 1));
        let (accumulate, learning_rate, schedule) = (1, 0.0, Schedule::constant());
        self.push(Op::NextBatch(NextBatch { data, step, indices, accumulate, learning_rate, schedule }));
    }

    /// The table of multipliers, where some are not 1.
    fn multipliers(&mut self, config: &TrainerConfig) -> Option<Tensor> {
        let of_parameter: Vec<[f32; 2]> =
            (0..self.network.parameters().len()).map(|i| config.multipliers(self.network, i)).collect();
        if of_parameter.iter().all(|m| *m == [1.0, 1.0]) {
            return None;
        }
        let mut table = vec![1.0f32; (self.parameters.len() / PARAMETER_ALIGNMENT) as usize * 2];
        for (parameter, multipliers) in self.network.parameters().iter().zip(of_parameter) {
            let first = (parameter.offset / PARAMETER_ALIGNMENT) as usize;
            let blocks = parameter.len().div_ceil(PARAMETER_ALIGNMENT) as usize;
            for pair in table[first * 2..][..blocks * 2].chunks_exact_mut(2) {
                pair.copy_from_slice(&multipliers);
            }
        }
        let words = table.len() as u32;
        let tensor = self.add("multipliers", words, Role::Multipliers);
        self.fill(tensor, bytemuck::cast_vec(table));
        Some(tensor)
    }
}

fn limit(what: &str, needed: u64, limit: u64, unit: &'static str) -> Result<()> {
    if needed <= limit { Ok(()) } else { Err(Error::LimitExceeded { what: what.into(), needed, limit, unit }) }
}

//! A plan under construction: its buffers, the source of batches, and the results of the layers.

use std::collections::BTreeMap;

use super::network_gradient::NodeGradients;
use super::*;
use crate::config::TrainerConfig;
use crate::error::Error;
use crate::network::Source;
use crate::schedule::Schedule;

/// The data set that batches come from, and its cursor.
#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    /// One for each input and output of the network.
    pub data: Vec<Tensor>,
    pub step: Tensor,
    pub indices: Tensor,
}

/// The results of a layer's forward pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lowered {
    pub outputs: Vec<Tensor>,
    /// Tensors that the backward pass needs, beside inputs and outputs.
    pub kept: Vec<Tensor>,
    /// The pre-activation: the input of the layer's activation, if it has one.
    pub pre_activation: Option<Tensor>,
    /// Gradients of the pre-activation, computed by losses that include the activation.
    pub pre_activation_gradients: Vec<Tensor>,
}

/// Collects the buffers and ops of a plan. Layers add unfused ops, each of which writes its own tensors.
/// [`finish`](Self::finish) fuses the ops.
pub(crate) struct Builder<'a> {
    pub network: &'a Network,
    /// Rows that a step treats together: those of a batch, or of a slice.
    pub batch: u32,
    /// The slices of a batch that the plan computes one after the other. `None` if batches have no slices.
    pub share: Option<Share>,
    pub plan: Plan,
    pub parameters: Tensor,
    /// The gradients of all weights, once an op has requested them.
    pub gradients: Option<Tensor>,
    /// Whether the gradients must stay in their buffer after the update.
    pub keeps_gradients: bool,
    /// The updates of running statistics, which follow the sum over the slices.
    pub running: Vec<RunningStatistics>,
    /// Whether the training of a narrow network becomes few ops.
    pub fuses_narrow: bool,
    /// Whether each parameter is trained.
    pub trained: Vec<bool>,
    /// Whether training keeps each state constant.
    pub fixed: Vec<bool>,
    /// In training: gives dropout masks the seed and the step, and batch statistics the number of rows.
    pub masks: Option<DataSet>,
    pub inputs: Vec<Tensor>,
    pub lowered: Vec<Lowered>,
    /// For each value, the gradients that its readers have computed so far.
    pub contributions: BTreeMap<Source, Vec<Tensor>>,
    /// For each parameter with several readers, the gradients that they have computed so far.
    pub shared_gradients: BTreeMap<usize, Vec<Tensor>>,
    /// For each parameter, the number of shares of its gradient that tangents have added.
    pub tangent_shares: Vec<usize>,
    /// For each node, its gradients in the last backward pass.
    pub node_gradients: Vec<NodeGradients>,
    /// Precedes the names of new buffers. It keeps the names of different passes apart.
    pub prefix: &'static str,
    /// The role of gradients in the current pass.
    pub gradient_role: Role,
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
            share: None,
            plan,
            parameters,
            gradients: None,
            keeps_gradients: false,
            running: Vec::new(),
            fuses_narrow: false,
            trained: vec![false; network.parameters().len()],
            fixed: vec![false; network.states().len()],
            masks: None,
            inputs: Vec::new(),
            lowered: Vec::new(),
            contributions: BTreeMap::new(),
            shared_gradients: BTreeMap::new(),
            tangent_shares: vec![0; network.parameters().len()],
            node_gradients: vec![NodeGradients::default(); network.nodes().len()],
            prefix: "",
            gradient_role: Role::ActivationGradient,
        };
        builder.buffer("parameters", [network.parameter_words()], Role::Parameters)?;
        Ok(builder)
    }

    /// A plan for a share of the slices of each batch.
    pub fn sliced(name: &'static str, network: &'a Network, batch: u32, share: Option<Share>) -> Result<Self> {
        let rows = batch.div_ceil(share.map_or(1, |share| share.all));
        Ok(Self { share, ..Self::new(name, network, rows)? })
    }

    /// The finished plan: ops fused, memory shared.
    pub fn finish(mut self) -> Plan {
        fuse::fuse(&mut self.plan, self.keeps_gradients, self.fuses_narrow);
        self.plan.share_memory();
        self.plan
    }

    pub fn push(&mut self, op: impl Into<Op>) {
        self.plan.step.push(op.into());
    }

    /// Adds a buffer and returns the tensor that covers it.
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, role: Role) -> Result<Tensor> {
        let (name, shape) = (format!("{}{name}", self.prefix), shape.into());
        limit(&format!("buffer {name} {shape:?}"), shape.elements(), LONGEST_TENSOR, "words")?;
        Ok(self.add(&name, shape, role))
    }

    /// Adds a buffer whose size has been checked.
    pub fn add(&mut self, name: &str, shape: impl Into<Shape>, role: Role) -> Tensor {
        let (buffer, dtype, shape) = (BufferId(self.plan.buffers.len()), role.dtype(), shape.into());
        self.plan.buffers.push(Buffer {
            name: name.into(),
            dtype,
            shape: Some(shape),
            role,
            contents: Vec::new(),
            memory: None,
        });
        Tensor::new(buffer, dtype, shape)
    }

    /// Adds a buffer that is bound at run time, with rows of this length.
    pub fn given(&mut self, name: &str, row: u32, role: Role) -> Tensor {
        let tensor = self.add(name, row, role);
        self.plan.buffers[tensor.buffer.0].shape = None;
        tensor
    }

    pub fn fill(&mut self, tensor: Tensor, contents: Vec<u32>) {
        self.plan.buffers[tensor.buffer.0].contents = contents;
    }

    /// Adds a tensor for the output of a layer, for the whole batch.
    pub fn activation(&mut self, name: &str, sample: Shape) -> Result<Tensor> {
        self.buffer(name, of_batch(self.batch, sample), Role::Activation)
    }

    /// Adds a tensor for the gradient of a tensor.
    pub fn gradient(&mut self, name: &str, of: Tensor) -> Result<Tensor> {
        self.buffer(name, of.shape, self.gradient_role)
    }

    /// The tensor of parameter number `i` of the network.
    pub fn parameter(&self, i: usize) -> Tensor {
        let parameter = &self.network.parameters()[i];
        let shape = Shape::of(&parameter.shape);
        Tensor { offset: parameter.offset, ..Tensor::new(self.parameters.buffer, Dtype::F32, shape) }
    }

    /// The tensor of state number `i` of the network.
    pub fn state(&self, i: usize) -> Tensor {
        let state = &self.network.states()[i];
        let shape = Shape::of(&state.shape);
        Tensor { offset: state.offset, ..Tensor::new(self.parameters.buffer, Dtype::F32, shape) }
    }

    /// The running means and variances of a layer, which are adjacent: \[2, channels rounded up to 64\].
    pub fn statistics_of(&self, states: &[usize]) -> Option<Tensor> {
        let (first, last) = (&self.network.states()[*states.first()?], &self.network.states()[*states.last()?]);
        let shape = [2, last.offset - first.offset];
        Some(Tensor { offset: first.offset, ..Tensor::new(self.parameters.buffer, Dtype::F32, shape) })
    }

    /// The tensor that holds a value.
    pub fn value(&self, source: Source) -> Tensor {
        match source {
            Source::Input(input) => self.inputs[input],
            Source::Node { node, output } => self.lowered[node].outputs[output],
        }
    }

    pub fn data_set(&mut self, learning_rate: f32, schedule: Schedule, accumulate: u32) -> Result<DataSet> {
        limit("batch", self.batch.into(), LARGEST_BATCH.into(), "rows")?;
        let count = self.network.input_specs().len().max(self.network.output_specs().len()) as u32;
        let name = |i| numbered("data", i);
        let data = (0..count).map(|i| self.add(&name(i), words::<DataInfo>(), Role::Data(i))).collect();
        let step = self.add("step", words::<StepState>(), Role::Step);
        let set = DataSet { data, step, indices: self.add("indices", self.batch, Role::Indices) };
        self.fill(set.step, bytemuck::cast_slice(&[StepState::default()]).to_vec());
        let DataSet { ref data, step, indices } = set;
        let share = self.share.unwrap_or_default();
        self.push(NextBatch { data: data[0], step, indices, share, accumulate, learning_rate, schedule });
        Ok(set)
    }

    /// Adds the ops that gather the batch's rows of every input.
    pub fn gather(&mut self, set: &DataSet) -> Result<()> {
        for (i, spec) in (0..).zip(self.network.input_specs()) {
            let x = self.activation(&spec.name, spec.shape)?;
            let features = self.given(&numbered("features", i), spec.features(), Role::Features(i));
            let (data, step, indices) = (set.data[i as usize], set.step, set.indices);
            self.push(Gather { features, data, step, indices, x });
            self.inputs.push(x);
        }
        Ok(())
    }

    /// Adds the inputs as buffers that are bound at run time.
    pub fn given_inputs(&mut self) -> Result<()> {
        for (i, spec) in (0..).zip(self.network.input_specs()) {
            let x = self.buffer(&spec.name, of_batch(self.batch, spec.shape), Role::Input(i))?;
            self.inputs.push(x);
        }
        Ok(())
    }

    /// Adds the whole network as one op, if it is narrow enough and has no encodings. It omits an activation that the
    /// loss computes. The inputs must be in the plan already.
    pub fn narrow(&mut self, loss: Option<Loss>) -> Result<bool> {
        let Some(network) = narrow::narrow_under(self.network, loss).ok().filter(|n| n.encodings.is_empty()) else {
            return Ok(false);
        };
        let spec = &self.network.output_specs()[0];
        let output = self.buffer(&spec.name, of_batch(self.batch, spec.shape), Role::Output(0))?;
        let (input, parameters, layers) = (self.inputs[0], self.parameters, network.layers);
        self.push(Narrow { input: rows(input), parameters, output: rows(output), layers });
        Ok(true)
    }

    /// Sets which parameters are trained, which states are constant, and whether narrow networks are fused. Call it
    /// before the forward pass.
    pub fn train(&mut self, config: &TrainerConfig) {
        self.fuses_narrow = !config.op_by_op;
        let count = self.network.parameters().len();
        self.trained = (0..count).map(|p| config.multipliers(self.network, p)[0] != 0.0).collect();
        self.fixed = self.network.states().iter().map(|state| config.fixes_statistics(state.layer())).collect();
    }
}

/// The shape of a batch of samples.
pub(super) fn of_batch(batch: u32, sample: Shape) -> Shape {
    Shape::of(&[&[batch], &sample[..]].concat())
}

/// A name with a number. The first one gets the name without a number.
pub(super) fn numbered(name: &str, i: u32) -> String {
    if i == 0 { name.into() } else { format!("{name}_{i}") }
}

pub(super) fn limit(what: &str, needed: u64, limit: u64, unit: &'static str) -> Result<()> {
    if needed <= limit { Ok(()) } else { Err(Error::LimitExceeded { what: what.into(), needed, limit, unit }) }
}

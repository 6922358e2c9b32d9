//! Network + loss + optimizer + batch size → [`Plan`]: buffers and ops in order. Pure data that needs no GPU; two
//! executors run it, the GPU and the CPU reference.

mod display;
mod layers;
mod op;

pub use op::*;

use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::network::{Activation, Layer, Network};
use crate::optimizer::{Adam, Optimizer, Sgd};
use layers::{Before, Placed};

/// Longest sum of one op: Mesa's lavapipe gives an invocation 65,535 loop iterations and then silently stops
/// looping, and no kernel takes two iterations per k. Longer products are split into slices of this length.
pub const LONGEST_SLICE: u32 = 1 << 15;

/// Largest batch: what the single workgroup of `next_batch` can number within the same 65,535 iterations. A row takes
/// one, and as many again as its place is drawn anew; lanes of a subgroup wait for the unluckiest.
pub const LARGEST_BATCH: u32 = 1 << 20;

/// Most classes: what the 64 lanes of a row of `softmax_cross_entropy` can pass over three times.
pub const MOST_CLASSES: u32 = 1 << 20;

/// Longest tensor that is not a parameter, in 32-bit words (4 GiB): what the kernels' 32-bit indices can address.
pub const LONGEST_TENSOR: u64 = 1 << 30;

/// What a buffer of a plan is for. Each buffer holds 32-bit words, f32 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Every weight. Shared by all plans of a trainer.
    Parameters,
    /// The gradient of every weight, laid out alike.
    Gradients,
    /// The optimizer's first moment (SGD: the velocity), laid out alike.
    Moment1,
    /// The optimizer's second moment, laid out alike.
    Moment2,
    /// The data set's features: given at run time, of any length.
    Features,
    /// The data set's labels, u32: given at run time, of any length.
    Labels,
    /// One [`DataInfo`]: written by the host when a data set is given.
    Data,
    /// One [`StepState`]: the cursor.
    Step,
    /// u32 row numbers of the batch.
    Indices,
    /// One [`RowMetrics`] a row of the batch.
    RowMetrics,
    /// One [`RowMetrics`]: their sum.
    Totals,
    /// The input of a forward plan: given at run time.
    Input,
    /// The output of a forward plan: given at run time.
    Output,
    /// What a layer puts out, or the gathered batch.
    Activation,
    /// The gradient of a layer's sums.
    ActivationGradient,
}

/// A buffer: a name, a shape and a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// Unique within the plan.
    pub name: String,
    /// Row-major shape in 32-bit words; empty where the length is known at run time only.
    pub shape: Vec<u32>,
    /// What it is for.
    pub role: Role,
}

impl Buffer {
    /// Its length in 32-bit words, or `None` where it is known at run time only.
    pub fn words(&self) -> Option<u64> {
        (!self.shape.is_empty()).then(|| self.shape.iter().map(|&d| u64::from(d)).product())
    }
}

/// Index of a buffer in [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A range of a buffer, in 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Of which buffer.
    pub buffer: BufferId,
    /// Where it starts; a multiple of 64 (256 bytes).
    pub offset: u32,
    /// How long it is; 0 where the buffer is given at run time: all of it.
    pub len: u32,
}

/// What the kernels know of a data set: [`Role::Data`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DataInfo {
    /// Rows of the data set.
    pub rows: u32,
    /// 1 where each epoch has an order of its own, 0 where rows come as they are.
    pub shuffle: u32,
    /// The shuffle's seed, low word.
    pub seed_low: u32,
    /// The shuffle's seed, high word.
    pub seed_high: u32,
    /// 1 where features are bytes, four to a word and rows padded to words; 0 where they are f32.
    pub bytes: u32,
}

/// The cursor in the data set: [`Role::Step`]. All zeros before the first step. Kernels move it, not the host, so
/// that any number of steps can be recorded into one submission.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepState {
    /// Steps begun, this one included.
    pub step: u32,
    /// Rows in this batch.
    pub rows: u32,
    /// Epoch of the next batch, from 0.
    pub epoch: u32,
    /// Where in the epoch's order the next batch starts.
    pub position: u32,
}

/// Running metrics of a row of the batch, or their sum: [`Role::RowMetrics`], [`Role::Totals`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RowMetrics {
    /// Sum of losses.
    pub loss: f32,
    /// Rows whose largest logit is the label's.
    pub correct: u32,
    /// Rows seen.
    pub rows: u32,
    /// The first step whose loss was not finite, or 0.
    pub non_finite_step: u32,
}

/// Buffers and the ops of one step, in order. Print it to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it does: "training", "evaluation" or "forward".
    pub name: &'static str,
    /// Rows of a full batch.
    pub batch: u32,
    /// Every buffer; ops name them by index.
    pub buffers: Vec<Buffer>,
    /// One step.
    pub step: Vec<Op>,
    /// What sums up the metrics when they are to be read: after many steps, not after each.
    pub report: Vec<Op>,
}

impl Plan {
    /// A training step: next batch, forward, loss, backward, update.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an optimizer's option or a last layer that does not go with the loss;
    /// [`Error::Shape`] for a batch of 0; [`Error::LimitExceeded`] for what no kernel can address.
    pub fn training(network: &Network, loss: Loss, optimizer: &Optimizer, batch: u32) -> Result<Self> {
        optimizer.check()?;
        let mut plan = Builder::new("training", network, batch)?;
        let data = plan.data_set();
        let x = plan.gather(&data)?;
        let activations = plan.forward(x, None)?;
        let gradient = plan.loss(loss, activations[activations.len() - 1], &data, true)?;
        plan.backward(&activations, gradient)?;
        plan.update(optimizer, data.step);
        Ok(plan.plan)
    }

    /// A step of evaluation: next batch in order, forward, loss; nothing is changed but the metrics.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn evaluation(network: &Network, loss: Loss, batch: u32) -> Result<Self> {
        let mut plan = Builder::new("evaluation", network, batch)?;
        let data = plan.data_set();
        let x = plan.gather(&data)?;
        let activations = plan.forward(x, None)?;
        plan.loss(loss, activations[activations.len() - 1], &data, false)?;
        Ok(plan.plan)
    }

    /// The forward pass alone, from a buffer of exactly `rows` input rows to one of `rows` output rows.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn forward(network: &Network, rows: u32) -> Result<Self> {
        let mut plan = Builder::new("forward", network, rows)?;
        let x = plan.buffer("input", &[rows, network.inputs()], Role::Input)?;
        let y = plan.buffer("output", &[rows, network.outputs()], Role::Output)?;
        plan.forward(x, Some(y))?;
        Ok(plan.plan)
    }

    /// The buffer of a role that only one buffer can have, if the plan has it.
    pub fn find(&self, role: Role) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.role == role).map(BufferId)
    }

    /// The buffer of that index.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// Floating-point operations of one step of a full batch.
    pub fn flops(&self) -> u64 {
        self.step.iter().map(Op::flops).sum()
    }

    /// Bytes that the ops of one step read and write, each tensor counted once an op; data sets are not counted.
    pub fn bytes(&self) -> u64 {
        self.step.iter().map(Op::bytes).sum()
    }

    /// Every op: those of a step, then those of the report.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.step.iter().chain(&self.report)
    }
}

/// The tensors that batches come from.
struct DataSet {
    features: Tensor,
    labels: Tensor,
    data: Tensor,
    step: Tensor,
    indices: Tensor,
}

/// A matrix product as a layer asks for it: the builder splits a long one into slices.
pub(crate) struct Product {
    pub a: Tensor,
    pub b: Tensor,
    pub c: Tensor,
    /// \[m, n, k\]
    pub shape: [u32; 3],
    pub layout: Layout,
    pub epilogue: Epilogue,
    pub bias_gradient: Option<Tensor>,
}

/// A plan under construction.
pub(crate) struct Builder<'a> {
    network: &'a Network,
    pub batch: u32,
    parameters: Tensor,
    gradients: Option<Tensor>,
    plan: Plan,
}

impl<'a> Builder<'a> {
    fn new(name: &'static str, network: &'a Network, batch: u32) -> Result<Self> {
        if batch == 0 {
            return Err(Error::Shape { what: "batch".into(), expected: "at least 1 row".into(), actual: "0".into() });
        }
        limit("rows of the batch", batch.into(), LARGEST_BATCH.into(), "rows")?;
        let plan = Plan { name, batch, buffers: Vec::new(), step: Vec::new(), report: Vec::new() };
        let none = Tensor { buffer: BufferId(0), offset: 0, len: 0 };
        let mut builder = Self { network, batch, parameters: none, gradients: None, plan };
        builder.parameters = builder.buffer("parameters", &[network.parameter_words()], Role::Parameters)?;
        Ok(builder)
    }

    /// Adds a buffer and returns the tensor that is all of it.
    fn buffer(&mut self, name: &str, shape: &[u32], role: Role) -> Result<Tensor> {
        let words = shape.iter().map(|&d| u64::from(d)).product::<u64>();
        limit(&format!("buffer {name} {shape:?}"), words, LONGEST_TENSOR, "words")?;
        Ok(self.add(name, shape, role, words as u32))
    }

    fn add(&mut self, name: &str, shape: &[u32], role: Role, len: u32) -> Tensor {
        self.plan.buffers.push(Buffer { name: name.into(), shape: shape.into(), role });
        Tensor { buffer: BufferId(self.plan.buffers.len() - 1), offset: 0, len }
    }

    /// The weights of parameter number `i` of the network.
    pub fn parameter(&self, i: usize) -> Tensor {
        let parameter = &self.network.parameters()[i];
        Tensor { offset: parameter.offset, len: parameter.len(), ..self.parameters }
    }

    /// Their gradient.
    pub fn parameter_gradient(&self, i: usize) -> Tensor {
        let gradients = self.gradients.expect("backward() makes the buffer first");
        Tensor { buffer: gradients.buffer, ..self.parameter(i) }
    }

    /// Adds the ops of a product.
    pub fn matmul(&mut self, product: Product) {
        let Product { a, b, c, shape: [m, n, k], layout, epilogue, bias_gradient } = product;
        for start in (0..k).step_by(LONGEST_SLICE as usize) {
            let slice = start..k.min(start + LONGEST_SLICE);
            // Only the last slice holds the whole sum, which the epilogue needs.
            let epilogue = if slice.end == k { epilogue.clone() } else { Epilogue::None };
            self.plan.step.push(Op::Matmul(Matmul { a, b, c, m, n, k, slice, layout, epilogue, bias_gradient }));
        }
    }

    fn data_set(&mut self) -> DataSet {
        const fn words<T>() -> u32 {
            (size_of::<T>() / 4) as u32
        }
        let set = DataSet {
            features: self.add("features", &[], Role::Features, 0),
            labels: self.add("labels", &[], Role::Labels, 0),
            data: self.add("data", &[words::<DataInfo>()], Role::Data, words::<DataInfo>()),
            step: self.add("step", &[words::<StepState>()], Role::Step, words::<StepState>()),
            indices: self.add("indices", &[self.batch], Role::Indices, self.batch),
        };
        let op = NextBatch { data: set.data, step: set.step, indices: set.indices, batch: self.batch };
        self.plan.step.push(Op::NextBatch(op));
        set
    }

    fn gather(&mut self, set: &DataSet) -> Result<Tensor> {
        let columns = self.network.inputs();
        let x = self.buffer("input", &[self.batch, columns], Role::Activation)?;
        let DataSet { features, data, step, indices, .. } = *set;
        self.plan.step.push(Op::Gather(Gather { features, data, step, indices, x, batch: self.batch, columns }));
        Ok(x)
    }

    /// Adds every layer; returns the input and each layer's output.
    fn forward(&mut self, input: Tensor, output: Option<Tensor>) -> Result<Vec<Tensor>> {
        let network = self.network;
        let last = network.layers().len() - 1;
        let mut activations = vec![input];
        for (i, (name, layer)) in network.layers().enumerate() {
            let output = match output {
                Some(output) if i == last => output,
                _ => self.buffer(name, &[self.batch, layer.outputs()], Role::Activation)?,
            };
            activations.push(output);
            self.placed(i, &activations).forward(self);
        }
        Ok(activations)
    }

    fn backward(&mut self, activations: &[Tensor], loss_gradient: Tensor) -> Result<()> {
        let network = self.network;
        self.gradients = Some(self.buffer("gradients", &[network.parameter_words()], Role::Gradients)?);
        let layers: Vec<(&str, &Layer)> = network.layers().collect();
        let mut gradient = loss_gradient;
        for i in (0..layers.len()).rev() {
            let before = match i.checked_sub(1).map(|j| layers[j]) {
                None => None,
                Some((name, layer)) => {
                    let name = format!("{name}.gradient");
                    let gradient = self.buffer(&name, &[self.batch, layer.outputs()], Role::ActivationGradient)?;
                    Some(Before { gradient, activation: layer.activation() })
                }
            };
            let next = before.as_ref().map(|b| b.gradient);
            self.placed(i, activations).backward(gradient, before, self);
            gradient = next.unwrap_or(gradient);
        }
        Ok(())
    }

    fn placed<'b>(&self, i: usize, activations: &[Tensor]) -> Placed<'b>
    where
        'a: 'b,
    {
        let (_, layer) = self.network.layers().nth(i).expect("a layer of the network");
        let before = self.network.layers().take(i);
        let inputs = before.clone().last().map_or(self.network.inputs(), |(_, layer)| layer.outputs());
        let first_parameter = before.map(|(_, layer)| layer.parameter_count()).sum();
        Placed { layer, first_parameter, input: activations[i], inputs, output: activations[i + 1] }
    }

    /// Adds the loss and the report; returns the gradient of the last layer's sums where it is asked for.
    fn loss(&mut self, loss: Loss, output: Tensor, set: &DataSet, gradient: bool) -> Result<Tensor> {
        let classes = self.network.outputs();
        let metric_words = (size_of::<RowMetrics>() / 4) as u32;
        let metrics = self.buffer("row_metrics", &[self.batch, metric_words], Role::RowMetrics)?;
        let totals = self.buffer("totals", &[metric_words], Role::Totals)?;
        let (name, layer) = self.network.layers().last().expect("a network has a layer");
        let out = match gradient {
            true => {
                let name = format!("{name}.gradient");
                Some(self.buffer(&name, &[self.batch, classes], Role::ActivationGradient)?)
            }
            false => None,
        };
        match loss {
            Loss::SoftmaxCrossEntropy => {
                if layer.activation() != Activation::Identity {
                    return Err(Error::InvalidOption {
                        name: "the last layer's activation",
                        expected: "Identity, as softmax cross-entropy takes logits",
                        actual: format!("{:?} (layer {name})", layer.activation()),
                    });
                }
                limit("classes", classes.into(), MOST_CLASSES.into(), "classes")?;
                self.plan.step.push(Op::SoftmaxCrossEntropy(SoftmaxCrossEntropy {
                    logits: output,
                    labels: set.labels,
                    step: set.step,
                    indices: set.indices,
                    gradient: out,
                    metrics,
                    batch: self.batch,
                    classes,
                }));
            }
        }
        self.plan.report.push(Op::Metrics(Metrics { rows: metrics, totals, batch: self.batch }));
        Ok(out.unwrap_or(output))
    }

    fn update(&mut self, optimizer: &Optimizer, step: Tensor) {
        let Tensor { len, .. } = self.parameters;
        let parameters = self.parameters;
        let gradients = self.gradients.expect("backward() comes first");
        let moment1 = self.add("moment1", &[len], Role::Moment1, len);
        let op = match *optimizer {
            Optimizer::Sgd(options @ Sgd { .. }) => {
                Op::Sgd(SgdUpdate { parameters, gradients, velocity: moment1, options })
            }
            Optimizer::Adam(options @ Adam { .. }) => {
                let moment2 = self.add("moment2", &[len], Role::Moment2, len);
                Op::Adam(AdamUpdate { parameters, gradients, moment1, moment2, step, options })
            }
        };
        self.plan.step.push(op);
    }
}

fn limit(what: &str, needed: u64, limit: u64, unit: &'static str) -> Result<()> {
    if needed <= limit { Ok(()) } else { Err(Error::LimitExceeded { what: what.into(), needed, limit, unit }) }
}

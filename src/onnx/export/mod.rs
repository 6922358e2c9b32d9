//! From a network to an ONNX file: a function for each kind of layer adds nodes to the graph.
//!
//! Our images have their channels last. Convolutions and pools of ONNX have them first. A value is transposed when an
//! operator asks for the other order. It keeps both orders for later operators. Operators that work in any order take
//! the order in which the value is computed. So a chain of convolutions has a transpose at its ends only.

mod arithmetic;
mod dense;
mod encode;
mod encoding;
mod functions;
mod image;
mod moving;
mod norm;
mod values;

use std::collections::{HashMap, HashSet};

use self::encode::File;
use self::values::Value;
use super::messages::{Attribute, Dim, ValueInfo};
use super::{Result, fault};
use crate::activation::Activation;
use crate::error;
use crate::network::{Layer, Network, Node, Source, TensorSpec, Tied};
use crate::shape::Shape;

/// The version of the operators.
const OPSET: i64 = 21;
/// The first version with RMSNormalization.
const OPSET_OF_RMS_NORM: i64 = 23;

/// The order of the dimensions of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    ChannelsLast,
    ChannelsFirst,
}

impl Order {
    /// The dimension of a tensor, with its batch, for an axis of a sample with this number of dimensions.
    fn dim(self, axis: usize, rank: usize) -> usize {
        match self {
            Self::ChannelsLast => axis + 1,
            Self::ChannelsFirst if axis + 1 == rank => 1,
            Self::ChannelsFirst => axis + 2,
        }
    }

    /// The lengths of the dimensions of a sample.
    fn lengths(self, shape: Shape) -> Vec<u32> {
        let mut lengths = shape.to_vec();
        if self == Self::ChannelsFirst {
            lengths.rotate_right(1);
        }
        lengths
    }
}

/// The outputs of a layer in the file.
type Outputs = Vec<(String, Order)>;

/// The only output of a layer.
fn one(name: String, order: Order) -> Result<Outputs> {
    Ok(vec![(name, order)])
}

fn int(name: &str, value: i64) -> (&str, Attribute) {
    (name, Attribute::Int(value))
}

/// The state of an export.
pub(super) struct Exporter<'a> {
    network: &'a Network,
    parameters: &'a [f32],
    /// The order of the network's inputs and outputs.
    order: Order,
    file: File<'a>,
    values: HashMap<Source, Value>,
    /// The weights in the file, by the name and the dimensions.
    written: HashMap<(String, Vec<u64>), String>,
    /// The names of values and weights.
    names: HashSet<String>,
    node_names: HashSet<String>,
    /// The name of the layer that is being written.
    layer: String,
}

impl<'a> Exporter<'a> {
    pub fn new(network: &'a Network, parameters: &'a [f32], channels_first: bool) -> Self {
        Self {
            network,
            parameters,
            order: if channels_first { Order::ChannelsFirst } else { Order::ChannelsLast },
            file: File { opset: OPSET, ..File::default() },
            values: HashMap::new(),
            written: HashMap::new(),
            names: HashSet::new(),
            node_names: HashSet::new(),
            layer: String::new(),
        }
    }

    /// The bytes of the file.
    pub fn export(mut self) -> error::Result<Vec<u8>> {
        self.network.check_parameters(self.parameters)?;
        let mut faults = self.inputs();
        for (i, node) in self.network.nodes().iter().enumerate() {
            self.layer.clone_from(&node.name);
            let outputs = self.layer(node, &node.layer).unwrap_or_else(|reason| {
                faults.push(format!("layer {}: {reason}", node.name));
                vec![(String::new(), Order::ChannelsLast); node.shapes.len()]
            });
            let is_constant = matches!(node.layer, Layer::Constant { .. });
            for (output, ((name, order), shape)) in outputs.into_iter().zip(&node.shapes).enumerate() {
                let value = Value::new(name, *shape, order, is_constant);
                self.values.insert(Source::Node { node: i, output }, value);
            }
        }
        if !faults.is_empty() {
            return Err(fault(format!("the network cannot be written:\n  {}", faults.join("\n  "))));
        }
        self.outputs();
        self.file.encode().map_err(fault)
    }

    /// Adds the network's inputs. Returns what is wrong with the names of inputs and outputs.
    fn inputs(&mut self) -> Vec<String> {
        let network = self.network;
        let mut faults = Vec::new();
        if network.input_specs().is_empty() {
            faults.push("it has no input".into());
        }
        for (i, spec) in network.input_specs().iter().enumerate() {
            self.names.insert(spec.name.clone());
            let value = Value::new(spec.name.clone(), spec.shape, self.order, false);
            self.file.inputs.push(info(spec, value.order));
            self.values.insert(Source::Input(i), value);
        }
        for spec in network.output_specs() {
            if !self.names.insert(spec.name.clone()) {
                faults.push(format!("an input and an output have the name {:?}; rename one", spec.name));
            }
        }
        faults
    }

    /// Adds the network's outputs.
    fn outputs(&mut self) {
        let network = self.network;
        self.layer = "output".into();
        let mut names = Vec::new();
        for (spec, &source) in network.output_specs().iter().zip(network.sources()) {
            self.repeat(source);
            names.push(self.ordered(source, self.order));
            let order = if spec.shape.len() < 2 { Order::ChannelsLast } else { self.order };
            self.file.outputs.push(info(spec, order));
        }
        let mut renamed: HashMap<String, String> = HashMap::new();
        for (spec, name) in network.output_specs().iter().zip(names) {
            let is_computed = self.file.nodes.iter().any(|node| node.outputs.contains(&name));
            if is_computed && !renamed.contains_key(&name) {
                for node in &mut self.file.nodes {
                    let values = node.inputs.iter_mut().chain(&mut node.outputs);
                    values.filter(|value| **value == name).for_each(|value| value.clone_from(&spec.name));
                }
                renamed.insert(name, spec.name.clone());
            } else {
                let from = renamed.get(&name).unwrap_or(&name).clone();
                let copy = self.helper("Identity", &[&from], vec![]);
                let node = self.file.nodes.iter_mut().find(|node| node.outputs.contains(&copy));
                node.into_iter().for_each(|node| node.outputs = vec![spec.name.clone()]);
            }
        }
    }

    /// Adds the nodes of a layer. `node` has its inputs, its weights and its output shapes.
    fn layer(&mut self, node: &Node, layer: &Layer) -> Result<Outputs> {
        match layer {
            Layer::Dense(dense) => dense::dense(self, node, false, dense.activation),
            Layer::Tied(Tied { transposed: Some(activation), .. }) => dense::dense(self, node, true, *activation),
            Layer::Tied(tied) => {
                let (_, target) = self.network.layers().find(|(name, _)| *name == tied.to).ok_or("a missing layer")?;
                self.layer(node, target)
            }
            Layer::Conv(conv) => image::conv(self, node, conv),
            Layer::Pool(pool) => image::pool(self, node, pool),
            Layer::Upsample(upsample) => image::upsample(self, node, upsample),
            Layer::Pad(pad) => image::pad(self, node, pad),
            Layer::Crop(crop) => image::crop(self, node, crop),
            Layer::DepthToSpace(block) => image::blocks(self, node, "DepthToSpace", *block),
            Layer::SpaceToDepth(block) => image::blocks(self, node, "SpaceToDepth", *block),
            Layer::Activation(activation) => functions::activation(self, node, *activation),
            Layer::Flatten => moving::reshape(self, node),
            Layer::Reshape(_) => moving::reshape(self, node),
            Layer::Transpose(order) => moving::transpose(self, node, order),
            Layer::Concat { axis } => moving::concat(self, node, *axis),
            Layer::Slice { axis, start, end } => moving::slice(self, node, *axis, [*start, *end]),
            Layer::Split { axis, parts } => moving::split(self, node, *axis, *parts),
            Layer::ReduceMean(axes) => moving::reduce(self, node, "ReduceMean", axes),
            Layer::ReduceMax(axes) => moving::reduce(self, node, "ReduceMax", axes),
            Layer::Dropout(rate) => functions::dropout(self, node, *rate),
            // ONNX has no such operator. Outside training it does nothing.
            Layer::SpatialDropout(_) => functions::activation(self, node, Activation::Identity),
            Layer::LayerNorm(norm) => norm::of_rows(self, node, "LayerNormalization", norm.epsilon),
            Layer::RmsNorm(norm) => {
                self.file.opset = OPSET_OF_RMS_NORM;
                norm::of_rows(self, node, "RMSNormalization", norm.epsilon)
            }
            Layer::GroupNorm(norm) => norm::group(self, node, norm),
            Layer::InstanceNorm(norm) => norm::instance(self, node, norm.epsilon),
            Layer::BatchNorm(norm) => norm::batch(self, node, norm),
            Layer::Encoding(encoding) => encoding::encoding(self, node, &[(self.shape(node)[0], *encoding)]),
            Layer::CompositeEncoding(parts) => encoding::encoding(self, node, parts),
            Layer::Add => arithmetic::combined(self, node, "Add"),
            Layer::Multiply => arithmetic::combined(self, node, "Mul"),
            Layer::ScaleShift(scale_shift) => arithmetic::scale_shift(self, node, *scale_shift),
            Layer::Constant { trained, .. } => arithmetic::constant(self, node, *trained),
            Layer::Custom(_) => Err(format!("{} is a custom layer", layer.kind())),
        }
    }
}

/// The name and the dimensions of an input or an output.
fn info(spec: &TensorSpec, order: Order) -> ValueInfo {
    let rank = spec.shape.len();
    let lengths = order.lengths(spec.shape).into_iter().map(|length| Dim::Known(length.into()));
    ValueInfo {
        name: spec.name.clone(),
        dims: Some(std::iter::once(Dim::Named("N".into())).chain(lengths).collect()),
        channels: (rank > 1).then(|| order.dim(rank - 1, rank)),
        ..ValueInfo::default()
    }
}

//! Inputs and outputs: their names, their shapes and their memory order.

use std::collections::{HashMap, HashSet, VecDeque};

use super::build::sample;
use super::{Entry, Importer, has};
use crate::activation::Activation;
use crate::error;
use crate::imported;
use crate::network::Network;
use crate::onnx::layout::View;
use crate::onnx::messages::{Dim, Model, Node, ValueInfo};
use crate::onnx::tensor::{MOST_DIMENSIONS, is_float, type_name};
use crate::onnx::{Result, fault, fold};

/// Operators that take images or sequences with the channels as dimension 1.
const OF_CHANNELS: &str = "Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization \
    InstanceNormalization GroupNormalization Resize Upsample DepthToSpace SpaceToDepth LRN";

/// Operators after which the dimensions mean the same.
const OF_ANY: &str = "Add Sub Mul Div Pow Relu Sigmoid Tanh LeakyRelu PRelu Clip Cast Identity Dropout Pad Slice Concat \
    Neg Abs Sqrt Exp Log HardSwish HardSigmoid Elu Selu Softplus Erf Gelu";

impl<'a> Importer<'a> {
    /// Whether a value is an output of the network.
    pub fn is_output(&self, name: &str) -> bool {
        self.outputs.contains(name)
    }

    /// The dimensions of an input, with its batch.
    fn dims(&self, info: &ValueInfo) -> Result<Vec<u64>> {
        if !is_float(info.dtype) && info.dtype != 0 {
            return Err(format!("input {:?}: the element type {} is not supported", info.name, type_name(info.dtype)));
        }
        if let Some((_, dims)) = self.options.inputs.iter().find(|(name, _)| *name == info.name) {
            return Ok(dims.clone());
        }
        let advice = format!("give its shape with Onnx::input_shape({:?}, ..)", info.name);
        let dims = info.dims.as_ref().ok_or_else(|| format!("input {:?} has no shape; {advice}", info.name))?;
        if dims.len() > MOST_DIMENSIONS {
            let rank = dims.len();
            return Err(format!("input {:?} has {rank} dimensions; expected at most {MOST_DIMENSIONS}", info.name));
        }
        let length = |(i, dim): (usize, &Dim)| match dim {
            _ if i < self.batch => Ok(1),
            Dim::Known(length) if *length > 0 => Ok(*length as u64),
            Dim::Named(name) if self.options.dimensions.contains_key(name) => Ok(self.options.dimensions[name]),
            Dim::Known(length) => Err(format!("input {:?}: dimension {i} is {length}; {advice}", info.name)),
            Dim::Named(name) => Err(format!(
                "input {:?}: dimension {i} ({name}) is open; set it with Onnx::dimension({name:?}, ..), or {advice}",
                info.name
            )),
        };
        dims.iter().enumerate().map(length).collect()
    }

    /// Adds the inputs that a node reads.
    pub fn inputs(&mut self, model: &'a Model, nodes: &[&'a Node]) -> Result<()> {
        let named: Vec<&str> = model.graph.inputs.iter().map(|info| &*info.name).collect();
        if let Some((name, _)) = self.options.inputs.iter().find(|(name, _)| !named.contains(&&**name)) {
            return Err(format!("Onnx::input_shape: no input is named {name:?}; the inputs are {}", named.join(", ")));
        }
        let read: HashSet<&str> = nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).collect();
        let readers = readers(nodes);
        for info in &model.graph.inputs {
            if self.value(&info.name).is_some() || !read.contains(&*info.name) && !self.is_output(&info.name) {
                continue;
            }
            let mut dims = self.dims(info)?;
            if self.batch == 1 {
                if dims.is_empty() {
                    return Err(format!("input {:?} has no dimension for the batch", info.name));
                }
                dims.remove(0);
                if let Some(Dim::Known(rows)) = info.dims.as_ref().and_then(|dims| dims.first()) {
                    self.rows = self.rows.or(Some(*rows));
                }
            }
            let images = self.batch == 1 && dims.len() == 3;
            let channels = info.channels.or_else(|| channels(&readers, &info.name, dims.len() + self.batch));
            let channels = channels.map(|dim| dim.checked_sub(self.batch).filter(|dim| *dim < dims.len()));
            let channels = match channels {
                Some(found) => found,
                None if images => Some(0),
                None => None,
            };
            let last = |order: &mut Vec<usize>| {
                if let Some(channels) = channels {
                    order.retain(|&dim| dim != channels);
                    order.push(channels);
                }
            };
            let mut order: Vec<usize> = (0..dims.len()).collect();
            let first = order.clone();
            last(&mut order);
            let stored = if self.options.channels_first { &first } else { &order };
            let lengths: Vec<u64> = stored.iter().map(|&dim| dims[dim]).collect();
            let whole = [lengths.iter().fold(1u64, |all, &length| all.saturating_mul(length))];
            let shape = sample(if lengths.len() > 4 { &whole } else { &lengths });
            let value =
                self.graph.input(&info.name, shape.map_err(|reason| format!("input {:?}: {reason}", info.name))?);
            let factors = dims.iter().map(|&d| self.factors.of(d)).collect::<Result<Vec<_>>>()?;
            let in_order = |order: &[usize]| order.iter().flat_map(|&dim| factors[dim].clone()).collect();
            let view = View { value, order: in_order(stored), dims: factors.clone(), batch_at: 0, channels };
            let view = self.arranged(&view, in_order(&order))?;
            self.set(&info.name, Entry::View(view));
        }
        Ok(())
    }

    /// The network, and the numbers of its parameters and states.
    pub fn finish(mut self, model: &'a Model) -> error::Result<(Network, Vec<f32>)> {
        let mut outputs = Vec::new();
        for name in self.options.output_names(model) {
            let entry = self.value(name).cloned();
            let value = match entry {
                Some(Entry::View(mut view)) => {
                    let info = model.graph.outputs.iter().find(|info| info.name == name);
                    let told = info.and_then(|info| info.channels?.checked_sub(self.batch));
                    view.channels = told.filter(|dim| *dim < view.dims.len()).or(view.channels);
                    self.output(&view).map_err(|reason| fault(format!("output {name:?}: {reason}")))
                }
                Some(Entry::Constant(_)) => Err(fault(format!("output {name:?} is constant"))),
                None => Err(fault(format!("output {name:?} is computed by no node"))),
            };
            outputs.push((name.to_owned(), value?));
        }
        imported::network(self.graph, outputs, &self.numbers, fault)
    }

    /// The value of an output, in the order in which the app gets it.
    fn output(&mut self, view: &View) -> Result<crate::network::Value> {
        let mut dims: Vec<usize> = (0..view.dims.len()).collect();
        let images = self.batch == 1 && dims.len() == 3;
        if let Some(channels) = view.channels.or(images.then_some(0)).filter(|_| !self.options.channels_first) {
            dims.retain(|&dim| dim != channels);
            dims.push(channels);
        }
        let order = dims.iter().flat_map(|&dim| view.dims[dim].clone()).collect();
        let arranged = self.arranged(view, order)?;
        let lengths = view.lengths();
        let lengths: Vec<u64> = dims.iter().map(|&dim| lengths[dim]).collect();
        let whole = [lengths.iter().product()];
        let value = self.shaped(arranged.value, if lengths.len() > 4 { &whole } else { &lengths })?;
        // A network has at least one layer.
        if self.layers == 0 { self.activation(Activation::Identity, value) } else { Ok(value) }
    }
}

/// The nodes that read each value.
fn readers<'a>(nodes: &[&'a Node]) -> HashMap<&'a str, Vec<&'a Node>> {
    let mut readers = HashMap::<&str, Vec<&Node>>::new();
    for node in nodes {
        for input in &node.inputs {
            readers.entry(input).or_default().push(node);
        }
    }
    readers
}

/// The most nodes that are searched for an operator with channels.
const MOST_SEARCHED: usize = 1000;

/// The dimension of an input, with its batch, that the first operators use as channels.
fn channels(readers: &HashMap<&str, Vec<&Node>>, input: &str, rank: usize) -> Option<usize> {
    // For each dimension of a value, the dimension of the input.
    let mut queue = VecDeque::from([(input, (0..rank).collect::<Vec<usize>>())]);
    let mut searched = 0;
    while let Some((name, dims)) = queue.pop_front() {
        for node in readers.get(name).into_iter().flatten() {
            searched += 1;
            if searched > MOST_SEARCHED {
                return None;
            }
            let is_first = node.inputs.first().is_some_and(|first| first == name);
            let next = match &*node.op {
                op if has(OF_CHANNELS, op) && is_first => return dims.get(1).copied().filter(|_| rank > 2),
                op if has(OF_ANY, op) => dims.clone(),
                "Transpose" => match fold::order(node, rank) {
                    Ok(order) => order.into_iter().map(|dim| dims[dim]).collect(),
                    Err(_) => continue,
                },
                _ => continue,
            };
            queue.extend(node.outputs.first().map(|output| (output.as_str(), next)));
        }
    }
    None
}

//! Adds nodes, constants and weights to the file, and brings values into the order that an operator needs.

use std::borrow::Cow;

use super::encode::Weight;
use super::{Exporter, Order};
use crate::network::{Node as LayerNode, Parameter, Source};
use crate::onnx::messages::{Attribute, Node};
use crate::onnx::tensor::{Int, Tensor};
use crate::shape::Shape;

/// A value of the network: a tensor of the file, in one order or both.
pub(super) struct Value {
    /// The shape of one sample, channels last.
    pub shape: Shape,
    /// The order in which it is computed.
    pub order: Order,
    /// Its name with the channels last, and with the channels first.
    names: [Option<String>; 2],
    /// Whether it is a constant with 1 in place of the batch.
    pub is_constant: bool,
}

impl Value {
    pub fn new(name: String, shape: Shape, order: Order, is_constant: bool) -> Self {
        let mut names = [None, None];
        // One dimension has no order.
        let order = if shape.len() < 2 { Order::ChannelsLast } else { order };
        names[order as usize] = Some(name);
        Self { shape, order, names, is_constant }
    }
}

/// A free name: this one, or this one with a number.
fn free(names: &mut std::collections::HashSet<String>, name: String) -> String {
    let others = (2..).map(|i| format!("{name}_{i}"));
    let free = std::iter::once(name.clone()).chain(others).find(|name| !names.contains(name)).expect("endless");
    names.insert(free.clone());
    free
}

impl<'a> Exporter<'a> {
    /// Adds a node with this name, or a similar one. Returns the names of its outputs.
    fn add(
        &mut self,
        name: String,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
        outputs: usize,
    ) -> Vec<String> {
        let name = free(&mut self.node_names, name);
        let of = |i: usize| if outputs == 1 { name.clone() } else { format!("{name}:{i}") };
        let outputs: Vec<String> = (0..outputs).map(|i| free(&mut self.names, of(i))).collect();
        self.file.nodes.push(Node {
            name,
            op: op.into(),
            inputs: inputs.iter().map(|&input| input.into()).collect(),
            outputs: outputs.clone(),
            attributes: attributes.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            ..Node::default()
        });
        outputs
    }

    /// Adds a node with several outputs. The first node of a layer has the layer's name.
    pub fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
        outputs: usize,
    ) -> Vec<String> {
        let name = match self.node_names.contains(&self.layer) {
            true => format!("{}/{}", self.layer, op.to_lowercase()),
            false => self.layer.clone(),
        };
        self.add(name, op, inputs, attributes, outputs)
    }

    /// Adds a node with one output.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> String {
        self.nodes(op, inputs, attributes, 1).remove(0)
    }

    /// Adds a node that prepares an input of a layer. It does not get the layer's name.
    pub fn helper(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> String {
        let name = format!("{}/{}", self.layer, op.to_lowercase());
        self.add(name, op, inputs, attributes, 1).remove(0)
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        self.helper("Constant", &[], vec![("value", Attribute::Tensor(tensor))])
    }

    /// Constant numbers. Weights are initializers instead: readers train those.
    pub fn floats(&mut self, dims: &[u64], values: Vec<f32>) -> String {
        self.constant(Tensor::floats(dims.to_vec(), values))
    }

    pub fn number(&mut self, value: f32) -> String {
        self.floats(&[], vec![value])
    }

    pub fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::ints(values.iter().map(|&value| Int::from(value))))
    }

    /// A parameter of a layer.
    pub fn parameter(&self, node: &LayerNode, i: usize) -> &'a Parameter {
        &self.network.parameters()[node.parameters[i]]
    }

    /// A state of a layer.
    pub fn state(&self, node: &LayerNode, i: usize) -> &'a Parameter {
        &self.network.states()[node.states[i]]
    }

    /// The numbers of a parameter or a state.
    pub fn numbers(&self, parameter: &Parameter) -> &'a [f32] {
        &self.parameters[parameter.range()]
    }

    /// A parameter or a state as it is.
    pub fn weight(&mut self, parameter: &Parameter) -> String {
        self.weight_of(parameter, parameter.shape.iter().map(|&length| length.into()).collect())
    }

    /// A parameter or a state in another shape.
    pub fn weight_of(&mut self, parameter: &Parameter, dims: Vec<u64>) -> String {
        let numbers = self.numbers(parameter);
        self.arranged(parameter, dims, |_| Cow::Borrowed(numbers))
    }

    /// A parameter or a state in another order. Layers that share it share the tensor too.
    pub fn arranged(
        &mut self,
        parameter: &Parameter,
        dims: Vec<u64>,
        values: impl FnOnce(&'a [f32]) -> Cow<'a, [f32]>,
    ) -> String {
        let key = (parameter.name.clone(), dims);
        if let Some(name) = self.written.get(&key) {
            return name.clone();
        }
        let name = free(&mut self.names, parameter.name.clone());
        let values = values(self.numbers(parameter));
        self.file.weights.push(Weight { name: name.clone(), dims: key.1.clone(), values });
        self.written.insert(key, name.clone());
        name
    }

    /// The name of a value in an order. Adds a transpose if it has only the other one.
    pub fn ordered(&mut self, source: Source, order: Order) -> String {
        let value = &self.values[&source];
        let rank = value.shape.len();
        let order = if rank < 2 { Order::ChannelsLast } else { order };
        if let Some(name) = &value.names[order as usize] {
            return name.clone();
        }
        let from = value.names[value.order as usize].clone().unwrap_or_default();
        let name = self.transposed(&from, rank, order);
        if let Some(value) = self.values.get_mut(&source) {
            value.names[order as usize] = Some(name.clone());
        }
        name
    }

    /// A transpose to this order, from the other one.
    pub fn transposed(&mut self, x: &str, rank: usize, order: Order) -> String {
        let rank = rank as i64;
        let places: Vec<i64> = match order {
            Order::ChannelsFirst => [0, rank].into_iter().chain(1..rank).collect(),
            Order::ChannelsLast => [0].into_iter().chain(2..=rank).chain([1]).collect(),
        };
        let name = format!("{x}/{}", if order == Order::ChannelsFirst { "channels_first" } else { "channels_last" });
        self.add(name, "Transpose", &[x], vec![("perm", Attribute::Ints(places))], 1).remove(0)
    }

    /// An input of a layer in an order.
    pub fn input(&mut self, node: &LayerNode, i: usize, order: Order) -> String {
        self.repeat(node.inputs[i]);
        self.ordered(node.inputs[i], order)
    }

    /// An input of a layer in the order in which it is computed.
    pub fn native(&mut self, node: &LayerNode, i: usize) -> (String, Order) {
        let order = self.values[&node.inputs[i]].order;
        (self.input(node, i, order), order)
    }

    /// The shape of one sample of a layer's first input.
    pub fn shape(&self, node: &LayerNode) -> Shape {
        self.network.shape(node.inputs[0])
    }

    /// Repeats a constant for each row of the batch.
    pub fn repeat(&mut self, source: Source) {
        let Value { shape, is_constant: true, .. } = self.values[&source] else { return };
        let x = self.ordered(source, Order::ChannelsLast);
        let input = self.file.inputs.first().map(|info| info.name.clone()).unwrap_or_default();
        let range = vec![("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        let rows = self.helper("Shape", &[&input], range);
        let dims: Vec<i64> = shape.iter().map(|&length| length.into()).collect();
        let dims = self.ints(&dims);
        let dims = self.helper("Concat", &[&rows, &dims], vec![("axis", Attribute::Int(0))]);
        let name = self.helper("Expand", &[&x, &dims], vec![]);
        self.values.insert(source, Value::new(name, shape, Order::ChannelsLast, false));
    }

    /// The value with the batch and these dimensions.
    pub fn reshape(&mut self, x: &str, dims: &[u32]) -> String {
        let dims = self.sample(dims);
        self.node("Reshape", &[x, &dims], vec![])
    }

    /// Constant dimensions for a reshape, in which 0 keeps the batch.
    pub fn sample(&mut self, dims: &[u32]) -> String {
        let dims: Vec<i64> = [0].into_iter().chain(dims.iter().map(|&length| length.into())).collect();
        self.ints(&dims)
    }
}

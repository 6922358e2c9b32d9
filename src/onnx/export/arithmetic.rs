//! Sums, products, scales and constants.

use super::{Exporter, Order, Outputs, one};
use crate::network::{Node, ScaleShift, Source};
use crate::onnx::Result;
use crate::onnx::messages::Attribute;
use crate::onnx::tensor::Tensor;

impl Exporter<'_> {
    /// The order for a layer with several inputs: channels first if an input is computed so.
    pub fn common_order(&self, node: &Node) -> Order {
        let is_first = |source| self.values[source].order == Order::ChannelsFirst;
        if node.inputs.iter().any(is_first) { Order::ChannelsFirst } else { Order::ChannelsLast }
    }

    /// scale · x + shift.
    pub fn scaled(&mut self, x: String, scale: f32, shift: f32) -> String {
        let mut y = x;
        for (op, number, neutral) in [("Mul", scale, 1.0), ("Add", shift, 0.0)] {
            if number != neutral {
                let number = self.number(number);
                y = self.node(op, &[&y, &number], vec![]);
            }
        }
        y
    }

    /// An input of a sum or a product whose samples have this number of dimensions. Leading dimensions of length 1
    /// follow the batch. A constant needs no batch.
    fn operand(&mut self, source: Source, rank: usize, order: Order) -> String {
        let shape = self.values[&source].shape;
        if shape.len() == rank {
            return self.ordered(source, order);
        }
        let x = self.ordered(source, Order::ChannelsLast);
        let mut lengths = vec![1; rank - shape.len()];
        lengths.extend_from_slice(&shape);
        let dims = self.sample(&lengths);
        let y = self.helper("Reshape", &[&x, &dims], vec![]);
        if order == Order::ChannelsFirst { self.transposed(&y, rank, order) } else { y }
    }
}

pub(super) fn combined(exp: &mut Exporter, node: &Node, op: &str) -> Result<Outputs> {
    let (order, rank) = (exp.common_order(node), node.shapes[0].len());
    if node.inputs.iter().all(|source| exp.values[source].is_constant) {
        node.inputs.iter().for_each(|&source| exp.repeat(source));
    }
    let mut names = node.inputs.iter().map(|&source| exp.operand(source, rank, order)).collect::<Vec<_>>().into_iter();
    let first = names.next().ok_or("no input")?;
    one(names.fold(first, |y, other| exp.node(op, &[&y, &other], vec![])), order)
}

pub(super) fn scale_shift(exp: &mut Exporter, node: &Node, layer: ScaleShift) -> Result<Outputs> {
    let (x, order) = exp.native(node, 0);
    let y = match layer {
        ScaleShift::Fixed { scale: 1.0, shift: 0.0 } => exp.node("Identity", &[&x], vec![]),
        ScaleShift::Fixed { scale, shift } => exp.scaled(x, scale, shift),
        ScaleShift::Trained => {
            // A number for each channel: [channels], or [channels, 1, ..] before other dimensions.
            let rank = exp.shape(node).len();
            let others = if order == Order::ChannelsFirst { rank - 1 } else { 0 };
            let [scale, shift] = [0, 1].map(|i| {
                let parameter = exp.parameter(node, i);
                let dims = std::iter::once(parameter.len().into()).chain(vec![1; others]);
                exp.weight_of(parameter, dims.collect())
            });
            let product = exp.node("Mul", &[&x, &scale], vec![]);
            exp.node("Add", &[&product, &shift], vec![])
        }
    };
    one(y, order)
}

/// A constant has 1 in place of the batch. A trained one is an initializer.
pub(super) fn constant(exp: &mut Exporter, node: &Node, trained: bool) -> Result<Outputs> {
    let dims = std::iter::once(1).chain(node.shapes[0].iter().map(|&length| length.into())).collect();
    let name = match trained {
        true => exp.weight_of(exp.parameter(node, 0), dims),
        false => {
            let values = exp.numbers(exp.state(node, 0)).to_vec();
            exp.node("Constant", &[], vec![("value", Attribute::Tensor(Tensor::floats(dims, values)))])
        }
    };
    one(name, Order::ChannelsLast)
}

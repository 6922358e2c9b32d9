//! Layers that move or join elements, and reductions.

use super::{Exporter, Order, Outputs, int, one};
use crate::network::{Node, axis_of, reduced};
use crate::onnx::Result;
use crate::onnx::messages::Attribute;
use crate::shape::Shape;

/// The index of an axis, which the network has checked.
fn axis(shape: Shape, axis: i32) -> Result<usize> {
    axis_of(shape, axis, "axis").map_err(|error| error.to_string())
}

impl Exporter<'_> {
    /// The elements of these dimensions from a start to before an end.
    pub fn part(&mut self, x: &str, ranges: impl Iterator<Item = (usize, u32, u32)>) -> String {
        let ranges: Vec<[i64; 3]> = ranges.map(|(dim, start, end)| [start.into(), end.into(), dim as i64]).collect();
        let lists = [0, 1, 2].map(|i| ranges.iter().map(|range| range[i]).collect::<Vec<i64>>());
        let [starts, ends, axes] = lists.map(|list| self.ints(&list));
        self.node("Slice", &[x, &starts, &ends, &axes], vec![])
    }
}

/// Flatten and reshape keep our order of the elements.
pub(super) fn reshape(exp: &mut Exporter, node: &Node) -> Result<Outputs> {
    let x = exp.input(node, 0, Order::ChannelsLast);
    one(exp.reshape(&x, &node.shapes[0]), Order::ChannelsLast)
}

pub(super) fn transpose(exp: &mut Exporter, node: &Node, order: &[i32]) -> Result<Outputs> {
    let (x, shape) = (exp.input(node, 0, Order::ChannelsLast), exp.shape(node));
    let mut places = vec![0];
    for &of in order {
        places.push(axis(shape, of)? as i64 + 1);
    }
    one(exp.node("Transpose", &[&x], vec![("perm", Attribute::Ints(places))]), Order::ChannelsLast)
}

pub(super) fn concat(exp: &mut Exporter, node: &Node, of: i32) -> Result<Outputs> {
    let (order, rank) = (exp.common_order(node), node.shapes[0].len());
    let dim = order.dim(axis(node.shapes[0], of)?, rank);
    let inputs: Vec<String> = (0..node.inputs.len()).map(|i| exp.input(node, i, order)).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    one(exp.node("Concat", &inputs, vec![int("axis", dim as i64)]), order)
}

pub(super) fn slice(exp: &mut Exporter, node: &Node, of: i32, [start, end]: [u32; 2]) -> Result<Outputs> {
    let ((x, order), shape) = (exp.native(node, 0), exp.shape(node));
    let dim = order.dim(axis(shape, of)?, shape.len());
    one(exp.part(&x, std::iter::once((dim, start, end))), order)
}

pub(super) fn split(exp: &mut Exporter, node: &Node, of: i32, parts: u32) -> Result<Outputs> {
    let ((x, order), shape) = (exp.native(node, 0), exp.shape(node));
    let dim = order.dim(axis(shape, of)?, shape.len());
    let attributes = vec![int("axis", dim as i64), int("num_outputs", parts.into())];
    let outputs = exp.nodes("Split", &[&x], attributes, parts as usize);
    Ok(outputs.into_iter().map(|name| (name, order)).collect())
}

pub(super) fn reduce(exp: &mut Exporter, node: &Node, op: &str, axes: &[i32]) -> Result<Outputs> {
    let ((x, order), shape) = (exp.native(node, 0), exp.shape(node));
    let rank = shape.len();
    let gone = reduced(axes, shape, "axes").map_err(|error| error.to_string())?;
    let mut dims: Vec<i64> = gone.iter().map(|&axis| order.dim(axis, rank) as i64).collect();
    dims.sort_unstable();
    let dims = exp.ints(&dims);
    let y = exp.node(op, &[&x, &dims], vec![int("keepdims", 0)]);
    if gone.len() == rank {
        return one(exp.reshape(&y, &[1]), Order::ChannelsLast);
    }
    // Without the channels, the other dimensions are in their own order.
    one(y, if gone.contains(&(rank - 1)) { Order::ChannelsLast } else { order })
}

//! Normalisations.

use super::{Exporter, Order, Outputs, int, one};
use crate::network::{BatchNorm, GroupNorm, Node};
use crate::onnx::Result;
use crate::onnx::messages::Attribute;

/// With all weights and states of the layer.
fn normalised(
    exp: &mut Exporter,
    node: &Node,
    op: &str,
    order: Order,
    attributes: Vec<(&str, Attribute)>,
) -> Result<Outputs> {
    let parameters = (0..node.parameters.len()).map(|i| exp.parameter(node, i));
    let tensors: Vec<_> = parameters.chain((0..node.states.len()).map(|i| exp.state(node, i))).collect();
    let weights: Vec<String> = tensors.into_iter().map(|tensor| exp.weight(tensor)).collect();
    let x = exp.input(node, 0, order);
    let inputs: Vec<&str> = std::iter::once(&x).chain(&weights).map(String::as_str).collect();
    one(exp.node(op, &inputs, attributes), order)
}

/// Over the last dimension.
pub(super) fn of_rows(exp: &mut Exporter, node: &Node, op: &str, epsilon: f32) -> Result<Outputs> {
    let attributes = vec![int("axis", -1), ("epsilon", Attribute::Float(epsilon))];
    normalised(exp, node, op, Order::ChannelsLast, attributes)
}

pub(super) fn group(exp: &mut Exporter, node: &Node, norm: &GroupNorm) -> Result<Outputs> {
    let attributes = vec![("epsilon", Attribute::Float(norm.epsilon)), int("num_groups", norm.groups.into())];
    normalised(exp, node, "GroupNormalization", Order::ChannelsFirst, attributes)
}

pub(super) fn instance(exp: &mut Exporter, node: &Node, epsilon: f32) -> Result<Outputs> {
    let attributes = vec![("epsilon", Attribute::Float(epsilon))];
    normalised(exp, node, "InstanceNormalization", Order::ChannelsFirst, attributes)
}

pub(super) fn batch(exp: &mut Exporter, node: &Node, norm: &BatchNorm) -> Result<Outputs> {
    // ONNX's momentum is the weight of the old statistics.
    let attributes =
        vec![("epsilon", Attribute::Float(norm.epsilon)), ("momentum", Attribute::Float(1.0 - norm.momentum))];
    normalised(exp, node, "BatchNormalization", Order::ChannelsFirst, attributes)
}

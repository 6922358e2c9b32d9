//! Normalisations.

use super::{Exporter, Order, Outputs, int, one};
use crate::network::{BatchNorm, GroupNorm, Node};
use crate::onnx::Result;
use crate::onnx::messages::Attribute;

/// The names of all weights of a layer.
fn weights(exp: &mut Exporter, node: &Node) -> Vec<String> {
    (0..node.parameters.len()).map(|i| exp.weight(exp.parameter(node, i))).collect()
}

fn normalised(
    exp: &mut Exporter,
    node: &Node,
    op: &str,
    order: Order,
    weights: &[String],
    attributes: Vec<(&str, Attribute)>,
) -> Result<Outputs> {
    let x = exp.input(node, 0, order);
    let inputs: Vec<&str> = std::iter::once(&x).chain(weights).map(String::as_str).collect();
    one(exp.node(op, &inputs, attributes), order)
}

/// Over the last dimension.
pub(super) fn of_rows(exp: &mut Exporter, node: &Node, op: &str, epsilon: f32) -> Result<Outputs> {
    let weights = weights(exp, node);
    let attributes = vec![int("axis", -1), ("epsilon", Attribute::Float(epsilon))];
    normalised(exp, node, op, Order::ChannelsLast, &weights, attributes)
}

pub(super) fn group(exp: &mut Exporter, node: &Node, norm: &GroupNorm) -> Result<Outputs> {
    let weights = weights(exp, node);
    let attributes = vec![("epsilon", Attribute::Float(norm.epsilon)), int("num_groups", norm.groups.into())];
    normalised(exp, node, "GroupNormalization", Order::ChannelsFirst, &weights, attributes)
}

pub(super) fn instance(exp: &mut Exporter, node: &Node, epsilon: f32) -> Result<Outputs> {
    let weights = weights(exp, node);
    let attributes = vec![("epsilon", Attribute::Float(epsilon))];
    normalised(exp, node, "InstanceNormalization", Order::ChannelsFirst, &weights, attributes)
}

pub(super) fn batch(exp: &mut Exporter, node: &Node, norm: &BatchNorm) -> Result<Outputs> {
    let mut weights = weights(exp, node);
    weights.extend((0..2).map(|i| exp.weight(exp.state(node, i))));
    // ONNX's momentum is the weight of the old statistics.
    let attributes =
        vec![("epsilon", Attribute::Float(norm.epsilon)), ("momentum", Attribute::Float(1.0 - norm.momentum))];
    normalised(exp, node, "BatchNormalization", Order::ChannelsFirst, &weights, attributes)
}

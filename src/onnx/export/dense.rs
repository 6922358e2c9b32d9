//! Dense layers.

use super::{Exporter, Order, Outputs, int, one};
use crate::activation::Activation;
use crate::network::Node;
use crate::onnx::Result;
use crate::onnx::messages::Attribute;

/// activation(x · W + b), or with the transposed W. Gemm takes vectors only; other samples need a MatMul.
pub(super) fn dense(exp: &mut Exporter, node: &Node, transposed: bool, activation: Activation) -> Result<Outputs> {
    let weight = exp.weight(exp.parameter(node, 0));
    let bias = (node.parameters.len() > 1).then(|| exp.weight(exp.parameter(node, 1)));
    let x = exp.input(node, 0, Order::ChannelsLast);
    let y = if exp.shape(node).len() == 1 {
        let attributes = if transposed { vec![int("transB", 1)] } else { vec![] };
        let inputs = [Some(&x), Some(&weight), bias.as_ref()].into_iter().flatten();
        exp.node("Gemm", &inputs.map(String::as_str).collect::<Vec<_>>(), attributes)
    } else {
        let weight = match transposed {
            true => exp.helper("Transpose", &[&weight], vec![("perm", Attribute::Ints(vec![1, 0]))]),
            false => weight,
        };
        let y = exp.node("MatMul", &[&x, &weight], vec![]);
        match bias {
            Some(bias) => exp.node("Add", &[&y, &bias], vec![]),
            None => y,
        }
    };
    one(exp.activated(activation, y, -1)?, Order::ChannelsLast)
}

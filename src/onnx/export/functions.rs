//! Activations and dropout.

use super::{Exporter, Outputs, one};
use crate::activation::{Activation, elementary};
use crate::network::Node;
use crate::onnx::Result;
use crate::onnx::messages::Attribute;

pub(super) fn activation(exp: &mut Exporter, node: &Node, activation: Activation) -> Result<Outputs> {
    let (x, order) = exp.native(node, 0);
    let rank = exp.shape(node).len();
    let y = match activation {
        Activation::Identity => exp.node("Identity", &[&x], vec![]),
        activation => exp.activated(activation, x, order.dim(rank - 1, rank) as i64)?,
    };
    one(y, order)
}

/// Without a training mode, ONNX's Dropout does nothing.
pub(super) fn dropout(exp: &mut Exporter, node: &Node, rate: f32) -> Result<Outputs> {
    let (x, order) = exp.native(node, 0);
    let ratio = exp.number(rate);
    one(exp.node("Dropout", &[&x, &ratio], vec![]), order)
}

impl Exporter<'_> {
    /// A value after an activation. Softmax works along the dimension `channels`.
    pub fn activated(&mut self, activation: Activation, x: String, channels: i64) -> Result<String> {
        let float = |name, value| vec![(name, Attribute::Float(value))];
        Ok(match activation {
            Activation::Identity => x,
            Activation::Relu | Activation::LeakyRelu(0.0) => self.node("Relu", &[&x], vec![]),
            Activation::LeakyRelu(slope) => self.node("LeakyRelu", &[&x], float("alpha", slope)),
            Activation::Elu(alpha) => self.node("Elu", &[&x], float("alpha", alpha)),
            Activation::Selu => self.node("Selu", &[&x], vec![]),
            Activation::GeluErf => self.node("Gelu", &[&x], vec![]),
            Activation::GeluTanh => self.node("Gelu", &[&x], vec![("approximate", Attribute::Text("tanh".into()))]),
            Activation::Silu => {
                let gate = self.node("Sigmoid", &[&x], vec![]);
                self.node("Mul", &[&x, &gate], vec![])
            }
            Activation::Softplus => self.node("Softplus", &[&x], vec![]),
            Activation::Squareplus(b) => self.squareplus(&x, b),
            Activation::Exponential => self.node("Exp", &[&x], vec![]),
            Activation::Sine(frequency) => {
                let scaled = self.scaled(x, frequency, 0.0);
                self.node("Sin", &[&scaled], vec![])
            }
            Activation::Sigmoid => self.node("Sigmoid", &[&x], vec![]),
            Activation::Tanh => self.node("Tanh", &[&x], vec![]),
            Activation::HardSigmoid => self.node("HardSigmoid", &[&x], float("alpha", 1.0 / 6.0)),
            Activation::HardSwish => self.node("HardSwish", &[&x], vec![]),
            Activation::Softmax => self.node("Softmax", &[&x], vec![("axis", Attribute::Int(channels))]),
            Activation::Custom(own) if elementary(own.name()) == Some(own) => match own.name() {
                "relu6" => {
                    let bounds = [self.number(0.0), self.number(6.0)];
                    self.node("Clip", &[&x, &bounds[0], &bounds[1]], vec![])
                }
                // 1 above 0, else 0.
                "step" => {
                    let sign = self.node("Sign", &[&x], vec![]);
                    self.node("Relu", &[&sign], vec![])
                }
                name => self.node(&capitalized(name), &[&x], vec![]),
            },
            Activation::Custom(own) => return Err(format!("{} is a custom activation", own.name())),
        })
    }

    /// (x + √(x² + b)) / 2 = relu(x) + b / 2 / (|x| + √(x² + b)). The second form has no cancellation.
    fn squareplus(&mut self, x: &str, b: f32) -> String {
        let square = self.node("Mul", &[x, x], vec![]);
        let sum = self.scaled(square, 1.0, b);
        let root = self.node("Sqrt", &[&sum], vec![]);
        let size = self.node("Abs", &[x], vec![]);
        let divisor = self.node("Add", &[&size, &root], vec![]);
        let half = self.number(0.5 * b);
        let rest = self.node("Div", &[&half, &divisor], vec![]);
        let positive = self.node("Relu", &[x], vec![]);
        self.node("Add", &[&positive, &rest], vec![])
    }
}

/// The operator of an elementary function: `Sqrt` for `sqrt`.
fn capitalized(name: &str) -> String {
    let mut operator = name.to_owned();
    operator[..1].make_ascii_uppercase();
    operator
}

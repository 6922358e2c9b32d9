//! Activations.

use serde_json::Value as Json;

use super::{Call, Importer};
use crate::activation::{Activation, elementary};
use crate::keras::Result;
use crate::keras::config::{self, Config};
use crate::network::{Layer, Value};

/// The activation that a layer's attribute describes.
pub(super) fn described(imp: &Importer, call: &Call) -> Result<Activation> {
    let Some(value) = call.config.get("activation") else { return Ok(Activation::Identity) };
    let found = match (value, config::class(value), value.get("config").and_then(Json::as_str)) {
        (Json::String(name), ..) => by_name(name, imp.is_keras_2),
        // The output has as many dimensions as the input.
        (_, Some((class, config)), _) => by_class(class, config, imp.shape(call.input()?)?.len())?,
        // Keras 3 describes functions in this way too.
        (_, None, Some(name)) => by_name(name, imp.is_keras_2),
        _ => None,
    };
    found.ok_or_else(|| format!("attribute activation: {} is not supported", config::shown(value)))
}

/// The activation that a layer of this class computes, on samples of `rank` dimensions. `None` if it is not one
/// activation.
fn by_class(class: &str, config: Config<'_>, rank: usize) -> Result<Option<Activation>> {
    Ok(match class {
        "LeakyReLU" => Some(Activation::LeakyRelu(slope(config)?)),
        "ELU" => Some(Activation::Elu(config.number("alpha", 1.0)?)),
        "ReLU" => match relu_options(config)? {
            (None, 0.0) => Some(Activation::Relu),
            (None, slope) => Some(Activation::LeakyRelu(slope)),
            (Some(6.0), 0.0) => elementary("relu6").map(Activation::Custom),
            _ => None,
        },
        "Softmax" => {
            config.last_axis("axis", rank)?;
            Some(Activation::Softmax)
        }
        _ => None,
    })
}

fn by_name(name: &str, is_keras_2: bool) -> Option<Activation> {
    let custom = |name: &str| elementary(name).map(Activation::Custom);
    Some(match name {
        "linear" => Activation::Identity,
        "relu" => Activation::Relu,
        "leaky_relu" => Activation::LeakyRelu(0.2),
        "elu" => Activation::Elu(1.0),
        "selu" => Activation::Selu,
        "gelu" => Activation::GeluErf,
        "silu" | "swish" => Activation::Silu,
        "softplus" => Activation::Softplus,
        "exponential" => Activation::Exponential,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "hard_sigmoid" if is_keras_2 => custom("hard_sigmoid_fifth")?,
        "hard_sigmoid" => Activation::HardSigmoid,
        "hard_silu" | "hard_swish" => Activation::HardSwish,
        "softmax" => Activation::Softmax,
        "relu6" | "mish" | "softsign" => custom(name)?,
        _ => return None,
    })
}

/// The slope of a leaky ReLU: `negative_slope` in Keras 3, `alpha` in Keras 2.
fn slope(config: Config<'_>) -> Result<f32> {
    match config.get("alpha") {
        Some(_) => config.number("alpha", 0.3),
        None => config.number("negative_slope", 0.3),
    }
}

/// The largest value and the slope of a ReLU layer.
fn relu_options(config: Config<'_>) -> Result<(Option<f32>, f32)> {
    if config.number("threshold", 0.0)? != 0.0 {
        return Err("attribute threshold: only 0 is supported".into());
    }
    let most = match config.get("max_value") {
        None => None,
        Some(_) => Some(config.number("max_value", 0.0)?),
    };
    Ok((most, config.number("negative_slope", 0.0)?))
}

pub(super) fn activation(imp: &mut Importer, call: &Call) -> Result<Value> {
    let activation = described(imp, call)?;
    imp.activated(call, activation, call.input()?)
}

/// A layer that computes one activation, or a ReLU with a largest value.
pub(super) fn with_options(imp: &mut Importer, call: &Call) -> Result<Value> {
    let x = call.input()?;
    if let Some(activation) = by_class(call.layer.class, call.config, imp.shape(x)?.len())? {
        return imp.activated(call, activation, x);
    }
    let (most, slope) = relu_options(call.config)?;
    let y = imp.activated(call, if slope == 0.0 { Activation::Relu } else { Activation::LeakyRelu(slope) }, x)?;
    // min(y, most) = most - relu(most - y)
    let Some(most) = most else { return Ok(y) };
    let below = imp.scale_shift(call, -1.0, most, y)?;
    let below = imp.activated(call, Activation::Relu, below)?;
    imp.scale_shift(call, -1.0, most, below)
}

/// relu(x) - alpha · relu(-x), with a trained alpha.
pub(super) fn prelu(imp: &mut Importer, call: &Call) -> Result<Value> {
    let x = call.input()?;
    let weights = imp.weights(call, &["alpha"])?;
    let negated = weights[0].numbers.iter().map(|alpha| -alpha).collect();
    let alpha = imp.constant(call, call.path, &weights[0].shape, negated, true)?;
    let above = imp.activated(call, Activation::Relu, x)?;
    let below = imp.scale_shift(call, -1.0, 0.0, x)?;
    let below = imp.activated(call, Activation::Relu, below)?;
    let below = imp.add(call, Layer::Multiply, &[below, alpha])?;
    imp.add(call, Layer::Add, &[above, below])
}

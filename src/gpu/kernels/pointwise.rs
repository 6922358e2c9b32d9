//! Host side of `shaders/pointwise.wgsl`.

use crate::activation::Activation;
use crate::cpu::{dropout_key, dropout_threshold};
use crate::gpu::excerpt::excerpt;
use crate::ops::*;

const LANES: u32 = 64;

const KERNEL: &str = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl", "pointwise.wgsl");

pub(crate) fn launch(op: &Pointwise) -> Launch {
    let quads = op.output.len().div_ceil(4);
    let (key, threshold, scale) = op.dropout.map_or((0, 0, 0.0), |dropout| {
        (dropout_key(dropout.layer), dropout_threshold(dropout.rate), 1.0 / (1.0 - dropout.rate))
    });
    let uniforms = uniforms![quads, dropout_key: key, dropout_threshold: threshold, dropout_scale: scale];
    let mut constants = vec![("DERIVATIVE", op.saved.is_some().into()), ("DROPOUT", op.dropout.is_some().into())];
    constants.extend(parameter(op.activation));
    let (state, data) = (op.dropout.map(|d| d.step), op.dropout.map(|d| d.data));
    Launch {
        shader: Shader {
            name: format!("pointwise {}", op.activation).into(),
            source: (functions(op.activation).to_owned() + KERNEL).into(),
            constants,
        },
        uniforms,
        bindings: vec![read(op.input), read(op.saved), read(state), read(data), write(op.output)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

/// The text of an activation: `activate` and `derivative` of four numbers, and what they call.
pub(crate) fn functions(activation: Activation) -> &'static str {
    macro_rules! file {
        ($name:literal) => {
            text!("activations/functions.wgsl", concat!("activations/", $name, ".wgsl"))
        };
    }
    match activation {
        // Not number by number: `softmax.rs`.
        Activation::Identity | Activation::Softmax => file!("identity"),
        // 0 times minus infinity would be NaN.
        Activation::Relu | Activation::LeakyRelu(0.0) => file!("relu"),
        Activation::LeakyRelu(_) => file!("leaky_relu"),
        Activation::Elu(_) => file!("elu"),
        Activation::Selu => file!("selu"),
        Activation::GeluErf => file!("gelu_erf"),
        Activation::GeluTanh => file!("gelu_tanh"),
        Activation::Silu => file!("silu"),
        Activation::Softplus => file!("softplus"),
        Activation::Sigmoid => file!("sigmoid"),
        Activation::Tanh => file!("tanh"),
        Activation::HardSigmoid => file!("hard_sigmoid"),
        Activation::HardSwish => file!("hard_swish"),
    }
}

/// The constant of that text, where it has one.
pub(crate) fn parameter(activation: Activation) -> Option<(&'static str, f64)> {
    match activation {
        Activation::LeakyRelu(0.0) => None,
        Activation::LeakyRelu(parameter) | Activation::Elu(parameter) => Some(("PARAMETER", parameter.into())),
        _ => None,
    }
}

/// Functions that apply one activation each, under a name of its own, and what they call: for texts that apply several.
/// All names begin with `prefix`.
pub(crate) fn activations(prefix: &str, wanted: &[Activation]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for &activation in wanted {
        let text = functions(activation).replace("PARAMETER", &format!("{:?}", activation.parameter()));
        excerpt(&mut texts, &text, "activate", |called| match called {
            "activate" => activation_name(prefix, activation),
            called => format!("{prefix}{called}"),
        });
    }
    texts.concat()
}

/// The name of the function that applies an activation.
pub(crate) fn activation_name(prefix: &str, activation: Activation) -> String {
    let name = activation.to_string();
    let name = name.split('(').next().unwrap_or_default();
    match activation.parameter() {
        0.0 => format!("{prefix}activate_{name}"),
        parameter => format!("{prefix}activate_{name}_{:x}", parameter.to_bits()),
    }
}

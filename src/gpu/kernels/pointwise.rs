//! Host side of `shaders/pointwise.wgsl`.

use super::{Launch, declarations, read, shader, write};
use crate::activation::Activation;
use crate::cpu::{dropout_key, dropout_threshold};
use crate::gpu::excerpt::{excerpt, only_case};
use crate::gpu::texts::text;
use crate::plan::Pointwise;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct PointwiseUniforms {
    quads: u32,
    dropout_key: u32,
    dropout_threshold: u32,
    dropout_scale: f32,
}

const KERNEL: &str = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl", "pointwise.wgsl");
pub(super) const SOURCE: &str = text!("pointwise.wgsl");

pub(super) fn launch(op: &Pointwise) -> Launch {
    let quads = op.output.len.div_ceil(4);
    let uniforms = match op.dropout {
        None => PointwiseUniforms { quads, ..Default::default() },
        Some(dropout) => PointwiseUniforms {
            quads,
            dropout_key: dropout_key(dropout.layer),
            dropout_threshold: dropout_threshold(dropout.rate),
            dropout_scale: 1.0 / (1.0 - dropout.rate),
        },
    };
    let [activation, parameter] = constants(op.activation);
    let flags = [("DERIVATIVE", op.saved.is_some().into()), ("DROPOUT", op.dropout.is_some().into())];
    let (state, data) = (op.dropout.map(|d| d.step), op.dropout.map(|d| d.data));
    Launch {
        shader: shader("pointwise", KERNEL, &[activation, parameter, flags[0], flags[1]]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.input), read(op.saved), read(state), read(data), write(op.output)],
        workgroups: quads.div_ceil(LANES).into(),
    }
}

/// The functions that other kernels' texts follow, with the cases of one activation only: kernels that apply it in many
/// places would keep a driver's compiler busy with the others, though they are never taken.
pub(super) fn functions(activation: Activation) -> String {
    only_case(declarations(SOURCE), code(activation))
}

/// Functions that apply one activation each, under a name of its own, and what they call: for texts that apply several.
/// All names begin with `prefix`.
pub(in crate::gpu) fn activations(prefix: &str, wanted: &[Activation]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for &activation in wanted {
        let [(_, code), (_, parameter)] = constants(activation);
        let text = functions(activation).replace("ACTIVATION {", &format!("{code}u {{"));
        let text = text.replace("PARAMETER", &format!("{:?}", parameter as f32));
        excerpt(&mut texts, &text, "activate", |called| match called {
            "activate" => activation_name(prefix, activation),
            called => format!("{prefix}{called}"),
        });
    }
    texts.concat()
}

/// The name of the function that applies an activation.
pub(in crate::gpu) fn activation_name(prefix: &str, activation: Activation) -> String {
    let name = activation.to_string();
    let name = name.split('(').next().unwrap_or_default();
    match activation.parameter() {
        0.0 => format!("{prefix}activate_{name}"),
        parameter => format!("{prefix}activate_{name}_{:x}", parameter.to_bits()),
    }
}

/// What tells those functions which activation they are.
pub(super) fn constants(activation: Activation) -> [(&'static str, f64); 2] {
    [("ACTIVATION", f64::from(code(activation))), ("PARAMETER", activation.parameter().into())]
}

/// The shader's number for an activation.
fn code(activation: Activation) -> u32 {
    match activation {
        // Not number by number: `softmax.rs`.
        Activation::Identity | Activation::Softmax => 0,
        Activation::Relu => 1,
        // 0 times minus infinity would be NaN.
        Activation::LeakyRelu(0.0) => 1,
        Activation::LeakyRelu(_) => 2,
        Activation::Elu(_) => 3,
        Activation::Selu => 4,
        Activation::GeluErf => 5,
        Activation::GeluTanh => 6,
        Activation::Silu => 7,
        Activation::Softplus => 8,
        Activation::Sigmoid => 9,
        Activation::Tanh => 10,
        Activation::HardSigmoid => 11,
        Activation::HardSwish => 12,
    }
}

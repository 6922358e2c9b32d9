//! Host side of `shaders/adam.wgsl` and of its variant for software adapters, `shaders/adam.wide.wgsl.in`.

use super::{Launch, Variants, declarations, read, shader, write};
use crate::gpu::pipelines::Shader;
use crate::optimizer::Adam;
use crate::plan::AdamUpdate;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AdamUniforms {
    quads: u32,
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
}

const PLAIN: &str = include_str!("../../../shaders/adam.wgsl");
const WIDE: &str = include_str!("../../../shaders/adam.wide.wgsl.in");

pub(super) fn launch(op: &AdamUpdate, variants: Variants) -> Launch {
    let Adam { learning_rate, beta1, beta2, epsilon } = op.options;
    let one_minus = |beta: f32| (1.0 - f64::from(beta)) as f32;
    // ln 0 is −∞, which a shader need not know; e^−100 is as good a 0.
    let log = |beta: f32| libm::log(f64::from(beta)).max(-100.0) as f32;
    let quads = op.parameters.len / 4;
    let uniforms = AdamUniforms {
        quads,
        learning_rate,
        beta1,
        beta2,
        one_minus_beta1: one_minus(beta1),
        one_minus_beta2: one_minus(beta2),
        log_beta1: log(beta1),
        log_beta2: log(beta2),
        epsilon,
    };
    let (shader, parameters_each) = match variants.wide_access {
        false => (shader("adam", PLAIN, &[]), 4),
        true => (Shader { name: "adam.wide".into(), source: wide_source().into(), constants: vec![] }, 8),
    };
    Launch {
        shader,
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.gradients), read(op.step), write(op.parameters), write(op.moment1), write(op.moment2)],
        workgroups: op.parameters.len.div_ceil(parameters_each * LANES).into(),
    }
}

/// The variant's text: the declarations of the plain kernel's file, then its own memory and entry point.
pub(super) fn wide_source() -> String {
    declarations(PLAIN).to_owned() + WIDE
}

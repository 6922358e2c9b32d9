//! Host side of `shaders/update.wgsl` and of its variant for software adapters, `shaders/update.wide.wgsl.in`.

use super::{Launch, Variants, declarations, read, write};
use crate::gpu::pipelines::Shader;
use crate::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};
use crate::plan::Update;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct UpdateUniforms {
    quads: u32,
    momentum: f32,
    one_minus_dampening: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
    rate_decay: f32,
    initial_accumulator: f32,
    weight_decay: f32,
    clip: f32,
}

const PLAIN: &str = include_str!("../../../shaders/update.wgsl");
const WIDE: &str = include_str!("../../../shaders/update.wide.wgsl.in");

pub(super) fn launch(op: &Update, variants: Variants) -> Launch {
    let (weight_decay, decoupled) = op.optimizer.weight_decay();
    let decay = match (weight_decay, decoupled) {
        (0.0, _) => 0,
        (_, false) => 1,
        (_, true) => 2,
    };
    let (kind, nesterov, uniforms) = of(&op.optimizer);
    let quads = op.parameters.len / 4;
    let uniforms = UpdateUniforms { quads, weight_decay, clip: op.clip.unwrap_or(0.0), ..uniforms };
    let (name, source, parameters_each) = match variants.wide_access {
        false => ("update", PLAIN.into(), 4),
        true => ("update.wide", wide_source().into(), 8),
    };
    let constants = vec![
        ("OPTIMIZER", f64::from(kind)),
        ("MOMENTS", op.moments.len() as f64),
        ("NESTEROV", f64::from(nesterov)),
        ("DECAY", f64::from(decay)),
        ("MULTIPLIERS", f64::from(op.multipliers.is_some())),
        ("SCALE", f64::from(op.scale.is_some())),
        ("CLIP", f64::from(op.clip.is_some())),
        ("ACCUMULATES", f64::from(op.accumulates)),
    ];
    Launch {
        shader: Shader { name: name.into(), source, constants },
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![
            read(op.gradients),
            read(op.step),
            write(op.parameters),
            write(op.moments.first().copied()),
            write(op.moments.get(1).copied()),
            read(op.multipliers),
            read(op.scale),
        ],
        workgroups: op.parameters.len.div_ceil(parameters_each * LANES).into(),
    }
}

/// The shader's number for an optimizer, whether its momentum is Nesterov's, and its hyperparameters.
fn of(optimizer: &Optimizer) -> (u32, bool, UpdateUniforms) {
    let rest = |beta: f32| (1.0 - f64::from(beta)) as f32;
    // ln 0 is −∞, which a shader need not know; e^−100 is as good a 0.
    let log = |beta: f32| libm::log(f64::from(beta)).max(-100.0) as f32;
    let betas = |beta1, beta2| UpdateUniforms {
        beta1,
        beta2,
        one_minus_beta1: rest(beta1),
        one_minus_beta2: rest(beta2),
        log_beta1: log(beta1),
        log_beta2: log(beta2),
        ..Default::default()
    };
    match *optimizer {
        Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
            (0, nesterov, UpdateUniforms { momentum, one_minus_dampening: rest(dampening), ..Default::default() })
        }
        Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
            (1, false, UpdateUniforms { epsilon, momentum, ..betas(0.0, alpha) })
        }
        Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
            (2, false, UpdateUniforms { rate_decay, initial_accumulator, epsilon, ..Default::default() })
        }
        Optimizer::Adam(Adam { beta1, beta2, epsilon, .. }) | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
            (3, false, UpdateUniforms { epsilon, ..betas(beta1, beta2) })
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => (4, false, betas(beta1, beta2)),
    }
}

/// The variant's text: the declarations of the plain kernel's file, then its own memory and entry point.
pub(super) fn wide_source() -> String {
    declarations(PLAIN).to_owned() + WIDE
}

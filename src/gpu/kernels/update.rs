//! Host side of `shaders/update.wgsl` and of its variant for software adapters, `shaders/software/update.wide.wgsl`.

use super::{WORDS, declarations};
use crate::ops::*;
use crate::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};

const LANES: u32 = 64;

pub(crate) const PLAIN: &str = text!("shared/step_state.wgsl", "update.wgsl");
/// What the variants in words of 64 bits share, those of products too.
pub(crate) const OCTET: &str = text!("software/update.octet.wgsl");
const WIDE: &str = text!("software/update.wide.wgsl");

pub(crate) fn launch(op: &Update, variants: Adapter) -> Launch {
    let (name, source, parameters_each) = match variants.wide_access {
        false => ("update", PLAIN.into(), 4),
        true => ("update.wide", wide_source().into(), 8),
    };
    Launch {
        shader: Shader { name: name.into(), source, constants: constants(op) },
        uniforms: uniforms![ quads: op.parameters.len() / 4 ],
        bindings: op.operands(),
        workgroups: op.parameters.len().div_ceil(parameters_each * LANES).into(),
    }
}

/// All that an update is known to be beforehand.
pub(crate) fn constants(op: &Update) -> Vec<(&'static str, f64)> {
    let (weight_decay, decoupled) = op.optimizer.weight_decay();
    let decay = match (weight_decay, decoupled) {
        (0.0, _) => 0,
        (_, false) => 1,
        (_, true) => 2,
    };
    let (kind, of_kind) = of(&op.optimizer);
    let mut constants = vec![
        ("OPTIMIZER", f64::from(kind)),
        ("MOMENTS", f64::from(op.optimizer.moments())),
        ("DECAY", f64::from(decay)),
        ("WEIGHT_DECAY", f64::from(weight_decay)),
        ("MULTIPLIERS", f64::from(op.multipliers.is_some())),
        ("SCALE", f64::from(op.scale.is_some())),
        ("CLIP", f64::from(op.clip.is_some())),
        ("LIMIT", f64::from(op.clip.unwrap_or(0.0))),
        ("ACCUMULATES", f64::from(op.accumulates)),
    ];
    constants.extend(of_kind);
    constants
}

/// The shader's number for an optimizer, and its hyperparameters.
fn of(optimizer: &Optimizer) -> (u32, Vec<(&'static str, f64)>) {
    let rest = |value: f32| 1.0 - f64::from(value);
    // ln 0 is −∞, which a shader need not know; e^−100 is as good a 0.
    let log = |beta: f32| libm::log(f64::from(beta)).max(-100.0);
    let betas = |beta1: f32, beta2: f32| {
        vec![
            ("BETA1", f64::from(beta1)),
            ("BETA2", f64::from(beta2)),
            ("ONE_MINUS_BETA1", rest(beta1)),
            ("ONE_MINUS_BETA2", rest(beta2)),
            ("LOG_BETA1", log(beta1)),
            ("LOG_BETA2", log(beta2)),
        ]
    };
    let with = |mut constants: Vec<_>, name, value: f32| {
        constants.push((name, f64::from(value)));
        constants
    };
    match *optimizer {
        Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
            let constants = vec![("NESTEROV", f64::from(nesterov)), ("ONE_MINUS_DAMPENING", rest(dampening))];
            (0, with(constants, "MOMENTUM", momentum))
        }
        Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
            (1, with(with(betas(0.0, alpha), "EPSILON", epsilon), "MOMENTUM", momentum))
        }
        Optimizer::Adagrad(Adagrad { rate_decay, initial_accumulator, epsilon, .. }) => {
            let constants = with(vec![], "EPSILON", epsilon);
            (2, with(with(constants, "RATE_DECAY", rate_decay), "INITIAL_ACCUMULATOR", initial_accumulator))
        }
        Optimizer::Adam(Adam { beta1, beta2, epsilon, .. }) | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
            (3, with(betas(beta1, beta2), "EPSILON", epsilon))
        }
        Optimizer::Lion(Lion { beta1, beta2, .. }) => (4, betas(beta1, beta2)),
    }
}

/// What a kernel that makes an update follows.
pub(crate) fn functions() -> &'static str {
    declarations(PLAIN)
}

/// The variant's text: the declarations of the plain kernel's file, then its own memory and entry point.
pub(crate) fn wide_source() -> String {
    [declarations(PLAIN), WORDS, OCTET, WIDE].concat()
}

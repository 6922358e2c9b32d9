//! Host side of `shaders/next_batch.wgsl`.

use crate::ops::*;
use crate::schedule::{Schedule, Shape};

/// Rows that one workgroup numbers in less time than another dispatch takes.
const FEW: u32 = 4096;
/// Those of a workgroup else.
const LANES: u32 = 256;

/// Two launches for a large batch.
pub(crate) fn launches(op: &NextBatch) -> Vec<Launch> {
    if op.batch <= FEW {
        return vec![launch(op, of(op.schedule), 1)];
    }
    let mut cursor = of(op.schedule);
    cursor.push(("NUMBERS", 0.0));
    vec![launch(op, cursor, 1), launch(op, vec![("CURSOR", 0.0)], op.batch.div_ceil(LANES))]
}

fn launch(op: &NextBatch, constants: Vec<(&'static str, f64)>, workgroups: u32) -> Launch {
    let NextBatch { batch, accumulate, learning_rate, .. } = *op;
    Launch {
        shader: shader(
            "next_batch",
            text!("shared/step_state.wgsl", "shared/data_info.wgsl", "shared/pcg4d.wgsl", "next_batch.wgsl"),
            &constants,
        ),
        uniforms: uniforms![batch, accumulate, learning_rate],
        bindings: vec![read(op.data), write(op.step), write(op.indices)],
        workgroups: workgroups.into(),
    }
}

/// The shader's number for a schedule, and what it is made of.
fn of(Schedule { warm_up, shape }: Schedule) -> Vec<(&'static str, f64)> {
    let mut constants = match shape {
        // The host watches a plateau.
        Shape::Constant | Shape::Plateau(_) => vec![],
        Shape::Step { every, factor } => {
            let log_factor = libm::log(f64::from(factor));
            vec![("SCHEDULE", 1.0), ("UPDATES", every.into()), ("LOG_FACTOR", log_factor)]
        }
        Shape::Cosine { updates, floor } => {
            vec![("SCHEDULE", 2.0), ("UPDATES", updates.into()), ("FLOOR", floor.into())]
        }
        Shape::OneCycle { updates, rise, start, end } => vec![
            ("SCHEDULE", 3.0),
            ("UPDATES", updates.into()),
            ("RISE", rise.into()),
            ("START", start.into()),
            ("END", end.into()),
        ],
    };
    constants.push(("WARM_UP", warm_up.into()));
    constants
}

//! Host side of `shaders/gather.wgsl` and of its variants for rows in fours, `shaders/gather.aligned.wgsl`, and, on
//! software adapters, in eights, `shaders/software/gather.wide.wgsl`.

use crate::ops::*;

const LANES: u32 = 64;

/// What an invocation of the wide variant copies of a row.
const WIDE_COLUMNS: u32 = 64;

pub(crate) fn launch(op: &Gather, variants: Adapter) -> Launch {
    let quads = op.columns.div_ceil(4);
    // The text of a variant: what all share, and its own memory and entry point.
    macro_rules! variant {
        ($name:literal, $($file:literal),+) => {
            shader($name, text!("shared/step_state.wgsl", "shared/data_info.wgsl", "gather.functions.wgsl", $($file),+), &[])
        };
    }
    let (shader, of_row) = match op.columns {
        n if n.is_multiple_of(8) && variants.wide_access => {
            (variant!("gather.wide", "software/words.wgsl", "software/gather.wide.wgsl"), n.div_ceil(WIDE_COLUMNS))
        }
        n if n.is_multiple_of(4) => (variant!("gather.aligned", "gather.aligned.wgsl"), quads),
        _ => (variant!("gather", "gather.wgsl"), quads),
    };
    let invocations = op.batch * of_row;
    Launch {
        shader,
        uniforms: uniforms![ columns: op.columns, quads, invocations ],
        bindings: vec![read(op.features), read(op.data), read(op.step), read(op.indices), write(op.x)],
        workgroups: invocations.div_ceil(LANES).into(),
    }
}

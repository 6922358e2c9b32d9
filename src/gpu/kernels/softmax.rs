//! Host side of `shaders/softmax.wgsl`.

use crate::ops::*;

pub(crate) fn launch(op: &Softmax, variants: Adapter) -> Launch {
    let (lanes, rows) = lanes_and_rows(op.columns, &variants);
    Launch {
        shader: shader(
            "softmax",
            text!("softmax.wgsl"),
            &[("LANES", lanes.into()), ("ROWS", rows.into()), ("GRADIENT", op.saved.is_some().into())],
        ),
        uniforms: uniforms![ rows: op.rows, columns: op.columns ],
        bindings: vec![read(op.input), read(op.saved), write(op.output)],
        workgroups: op.rows.div_ceil(rows).into(),
    }
}

//! Host side of `shaders/layer_norm_parameters.wgsl`, and of `layer_norm_parameters.parts.wgsl`, which comes after it where
//! rows are many.

use crate::ops::*;

/// Columns of a workgroup.
const COLUMNS: u32 = 8;
/// Rows that are worth workgroups of their own, and the most parts.
const ROWS_OF_PART: u32 = 2048;
const MOST_PARTS: u32 = 64;
/// Columns of a workgroup that adds parts up.
const LANES: u32 = 64;

pub(crate) fn launches(op: &LayerNormParameters) -> Vec<Launch> {
    let LayerNormParameters { rows, columns, .. } = *op;
    let part_rows = rows.div_ceil((rows / ROWS_OF_PART).clamp(1, MOST_PARTS));
    let parts = rows.div_ceil(part_rows);
    let words = 2 * parts * columns;
    let outputs = match parts {
        1 => [write(op.scale_gradient), write(op.shift_gradient)],
        _ => [leave(words), write(None)],
    };
    let source = text!("shared/from_first.wgsl", "layer_norm_parameters.wgsl");
    let uniforms = uniforms![ rows, columns, parts, part_rows, zero: 0 ];
    let mut launches = vec![Launch {
        shader: shader("layer_norm_parameters", source, &[]),
        uniforms,
        bindings: [read(op.gradient), read(op.x), read(op.statistics)].into_iter().chain(outputs).collect(),
        workgroups: u64::from(columns.div_ceil(COLUMNS)) * u64::from(parts),
    }];
    if parts > 1 {
        let source = text!("layer_norm_parameters.parts.wgsl");
        launches.push(Launch {
            shader: shader("layer_norm_parameters.parts", source, &[]),
            uniforms: uniforms![columns, parts],
            bindings: vec![left(words), write(op.scale_gradient), write(op.shift_gradient)],
            workgroups: columns.div_ceil(LANES).into(),
        });
    }
    launches
}

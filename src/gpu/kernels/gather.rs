//! Host side of `shaders/gather.wgsl` and of its variants for rows in fours, `shaders/gather.aligned.wgsl.in`, and, on
//! software adapters, in eights, `shaders/gather.wide.wgsl.in`.

use super::{Launch, Variants, WORDS, declarations, read, shader, write};
use crate::gpu::pipelines::Shader;
use crate::gpu::texts::text;
use crate::plan::Gather;

const LANES: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct GatherUniforms {
    columns: u32,
    quads: u32,
    invocations: u32,
}

const PLAIN: &str = text!("shared/step_state.wgsl", "shared/data_info.wgsl", "gather.wgsl");
pub(super) const ALIGNED: &[&str] = &[text!("gather.aligned.wgsl.in")];
pub(super) const WIDE: &[&str] = &[WORDS, text!("gather.wide.wgsl.in")];

/// What an invocation of the wide variant copies of a row.
const WIDE_COLUMNS: u32 = 64;

/// A variant's text: the declarations of the plain kernel's file, then its own memory and entry point.
pub(super) fn variant_source(parts: &[&str]) -> String {
    declarations(PLAIN).to_owned() + &parts.concat()
}

pub(super) fn launch(op: &Gather, variants: Variants) -> Launch {
    let quads = op.columns.div_ceil(4);
    let variant = |name: &'static str, text| Shader {
        name: name.into(),
        source: variant_source(text).into(),
        constants: Vec::new(),
    };
    let (shader, of_row) = match op.columns {
        n if n.is_multiple_of(8) && variants.wide_access => (variant("gather.wide", WIDE), n.div_ceil(WIDE_COLUMNS)),
        n if n.is_multiple_of(4) => (variant("gather.aligned", ALIGNED), quads),
        _ => (shader("gather", PLAIN, &[]), quads),
    };
    let invocations = op.batch * of_row;
    Launch {
        shader,
        uniforms: bytemuck::bytes_of(&GatherUniforms { columns: op.columns, quads, invocations }).to_vec(),
        bindings: vec![read(op.features), read(op.data), read(op.step), read(op.indices), write(op.x)],
        workgroups: invocations.div_ceil(LANES).into(),
    }
}

//! Host side of `shaders/next_batch.wgsl`.

use super::{Launch, read, shader, write};
use crate::plan::NextBatch;
use crate::schedule::{Schedule, Shape};

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct NextBatchUniforms {
    batch: u32,
    accumulate: u32,
    learning_rate: f32,
    warm_up: u32,
    schedule: u32,
    updates: u32,
    log_factor: f32,
    floor: f32,
    rise: f32,
    start: f32,
    end: f32,
}

pub(super) fn launch(op: &NextBatch) -> Launch {
    let NextBatch { batch, accumulate, learning_rate, .. } = *op;
    let uniforms = NextBatchUniforms { batch, accumulate, learning_rate, ..of(op.schedule) };
    Launch {
        shader: shader("next_batch", include_str!("../../../shaders/next_batch.wgsl"), &[]),
        uniforms: bytemuck::bytes_of(&uniforms).to_vec(),
        bindings: vec![read(op.data), write(op.step), write(op.indices)],
        workgroups: 1,
    }
}

fn of(Schedule { warm_up, shape }: Schedule) -> NextBatchUniforms {
    let none = NextBatchUniforms { warm_up, ..Default::default() };
    match shape {
        // The host watches a plateau.
        Shape::Constant | Shape::Plateau(_) => none,
        Shape::Step { every, factor } => {
            let log_factor = libm::log(f64::from(factor)) as f32;
            NextBatchUniforms { schedule: 1, updates: every, log_factor, ..none }
        }
        Shape::Cosine { updates, floor } => NextBatchUniforms { schedule: 2, updates, floor, ..none },
        Shape::OneCycle { updates, rise, start, end } => {
            NextBatchUniforms { schedule: 3, updates, rise, start, end, ..none }
        }
    }
}

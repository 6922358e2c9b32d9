//! Runs ops on the GPU and on the CPU.
#![allow(dead_code)] // each section uses only some functions

use bytemuck::Pod;
use wgrad::plan::*;
use wgrad::plan_runner::PlanRunner;

use crate::common::{gpu, lockstep, single};

/// Length of `StepState` and of `DataInfo`, in words.
pub const STEP: u32 = (size_of::<StepState>() / 4) as u32;
pub const DATA: u32 = (size_of::<DataInfo>() / 4) as u32;

pub fn tensor(buffer: usize, len: usize) -> Tensor {
    shaped(buffer, len as u32)
}

pub fn shaped(buffer: usize, shape: impl Into<Shape>) -> Tensor {
    Tensor::new(BufferId(buffer), Dtype::F32, shape)
}

/// A plan of some ops, on both devices.
pub struct Both {
    on_gpu: PlanRunner,
    on_cpu: wgrad::lockstep::Lockstep,
}

impl Both {
    pub fn new(buffers: &[(&str, u32, Role)], op: Op) -> Self {
        Self::of(buffers, [op])
    }

    /// A plan of ops that run in order.
    pub fn of(buffers: &[(&str, u32, Role)], ops: impl IntoIterator<Item = Op>) -> Self {
        let mut ops = ops.into_iter();
        let mut plan = single(buffers, ops.next().expect("an op"));
        plan.step.extend(ops);
        // SAFETY: the sections create ops whose tensor lengths match their dimensions.
        let on_gpu = unsafe { PlanRunner::new_unchecked(gpu(), plan.clone()) }.unwrap();
        Self { on_gpu, on_cpu: lockstep(gpu(), plan) }
    }

    pub fn set<T: Pod>(&mut self, buffer: usize, contents: &[T]) {
        self.on_gpu.set(BufferId(buffer), contents).unwrap();
        self.on_cpu.set(BufferId(buffer), contents).unwrap();
    }

    pub fn run(&mut self) {
        self.on_gpu.run(1).unwrap();
        self.on_cpu.run().unwrap();
    }

    /// Contents of a buffer on the GPU and on the CPU.
    pub fn get(&self, buffer: usize) -> [Vec<f32>; 2] {
        [self.on_gpu.get(BufferId(buffer)).unwrap(), self.on_cpu.get(BufferId(buffer))]
    }
}

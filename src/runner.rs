//! A plan by itself on a GPU, with the very kernels that training uses: for benchmarks. [`lockstep`](crate::lockstep)
//! is for checks.

use std::sync::Arc;

use crate::error::Result;
use crate::gpu::{Gpu, GpuExecutor};
use crate::plan::{BufferId, Plan};
use crate::profile::Profile;

/// A plan bound to buffers of a GPU.
#[derive(Debug)]
pub struct Runner {
    executor: GpuExecutor,
}

impl Runner {
    /// Binds a plan; every buffer starts as the plan says, else as zeros.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    ///
    /// # Safety
    /// As of [`Lockstep::new_unchecked`](crate::lockstep::Lockstep::new_unchecked).
    pub unsafe fn new_unchecked(gpu: &Gpu, plan: Plan) -> Result<Self> {
        Ok(Self { executor: GpuExecutor::new(gpu, Arc::new(plan), &[], false)? })
    }

    /// Fills a buffer.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where it is shorter than the plan's buffer;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn set<T: bytemuck::Pod>(&mut self, buffer: BufferId, contents: &[T]) -> Result<()> {
        let name = &self.executor.plan().buffer(buffer).name;
        let uploaded = self.executor.gpu().upload(name, bytemuck::cast_slice(contents))?;
        self.executor.bind(buffer, &uploaded, None)
    }

    /// Records steps: one compute pass.
    pub fn record_steps(&self, encoder: &mut wgpu::CommandEncoder, steps: u32) {
        self.executor.record_steps(encoder, steps);
    }

    /// Submits steps and waits for their end.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    #[cfg(not(target_family = "wasm"))]
    pub fn run(&self, steps: u32) -> Result<()> {
        let gpu = self.executor.gpu();
        gpu.check_lost()?;
        let mut encoder = gpu.encoder();
        self.record_steps(&mut encoder, steps);
        gpu.submit(encoder);
        gpu.block_on(gpu.submitted_work_done());
        gpu.check_lost()
    }

    /// What a buffer that the plan knows the length of, or that has been [`set`](Self::set), holds.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    ///
    /// # Panics
    /// Where it is neither.
    #[cfg(not(target_family = "wasm"))]
    pub fn get(&self, buffer: BufferId) -> Result<Vec<f32>> {
        let gpu = self.executor.gpu();
        let from = self.executor.buffer(buffer).expect("a buffer that was made or set");
        let words = self.executor.plan().buffer(buffer).words();
        let bytes = words.map_or(from.size(), |words| words * 4);
        let mut encoder = gpu.encoder();
        let readback = gpu.record_readback(&mut encoder, from, 0..bytes)?;
        gpu.submit(encoder);
        Ok(bytemuck::cast_vec(gpu.block_on(readback.read(gpu)?.finish())?))
    }

    /// Times each op: [`Trainer::profile`](crate::Trainer::profile).
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_family = "wasm"))]
    pub fn profile(&self, steps: u32) -> Result<Profile> {
        self.executor.gpu().block_on(Profile::of(&self.executor, steps))
    }
}

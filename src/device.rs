//! The device that networks train and run on: a GPU, or the CPU reference.

use std::sync::Arc;

use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::{Error, Result};
use crate::executor::{Executor, MIXED, Storage};
use crate::gpu::{Gpu, GpuExecutor, Region};
use crate::network::Network;
use crate::plan::{BufferId, LONGEST_TENSOR, Plan, Role, Work};
use crate::submission_limits::SUBMISSION_LIMITS;

/// The device that trains and runs a network. A [`Gpu`] converts into it.
#[derive(Debug, Clone)]
pub enum Device {
    /// A GPU. It can be hardware or a software implementation.
    Gpu(Gpu),
    /// The CPU reference: plain loops on one thread. It is slow and always available.
    Cpu,
}

from_variants!(Device: Gpu);

impl From<&Gpu> for Device {
    fn from(gpu: &Gpu) -> Self {
        Device::Gpu(gpu.clone())
    }
}

impl From<&Device> for Device {
    fn from(device: &Device) -> Self {
        device.clone()
    }
}

impl Gpu {
    /// The best available device: the GPU of [`request`](Self::request), or [`Device::Cpu`](crate::Device::Cpu) with
    /// the error of the request. Blocks; not for browsers.
    #[cfg(not(target_family = "wasm"))]
    pub fn request_or_cpu() -> (Device, Option<Error>) {
        pollster::block_on(Self::request_or_cpu_async())
    }

    /// The best available device, for async code and browsers: the GPU of [`request_async`](Self::request_async), or
    /// [`Device::Cpu`](crate::Device::Cpu) with the error of the request. In a browser, a page can show this error to
    /// its visitor.
    ///
    /// ```no_run
    /// # async fn page() {
    /// let (device, why) = wgrad::Gpu::request_or_cpu_async().await;
    /// if let Some(why) = why {
    ///     println!("Training on the CPU, which is slower. {why}");
    /// }
    /// # }
    /// ```
    pub async fn request_or_cpu_async() -> (Device, Option<Error>) {
        match Self::request_async().await {
            Ok(gpu) => (gpu.into(), None),
            Err(why) => (Device::Cpu, Some(why)),
        }
    }
}

impl Device {
    fn gpu(&self) -> Option<&Gpu> {
        match self {
            Device::Gpu(gpu) => Some(gpu),
            Device::Cpu => None,
        }
    }

    /// The GPU, or an error that names the call that needs one.
    pub(crate) fn needs_gpu(&self, call: &'static str) -> Result<&Gpu> {
        self.gpu().ok_or(Error::NeedsGpu { call })
    }

    pub(crate) fn upload(&self, what: &str, bytes: &[u8]) -> Result<Storage> {
        Ok(match self {
            Device::Gpu(gpu) => Storage::Gpu(gpu.upload(what, bytes)?),
            Device::Cpu => Storage::Cpu(CpuBuffer::new(bytemuck::pod_collect_to_vec(bytes))),
        })
    }

    /// Overwrites a part of a buffer before the next submission.
    pub(crate) fn write(&self, storage: &Storage, offset: u64, bytes: &[u8]) -> Result<()> {
        match (self, storage) {
            (Device::Gpu(gpu), Storage::Gpu(buffer)) => gpu.write(buffer, offset, bytes)?,
            (_, Storage::Cpu(buffer)) => {
                let mut words = buffer.lock();
                bytemuck::cast_slice_mut::<u32, u8>(&mut words)[offset as usize..][..bytes.len()]
                    .copy_from_slice(bytes);
            }
            _ => unreachable!("{MIXED}"),
        }
        Ok(())
    }

    /// Returns an error if the queue belongs to another device.
    pub(crate) async fn confirm_queue(&self) -> Result<()> {
        match self.gpu() {
            Some(gpu) => gpu.confirm_queue().await,
            None => Ok(()),
        }
    }

    /// Returns an error if the device is lost.
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.gpu().map_or(Ok(()), Gpu::check_alive)
    }

    /// Submits a copy of a whole buffer to another buffer of the same size.
    pub(crate) fn copy(&self, from: &Storage, to: &Storage) -> Result<()> {
        match (self, from, to) {
            (Device::Gpu(gpu), Storage::Gpu(from), Storage::Gpu(to)) => {
                gpu.check_lost()?;
                let mut encoder = gpu.encoder();
                encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
                gpu.submit(encoder)?;
                // A lost device drops the copy without an error.
                gpu.check_alive()?;
            }
            (_, Storage::Cpu(from), Storage::Cpu(to)) => {
                let words = from.lock().clone();
                *to.lock() = words;
            }
            _ => unreachable!("{MIXED}"),
        }
        Ok(())
    }

    /// Submits a copy of the first `words` words to host memory and waits for it.
    pub(crate) async fn read(&self, storage: &Storage, words: usize) -> Result<Vec<u32>> {
        Ok(self.read_all([(storage, words)]).await?.swap_remove(0))
    }

    /// As [`read`](Self::read), for several buffers in one submission.
    pub(crate) async fn read_all<'a>(
        &self,
        parts: impl IntoIterator<Item = (&'a Storage, usize)>,
    ) -> Result<Vec<Vec<u32>>> {
        let parts = parts.into_iter();
        let Device::Gpu(gpu) = self else {
            return Ok(parts.map(|(storage, words)| storage.cpu().lock()[..words].to_vec()).collect());
        };
        gpu.confirm_queue().await?;
        let mut encoder = gpu.encoder();
        let copies = parts.map(|(from, words)| gpu.record_readback(&mut encoder, from.gpu(), 0..words as u64 * 4));
        let copies = copies.collect::<Result<Vec<_>>>()?;
        gpu.submit(encoder)?;
        gpu.read_copies(copies).await
    }

    /// Binds a plan. The buffers in `given` are used for their roles.
    pub(crate) fn executor(&self, plan: Plan, given: &[(Role, Storage)]) -> Result<Executor> {
        let find = |role: Role| plan.find(role).expect("a role of this plan");
        match self {
            Device::Gpu(gpu) => {
                let given: Vec<(BufferId, Region)> =
                    given.iter().map(|(role, storage)| (find(*role), storage.gpu().clone().into())).collect();
                Ok(Executor::Gpu(GpuExecutor::new(gpu, Arc::new(plan), &given)?))
            }
            Device::Cpu => {
                self.check_plan(&plan)?;
                let given: Vec<(BufferId, CpuBuffer)> =
                    given.iter().map(|(role, storage)| (find(*role), storage.cpu().clone())).collect();
                Ok(Executor::Cpu(CpuExecutor::new(Arc::new(plan), &given)))
            }
        }
    }

    /// Returns an error if this device cannot hold or run the plan. Allocates nothing.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<()> {
        match (self, plan.ops().find_map(|op| op.as_kernel().without_twin())) {
            (Device::Gpu(gpu), _) => gpu.check_plan(plan),
            (Device::Cpu, Some(what)) => Err(Error::shape(what, "a CPU twin, because the CPU cannot run WGSL", "none")),
            (Device::Cpu, None) => Ok(()),
        }
    }

    /// The largest number of rows of a forward pass, at most `wanted`. Its widest buffer must fit, and one submission
    /// must be able to run it.
    pub(crate) fn rows_that_fit(&self, network: &Network, wanted: u32) -> u32 {
        let of_row = Plan::forward(network, 1).map_or(Work::default(), |plan| plan.work());
        let widest = network.widest();
        let largest = self.gpu().map_or(LONGEST_TENSOR * 4, Gpu::largest_binding);
        let fitting = largest / (widest * 4);
        // The bytes of the weights do not grow with the rows, so they are not counted.
        fitting.min(SUBMISSION_LIMITS.times(Work { bytes: 0, ..of_row }, 0)).clamp(1, wanted.into()) as u32
    }

    /// Runs a future of this crate to its end. On a GPU it blocks and polls.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match self {
            Device::Gpu(gpu) => gpu.block_on(future),
            Device::Cpu => pollster::block_on(future),
        }
    }
}

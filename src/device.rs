//! Where plans run: a GPU, or the CPU reference. What follows is the little that a trainer needs of either.

use std::sync::Arc;

use crate::clock::Turn;
use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuExecutor, Reading, Region};
use crate::network::Network;
use crate::plan::{BufferId, LONGEST_TENSOR, Plan, Role, RowMetrics, Work};
use crate::signal::Signal;
use crate::submission::{MOST, Most};

/// What trains and runs a network. A [`Gpu`] converts into it.
#[derive(Debug, Clone)]
pub enum Device {
    /// A GPU, real or software.
    Gpu(Gpu),
    /// The CPU reference: plain loops on one thread. Slow, but always there.
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
    /// The best device there is: [`request`](Self::request), or [`Device::Cpu`](crate::Device::Cpu) with the reason why
    /// there is no GPU. Blocks; not for browsers.
    #[cfg(not(target_family = "wasm"))]
    pub fn request_or_cpu() -> (Device, Option<Error>) {
        pollster::block_on(Self::request_or_cpu_async())
    }

    /// The best device there is, for async code and browsers: [`request_async`](Self::request_async), or
    /// [`Device::Cpu`](crate::Device::Cpu) with the reason why there is no GPU. In a browser the reason is a message
    /// that a page can show to its visitor.
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

/// A buffer on a device. A clone is the same buffer.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Gpu(wgpu::Buffer),
    Cpu(CpuBuffer),
}

/// A plan bound to buffers of a device.
#[derive(Debug, Clone)]
pub(crate) enum Executor {
    Gpu(GpuExecutor),
    Cpu(CpuExecutor),
}

const MIXED: &str = "storage and executor of one device";

impl Device {
    fn gpu(&self) -> Option<&Gpu> {
        match self {
            Device::Gpu(gpu) => Some(gpu),
            Device::Cpu => None,
        }
    }

    /// The GPU, or an error that names the call which only works there.
    pub(crate) fn needs_gpu(&self, call: &'static str) -> Result<&Gpu> {
        self.gpu().ok_or(Error::NeedsGpu { call })
    }

    pub(crate) fn upload(&self, what: &str, bytes: &[u8]) -> Result<Storage> {
        Ok(match self {
            Device::Gpu(gpu) => Storage::Gpu(gpu.upload(what, bytes)?),
            Device::Cpu => Storage::Cpu(CpuBuffer::new(bytemuck::pod_collect_to_vec(bytes))),
        })
    }

    /// Overwrites part of a buffer before whatever is submitted next.
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

    /// An error if the queue is another device's.
    pub(crate) async fn know_queue(&self) -> Result<()> {
        match self.gpu() {
            Some(gpu) => gpu.know_queue().await,
            None => Ok(()),
        }
    }

    /// An error if the device is lost.
    pub(crate) fn check_alive(&self) -> Result<()> {
        self.gpu().map_or(Ok(()), Gpu::check_alive)
    }

    /// Submits a copy of a whole buffer to another of its size.
    pub(crate) fn copy(&self, from: &Storage, to: &Storage) -> Result<()> {
        match (self, from, to) {
            (Device::Gpu(gpu), Storage::Gpu(from), Storage::Gpu(to)) => {
                gpu.check_lost()?;
                let mut encoder = gpu.encoder();
                encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
                gpu.submit(encoder)?;
                // A lost device drops the copy without a word.
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

    /// Submits a copy of the first `words` words and waits for them.
    pub(crate) async fn read(&self, storage: &Storage, words: usize) -> Result<Vec<u32>> {
        Ok(self.read_all([(storage, words)]).await?.swap_remove(0))
    }

    /// As [`read`](Self::read), of several buffers at one moment.
    pub(crate) async fn read_all<'a>(
        &self,
        parts: impl IntoIterator<Item = (&'a Storage, usize)>,
    ) -> Result<Vec<Vec<u32>>> {
        let parts = parts.into_iter();
        let Device::Gpu(gpu) = self else {
            return Ok(parts.map(|(storage, words)| storage.cpu().lock()[..words].to_vec()).collect());
        };
        gpu.know_queue().await?;
        let mut encoder = gpu.encoder();
        let copies = parts.map(|(from, words)| gpu.record_readback(&mut encoder, from.gpu(), 0..words as u64 * 4));
        let copies = copies.collect::<Result<Vec<_>>>()?;
        gpu.submit(encoder)?;
        let readings = copies.into_iter().map(|copy| copy.read(gpu)).collect::<Result<Vec<_>>>()?;
        let mut read = Vec::with_capacity(readings.len());
        for reading in readings {
            read.push(reading.finish().await?);
        }
        Ok(read)
    }

    /// Binds a plan. Buffers of the roles in `given` are used as they are.
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

    /// Refuses a plan that this device cannot hold or run. Allocates nothing.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<()> {
        match (self, plan.ops().find_map(|op| op.as_kernel().without_twin())) {
            (Device::Gpu(gpu), _) => gpu.check_plan(plan),
            (Device::Cpu, Some(what)) => Err(Error::shape(what, "a twin, as the CPU cannot run WGSL", "none")),
            (Device::Cpu, None) => Ok(()),
        }
    }

    /// How many rows, up to `wanted`, a forward pass may have for its widest buffer to fit and a submission to do it.
    pub(crate) fn rows_that_fit(&self, network: &Network, wanted: u32) -> u32 {
        let of_row = Plan::forward(network, 1).map_or(Work::default(), |plan| plan.work());
        let widest = network.widest();
        let largest = self.gpu().map_or(LONGEST_TENSOR * 4, Gpu::largest_binding);
        let fitting = largest / (widest * 4);
        // The weights are read once, whatever the rows: their bytes say nothing here.
        fitting.min(MOST.times(Work { bytes: 0, ..of_row }, 0)).clamp(1, wanted.into()) as u32
    }

    /// Runs a future of this crate to its end; on a GPU it blocks and polls.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match self {
            Device::Gpu(gpu) => gpu.block_on(future),
            Device::Cpu => pollster::block_on(future),
        }
    }
}

impl Storage {
    pub(crate) fn gpu(&self) -> &wgpu::Buffer {
        let Storage::Gpu(buffer) = self else { unreachable!("{MIXED}") };
        buffer
    }

    pub(crate) fn cpu(&self) -> &CpuBuffer {
        let Storage::Cpu(buffer) = self else { unreachable!("{MIXED}") };
        buffer
    }
}

/// What a submission does beside its steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub steps: u32,
    /// Sets the running metrics to zero first.
    pub clear: bool,
    /// Reads the sum of the running metrics back at the end.
    pub report: bool,
}

/// Work handed to a device.
pub(crate) enum Submission {
    Gpu { done: Signal<()>, totals: Option<Reading>, gpu: Gpu },
    Cpu { totals: Option<Vec<RowMetrics>> },
}

impl Executor {
    pub(crate) fn plan(&self) -> &Plan {
        match self {
            Executor::Gpu(executor) => executor.plan(),
            Executor::Cpu(executor) => executor.plan(),
        }
    }

    pub(crate) fn gpu(&self) -> &GpuExecutor {
        let Executor::Gpu(executor) = self else { unreachable!("{MIXED}") };
        executor
    }

    fn find(&self, role: Role) -> BufferId {
        self.plan().find(role).expect("a role of this plan")
    }

    /// The buffer of a role.
    pub(crate) fn storage(&self, role: Role) -> Storage {
        let id = self.find(role);
        match self {
            Executor::Gpu(executor) => Storage::Gpu(executor.buffer(id).expect("a buffer that was made").clone()),
            Executor::Cpu(executor) => Storage::Cpu(executor.buffer(id).clone()),
        }
    }

    /// Gives the buffer of a role.
    pub(crate) fn bind(&mut self, role: Role, storage: &Storage) -> Result<()> {
        let id = self.find(role);
        match self {
            Executor::Gpu(executor) => executor.bind(id, storage.gpu().clone()),
            Executor::Cpu(executor) => {
                executor.bind(id, storage.cpu());
                Ok(())
            }
        }
    }

    /// Gives a range of an app's buffer for a role.
    pub(crate) fn bind_region(&mut self, role: Role, region: Region) -> Result<()> {
        let id = self.find(role);
        let Executor::Gpu(executor) = self else { unreachable!("{MIXED}") };
        executor.bind(id, region)
    }

    /// Has the driver compile every kernel. The CPU has none.
    pub(crate) fn warm_up(&self) -> Result<()> {
        match self {
            Executor::Gpu(executor) => executor.warm_up(),
            Executor::Cpu(_) => Ok(()),
        }
    }

    /// Waits for the end of everything submitted.
    pub(crate) async fn finish(&self) -> Result<()> {
        if let Executor::Gpu(executor) = self {
            executor.gpu().submitted_work_done().await;
            executor.gpu().check_lost()?;
        }
        Ok(())
    }

    /// Words of the totals: a part for each output.
    fn totals_words(&self) -> usize {
        let plan = self.plan();
        plan.buffer(self.find(Role::Totals)).words().unwrap_or(0) as usize
    }

    /// The most steps for a submission.
    pub(crate) fn most_steps(&self) -> u32 {
        let plan = self.plan();
        MOST.times(plan.work(), plan.step.len()).clamp(1, u32::MAX.into()) as u32
    }

    /// Submits steps, a step that is too much for a submission in several. A GPU has them to do when this returns, which it
    /// does at once; the CPU has done them. Where metrics are read back, `check` marks them first: see
    /// [`Plan::finite`].
    pub(crate) async fn submit(&self, run: Run, check: Option<&Executor>) -> Result<Submission> {
        self.submit_at_most(MOST, run, check).await
    }

    pub(crate) async fn submit_at_most(&self, most: Most, run: Run, check: Option<&Executor>) -> Result<Submission> {
        match self {
            Executor::Gpu(executor) => {
                let gpu = executor.gpu();
                gpu.check_lost()?;
                gpu.know_queue().await?;
                let mut encoder = gpu.encoder();
                if run.clear {
                    encoder.clear_buffer(self.storage(Role::RowMetrics).gpu(), 0, None);
                }
                match most.parts(&self.plan().step).as_slice() {
                    [_] => executor.record_steps(&mut encoder, run.steps),
                    parts => {
                        for part in (0..run.steps).flat_map(|_| parts) {
                            executor.record_part(&mut encoder, self.plan().name, part.clone());
                            gpu.submit(std::mem::replace(&mut encoder, gpu.encoder()))?;
                        }
                    }
                }
                let readback = match run.report {
                    true => {
                        executor.record_report(&mut encoder);
                        if let Some(Executor::Gpu(check)) = check {
                            check.record_steps(&mut encoder, 1);
                        }
                        let totals = self.storage(Role::Totals);
                        let bytes = self.totals_words() as u64 * 4;
                        Some(gpu.record_readback(&mut encoder, totals.gpu(), 0..bytes)?)
                    }
                    false => None,
                };
                gpu.submit(encoder)?;
                let totals = readback.map(|r| r.read(gpu)).transpose()?;
                Ok(Submission::Gpu { done: gpu.submitted_work_done(), totals, gpu: gpu.clone() })
            }
            Executor::Cpu(executor) => {
                if run.clear {
                    executor.buffer(self.find(Role::RowMetrics)).lock().fill(0);
                }
                executor.run_steps(run.steps, run.report).await;
                if let (Some(Executor::Cpu(check)), true) = (check, run.report) {
                    check.run_steps(1, false).await;
                }
                let read = || RowMetrics::of_totals(&executor.buffer(self.find(Role::Totals)).lock());
                let totals = run.report.then(read);
                Ok(Submission::Cpu { totals })
            }
        }
    }
}

impl Submission {
    /// Waits for the end, and for the metrics of each output where they were asked for.
    pub(crate) async fn finish(self) -> Result<Option<Vec<RowMetrics>>> {
        match self {
            Submission::Gpu { done, totals, gpu } => {
                done.await;
                gpu.check_lost()?;
                match totals {
                    Some(reading) => Ok(Some(RowMetrics::of_totals(&reading.finish().await?))),
                    None => Ok(None),
                }
            }
            Submission::Cpu { totals } => {
                Turn::give_way().await;
                Ok(totals)
            }
        }
    }
}

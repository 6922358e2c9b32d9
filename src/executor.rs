//! Runs plans on a GPU or on the CPU reference: buffers, bindings and submissions of both.

use std::ops::Range;

use crate::callback_future::CallbackFuture;
use crate::clock::Timeslice;
use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::Result;
use crate::gpu::{Gpu, GpuExecutor, Reading, Region};
use crate::plan::{BufferId, Plan, Role, RowMetrics};
use crate::submission_limits::{SUBMISSION_LIMITS, SubmissionLimits};

/// A buffer on a device. A clone refers to the same buffer.
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

/// Text of panics for internal errors: a buffer of one device is given to an executor of another.
pub(crate) const MIXED: &str = "storage and executor of one device";

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

/// What a submission does besides its steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub steps: u32,
    /// Clears the running metrics first.
    pub clear: bool,
    /// Reads the sum of the running metrics at the end.
    pub report: bool,
}

/// Work that a device has accepted.
pub(crate) enum Submission {
    Gpu { done: CallbackFuture<()>, totals: Option<Reading>, gpu: Gpu },
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

    /// Binds a buffer to a role.
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

    /// Binds a range of an app's buffer to a role.
    pub(crate) fn bind_region(&mut self, role: Role, region: Region) -> Result<()> {
        let id = self.find(role);
        let Executor::Gpu(executor) = self else { unreachable!("{MIXED}") };
        executor.bind(id, region)
    }

    /// Makes the driver compile every kernel. The CPU has no kernels to compile.
    pub(crate) fn warm_up(&self) -> Result<()> {
        match self {
            Executor::Gpu(executor) => executor.warm_up(),
            Executor::Cpu(_) => Ok(()),
        }
    }

    /// Waits until all submitted work has finished.
    pub(crate) async fn finish(&self) -> Result<()> {
        if let Executor::Gpu(executor) = self {
            executor.gpu().submitted_work_done().await;
            executor.gpu().check_lost()?;
        }
        Ok(())
    }

    /// Number of words of a role's buffer, whose length the plan must know.
    pub(crate) fn words(&self, role: Role) -> usize {
        self.plan().buffer(self.find(role)).words().unwrap_or(0) as usize
    }

    /// Submits the slices of some batches of one update, and returns the sums that are left: see
    /// [`Share::sums`](crate::slices::Share::sums).
    pub(crate) async fn sums_of_slices(&self, batches: u32, clear: bool) -> Result<Vec<Vec<u32>>> {
        let (plan, share) = (self.plan(), self.plan().share());
        let end = plan.end_of_slice();
        let words = plan.buffer(self.find(Role::SliceSums)).shape.map_or(0, |shape| shape[1] as usize);
        let of_sum = |slice: u32| {
            let start = (slice - share.first) as usize * words;
            start..start + words
        };
        match self {
            Executor::Gpu(executor) => {
                let gpu = executor.gpu();
                let mut encoder = begin(executor, clear).await?;
                let (parts, fits) = SUBMISSION_LIMITS.parts_of_slices(plan, batches);
                for part in (0..batches * share.own).flat_map(|_| &parts) {
                    executor.record_part(&mut encoder, plan.name, part.clone());
                    if !fits {
                        gpu.submit(std::mem::replace(&mut encoder, gpu.encoder()))?;
                    }
                }
                executor.record_part(&mut encoder, plan.name, end..end + 1);
                let storage = self.storage(Role::SliceSums);
                let bytes = |words: Range<usize>| words.start as u64 * 4..words.end as u64 * 4;
                let sums = share.sums().into_iter();
                let copies = sums.map(|slice| gpu.record_readback(&mut encoder, storage.gpu(), bytes(of_sum(slice))));
                let copies = copies.collect::<Result<Vec<_>>>()?;
                gpu.submit(encoder)?;
                gpu.read_copies(copies).await
            }
            Executor::Cpu(executor) => {
                if clear {
                    executor.buffer(self.find(Role::RowMetrics)).lock().fill(0);
                }
                for _ in 0..batches * share.own {
                    executor.run_part(0..end).await;
                }
                executor.run_part(end..end + 1).await;
                let all = executor.buffer(self.find(Role::SliceSums)).lock();
                Ok(share.sums().into_iter().map(|slice| all[of_sum(slice)].to_vec()).collect())
            }
        }
    }

    /// Submits the rest of a step after [`sums_of_slices`](Self::sums_of_slices): the update with the sum over all
    /// ranks. Does not wait.
    pub(crate) async fn update_with(&self, total: &[u32]) -> Result<()> {
        let (plan, storage) = (self.plan(), self.storage(Role::SliceSums));
        let rest = plan.end_of_slice() + 1..plan.step.len();
        match self {
            Executor::Gpu(executor) => {
                let gpu = executor.gpu();
                gpu.write(storage.gpu(), 0, bytemuck::cast_slice(total))?;
                let mut encoder = gpu.encoder();
                executor.record_part(&mut encoder, plan.name, rest);
                gpu.submit(encoder)
            }
            Executor::Cpu(executor) => {
                storage.cpu().lock()[..total.len()].copy_from_slice(total);
                executor.run_part(rest).await;
                Ok(())
            }
        }
    }

    /// The largest number of steps for one submission.
    pub(crate) fn most_steps(&self) -> u32 {
        self.steps_within(SUBMISSION_LIMITS)
    }

    fn steps_within(&self, most: SubmissionLimits) -> u32 {
        let (work, ops) = self.plan().work_of_step();
        most.times(work, ops).clamp(1, u32::MAX.into()) as u32
    }

    /// Submits steps. A step that is too long for one submission is divided among several. On a GPU this returns at
    /// once; on the CPU it returns when the steps have run. Before metrics are read, `check` marks values that are
    /// not finite: see [`Plan::finite`].
    pub(crate) async fn submit(&self, run: Run, check: Option<&Executor>) -> Result<Submission> {
        self.submit_within(SUBMISSION_LIMITS, run, check).await
    }

    pub(crate) async fn submit_within(
        &self,
        most: SubmissionLimits,
        run: Run,
        check: Option<&Executor>,
    ) -> Result<Submission> {
        match self {
            Executor::Gpu(executor) => {
                let gpu = executor.gpu();
                let mut encoder = begin(executor, run.clear).await?;
                match most.parts_of_step(self.plan()).as_slice() {
                    [_] => {
                        // An update of many batches may be longer than a submission.
                        let (each, mut left) = (self.steps_within(most), run.steps);
                        while left > each {
                            executor.record_steps(&mut encoder, each);
                            gpu.submit(std::mem::replace(&mut encoder, gpu.encoder()))?;
                            left -= each;
                        }
                        executor.record_steps(&mut encoder, left);
                    }
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
                        let bytes = self.words(Role::Totals) as u64 * 4;
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

/// An encoder for steps, which clears the running metrics first if `clear` is set.
async fn begin(executor: &GpuExecutor, clear: bool) -> Result<wgpu::CommandEncoder> {
    let gpu = executor.gpu();
    gpu.check_lost()?;
    gpu.confirm_queue().await?;
    let mut encoder = gpu.encoder();
    if clear {
        encoder.clear_buffer(executor.of(Role::RowMetrics), 0, None);
    }
    Ok(encoder)
}

impl Submission {
    /// Waits for the end. Returns the metrics of each output if they were requested.
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
                Timeslice::yield_now().await;
                Ok(totals)
            }
        }
    }
}

//! Runs plans on a GPU or on the CPU reference: buffers, bindings and submissions of either.

use crate::callback_future::CallbackFuture;
use crate::clock::Turn;
use crate::cpu::{CpuBuffer, CpuExecutor};
use crate::error::Result;
use crate::gpu::{Gpu, GpuExecutor, Reading, Region};
use crate::plan::{BufferId, Plan, Role, RowMetrics};
use crate::submission_limits::{SUBMISSION_LIMITS, SubmissionLimits};

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

/// Panics with it are mistakes of ours: buffers of one device are given to an executor of another.
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
        SUBMISSION_LIMITS.times(plan.work(), plan.step.len()).clamp(1, u32::MAX.into()) as u32
    }

    /// Submits steps, a step that is too much for a submission in several. A GPU has them to do when this returns, which it
    /// does at once; the CPU has done them. Where metrics are read back, `check` marks them first: see
    /// [`Plan::finite`].
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

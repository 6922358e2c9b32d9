//! Timestamps: when each op of a step begins and ends on the GPU's own clock.

use super::{Gpu, GpuExecutor};
use crate::error::{Error, Result};

/// Timestamps of a query set: the most that every backend allows. A pass takes two.
const QUERIES: u32 = 4096;

/// When passes began and ended, in seconds of the GPU's clock.
pub(crate) struct Times {
    /// A step as it is: one pass.
    pub step: [f64; 2],
    /// Then each op in a pass of its own.
    pub ops: Vec<[f64; 2]>,
}

impl Gpu {
    /// Whether the device has a clock.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// An error where the device has no clock.
    pub(crate) fn check_timestamps(&self) -> Result<()> {
        match self.has_timestamps() {
            true => Ok(()),
            false => Err(Error::MissingFeature { what: "profiling", feature: "TIMESTAMP_QUERY" }),
        }
    }

    /// Room for so many timestamps.
    pub(crate) fn query_set(&self, count: u32) -> Result<wgpu::QuerySet> {
        let (label, ty) = (Some("timestamps"), wgpu::QueryType::Timestamp);
        let descriptor = wgpu::QuerySetDescriptor { label, ty, count };
        self.guard("the timestamp queries", u64::from(count) * 8, || self.device().create_query_set(&descriptor))
    }

    /// Seconds of a tick of the device's clock.
    pub(crate) fn tick(&self) -> f64 {
        f64::from(self.queue().get_timestamp_period()) * 1e-9
    }
}

impl GpuExecutor {
    /// Runs a step twice, in one pass and in a pass for each op, and tells when each began and ended.
    pub(crate) async fn time_step(&self) -> Result<Times> {
        let gpu = self.gpu();
        gpu.check_timestamps()?;
        let passes = self.plan().step.len() as u32 + 1;
        let set = |first: u32| gpu.query_set(QUERIES.min(2 * passes - first));
        let sets = (0..2 * passes).step_by(QUERIES as usize).map(set).collect::<Result<Vec<_>>>()?;
        let writes = |pass: u32| wgpu::ComputePassTimestampWrites {
            query_set: &sets[(2 * pass / QUERIES) as usize],
            beginning_of_pass_write_index: Some(2 * pass % QUERIES),
            end_of_pass_write_index: Some(2 * pass % QUERIES + 1),
        };
        let mut encoder = gpu.encoder();
        self.record_timed(&mut encoder, 0..passes as usize - 1, writes(0));
        for pass in 1..passes {
            self.record_timed(&mut encoder, pass as usize - 1..pass as usize, writes(pass));
        }
        let resolved = gpu.query_buffer(u64::from(passes) * 16)?;
        for (i, set) in sets.iter().enumerate() {
            let first = i as u32 * QUERIES;
            encoder.resolve_query_set(set, 0..QUERIES.min(2 * passes - first), &resolved, u64::from(first) * 8);
        }
        let readback = gpu.record_readback(&mut encoder, &resolved, 0..u64::from(passes) * 16)?;
        gpu.submit(encoder)?;
        let words = readback.read(gpu)?.finish().await?;

        let ticks: &[[u64; 2]] = &bytemuck::pod_collect_to_vec(&words);
        let seconds = gpu.tick();
        // Differences first: an f64 does not hold every nanosecond since 1970.
        let first = ticks[0][0];
        let mut times = ticks.iter().map(|pass| pass.map(|t| t.wrapping_sub(first) as i64 as f64 * seconds));
        Ok(Times { step: times.next().unwrap_or_default(), ops: times.collect() })
    }
}

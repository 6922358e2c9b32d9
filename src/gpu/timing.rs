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
    /// An error where the device has no clock.
    pub(crate) fn check_timestamps(&self) -> Result<()> {
        let feature = wgpu::Features::TIMESTAMP_QUERY;
        match self.device().features().contains(feature) {
            true => Ok(()),
            false => Err(Error::MissingFeature { what: "profiling", feature: "TIMESTAMP_QUERY" }),
        }
    }
}

impl GpuExecutor {
    /// Runs a step twice, in one pass and in a pass for each op, and tells when each began and ended.
    pub(crate) async fn time_step(&self) -> Result<Times> {
        let gpu = self.gpu();
        gpu.check_timestamps()?;
        let passes = self.plan().step.len() as u32 + 1;
        let sets = self.query_sets(passes)?;
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
        gpu.submit(encoder);
        let words = readback.read(gpu)?.finish().await?;

        let ticks: &[[u64; 2]] = &bytemuck::pod_collect_to_vec(&words);
        let seconds = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
        // Differences first: an f64 does not hold every nanosecond since 1970.
        let first = ticks[0][0];
        let mut times = ticks.iter().map(|pass| pass.map(|t| t.wrapping_sub(first) as i64 as f64 * seconds));
        Ok(Times { step: times.next().unwrap_or_default(), ops: times.collect() })
    }

    fn query_sets(&self, passes: u32) -> Result<Vec<wgpu::QuerySet>> {
        let make = |first: u32| {
            let count = QUERIES.min(2 * passes - first);
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
            self.gpu().guard("timestamps", u64::from(count) * 8, || self.gpu().device().create_query_set(&descriptor))
        };
        (0..2 * passes).step_by(QUERIES as usize).map(make).collect()
    }
}

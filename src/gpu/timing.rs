//! Timestamps: start and end of each op of a step, on the GPU's clock.

use super::{Gpu, GpuExecutor};
use crate::error::{Error, Result};

/// Size of a query set that every backend allows. A pass uses two timestamps.
const QUERIES: u32 = 4096;

/// Start and end of passes, in seconds of the GPU's clock.
pub(crate) struct Times {
    /// A step in one pass, as in training.
    pub step: [f64; 2],
    /// Each op in its own pass.
    pub ops: Vec<[f64; 2]>,
}

impl Gpu {
    /// Whether the device has timestamps.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Returns an error if the device has no timestamps.
    pub(crate) fn check_timestamps(&self) -> Result<()> {
        match self.has_timestamps() {
            true => Ok(()),
            false => Err(Error::MissingFeature { what: "profiling", feature: "TIMESTAMP_QUERY" }),
        }
    }

    /// A query set for `count` timestamps.
    pub(crate) fn query_set(&self, count: u32) -> Result<wgpu::QuerySet> {
        let (label, ty) = (Some("timestamps"), wgpu::QueryType::Timestamp);
        let descriptor = wgpu::QuerySetDescriptor { label, ty, count };
        self.guard("the timestamp queries", u64::from(count) * 8, || self.device().create_query_set(&descriptor))
    }

    /// Seconds of a timestamp tick.
    pub(crate) fn tick(&self) -> f64 {
        f64::from(self.queue().get_timestamp_period()) * 1e-9
    }
}

impl GpuExecutor {
    /// Runs a step twice: in one pass, and with a pass for each op. Returns the start and end of each pass.
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
        // Subtract before converting: an f64 cannot represent every nanosecond since 1970.
        let first = ticks[0][0];
        let mut times = ticks.iter().map(|pass| pass.map(|t| t.wrapping_sub(first) as i64 as f64 * seconds));
        Ok(Times { step: times.next().unwrap_or_default(), ops: times.collect() })
    }
}

//! Timestamps: start and end of each op of a step, on the GPU's clock.

use super::pending_reads::MOST_PENDING;
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

/// Timestamps of the passes of pending calls.
#[derive(Debug)]
pub(crate) struct PassTimes {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// The largest number of passes of a call.
    passes: u32,
    /// Seconds of a timestamp tick.
    tick: f64,
}

impl PassTimes {
    /// Size of a pass's timestamps, in bytes.
    pub const BYTES: u64 = 16;
    /// The largest number of passes of a call that fit into a query set.
    pub const MOST_PASSES: u32 = QUERIES / (2 * MOST_PENDING as u32);

    /// `passes` is the largest number of passes of a call, up to [`MOST_PASSES`](Self::MOST_PASSES). `None` if the
    /// device has no timestamps.
    pub fn new(gpu: &Gpu, passes: u32) -> Result<Option<Self>> {
        if !gpu.has_timestamps() {
            return Ok(None);
        }
        let queries = gpu.query_set(2 * passes * MOST_PENDING as u32)?;
        let resolved = gpu.query_buffer(Self::offset(passes, MOST_PENDING))?;
        Ok(Some(Self { queries, resolved, passes, tick: gpu.tick() }))
    }

    /// Where the resolved timestamps of a call begin, in bytes.
    fn offset(passes: u32, slot: usize) -> u64 {
        slot as u64 * (u64::from(passes) * Self::BYTES).next_multiple_of(wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT)
    }

    fn first_query(&self, slot: usize) -> u32 {
        2 * self.passes * slot as u32
    }

    /// The timestamps of a pass of the call in a slot.
    pub fn writes(&self, slot: usize, pass: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = self.first_query(slot) + 2 * pass;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// Records the copy of a call's timestamps into a buffer, from an offset in bytes.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, slot: usize, passes: u32, to: (&wgpu::Buffer, u64)) {
        let (first, offset) = (self.first_query(slot), Self::offset(self.passes, slot));
        encoder.resolve_query_set(&self.queries, first..first + 2 * passes, &self.resolved, offset);
        encoder.copy_buffer_to_buffer(&self.resolved, offset, to.0, to.1, u64::from(passes) * Self::BYTES);
    }

    /// The time of each pass, from its copied timestamps.
    pub fn seconds(&self, timestamps: &[u32]) -> impl Iterator<Item = f64> {
        let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(timestamps);
        ticks.into_iter().map(|[begin, end]| end.saturating_sub(begin) as f64 * self.tick)
    }
}

/// The largest factor by which one measurement raises an estimated time. It limits the effect of a single delay.
const MOST_SLOWER: f64 = 4.0;
/// The largest factor by which one measurement lowers an estimated time.
const MOST_FASTER: f64 = 16.0;

/// An estimated time after a measurement.
pub(crate) fn updated_estimate(old: Option<f64>, measured: f64) -> f64 {
    match old {
        // The geometric mean: it moves little with noise, and far after a measurement that was delayed.
        Some(old) if measured <= old => (old * measured).sqrt().max(old / MOST_FASTER),
        // A coarse clock can measure 0, which cannot be scaled.
        Some(old) if old > 0.0 => measured.min(MOST_SLOWER * old),
        _ => measured,
    }
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
        // Of several slices the last one is timed, because the update follows it.
        let slice = 0..self.plan().end_of_slice();
        let run_others = |encoder: &mut wgpu::CommandEncoder| {
            (1..self.plan().share().own).for_each(|_| self.record_part(encoder, "slices", slice.clone()));
        };
        run_others(&mut encoder);
        self.record_timed(&mut encoder, 0..passes as usize - 1, writes(0));
        run_others(&mut encoder);
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

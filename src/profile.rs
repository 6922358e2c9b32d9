//! Profiles: the time of each op of a step, as a table and as a trace.

use std::fmt;

use crate::error::Result;
use crate::gpu::GpuExecutor;
use crate::optimizer::option;
use crate::plan::Work;

/// Number of warm-up steps that are not measured: drivers compile, and GPU clocks rise.
const UNCOUNTED: u32 = 2;

/// Times of the ops of a step, from [`Trainer::profile`](crate::Trainer::profile). Print it for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Name of the adapter.
    pub adapter: String,
    /// What ran: "training".
    pub name: &'static str,
    /// Number of rows of a step.
    pub batch: u32,
    /// The ops of a step, in order.
    pub ops: Vec<OpProfile>,
    /// Time of a step in one pass, as in training: the median, in seconds.
    pub step_seconds: f64,
}

/// Times of one op.
#[derive(Debug, Clone, PartialEq)]
pub struct OpProfile {
    /// Title of the op: see [`Plan::title`](crate::Plan::title).
    pub op: String,
    /// File name of its kernel, without extension.
    pub kernel: &'static str,
    /// Its arithmetic operations and memory traffic.
    pub work: Work,
    /// Start and end in each step, in seconds from the start of the step's first op.
    pub runs: Vec<[f64; 2]>,
}

impl OpProfile {
    /// Median time, in seconds.
    pub fn seconds(&self) -> f64 {
        median(self.runs.iter().map(|[begin, end]| end - begin))
    }

    /// Floating-point operations per second. Infinite if the op is too short for the GPU's clock.
    pub fn flops_per_second(&self) -> f64 {
        rate(self.work.flops, self.seconds())
    }

    /// Bytes per second, counted as in [`Work::bytes`]. Infinite if the op is too short for the GPU's clock.
    pub fn bytes_per_second(&self) -> f64 {
        rate(self.work.bytes, self.seconds())
    }
}

fn rate(count: u64, seconds: f64) -> f64 {
    if count == 0 { 0.0 } else { count as f64 / seconds }
}

impl Profile {
    pub(crate) async fn of(executor: &GpuExecutor, steps: u32) -> Result<Self> {
        let gpu = executor.gpu();
        gpu.check_timestamps()?;
        option("steps", "at least 1", steps, steps > 0)?;
        executor.warm_up_step()?;
        for _ in 0..UNCOUNTED {
            executor.time_step().await?;
        }
        let plan = executor.plan();
        let op = |op: &crate::plan::Op| OpProfile {
            op: plan.title(op),
            kernel: op.kernel(),
            work: op.work(),
            runs: Vec::with_capacity(steps as usize),
        };
        let mut ops: Vec<OpProfile> = plan.step.iter().map(op).collect();
        let mut whole = Vec::with_capacity(steps as usize);
        for _ in 0..steps {
            let times = executor.time_step().await?;
            whole.push(times.step[1] - times.step[0]);
            let begin = times.ops[0][0];
            for (op, run) in ops.iter_mut().zip(times.ops) {
                op.runs.push(run.map(|t| t - begin));
            }
        }
        let adapter = gpu.adapter_info().name.clone();
        Ok(Self { adapter, name: plan.name, batch: plan.batch_rows(), ops, step_seconds: median(whole.into_iter()) })
    }

    /// Total time of all ops, in seconds.
    pub fn seconds(&self) -> f64 {
        self.ops.iter().map(OpProfile::seconds).sum()
    }

    /// The op's fraction of the total time, 0 to 1.
    pub fn share(&self, op: &OpProfile) -> f64 {
        op.seconds() / self.seconds()
    }

    /// The profiled steps in Chrome's trace event format, for ui.perfetto.dev and chrome://tracing. Times are in
    /// microseconds.
    #[cfg(feature = "files")]
    pub fn to_chrome_trace(&self) -> String {
        use serde_json::json;
        let title = format!("{}, batch {}", self.name, self.batch);
        let name =
            |what: &str, name: &str| json!({"ph": "M", "name": what, "pid": 1, "tid": 1, "args": {"name": name}});
        let mut events = vec![name("process_name", &self.adapter), name("thread_name", &title)];
        let mut clock = 0.0;
        for step in 0..self.ops.first().map_or(0, |op| op.runs.len()) {
            // The event of a step encloses those of its ops.
            let length = self.ops.iter().map(|op| op.runs[step][1]).fold(0.0, f64::max);
            let event = |name: &str, category: &str, [begin, end]: [f64; 2]| {
                let (ts, dur) = ((clock + begin) * 1e6, (end - begin) * 1e6);
                json!({"ph": "X", "name": name, "cat": category, "ts": ts, "dur": dur, "pid": 1, "tid": 1})
            };
            events.push(event(&format!("step {}", step + 1), "step", [0.0, length]));
            for op in &self.ops {
                let mut event = event(&op.op, op.kernel, op.runs[step]);
                event["args"] = json!({"flops": op.work.flops, "bytes": op.work.bytes});
                events.push(event);
            }
            clock += length;
        }
        format!("{:#}\n", json!({"traceEvents": events, "displayTimeUnit": "ms"}))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.ops.first().map_or(0, |op| op.runs.len());
        writeln!(f, "{} of {} rows on {}, medians of {runs} steps", self.name, self.batch, self.adapter)?;
        write!(f, "{:<64}{:>10}{:>9}{:>11}{:>10}", "op", "ms", "share", "GFLOP/s", "GB/s")?;
        let mut row = |what: &str, seconds: f64, share: &str, work: Work| {
            let [flops, bytes] = [work.flops, work.bytes].map(|count| rate(count, seconds) * 1e-9);
            write!(f, "\n{what:<64}{:>10.4}{share:>9}{flops:>11.2}{bytes:>10.2}", seconds * 1e3)
        };
        for op in &self.ops {
            row(&op.op, op.seconds(), &format!("{:.1}%", self.share(op) * 100.0), op.work)?;
        }
        let work: Work = self.ops.iter().map(|op| op.work).sum();
        row("all ops, each in a pass of its own", self.seconds(), "100.0%", work)?;
        row("a step in one pass", self.step_seconds, "", work)
    }
}

/// The median: the middle value, or the mean of the two middle values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => f64::midpoint(values[(n - 1) / 2], values[n / 2]),
    }
}

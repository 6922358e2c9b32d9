//! Tuning: chooses the kernel of each matmul by measurement. Optional; the default rule is in `ops/matmul/rule.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::executor::scratch_bytes;
use super::{Gpu, GpuExecutor, cache, lock};
use crate::disk;
use crate::error::Result;
use crate::ops::launches;
use crate::plan::{BufferId, Epilogue, Matmul, MatmulKernel, Op, Plan};

/// How the kernel of each matmul is chosen: see [`Gpu::tune`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tuning {
    /// By a rule, from the kind of adapter and the size of the matmul. Costs no time.
    #[default]
    Rule,
    /// By measuring all available kernels, once for each matmul shape, when a trainer or a model is made. It takes
    /// from a second to a minute for a network, mostly for compilation.
    Measure {
        /// JSON file that stores the choices, if any.
        file: Option<PathBuf>,
    },
}

/// Measurements on a device.
#[derive(Debug)]
pub(super) struct Tuner {
    file: Option<PathBuf>,
    choices: Choices,
}

/// Contents of the file.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Choices {
    /// Adapter, driver and version that the choices are for.
    key: String,
    /// The fastest kernel of each matmul.
    products: BTreeMap<String, String>,
}

/// The minimum measured time of a kernel, unless 100 runs are shorter.
const LONG_ENOUGH: Duration = Duration::from_millis(4);

impl Gpu {
    /// Sets how matmul kernels are chosen, for trainers and models made from now on.
    ///
    /// With [`Tuning::Measure`], every call that binds a plan with unmeasured matmuls blocks, submits and polls; the
    /// async calls do too. Such calls make a trainer or its evaluation, or prepare a pass, or run a forward pass with
    /// a new number of rows.
    ///
    /// All kernels agree within rounding. Another kernel sums in another order, so two runs are equal bit for bit
    /// only with the same choices: use the same file.
    ///
    /// A file of another adapter, driver or version, or a damaged one, counts as empty. It is replaced after a
    /// measurement. If the file cannot be written, these calls return [`Error::File`](crate::Error::File).
    ///
    /// ```no_run
    /// use wgrad::{Gpu, Tuning};
    /// let gpu = Gpu::request()?;
    /// gpu.tune(Tuning::Measure { file: Some("kernels.json".into()) });
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn tune(&self, tuning: Tuning) {
        let key = || cache::key(self.adapter_info());
        *lock(&self.inner.tuner) = match tuning {
            Tuning::Rule => None,
            Tuning::Measure { file } => Some(Tuner { choices: Choices::read(file.as_deref(), key()), file }),
        };
    }

    /// The kernel that was measured as the fastest for a matmul.
    pub(super) fn measured(&self, op: &Matmul) -> Option<MatmulKernel> {
        let tuner = lock(&self.inner.tuner);
        let name = tuner.as_ref()?.choices.products.get(&self.product(op))?;
        // A name in the file that is not a kernel for this matmul is ignored.
        self.candidates(op).find(|kernel| format!("{kernel:?}") == *name)
    }

    /// Measures the plan's matmuls that are not yet measured, if tuning is on and the device can hold the plan.
    pub(super) fn measure(&self, plan: &Plan) -> Result<()> {
        if lock(&self.inner.tuner).is_none() {
            return Ok(());
        }
        self.check_plan(plan)?;
        let mut found = BTreeMap::new();
        for op in plan.ops() {
            let Op::Matmul(op) = op else { continue };
            let name = self.product(op);
            if !found.contains_key(&name) && self.measured(op).is_none() {
                found.insert(name, format!("{:?}", self.fastest(plan, op)?));
            }
        }
        match lock(&self.inner.tuner).as_mut() {
            Some(tuner) if !found.is_empty() => {
                tuner.choices.products.append(&mut found);
                tuner.write()
            }
            _ => Ok(()),
        }
    }

    /// The kernels for a matmul whose limits the device meets.
    fn candidates(&self, op: &Matmul) -> impl Iterator<Item = MatmulKernel> {
        let scratch = |kernel| scratch_bytes(launches(op, kernel, &self.inner.adapter).iter());
        let kernels = MatmulKernel::candidates(op, &self.inner.adapter).into_iter();
        kernels.filter(move |&kernel| scratch(kernel) <= self.largest_binding())
    }

    /// Identifies matmuls that share their best kernel: the shape and the source of their kernels.
    fn product(&self, op: &Matmul) -> String {
        let Matmul { layout, window, epilogue, addend, bias_gradient, .. } = op;
        let [m, n, k] = op.shape();
        let epilogue = match epilogue {
            Epilogue::None => "sums".to_string(),
            Epilogue::Bias { bias, activation } => {
                format!("{activation}{}", if bias.is_some() { " of bias" } else { "" })
            }
            Epilogue::Derivative { activation, .. } => format!("{activation}'s derivative"),
            Epilogue::Update(step) => format!("update with {} moments", step.optimizer.moments()),
        };
        let addend = if addend.is_some() { ", addend" } else { "" };
        let sums = if bias_gradient.is_some() { ", column sums" } else { "" };
        let window = window.map_or(String::new(), |window| format!(", {window:?}"));
        let launches = self.candidates(op).flat_map(|kernel| launches(op, kernel, &self.inner.adapter));
        let texts: Vec<_> = launches.map(|launch| launch.shader.source).collect();
        let hash = cache::hash(texts.concat().as_bytes());
        format!("{layout:?} {m}x{n}x{k}: {epilogue}{addend}{sums}{window}, kernels {hash:016x}").to_lowercase()
    }

    fn fastest(&self, plan: &Plan, op: &Matmul) -> Result<MatmulKernel> {
        // The rule's choice stays unless another kernel is faster.
        let mut best = MatmulKernel::rule(op, &self.inner.adapter);
        let mut least = self.time(plan, op, best)?;
        for kernel in self.candidates(op) {
            let time = if kernel == best { least } else { self.time(plan, op, kernel)? };
            if time < least {
                (best, least) = (kernel, time);
            }
        }
        Ok(best)
    }

    /// Time of a kernel for a matmul, on buffers of its own.
    fn time(&self, plan: &Plan, op: &Matmul, kernel: MatmulKernel) -> Result<Duration> {
        let launches = launches(op, kernel, &self.inner.adapter);
        let bindings = launches.iter().flat_map(|launch| &launch.bindings);
        let used: Vec<BufferId> = bindings.filter_map(|b| b.tensor).map(|t| t.buffer).collect();
        let mut alone = plan.clone();
        (alone.step, alone.report) = (vec![Op::Matmul(op.clone())], vec![]);
        let mut given = vec![];
        let longest = [op.a, op.b, op.c].map(|tensor| tensor.bytes());
        for (id, buffer) in (0..).map(BufferId).zip(&mut alone.buffers) {
            match buffer.words() {
                None if used.contains(&id) => {
                    given.push((id, self.zeros(&buffer.name, longest.into_iter().max().unwrap_or(0))?.into()));
                }
                // A plan of this op alone does not need the other buffers.
                _ if !used.contains(&id) => buffer.shape = None,
                _ => {}
            }
        }
        let executor = GpuExecutor::with_launches(self, Arc::new(alone), &given, vec![launches])?;
        let run = |times: u32| -> Result<Duration> {
            let start = Instant::now();
            let mut encoder = self.encoder();
            executor.record_steps(&mut encoder, times);
            self.submit(encoder)?;
            self.finish()?;
            Ok(start.elapsed())
        };
        // On some drivers the first run compiles.
        run(1)?;
        let once = run(1)?;
        let times = (LONG_ENOUGH.as_nanos() / once.as_nanos().max(1)).clamp(1, 100) as u32;
        let mut least = once;
        for _ in 0..3 {
            least = least.min(run(times)? / times);
        }
        Ok(least)
    }
}

impl Tuner {
    fn write(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.choices).unwrap_or_default();
        disk::write(file, (text + "\n").as_bytes())
    }
}

impl Choices {
    /// The choices that a file has for `key`. Empty if the file is missing, damaged or for another key.
    fn read(file: Option<&Path>, key: String) -> Self {
        let text = file.filter(|file| file.is_file()).and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        match serde_json::from_slice::<Self>(&text) {
            Ok(choices) if choices.key == key => choices,
            _ => Self { key, ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_foreign_files_count_as_empty() {
        let path = std::env::temp_dir().join(format!("wgrad-choices-{}.json", std::process::id()));
        let read = |bytes: &[u8], key: &str| {
            std::fs::write(&path, bytes).unwrap();
            Choices::read(Some(&path), key.into())
        };
        let products = BTreeMap::from([("nn 1x2x3".to_string(), "Plain".to_string())]);
        let sound = serde_json::to_vec(&Choices { key: "this".into(), products: products.clone() }).unwrap();
        assert_eq!(read(&sound, "this").products, products);
        let other = read(&sound, "that");
        assert_eq!((other.key.as_str(), other.products.len()), ("that", 0));
        let noise: Vec<u8> = (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let damages =
            [&b""[..], &noise, b"[1, 2, {}]", br#"{"key": "this"}"#, br#"{"key": "this", "products": {"a": 1}}"#];
        for bytes in damages.into_iter().chain((0..sound.len()).map(|length| &sound[..length])) {
            assert!(read(bytes, "this").products.is_empty());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Choices::read(Some(&path), "this".into()).products.is_empty());
    }
}

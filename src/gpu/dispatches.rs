//! The dispatches of a plan on a device, and checks that the device can hold and run them.

use super::Gpu;
use super::executor::{own_bytes, scratch_bytes};
use crate::error::{Error, Result};
use crate::ops::{Launch, MOST_INVOCATIONS, MOST_WORKGROUP_MEMORY, Op, Shader};
use crate::plan::Plan;

impl Gpu {
    /// Returns an error if the device cannot hold or run the plan. Allocates nothing.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<()> {
        self.checked_launches(plan).map(drop)
    }

    /// Compiles the kernels of a plan that are not yet compiled. In a browser it compiles one by one and yields to
    /// the page after each. `progress` receives the number of compiled kernels and the total.
    pub(crate) async fn compile_async(&self, plan: &Plan, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let launches = self.checked_launches(plan)?;
        let mut wanted: Vec<(&Shader, Vec<Option<bool>>)> = Vec::new();
        for launch in launches.iter().flatten() {
            if !wanted.iter().any(|(shader, _)| **shader == launch.shader) {
                wanted.push((&launch.shader, launch.writable()));
            }
        }
        let (each, all) = (if cfg!(target_family = "wasm") { 1 } else { wanted.len().max(1) }, wanted.len());
        progress(0, all);
        for (i, some) in wanted.chunks(each).enumerate() {
            let some: Vec<_> = some.iter().map(|(shader, writable)| (*shader, writable.as_slice())).collect();
            self.pipelines(&some)?;
            // A browser's GPU process compiles in order, so it reports earlier work as done only after this
            // compilation.
            #[cfg(target_family = "wasm")]
            {
                self.submitted_work_done().await;
                crate::web::next_task().await;
            }
            progress(all.min((i + 1) * each), all);
        }
        Ok(())
    }

    /// The launches of each op. Returns an error if the device cannot hold or run the plan.
    pub(super) fn checked_launches(&self, plan: &Plan) -> Result<Vec<Vec<Launch>>> {
        for buffer in &plan.buffers {
            self.check_buffer(&buffer.name, buffer.words().unwrap_or(0) * 4)?;
        }
        let limits = self.device().limits();
        let check = |what: String, needed: u32, limit: u32, unit| match needed <= limit {
            true => Ok(()),
            false => Err(Error::LimitExceeded { what, needed: needed.into(), limit: limit.into(), unit }),
        };
        let launches: Vec<Vec<Launch>> = plan.ops().map(|op| self.launches(op)).collect();
        self.check_buffer("uniforms", own_bytes(launches.iter().flatten().count()))?;
        self.check_size("scratch", scratch_bytes(launches.iter().flatten()))?;
        for launch in launches.iter().flatten() {
            let needed = launch.writable().into_iter().flatten().count() as u32;
            let what = format!("kernel {} (max_storage_buffers_per_shader_stage)", launch.shader.name);
            check(what, needed, limits.max_storage_buffers_per_shader_stage, "storage buffers")?;
            self.grid(launch)?;
            for tensor in launch.bindings.iter().flat_map(|binding| binding.tensor) {
                let buffer = plan.buffer(tensor.buffer);
                let bytes = buffer.shape.map_or(0, |_| tensor.words().len() as u64 * 4);
                self.check_size(&buffer.name, bytes)?;
            }
        }
        let most = MOST_INVOCATIONS;
        check(
            "a workgroup (max_compute_invocations_per_workgroup)".into(),
            most,
            limits.max_compute_invocations_per_workgroup,
            "invocations",
        )?;
        let most = MOST_WORKGROUP_MEMORY;
        check(
            "a workgroup (max_compute_workgroup_storage_size)".into(),
            most,
            limits.max_compute_workgroup_storage_size,
            "bytes",
        )?;
        self.check_alive()?;
        self.check_queue()?;
        Ok(launches)
    }

    /// The launches of an op. A matmul uses the kernel that was measured as the fastest, if there is a measurement.
    pub(crate) fn launches(&self, op: &Op) -> Vec<Launch> {
        #[cfg(all(feature = "files", not(target_family = "wasm")))]
        if let Op::Matmul(op) = op
            && let Some(kernel) = self.measured(op)
        {
            return crate::ops::launches(op, kernel, &self.inner.adapter);
        }
        op.launches(&self.inner.adapter)
    }

    /// Divides workgroups over two dimensions, because each dimension is limited to 65,535. Kernels skip the surplus
    /// workgroups.
    pub(super) fn grid(&self, launch: &Launch) -> Result<[u32; 2]> {
        let limit = self.device().limits().max_compute_workgroups_per_dimension;
        let needed = launch.workgroups.max(1);
        let y = needed.div_ceil(u64::from(limit).max(1));
        if y > limit.into() {
            return Err(Error::LimitExceeded {
                what: format!(
                    "grid of {}, two dimensions of at most {limit} (max_compute_workgroups_per_dimension)",
                    launch.shader.name
                ),
                needed,
                limit: u64::from(limit) * u64::from(limit),
                unit: "workgroups",
            });
        }
        Ok([needed.div_ceil(y) as u32, y as u32])
    }
}

//! Forward passes that an app records into its own encoders.

use std::sync::Arc;

use super::Model;
#[cfg(doc)]
use crate::buffer_rows::Rows;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::{GpuExecutor, Recorder, warm_up};
use crate::named_values::NamedRows;
use crate::plan::{Plan, Role};
use crate::plan_bindings::PlanBindings;

impl Model {
    /// Binds a forward pass over `rows` rows of f32 from `input` to `output`, both in the app's own buffers. Submits
    /// nothing.
    ///
    /// The buffers need the usage `STORAGE`. Both may be ranges of a buffer with [any stride](Rows), and may overlap:
    /// all input is read before any output is written. Adjacent output rows may be [rounded up](Rows) to 16 bytes if
    /// their range is long enough.
    ///
    /// A network with several inputs or outputs has [rows for each](NamedRows), by name. The pass writes all outputs;
    /// they must not overlap each other.
    ///
    /// # Errors
    /// - [`Error::Shape`] if an input or an output has no rows; if a name is unknown or given twice; if a buffer is
    ///   too short; if rows do not start at multiples of 4 bytes; if an output overlaps the
    ///   [weights](Self::parameter_buffer) or another output; if `rows` is 0.
    /// - [`Error::NeedsGpu`] on [`Device::Cpu`](crate::Device::Cpu).
    /// - [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn prepare_forward<'a>(
        &self,
        input: impl Into<NamedRows<'a>>,
        output: impl Into<NamedRows<'a>>,
        rows: u32,
    ) -> Result<Forward> {
        let gpu = self.device.needs_gpu("Model::prepare_forward")?;
        let inputs = input.into().all("input", self.network.input_specs())?;
        let outputs = output.into().all("output", self.network.output_specs())?;
        let plan = Plan::forward(&self.network, rows)?;
        let inputs = (0..).map(Role::Input).zip(inputs);
        let bindings = PlanBindings::new(gpu, &plan, inputs.chain((0..).map(Role::Output).zip(outputs)))?;
        bindings.check_overlaps_of_written()?;
        let find = |role| plan.find(role).expect("a role of every forward plan");
        let mut given = vec![(find(Role::Parameters), self.parameters.gpu().clone().into())];
        let plan = bindings.bind(plan, &mut given)?;
        Ok(Forward { executor: GpuExecutor::new(gpu, Arc::new(plan), &given)? })
    }
}

/// A forward pass bound to an app's own buffers: see [`Model::prepare_forward`].
///
/// Each record evaluates all `rows` rows of [`prepare_forward`](Model::prepare_forward), independent of a trainer's
/// batch size, with the weights at the time when it runs. For another number of rows, prepare another pass.
#[derive(Debug, Clone)]
pub struct Forward {
    executor: GpuExecutor,
}

warm_up::methods!(Forward: executor);

impl Forward {
    /// Records the pass into an encoder or a compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        self.executor.record_steps(to, 1);
    }
}

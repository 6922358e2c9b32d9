//! A forward pass inside an app's own frames.

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
    /// Binds a forward pass from `input`, `rows` rows of f32, to `output`, as many rows of outputs: an app's own
    /// buffers with the usage `STORAGE`, or parts of them, with [any stride](Rows). Both may be in one buffer, even at
    /// the same place: all input is read before any output is written. Outputs side by side in a part with room for it
    /// are [rounded up](Rows) to 16 bytes. Submits nothing.
    ///
    /// A network with several inputs or outputs has [rows for each](NamedRows), by its name. Each record runs the
    /// network once and writes every output; outputs lie apart from each other.
    ///
    /// # Errors
    /// [`Error::Shape`] where an input or an output has no rows or a name is unknown or given twice, a buffer is too
    /// short, rows do not start at multiples of 4 bytes, the output lies in the [weights](Self::parameter_buffer) or in
    /// another output, or `rows` is 0; [`Error::NeedsGpu`] on [`Device::Cpu`](crate::Device::Cpu);
    /// [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
        let ends = PlanBindings::new(gpu, &plan, inputs.chain((0..).map(Role::Output).zip(outputs)))?;
        ends.refuse_overlaps_of_written()?;
        let find = |role| plan.find(role).expect("a role of every forward plan");
        let mut given = vec![(find(Role::Parameters), self.parameters.gpu().clone().into())];
        let plan = ends.bind(plan, &mut given)?;
        Ok(Forward { executor: GpuExecutor::new(gpu, Arc::new(plan), &given)? })
    }
}

/// A forward pass bound to an app's own buffers: see [`Model::prepare_forward`].
///
/// Each record evaluates all `rows` rows that [`prepare_forward`](Model::prepare_forward) was given, whatever the batch
/// of a trainer is, with the weights as they are when it runs. Prepare another pass for another number of rows.
#[derive(Debug, Clone)]
pub struct Forward {
    executor: GpuExecutor,
}

warm_up::methods!(Forward: executor);

impl Forward {
    /// Records the pass, into an encoder or into a compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        self.executor.record_steps(to, 1);
    }
}

//! Forward passes that an app records into its own encoders.

use std::sync::Arc;
use std::time::Duration;

use super::Model;
use super::slices::Slices;
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
        let slices = Arc::new(Slices::new(gpu, plan.step.len())?);
        Ok(Forward { executor: GpuExecutor::new(gpu, Arc::new(plan), &given)?, slices })
    }
}

/// A forward pass bound to an app's own buffers: see [`Model::prepare_forward`].
///
/// Each record evaluates all `rows` rows of [`prepare_forward`](Model::prepare_forward), independent of a trainer's
/// batch size, with the weights at the time when it runs. For another number of rows, prepare another pass.
#[derive(Debug, Clone)]
pub struct Forward {
    executor: GpuExecutor,
    slices: Arc<Slices>,
}

warm_up::methods!(Forward: executor);

impl Forward {
    /// Records the pass into an encoder or a compute pass. No allocation, no submission, no polling; cannot fail.
    pub fn record_forward(&self, to: &mut impl Recorder) {
        // The slices of a pass share its intermediate results.
        self.slices.restart();
        self.executor.record_steps(to, 1);
    }

    /// Records a slice of the pass: the ops that fit in `budget` of GPU time. Returns whether this slice ends the pass.
    /// Then the output is whole after the app's submission, and the next call begins the next pass. So a large network
    /// runs over many frames, and costs each of them little.
    ///
    /// - A slice has at least one op: a convolution, for example. It exceeds the budget by at most one op.
    /// - Timestamps measure each op. An op that has not been measured yet ends its slice. So the first pass takes about
    ///   a call for each op, and later passes take as few as the budget permits. Call [`warm_up`](Self::warm_up) first;
    ///   else the first measurements include the driver's compilation.
    /// - Without [`TIMESTAMP_QUERY`](wgpu::Features::TIMESTAMP_QUERY), the time until a slice has run is divided among
    ///   its ops. It includes other work, so slices are shorter.
    /// - At most three calls are pending. A further call records nothing, as does a budget of zero.
    ///
    /// Leave the input and the weights unchanged until the pass ends: slices read them at different times. Output rows
    /// are written by the last slices; show them when this returned `true`. [`record_forward`](Self::record_forward)
    /// starts over, as does an encoder that is dropped or rejected. Clones share the pass.
    ///
    /// No allocation on the GPU, no submission, no polling; cannot fail. On the host, `wgpu` allocates a callback. The
    /// app's own submission maps the times ([`maps_on_submit`](crate::Traffic::maps_on_submit)). Submit the encoders in
    /// the order of their slices.
    pub fn record_within(&self, encoder: &mut wgpu::CommandEncoder, budget: Duration) -> bool {
        self.slices.record(encoder, budget, &self.executor)
    }
}

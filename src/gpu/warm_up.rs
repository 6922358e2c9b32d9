//! Warm-up: some drivers compile a kernel when it is first dispatched, which is better not in a frame that is shown.

use super::{Gpu, Recorder};
use crate::error::{Error, Result};

/// Records dispatches of no workgroups, which make such drivers compile and run nothing. Nothing in browsers: they compile
/// when a pipeline is made, and warn of dispatches without workgroups.
pub(crate) fn record<'a>(
    to: &mut impl Recorder,
    dispatches: impl IntoIterator<Item = (&'a wgpu::ComputePipeline, Option<&'a wgpu::BindGroup>)>,
) {
    if cfg!(target_family = "wasm") {
        return;
    }
    to.compute("warm-up", |pass| {
        for (pipeline, bind_group) in dispatches {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(0, 0, 1);
        }
    });
}

impl Gpu {
    /// Submits what `record` records, in an encoder of its own. Waits for nothing.
    pub(crate) fn warm_up(&self, record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>) -> Result<()> {
        self.check_alive()?;
        if cfg!(target_family = "wasm") {
            return Ok(());
        }
        let mut encoder = self.encoder();
        record(&mut encoder)?;
        let submitted = self.submit(encoder);
        self.check_alive()?;
        // Such as that a texture was destroyed.
        submitted.map_err(|error| match error {
            Error::Gpu { reason, .. } => Error::Gpu { what: "the warm-up".into(), reason },
            error => error,
        })
    }
}

/// The public methods of what records a pass, for warm-up.
macro_rules! methods {
    ($type:ident: $field:ident) => {
        impl $type {
            /// Warm-up: has the driver compile the kernels now, in the background. Some drivers would else do so at the
            /// first dispatch, which takes them up to seconds; in browsers this does nothing. Submits, once; waits for
            /// nothing.
            ///
            /// # Errors
            /// [`Error::DeviceLost`](crate::Error::DeviceLost), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
            pub fn warm_up(&self) -> crate::Result<()> {
                self.$field.warm_up()
            }

            /// Records the same into an encoder of the app's: dispatches of no workgroups, which change nothing. No
            /// allocation, no submission, no polling; cannot fail.
            pub fn record_warm_up(&self, to: &mut impl crate::Recorder) {
                self.$field.record_warm_up(to);
            }
        }
    };
}
pub(crate) use methods;

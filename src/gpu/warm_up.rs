//! Warm-up: makes drivers compile kernels before a visible frame. Some drivers otherwise compile at the first
//! dispatch.

use super::{Gpu, Recorder};
use crate::error::{Error, Result};

/// Records dispatches of zero workgroups, which make such drivers compile and run nothing. Does nothing in browsers:
/// they compile when a pipeline is made, and warn of dispatches with zero workgroups.
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
    /// Submits the commands of `record` in an encoder of its own. Does not wait.
    pub(crate) fn warm_up(&self, record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>) -> Result<()> {
        self.check_alive()?;
        if cfg!(target_family = "wasm") {
            return Ok(());
        }
        let mut encoder = self.encoder();
        record(&mut encoder)?;
        let submitted = self.submit(encoder);
        self.check_alive()?;
        // For example, a texture was destroyed.
        submitted.map_err(|error| match error {
            Error::Gpu { reason, .. } => Error::Gpu { what: "the warm-up".into(), reason },
            error => error,
        })
    }
}

/// The public warm-up methods of types that record a pass.
macro_rules! methods {
    ($type:ident: $field:ident) => {
        impl $type {
            /// Warm-up: makes the driver compile the kernels now, in the background. Submits once; does not wait.
            ///
            /// Without it, some drivers compile at the first dispatch, which can take seconds. In browsers it does
            /// nothing.
            ///
            /// # Errors
            /// [`Error::DeviceLost`](crate::Error::DeviceLost), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
            pub fn warm_up(&self) -> crate::Result<()> {
                self.$field.warm_up()
            }

            /// Warm-up recorded into an app's encoder: dispatches of zero workgroups, which change nothing. No
            /// allocation, no submission, no polling; cannot fail.
            pub fn record_warm_up(&self, to: &mut impl crate::Recorder) {
                self.$field.record_warm_up(to);
            }
        }
    };
}
pub(crate) use methods;

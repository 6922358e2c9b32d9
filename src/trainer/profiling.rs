//! What a training step spends its time on.

use super::{Trainer, all_rows, upload};
use crate::dataset::Dataset;
#[cfg(doc)]
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::plan::Role;
use crate::profile::Profile;

impl Trainer {
    /// Times each op of the training step over a data set, `steps` times (20 do), on the GPU's own clock: print the
    /// [`Profile`] for a table. The steps are trained on copies of all buffers, so the trainer stays as it is; there must be
    /// memory for them. Each op is timed in a compute pass of its own, which costs a little: the profile tells how long
    /// a step in one pass takes, too. Blocks, submits and polls; not for browsers.
    ///
    /// ```no_run
    /// # fn example(trainer: wgrad::Trainer, train: wgrad::Dataset) -> Result<(), Box<dyn std::error::Error>> {
    /// let profile = trainer.profile(&train, 20)?;
    /// println!("{profile}");
    /// # #[cfg(feature = "files")]
    /// std::fs::write("trace.json", profile.to_chrome_trace())?; // for ui.perfetto.dev or chrome://tracing
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingFeature`] where the device lacks [`TIMESTAMP_QUERY`](wgpu::Features::TIMESTAMP_QUERY), which
    /// [`Gpu::request`](crate::Gpu::request) asks for; [`Error::NeedsGpu`] on [`Device::Cpu`]; [`Error::InvalidOption`] for
    /// no steps; else as [`fit`](Self::fit).
    #[cfg(not(target_family = "wasm"))]
    pub fn profile(&self, data: &Dataset, steps: u32) -> Result<Profile> {
        self.device.block_on(self.profile_async(data, steps))
    }

    /// [`profile`](Self::profile) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`profile`](Self::profile).
    pub async fn profile_async(&self, data: &Dataset, steps: u32) -> Result<Profile> {
        self.device.needs_gpu("Trainer::profile")?;
        let matched = self.check_fits(data)?;
        let weights = vec![0; self.network.parameter_words() as usize * 4];
        let weights = self.device.upload("a copy of the weights", &weights)?;
        self.device.copy(&self.parameters, &weights)?;
        let mut copy = self.device.executor(self.plan().clone(), &[(Role::Parameters, weights)])?;
        upload(&self.device, &mut copy, data, &matched, &all_rows(data))?;
        for (i, info) in (0..).zip(data.infos(&matched, true)) {
            self.device.write(&copy.storage(Role::Data(i)), 0, bytemuck::bytes_of(&self.shuffled(info)))?;
        }
        Profile::of(copy.gpu(), steps).await
    }
}

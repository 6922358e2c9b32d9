//! Profiling: the time of each op of a training step.

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
    /// Measures the GPU time of each op of the training step, over `steps` steps (20 are enough). Blocks, submits and
    /// polls; not for browsers. Print the [`Profile`] for a table.
    ///
    /// The steps run on copies of all buffers, so the trainer is not changed. The device must have memory for these
    /// copies. Each op runs in its own compute pass, which adds a small overhead. The profile therefore also has the
    /// time of a step in one pass.
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
    /// - [`Error::MissingFeature`] if the device lacks [`TIMESTAMP_QUERY`](wgpu::Features::TIMESTAMP_QUERY);
    ///   [`Gpu::request`](crate::Gpu::request) requests it.
    /// - [`Error::NeedsGpu`] on [`Device::Cpu`].
    /// - [`Error::InvalidOption`] if `steps` is 0.
    /// - Otherwise as [`fit`](Self::fit).
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

//! Averaged weights: a model of them, and their use in evaluations.

use super::Trainer;
#[cfg(doc)]
use crate::config::TrainerConfig;
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::executor::{Executor, Run, Storage};
use crate::gpu::Recorder;
use crate::model::Model;
use crate::plan::{Plan, Role, join_moments, separate_moments};

/// The executor that copies the averaged weights of a training, if it has averages.
pub(super) fn averaging(device: &Device, training: &Executor) -> Result<Option<Executor>> {
    let Some(plan) = Plan::averaged(training.plan()) else { return Ok(None) };
    let given = [Role::Parameters, Role::Moments].map(|role| (role, training.storage(role)));
    Ok(Some(device.executor(plan, &given)?))
}

impl Trainer {
    /// The network with its averaged weights, for inference, for a file or for a shader. Blocks, submits and polls;
    /// not for browsers.
    ///
    /// The averaged weights are the [EMA](TrainerConfig::ema), or else the slow weights of
    /// [lookahead](TrainerConfig::lookahead). Without both, this is [`model`](Self::model). Before the first update
    /// they are the initial weights. Running statistics are those of the last step.
    ///
    /// All models of averaged weights share one buffer of the trainer. This call updates the buffer. So do
    /// [`record_averaged`](Self::record_averaged), [`evaluate`](Self::evaluate), [`predict`](Self::predict) and
    /// [`fit`](Self::fit); steps do not.
    ///
    /// ```no_run
    /// # fn f(trainer: &wgrad::Trainer) -> wgrad::Result<()> {
    /// trainer.averaged_model()?.save("averaged.safetensors")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn averaged_model(&self) -> Result<Model> {
        self.device.block_on(self.averaged_model_async())
    }

    /// [`averaged_model`](Self::averaged_model) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`averaged_model`](Self::averaged_model).
    pub async fn averaged_model_async(&self) -> Result<Model> {
        let Some(averaging) = &self.averaging else { return Ok(self.model()) };
        averaging.submit(Run { steps: 1, ..Run::default() }, None).await?;
        Ok(self.model_of(averaging.storage(Role::Averaged)))
    }

    /// Records the copy of the averaged weights to the buffer of the [`averaged_model`](Self::averaged_model). An app
    /// that trains and infers in its frames records it between the two. No allocation, no submission, no polling;
    /// cannot fail.
    ///
    /// It does nothing if there are no averages, or on [`Device::Cpu`].
    pub fn record_averaged(&self, to: &mut impl Recorder) {
        if let Some(Executor::Gpu(averaging)) = &self.averaging {
            averaging.record_steps(to, 1);
        }
    }

    /// The model that evaluations use.
    pub(super) async fn evaluated_model(&self) -> Result<Model> {
        match self.config.evaluate_averaged {
            true => self.averaged_model_async().await,
            false => Ok(self.model()),
        }
    }

    /// The weights that evaluations use.
    pub(super) fn evaluated_weights(&self) -> Storage {
        match &self.averaging {
            Some(averaging) if self.config.evaluate_averaged => averaging.storage(Role::Averaged),
            _ => self.parameters.clone(),
        }
    }

    /// Sets the averages to these weights before the next submission. `weights` may go on after the trained ones.
    pub(super) fn start_averages(&self, weights: &[f32]) -> Result<()> {
        if self.averaging.is_none() {
            return Ok(());
        }
        let moments = vec![vec![0; self.network.trained_words() as usize]; self.optimizer.moments() as usize];
        self.write_averages(moments, bytemuck::cast_slice(weights))
    }

    /// Sets the averages to the current weights. The optimizer's moments stay.
    pub(super) async fn restart_averages(&self) -> Result<()> {
        let Some(averaging) = &self.averaging else { return Ok(()) };
        let words = |role| averaging.plan().find(role).and_then(|id| averaging.plan().buffer(id).words());
        let parts = [Role::Parameters, Role::Moments]
            .map(|role| (averaging.storage(role), words(role).expect("a length") as usize));
        let read = self.device.read_all(parts.iter().map(|(storage, words)| (storage, *words))).await?;
        let mut moments = separate_moments(&read[1], self.config.states(&self.optimizer).count());
        moments.truncate(self.optimizer.moments() as usize);
        self.write_averages(moments, &read[0])
    }

    fn write_averages(&self, mut moments: Vec<Vec<u32>>, weights: &[u32]) -> Result<()> {
        let trained = &weights[..self.network.trained_words() as usize];
        moments.extend(self.config.averages().names().map(|_| trained.to_vec()));
        self.device.write(&self.training.storage(Role::Moments), 0, bytemuck::cast_slice(&join_moments(&moments)))
    }
}

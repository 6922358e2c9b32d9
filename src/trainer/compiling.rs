//! Compiles kernels one by one, so that a web page can draw in between.

use super::Trainer;
use crate::config::TrainerConfig;
use crate::device::Device;
use crate::error::Result;
use crate::executor::Executor;
use crate::model::EVALUATION_BATCH;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::output_losses::Losses;
use crate::plan::Plan;

impl Trainer {
    /// [`new`](Self::new) for async code and browsers.
    ///
    /// In a browser the kernels are compiled one by one, and the page can draw after each. Elsewhere they are
    /// compiled at once, on all cores. `progress` receives the number of compiled kernels and the total, at the start
    /// and after each kernel. On [`Device::Cpu`] there is nothing to compile, and `progress` is not called.
    ///
    /// ```no_run
    /// # async fn page(network: wgrad::Network) -> wgrad::Result<()> {
    /// use wgrad::{Adam, Gpu, Loss, Trainer, TrainerConfig};
    /// let (device, _) = Gpu::request_or_cpu_async().await;
    /// let progress = |done, of| println!("compiling: {done} of {of} kernels");
    /// let config = TrainerConfig::default();
    /// let loss = Loss::MeanSquaredError;
    /// let trainer = Trainer::new_async(device, &network, loss, Adam::default(), config, progress).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn new_async(
        device: impl Into<Device>,
        network: &Network,
        losses: impl Into<Losses>,
        optimizer: impl Into<Optimizer>,
        config: TrainerConfig,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let (device, losses, optimizer) = (device.into(), losses.into(), optimizer.into());
        if let Device::Gpu(gpu) = &device {
            gpu.compile_async(&Plan::training(network, losses.clone(), &optimizer, &config)?, &mut progress).await?;
        }
        Self::new(device, network, losses, optimizer, config)
    }

    /// [`warm_up`](Self::warm_up) for async code and browsers.
    ///
    /// It also compiles the kernels of [`evaluate`](Self::evaluate) for data sets of 512 rows and more, and returns when
    /// the driver has compiled everything. `progress` receives the number of compiled kernels and the total. On
    /// [`Device::Cpu`] it does nothing.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn warm_up_async(&self, mut progress: impl FnMut(usize, usize)) -> Result<()> {
        let Executor::Gpu(executor) = &self.training else { return Ok(()) };
        let gpu = executor.gpu();
        let rows = self.device.rows_that_fit(&self.network, EVALUATION_BATCH);
        gpu.compile_async(&Plan::evaluation(&self.network, self.losses.clone(), rows)?, &mut progress).await?;
        gpu.confirm_queue().await?;
        self.warm_up()?;
        self.training.finish().await
    }
}

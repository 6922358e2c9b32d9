//! Compiling kernel by kernel, so that a page goes on drawing meanwhile.

use super::Trainer;
use crate::config::TrainerConfig;
use crate::device::Device;
use crate::error::Result;
use crate::executor::Executor;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::output_losses::Losses;
use crate::plan::Plan;

impl Trainer {
    /// [`new`](Self::new) for async code and browsers: in a browser the kernels are compiled one by one, and the page gets a turn
    /// after each; elsewhere all at once, on every core. `progress` hears how many are compiled, and of how many: at the start,
    /// and after each. On [`Device::Cpu`] there is nothing to compile, and it hears nothing.
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

    /// [`warm_up`](Self::warm_up) for async code and browsers: also compiles the kernels of [`evaluate`](Self::evaluate), and
    /// returns once the driver has compiled everything. `progress` hears how many kernels are compiled, and of how many. On
    /// [`Device::Cpu`] there is nothing to do.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn warm_up_async(&self, mut progress: impl FnMut(usize, usize)) -> Result<()> {
        let Executor::Gpu(executor) = &self.training else { return Ok(()) };
        let gpu = executor.gpu();
        gpu.compile_async(&Plan::evaluation(&self.network, self.losses.clone(), 1)?, &mut progress).await?;
        gpu.know_queue().await?;
        self.warm_up()?;
        self.training.finish().await
    }
}

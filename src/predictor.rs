//! Repeated predictions with buffers and kernels that are made once.

use crate::callback_future::CallbackFuture;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::executor::{Executor, Run};
use crate::model::{Model, every_class};
use crate::named_values::Inputs;
use crate::network::TensorSpec;
use crate::plan::{Plan, Role};

/// Repeated predictions of up to a fixed number of rows, made by [`Model::predictor`].
///
/// The input, output and transfer buffers are made once. Each call writes its rows, submits once and reads the
/// result. On a GPU, a call creates no buffer, bind group or pipeline. A call uses the model's current weights, also
/// while a trainer changes them.
#[derive(Debug)]
pub struct Predictor {
    device: Device,
    executor: Executor,
    /// Plan for the values that determine the class (logits or outputs), with the same input and output buffers.
    class_scores: Executor,
    threshold: f32,
    rows: usize,
    inputs: Vec<TensorSpec>,
    /// The index of the output, the number of its values in a row, and the number of values that determine one class.
    output: u32,
    width: usize,
    columns: usize,
    mapped: Option<Mapped>,
    /// Buffer for results, \[rows, outputs\], for calls that return something else.
    kept: Vec<f32>,
}

/// Transfer buffers between the host and the GPU.
#[derive(Debug)]
struct Mapped {
    /// Mapped between calls.
    up: wgpu::Buffer,
    down: wgpu::Buffer,
    /// Mappings that the last call requested. If its future was dropped, nothing has waited for them.
    pending: Vec<CallbackFuture<Result<(), wgpu::BufferAsyncError>>>,
}

impl Predictor {
    /// Warm-up: makes the driver compile the kernels now, in the background. Does not wait.
    ///
    /// Without it, some drivers compile at the first call. In browsers and on [`Device::Cpu`] it does nothing.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`].
    pub fn warm_up(&self) -> Result<()> {
        self.executor.warm_up()?;
        self.class_scores.warm_up()
    }

    /// The largest number of rows of a call.
    pub fn rows(&self) -> u32 {
        self.rows as u32
    }

    /// The class of each row, as [`Model::predict`]. Blocks, submits and polls; not for browsers.
    ///
    /// `features` holds whole rows, \[rows, inputs\], at most [`rows`](Self::rows). For a network with several inputs
    /// it holds these rows [for each input](Inputs).
    ///
    /// # Errors
    /// As [`forward_into`](Self::forward_into), and [`Error::NoClass`] for the first row with an output that is NaN.
    #[cfg(not(target_family = "wasm"))]
    pub fn predict<'a>(&mut self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.device.clone().block_on(self.predict_async(features))
    }

    /// [`predict`](Self::predict) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async<'a>(&mut self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        let inputs = features.into();
        let numbers = self.rows_of(&inputs)? * self.width;
        let mut kept = std::mem::take(&mut self.kept);
        // If a call's future was dropped, the buffer is empty.
        kept.resize(self.rows * self.width, 0.0);
        let ran = self.run(true, inputs, &mut kept[..numbers]).await;
        let found = ran.and_then(|()| every_class(&kept[..numbers], self.columns, self.threshold));
        self.kept = kept;
        found
    }

    /// Writes the probability of each class to `probabilities`, \[rows, outputs\], as [`Model::predict_proba`].
    /// Blocks, submits and polls; not for browsers.
    ///
    /// For a regression it writes the outputs unchanged. `features` holds whole rows, \[rows, inputs\], at most
    /// [`rows`](Self::rows). For a network with several inputs it holds these rows [for each input](Inputs).
    ///
    /// # Errors
    /// - [`Error::Shape`] if `features` is not a whole number of rows, has more than [`rows`](Self::rows) rows, or
    ///   has different numbers of rows for its inputs; if `probabilities` has another number of rows; if an input is
    ///   missing, unknown or given twice.
    /// - [`Error::NonFiniteFeature`] for the first feature that is NaN or infinite.
    /// - [`Error::DeviceLost`]; [`Error::Gpu`] if a buffer cannot be mapped.
    #[cfg(not(target_family = "wasm"))]
    pub fn forward_into<'a>(&mut self, features: impl Into<Inputs<'a>>, probabilities: &mut [f32]) -> Result<()> {
        self.device.clone().block_on(self.forward_into_async(features, probabilities))
    }

    /// [`forward_into`](Self::forward_into) for async code and browsers: submits, but leaves polling to the app. If
    /// its future is dropped, the next call waits for the submitted work.
    ///
    /// # Errors
    /// As [`forward_into`](Self::forward_into).
    pub async fn forward_into_async<'a>(
        &mut self,
        features: impl Into<Inputs<'a>>,
        probabilities: &mut [f32],
    ) -> Result<()> {
        let inputs = features.into();
        let rows = self.rows_of(&inputs)?;
        let numbers = rows * self.width;
        if probabilities.len() != numbers {
            let expected = format!("{numbers} numbers ({rows} rows of {})", self.width);
            let actual = format!("{} numbers", probabilities.len());
            return Err(Error::shape("slice for the outputs of a predictor", expected, actual));
        }
        self.run(false, inputs, probabilities).await
    }

    /// The number of rows of the inputs. Returns an error if the inputs do not match the network or have too many
    /// rows.
    fn rows_of(&self, inputs: &Inputs<'_>) -> Result<usize> {
        inputs.rows(&self.inputs, Some(self.rows))
    }

    /// Writes the probabilities, or with `class_scores` the values that determine the class. The inputs are already
    /// checked.
    async fn run(&mut self, class_scores: bool, inputs: Inputs<'_>, probabilities: &mut [f32]) -> Result<()> {
        if probabilities.is_empty() {
            return Ok(());
        }
        let output = Role::Output(self.output);
        let inputs = (0..).zip(&self.inputs).map(|(i, end)| (Role::Input(i), inputs.of(end)));
        let executor = if class_scores { &self.class_scores } else { &self.executor };
        let Some(mapped) = &mut self.mapped else {
            for (role, features) in inputs {
                self.device.write(&executor.storage(role), 0, bytemuck::cast_slice(features))?;
            }
            executor.submit(Run { steps: 1, ..Run::default() }, None).await?;
            let words = executor.storage(output);
            probabilities.copy_from_slice(bytemuck::cast_slice(&words.cpu().lock()[..probabilities.len()]));
            return Ok(());
        };
        let (Device::Gpu(gpu), Executor::Gpu(executor)) = (&self.device, executor) else {
            unreachable!("only a GPU has mapped buffers");
        };
        gpu.check_lost()?;
        gpu.confirm_queue().await?;
        if !mapped.pending.is_empty() {
            mapped.finish(gpu).await?;
            gpu.unmap(&mapped.down)?;
        }
        let failed = |reason: String| gpu.fault("the buffers of a predictor", reason);
        let mut view = mapped.up.get_mapped_range_mut(..).map_err(|e| failed(e.to_string()))?;
        let mut encoder = gpu.encoder();
        // Inputs are stored one after another.
        let mut place = 0;
        for (role, features) in inputs {
            let bytes: &[u8] = bytemuck::cast_slice(features);
            view.slice(place..place + bytes.len()).copy_from_slice(bytes);
            encoder.copy_buffer_to_buffer(&mapped.up, place as u64, executor.of(role), 0, bytes.len() as u64);
            place += bytes.len();
        }
        drop(view);
        gpu.unmap(&mapped.up)?;
        executor.record_steps(&mut encoder, 1);
        let read = size_of_val(probabilities) as u64;
        encoder.copy_buffer_to_buffer(executor.of(output), 0, &mapped.down, 0, read);
        let submitted = gpu.submit(encoder);
        let ((down, read_it), (up, write_it)) = (CallbackFuture::new(), CallbackFuture::new());
        gpu.map(&mapped.down, read, read_it);
        gpu.map_to_write(&mapped.up, write_it);
        mapped.pending.extend([up, down]);
        mapped.finish(gpu).await?;
        if submitted.is_err() {
            // Unmap, so that the next call can use the buffers.
            gpu.unmap(&mapped.down)?;
            return submitted;
        }
        let view = mapped.down.get_mapped_range(..read).map_err(|e| failed(e.to_string()))?;
        bytemuck::cast_slice_mut::<f32, u8>(probabilities).copy_from_slice(&view);
        drop(view);
        gpu.unmap(&mapped.down)
    }
}

impl Mapped {
    /// Waits until the host can access both buffers.
    async fn finish(&mut self, gpu: &crate::Gpu) -> Result<()> {
        let mut ended = Ok(());
        while let Some(signal) = self.pending.last_mut() {
            let mapped = signal.await;
            // Remove a mapping when it has completed: this future can be dropped before the other mapping completes.
            self.pending.pop();
            ended = ended.and(mapped);
        }
        gpu.check_lost()?;
        ended.map_err(|e| gpu.fault("the buffers of a predictor", e.to_string()))
    }
}

impl Model {
    /// Prepares repeated predictions of up to `rows` rows a call; for several outputs, of the [chosen](Self::output)
    /// one.
    ///
    /// It makes the buffers and kernels once. Use it to predict more than once: [`predict`](Self::predict) makes them
    /// at every call.
    ///
    /// ```no_run
    /// # fn app(model: wgrad::Model, digit: [f32; 784]) -> wgrad::Result<()> {
    /// let mut predictor = model.predictor(1)?;
    /// println!("{:?}", predictor.predict(&digit)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if `rows` is 0; [`Error::LimitExceeded`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn predictor(&self, rows: u32) -> Result<Predictor> {
        let inputs = self.network().input_specs().to_vec();
        let width = self.network().output_specs()[self.chosen].features() as usize;
        let columns = self.columns(self.chosen) as usize;
        let probabilities = self.with_probabilities()?;
        let executor = probabilities.forward_executor(Plan::forward(probabilities.network(), rows)?)?;
        let (class_scores, threshold) = (self.class_score_executor(&executor)?, self.threshold());
        let rows = rows as usize;
        let features: usize = inputs.iter().map(|end| end.features() as usize).sum();
        let mapped = match &self.device {
            Device::Gpu(gpu) => Some(Mapped {
                up: gpu.staging_up((rows * features) as u64 * 4)?,
                down: gpu.staging((rows * width) as u64 * 4)?,
                pending: Vec::new(),
            }),
            Device::Cpu => None,
        };
        let (device, kept, output) = (self.device.clone(), vec![0.0; rows * width], self.chosen as u32);
        Ok(Predictor { device, executor, class_scores, threshold, rows, inputs, output, width, columns, mapped, kept })
    }
}

//! Inference: outputs, probabilities and classes of rows.

use super::{EVALUATION_BATCH, Model, ROWS, every_class};
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::executor::{Executor, Run, Storage};
use crate::named_values::Inputs;
use crate::plan::{Plan, Role};

impl Model {
    /// The class of each row. Blocks, submits and polls; not for browsers.
    ///
    /// The class is the index of the largest output. If several outputs are equally large, the first one counts. For a
    /// network with one output, the class is 1 if the probability is above 1/2, otherwise 0. If the probabilities come
    /// from a sigmoid or a softmax, their logits are compared instead, because the probabilities of large logits all
    /// round to 1. [`Trainer::evaluate`](crate::Trainer::evaluate) does the same.
    ///
    /// `features` holds whole rows, \[rows, inputs\]; for a network with several inputs, [for each input](Inputs). If
    /// the output has several positions (such as \[height, width, classes\]), each position of a row has a class.
    ///
    /// # Errors
    /// - [`Error::Shape`] if `features` is not a whole number of rows, or has different numbers of rows for its
    ///   inputs; if an input is missing, unknown or given twice.
    /// - [`Error::NonFiniteFeature`] for the first feature that is NaN or infinite.
    /// - [`Error::NoClass`] for the first row with an output that is NaN.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn predict<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        self.device.block_on(self.predict_async(features))
    }

    /// [`predict`](Self::predict) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<u32>> {
        let inputs = features.into();
        let rows = inputs.rows(self.network.input_specs(), None)?;
        let class_scores = self.class_scores_of(&inputs, rows, rows as u32).await?;
        every_class(&class_scores, self.columns(self.chosen) as usize, self.threshold())
    }

    /// The values that determine the classes, \[rows, outputs\]. They have the same bits as in an evaluation of a data
    /// set with `of` rows. The inputs are already checked.
    pub(super) async fn class_scores_of(&self, inputs: &Inputs<'_>, rows: usize, of: u32) -> Result<Vec<f32>> {
        let most = of.min(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        // On the CPU, the bits of a row do not depend on the number of rows.
        let full = matches!(self.device, Device::Gpu(_));
        let losses = self.logit_losses();
        let plan = |rows| Plan::class_scores(&self.network, &losses, rows, false);
        Ok(self.run(inputs, rows, most, full, plan, &[self.chosen]).await?.swap_remove(0))
    }

    /// The probability of each class, \[rows, outputs\]. Blocks, submits and polls; not for browsers.
    ///
    /// If the network outputs logits, they pass through the softmax or the sigmoid of the loss it was trained with.
    /// For a regression, the outputs are returned unchanged.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), without [`Error::NoClass`]: outputs that are NaN are returned.
    #[cfg(not(target_family = "wasm"))]
    pub fn predict_proba<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<f32>> {
        self.device.block_on(self.predict_proba_async(features))
    }

    /// [`predict_proba`](Self::predict_proba) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub async fn predict_proba_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<f32>> {
        self.with_probabilities()?.forward_async(features).await
    }

    /// The network's outputs, \[rows, outputs\]. Blocks, submits and polls; not for browsers.
    ///
    /// For a network trained with softmax cross-entropy, the outputs are logits. If the network has several named
    /// outputs, only the [chosen](Self::output) one is returned.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<f32>> {
        self.device.block_on(self.forward_async(features))
    }

    /// [`forward`](Self::forward) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub async fn forward_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<f32>> {
        Ok(self.forward_to(&[self.chosen], features.into()).await?.swap_remove(0))
    }

    /// All outputs, in the order of [`Network::output_specs`](crate::Network::output_specs). Blocks, submits and
    /// polls; not for browsers.
    ///
    /// Each output is as [`forward`](Self::forward) returns it. The network runs once.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward_all<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<Vec<f32>>> {
        self.device.block_on(self.forward_all_async(features))
    }

    /// [`forward_all`](Self::forward_all) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    pub async fn forward_all_async<'a>(&self, features: impl Into<Inputs<'a>>) -> Result<Vec<Vec<f32>>> {
        let all: Vec<usize> = (0..self.network.output_specs().len()).collect();
        self.forward_to(&all, features.into()).await
    }

    async fn forward_to(&self, outputs: &[usize], inputs: Inputs<'_>) -> Result<Vec<Vec<f32>>> {
        let rows = inputs.rows(self.network.input_specs(), None)?;
        let most = self.device.rows_that_fit(&self.network, ROWS);
        self.run(&inputs, rows, most, false, |rows| Plan::forward(&self.network, rows), outputs).await
    }

    /// Runs a plan over checked inputs, in chunks of at most `most` rows, and reads these outputs. With `full` the
    /// last chunk also runs with `most` rows; its unused rows hold old values.
    async fn run(
        &self,
        inputs: &Inputs<'_>,
        rows: usize,
        most: u32,
        full: bool,
        plan: impl Fn(u32) -> Result<Plan>,
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let specs = self.network.input_specs();
        let width = |output: usize| self.network.output_specs()[output].features() as usize;
        let mut outputs: Vec<Vec<f32>> = wanted.iter().map(|&o| Vec::with_capacity(rows * width(o))).collect();
        let mut ready: Option<Executor> = None;
        let most = most.max(1) as usize;
        for first in (0..rows).step_by(most) {
            let present = most.min(rows - first);
            let batch = if full { most } else { present } as u32;
            let executor = match ready.take() {
                Some(executor) if executor.plan().batch == batch => executor,
                _ => self.forward_executor(plan(batch)?)?,
            };
            for (i, spec) in (0..).zip(specs) {
                let columns = spec.features() as usize;
                let chunk = &inputs.of(spec)[first * columns..][..present * columns];
                self.device.write(&executor.storage(Role::Input(i)), 0, bytemuck::cast_slice(chunk))?;
            }
            executor.submit(Run { steps: 1, ..Run::default() }, None).await?;
            let part = |&o: &usize| (executor.storage(Role::Output(o as u32)), present * width(o));
            let parts: Vec<(Storage, usize)> = wanted.iter().map(part).collect();
            let read = self.device.read_all(parts.iter().map(|(storage, words)| (storage, *words))).await?;
            for (output, words) in outputs.iter_mut().zip(read) {
                output.extend_from_slice(bytemuck::cast_slice(&words));
            }
            ready = Some(executor);
        }
        Ok(outputs)
    }
}

//! What a model makes of rows: outputs, probabilities and classes.

use super::{EVALUATION_BATCH, Model, ROWS, every_class};
use crate::device::Device;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::executor::{Executor, Run, Storage};
use crate::named_values::Inputs;
use crate::plan::{Plan, Role};

impl Model {
    /// The class of each row: the first of its largest outputs; of a network with one output, 1 where the probability
    /// is above 1/2 and else 0. Where a sigmoid or a softmax makes probabilities, logits are compared, as in
    /// [`Trainer::evaluate`](crate::Trainer::evaluate): probabilities of large logits are rounded to 1, all alike.
    /// `features` holds whole rows, \[rows, inputs\], of a network with several inputs [for each](Inputs). Of an output
    /// with several positions, \[height, width, classes\] or the like, each position of a row has a class. Blocks,
    /// submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `features` is a whole number of rows, the same number for every input, or where an input
    /// is missing, unknown or given twice; [`Error::NonFiniteFeature`] for the first that is NaN or infinite;
    /// [`Error::NoClass`] for the first row with an output that is NaN; [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
        let ranks = self.ranks_of(&inputs, rows, rows as u32).await?;
        every_class(&ranks, self.columns(self.chosen) as usize, self.threshold())
    }

    /// What classes are told by, \[rows, outputs\], to the bit as an evaluation of a data set of `of` rows has it. The
    /// inputs have been checked.
    pub(super) async fn ranks_of(&self, inputs: &Inputs<'_>, rows: usize, of: u32) -> Result<Vec<f32>> {
        let most = of.min(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        // On the CPU a row's bits do not depend on how many there are.
        let full = matches!(self.device, Device::Gpu(_));
        let ranks = self.ranks();
        let plan = |rows| Plan::ranks(&self.network, &ranks, rows, false);
        Ok(self.run(inputs, rows, most, full, plan, &[self.chosen]).await?.swap_remove(0))
    }

    /// The probability of each class, \[rows, outputs\]: the outputs, after the softmax or the sigmoid of the loss the
    /// network was trained by, where it puts out logits. Of a regression, the outputs as they are. Blocks, submits and
    /// polls; not for browsers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), but for [`Error::NoClass`]: outputs that are NaN are returned as such.
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

    /// The network's outputs, \[rows, outputs\]: logits, for a network trained with softmax and cross-entropy; of
    /// several outputs, the [chosen](Self::output) one. Blocks, submits and polls; not for browsers.
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

    /// Every output, in the order of [`Network::output_specs`](crate::Network::output_specs), each as
    /// [`forward`](Self::forward) has it: the network runs once. Blocks, submits and polls; not for browsers.
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

    /// Runs a plan over inputs that have been checked, in chunks of at most `most` rows, and reads these outputs. With
    /// `full` the last chunk runs with all rows too, where those beyond its own hold what was there before.
    async fn run(
        &self,
        inputs: &Inputs<'_>,
        rows: usize,
        most: u32,
        full: bool,
        plan: impl Fn(u32) -> Result<Plan>,
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let ends = self.network.input_specs();
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
            for (i, end) in (0..).zip(ends) {
                let columns = end.features() as usize;
                let chunk = &inputs.of(end)[first * columns..][..present * columns];
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

//! Scores: a model's predictions on a data set, beside the targets.

use super::{EVALUATION_BATCH, Model, ROWS};
use crate::dataset::Dataset;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::named_values::Inputs;
use crate::scores::Scores;

impl Model {
    /// The predicted classes of a data set beside its targets, for accuracy, confusion matrix and other metrics.
    /// Blocks, submits and polls; not for browsers.
    ///
    /// The classes are those of [`predict`](Self::predict) and of [`Trainer::evaluate`](crate::Trainer::evaluate).
    /// Rows with an output that is NaN have [no class](Scores::NO_CLASS). For several outputs, the
    /// [chosen](Self::output) one is compared with the target of the same name. If an output has several positions,
    /// each position is a row of the scores; positions whose label is ignored are left out.
    ///
    /// # Errors
    /// - [`Error::Shape`] if the features do not match the network's inputs, or the targets its outputs.
    /// - [`Error::LabelOutOfRange`] for the first label that is not a class.
    /// - [`Error::TargetOutOfRange`] if the loss needs targets from 0 to 1 and a target is outside.
    /// - [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn score(&self, data: &Dataset) -> Result<Scores> {
        self.device.block_on(self.score_async(data))
    }

    /// [`score`](Self::score) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn score_async(&self, data: &Dataset) -> Result<Scores> {
        let (network, columns) = (&self.network, self.columns(self.chosen));
        let matched = data.matched_inputs(network)?;
        let expected = data.expected(network, self.chosen, self.chosen_logit_loss())?;
        let names = || network.input_specs().iter().map(|spec| &*spec.name);
        let rows = data.rows() as u32;
        let of_chunk = ROWS.next_multiple_of(self.device.rows_that_fit(network, EVALUATION_BATCH));
        let (mut probabilities, mut class_scores) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(of_chunk as usize) {
            let chunk = first as usize..rows.min(first.saturating_add(of_chunk)) as usize;
            let features = data.features_for(&matched, chunk.clone());
            let inputs = Inputs::from(names().zip(&features).collect::<Vec<_>>());
            class_scores.extend(self.class_scores_of(&inputs, chunk.len(), rows).await?);
            if self.chosen_logit_loss().is_some() {
                probabilities.extend(self.predict_proba_async(inputs).await?);
            }
        }
        let class_scores = expected.counted(class_scores, columns);
        let scores = match self.chosen_logit_loss() {
            Some(_) => {
                let probabilities = expected.counted(probabilities, columns);
                Scores::new(probabilities, columns, &expected.targets)?
                    .with_class_scores(class_scores, self.threshold())
            }
            None => Scores::new(class_scores, columns, &expected.targets)?,
        };
        match expected.weights {
            Some(weights) => scores.with_weights(weights.into_owned()),
            None => Ok(scores),
        }
    }
}

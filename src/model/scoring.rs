//! What a model makes of a data set, beside what is right.

use super::{EVALUATION_BATCH, Model, ROWS};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::named::Inputs;
use crate::scores::Scores;

impl Model {
    /// What the network makes of a data set, for accuracy, confusion matrix and the like: the classes of
    /// [`predict`](Self::predict), and of a [`Trainer::evaluate`](crate::Trainer::evaluate). Rows with an output that is NaN
    /// have [no class](Scores::NO_CLASS). Blocks, submits and polls; not for browsers.
    ///
    /// # Errors
    /// [`Error::Shape`] where the features do not go with the network's inputs or the targets with its outputs;
    /// [`Error::LabelOutOfRange`]; [`Error::TargetOutOfRange`] where the network was trained by a loss that takes targets from
    /// 0 to 1; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_family = "wasm"))]
    pub fn score(&self, data: &Dataset) -> Result<Scores> {
        self.device.block_on(self.score_async(data))
    }

    /// [`score`](Self::score) for async code and browsers: submits, but leaves polling to the app.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub async fn score_async(&self, data: &Dataset) -> Result<Scores> {
        if data.features() != self.network.inputs() as usize {
            let expected = format!("{}, the network's input", self.network.inputs());
            return Err(Error::shape("features of the data set", expected, data.features()));
        }
        if let Some(loss) = self.chosen_ranks() {
            data.targets().check_range(loss)?;
        }
        let rows = data.rows() as u32;
        let of_chunk = ROWS.next_multiple_of(self.device.rows_that_fit(&self.network, EVALUATION_BATCH));
        let (mut probabilities, mut ranks) = (Vec::new(), Vec::new());
        for first in (0..rows).step_by(of_chunk as usize) {
            let features = data.features_of(first as usize..rows.min(first.saturating_add(of_chunk)) as usize);
            let inputs = Inputs::from(&features);
            let present = inputs.rows(self.network.input_ends(), None)?;
            ranks.extend(self.ranks_of(&inputs, present, rows).await?);
            if self.chosen_ranks().is_some() {
                probabilities.extend(self.predict_proba_async(&features).await?);
            }
        }
        let scores = match self.chosen_ranks() {
            Some(_) => {
                Scores::new(probabilities, self.columns(self.chosen), data.targets())?.ranked(ranks, self.threshold())
            }
            None => Scores::new(ranks, self.columns(self.chosen), data.targets())?,
        };
        match data.weights() {
            Some(weights) => scores.with_weights(weights.to_vec()),
            None => Ok(scores),
        }
    }
}

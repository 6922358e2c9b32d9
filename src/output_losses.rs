//! Losses of a network with several outputs, and the eikonal term.

use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::network::Network;
use crate::optimizer::at_least_zero;

/// One loss with a weight for each output of a network. The total loss is their weighted sum. For a network with one
/// output, a [`Loss`] converts into it.
///
/// ```
/// use wgrad::{Loss, Losses};
/// let losses = Losses::new()
///     .output("kind", Loss::SoftmaxCrossEntropy)
///     .weighted("size", Loss::MeanSquaredError, 0.5);
/// let distance = Losses::from(Loss::MeanAbsoluteError).eikonal(0.1);
/// # let _ = (losses, distance);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
pub struct Losses {
    of_outputs: Vec<OutputLoss>,
    /// The weight of the eikonal term.
    #[cfg_attr(feature = "files", serde(default, skip_serializing_if = "Option::is_none"))]
    eikonal: Option<f32>,
}

#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "files", derive(serde::Serialize, serde::Deserialize))]
struct OutputLoss {
    /// `None` for the only output of a network.
    output: Option<String>,
    loss: Loss,
    weight: f32,
}

impl From<Loss> for Losses {
    fn from(loss: Loss) -> Self {
        Self { of_outputs: vec![OutputLoss { output: None, loss, weight: 1.0 }], eikonal: None }
    }
}

impl Losses {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the loss of an output, with weight 1.
    pub fn output(self, output: impl Into<String>, loss: Loss) -> Self {
        self.weighted(output, loss, 1.0)
    }

    /// Adds the loss of an output with a weight, finite and at least 0. With weight 0 the output is not trained, but
    /// the data still need targets for it.
    pub fn weighted(mut self, output: impl Into<String>, loss: Loss, weight: f32) -> Self {
        self.of_outputs.push(OutputLoss { output: Some(output.into()), loss, weight });
        self
    }

    /// Adds the eikonal term to the training loss: `weight` · mean of (|∇y| − 1)² (Gropp et al., 2020, implicit geometric
    /// regularization). ∇y is the gradient of the output with respect to the input, and the mean is over the rows of a
    /// batch. A signed distance has a gradient of length 1, in units of the output per unit of the input.
    ///
    /// The network needs one input and one output of one number. Its layers must have second derivatives: dense layers,
    /// activations except softmax and custom ones, encodings at the input, and layers that only move or add numbers.
    /// Building the trainer fails with an error that names other layers. The weight is finite and at least 0.
    ///
    /// Weights of rows do not change the term. Reported losses and evaluations leave it out.
    pub fn eikonal(self, weight: f32) -> Self {
        Self { eikonal: Some(weight), ..self }
    }

    /// The weight of the eikonal term, if there is one.
    pub(crate) fn eikonal_weight(&self) -> Result<Option<f32>> {
        self.eikonal.map(|weight| at_least_zero("weight of the eikonal term", weight).map(|()| weight)).transpose()
    }

    /// The loss and the weight of each output of the network, in the order of the outputs.
    pub(crate) fn of_outputs(&self, network: &Network) -> Result<Vec<(Loss, f32)>> {
        let names: Vec<&str> = network.output_specs().iter().map(|end| &*end.name).collect();
        let by_name = if names.len() == 1 { "" } else { " (see Losses::output)" };
        let fault =
            |actual: String| Error::shape("losses", format!("one for each of {}{by_name}", names.join(", ")), actual);
        let given = |loss: &OutputLoss| loss.output.clone().unwrap_or_else(|| "one without a name".into());
        let all = || match self.of_outputs.is_empty() {
            true => "none".into(),
            false => self.of_outputs.iter().map(given).collect::<Vec<_>>().join(", "),
        };
        if self.of_outputs.len() != names.len() {
            return Err(fault(all()));
        }
        let of = |name: &&str| {
            let is_of = |loss: &&OutputLoss| loss.output.as_deref().map_or(names.len() == 1, |output| output == *name);
            let Some(found) = self.of_outputs.iter().find(is_of) else { return Err(fault(all())) };
            let weight = at_least_zero("weight of a loss", found.weight);
            weight.map_err(|error| if names.len() > 1 { error.within(&format!("output {name:?}")) } else { error })?;
            Ok((found.loss, found.weight))
        };
        names.iter().map(of).collect()
    }
}

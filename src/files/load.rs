//! How weights are read from a file of another program.

use super::naming::Naming;
#[cfg(doc)]
use crate::model::Model;

/// How [`Model::load_weights_with`] reads a file of weights: which of its names are which of the network's, and what it
/// accepts. The default is what [`Model::load_weights`] does.
///
/// ```
/// use wgrad::{Activation::*, Device, LoadWeights, Model, Naming, Network};
/// # let saved = Network::input(2).dense(2, Tanh).dense(2, Identity).build()?;
/// # let model = Model::new(Device::Cpu, &saved, &saved.initial_parameters(1))?;
/// # let bytes = model.weights_to_bytes(Naming::PyTorch)?;
/// let network = Network::input(2).dense(2, Tanh).dense(2, Identity).build()?;
/// // The file's names, then the network's: of layers, or of single tensors.
/// let names = [("0", "dense_1"), ("2.weight", "dense_2.weight"), ("2.bias", "dense_2.bias")];
/// let copy = Model::weights_from_bytes_with(Device::Cpu, &network, &bytes, &LoadWeights::new().map(names))?;
/// assert_eq!(copy.parameters()?, model.parameters()?);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadWeights {
    pub(super) names: Vec<(String, String)>,
    pub(super) layout: Option<Naming>,
    pub(super) ignore_others: bool,
    pub(super) allow_non_finite: bool,
}

impl LoadWeights {
    /// As [`Model::load_weights`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Pairs of names: the file's, then the network's as in [`Network::parameters`](crate::Network::parameters). Both are
    /// layers (`fc1`, `dense_1`) or both are tensors (`fc1.weight`, `dense_1.weight`). Layers that are not named are matched
    /// as [`Model::load_weights`] does. Default none.
    pub fn map<A: Into<String>, B: Into<String>>(mut self, names: impl IntoIterator<Item = (A, B)>) -> Self {
        self.names.extend(names.into_iter().map(|(theirs, ours)| (theirs.into(), ours.into())));
        self
    }

    /// The layout of weights, whatever metadata and names say: dense \[units, inputs\] of [`Naming::PyTorch`], \[inputs,
    /// units\] of the others; convolutions as [`Naming`] says. Default: told by the file.
    pub fn layout(mut self, naming: Naming) -> Self {
        self.layout = Some(naming);
        self
    }

    /// Leaves out tensors that the network does not have. Default: they are an error.
    pub fn ignore_others(mut self) -> Self {
        self.ignore_others = true;
        self
    }

    /// Takes weights that are NaN or infinite. Default: they are an error.
    pub fn allow_non_finite(mut self) -> Self {
        self.allow_non_finite = true;
        self
    }
}

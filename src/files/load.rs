//! Options for reading weights from a file of another program.

use super::naming::Naming;
#[cfg(doc)]
use crate::model::Model;

/// Options of [`Model::load_weights_with`]: a map of names, and what is accepted. The default is that of
/// [`Model::load_weights`].
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
    pub(super) order: Vec<String>,
    pub(super) layout: Option<Naming>,
    pub(super) ignore_others: bool,
    pub(super) allow_non_finite: bool,
}

impl LoadWeights {
    /// The options of [`Model::load_weights`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds pairs of names: the file's name, then the network's name as in
    /// [`Network::parameters`](crate::Network::parameters). Default none.
    ///
    /// Both are layers (`fc1`, `dense_1`) or both are tensors (`fc1.weight`, `dense_1.weight`). Layers without a pair
    /// are matched as in [`Model::load_weights`].
    pub fn map<A: Into<String>, B: Into<String>>(mut self, names: impl IntoIterator<Item = (A, B)>) -> Self {
        self.names.extend(names.into_iter().map(|(theirs, ours)| (theirs.into(), ours.into())));
        self
    }

    /// Gives the file's layers by name, in the order of the network's layers with weights. Default: found by names and
    /// shapes.
    ///
    /// For a PyTorch module, these are the names of its attributes with weights, in the order in which `forward` calls
    /// them: a safetensors file does not keep the order of a `state_dict`.
    pub fn order<N: Into<String>>(mut self, layers: impl IntoIterator<Item = N>) -> Self {
        self.order = layers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the layout of weights, regardless of the file's metadata and names. Default: determined from the file.
    ///
    /// Dense weights are \[units, inputs\] for [`Naming::PyTorch`] and \[inputs, units\] otherwise. For convolutions
    /// see [`Naming`].
    pub fn layout(mut self, naming: Naming) -> Self {
        self.layout = Some(naming);
        self
    }

    /// Ignores tensors that the network does not have. Default: they are an error.
    pub fn ignore_others(mut self) -> Self {
        self.ignore_others = true;
        self
    }

    /// Accepts weights that are NaN or infinite. Default: they are an error.
    pub fn allow_non_finite(mut self) -> Self {
        self.allow_non_finite = true;
        self
    }
}

//! How a file becomes a network.

use std::collections::BTreeMap;

use super::messages::Model;
use super::tensor::Tensor;

/// The options of [`Onnx`](super::Onnx).
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Whether the first dimension of each input is the batch.
    pub batched: bool,
    pub channels_first: bool,
    pub fold_batch_norm: bool,
    /// Lengths of named dimensions.
    pub dimensions: BTreeMap<String, u64>,
    /// Shapes of inputs, with the batch.
    pub inputs: Vec<(String, Vec<u64>)>,
    /// Inputs that are constant.
    pub constants: Vec<(String, Tensor)>,
    /// The outputs; those of the file if there are none.
    pub outputs: Vec<String>,
}

impl Options {
    pub fn output_names<'a>(&'a self, model: &'a Model) -> Vec<&'a str> {
        match self.outputs.is_empty() {
            true => model.graph.outputs.iter().map(|output| &*output.name).collect(),
            false => self.outputs.iter().map(String::as_str).collect(),
        }
    }
}

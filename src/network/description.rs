//! The network in a file, as JSON. A chain of layers with default names is stored as a list of layers. Any other
//! network is stored as a graph.

use serde::{Deserialize, Serialize};

use super::builder::{Step, StepKind};
use super::{Graph, Layer, Network, NetworkBuilder, Source, TensorSpec, Value};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// A network in a file.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Description {
    Chain(Chain),
    Graph(Described),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chain {
    input_shape: Shape,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    inputs: Vec<TensorSpec>,
    layers: Vec<DescribedLayer>,
    outputs: Vec<DescribedOutput>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DescribedLayer {
    name: String,
    layer: Layer,
    inputs: Vec<Source>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DescribedOutput {
    name: String,
    source: Source,
}

impl Description {
    /// The version of the file format. A chain has the first version, so older readers can still read it.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Chain(_) => "1",
            Self::Graph(_) => "2",
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// The errors of [`NetworkBuilder::build`] and [`Graph::build`].
    pub fn build(self) -> Result<Network> {
        let described = match self {
            Self::Chain(Chain { input_shape, layers }) => {
                let steps = layers.into_iter().map(|layer| Step { kind: StepKind::Layer(layer), name: None });
                return NetworkBuilder { input: input_shape, steps: steps.collect() }.build();
            }
            Self::Graph(described) => described,
        };
        let mut graph = Graph::new();
        let inputs: Vec<Value> = described.inputs.into_iter().map(|spec| graph.input(spec.name, spec.shape)).collect();
        let mut values: Vec<Vec<Value>> = Vec::new();
        let find = |values: &[Vec<Value>], source: Source, of: &str| {
            let found = match source {
                Source::Input(input) => inputs.get(input),
                Source::Node { node, output } => values.get(node).and_then(|outputs| outputs.get(output)),
            };
            let fault = || {
                Error::shape(
                    format!("input of {of}"),
                    "an input of the network or an earlier layer",
                    format!("{source:?}"),
                )
            };
            found.copied().ok_or_else(fault)
        };
        for DescribedLayer { name, layer, inputs } in described.layers {
            let given = inputs.into_iter().map(|source| find(&values, source, &name)).collect::<Result<Vec<_>>>()?;
            values.push(graph.push(layer, &given, Some(name))?);
        }
        let output = |DescribedOutput { name, source }| Ok((find(&values, source, &name)?, name));
        let outputs = described.outputs.into_iter().map(output).collect::<Result<Vec<_>>>()?;
        graph.build(outputs.into_iter().map(|(value, name)| (name, value)))
    }
}

impl Network {
    pub(crate) fn description(&self) -> Description {
        let known = |layer: &Layer| {
            use Layer::*;
            matches!(layer, Dense(_) | Activation(_) | Flatten | Dropout(_) | LayerNorm(_) | Encoding(_))
        };
        let by_place = |(i, (name, layer)): (usize, (&str, &Layer))| {
            known(layer) && *name == format!("{}_{}", layer.kind(), i + 1)
        };
        let usual = self.inputs.iter().all(|spec| spec.name == "input")
            && self.outputs.iter().all(|spec| spec.name == "output");
        if self.is_chain() && usual && self.layers().enumerate().all(by_place) {
            let layers = self.nodes.iter().map(|node| node.layer.clone()).collect();
            return Description::Chain(Chain { input_shape: self.inputs[0].shape, layers });
        }
        let layer = |node: &super::Node| DescribedLayer {
            name: node.name.clone(),
            layer: node.layer.clone(),
            inputs: node.inputs.clone(),
        };
        let output = |(spec, &source): (&TensorSpec, &Source)| DescribedOutput { name: spec.name.clone(), source };
        Description::Graph(Described {
            inputs: self.inputs.clone(),
            layers: self.nodes.iter().map(layer).collect(),
            outputs: self.outputs.iter().zip(&self.sources).map(output).collect(),
        })
    }
}

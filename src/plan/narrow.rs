//! Narrow networks: one invocation can evaluate a row, in the op [`Narrow`](super::Narrow) or inside an app's shader.

use std::ops::Range;

use super::{NarrowLayer, WIDEST_NARROW};
use crate::activation::Activation;
use crate::encoding::{Encoding, columns};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::network::{Layer, Network};
use crate::ops::LONGEST_LOOP;

/// Encodings, if any, and then at least one dense layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NarrowNetwork {
    /// Each encoding has parts, side by side. All but composite encodings have one part.
    pub encodings: Vec<Vec<NarrowEncoding>>,
    pub layers: Vec<NarrowLayer>,
}

/// An encoding of a row, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NarrowEncoding {
    pub encoding: Encoding,
    /// The index of its first coordinate in a row.
    pub first_input: u32,
    /// The number of its coordinates.
    pub inputs: u32,
    /// The index of its first feature in a row.
    pub first_output: u32,
    pub outputs: u32,
    /// The offset of a hash grid's table in the parameters, a multiple of 64.
    pub table: u32,
}

impl NarrowNetwork {
    /// Length of an input row.
    pub fn inputs(&self) -> u32 {
        let of_layers = self.layers.first().map_or(0, |layer| layer.inputs);
        self.encodings.first().map_or(of_layers, |parts| parts.iter().map(|part| part.inputs).sum())
    }

    /// Length of an output row.
    pub fn outputs(&self) -> u32 {
        self.layers.last().map_or(0, |layer| layer.units)
    }
}

/// Converts a network to a narrow one. Its layers must be dense and narrow, and short enough for the loops of one
/// invocation. An encoding may have any number of features, because they are not stored. The error names the first
/// layer that does not fit.
pub(crate) fn narrow(network: &Network) -> Result<NarrowNetwork> {
    narrow_under(network, None)
}

/// Like [`narrow`], but without a last activation that the loss computes.
pub(super) fn narrow_under(network: &Network, loss: Option<Loss>) -> Result<NarrowNetwork> {
    let fault = |what: &str, expected: String, actual: String| {
        Err(Error::shape(format!("{what} of a WGSL function"), expected, actual))
    };
    let kinds =
        "a dense layer, an activation after a dense layer without one, or an encoding before all others".to_owned();
    if !network.is_chain() {
        return fault("network", "a chain (one input, one output, one layer after the other)".into(), "a graph".into());
    }
    let loss_activation = loss.map_or(Activation::Identity, Loss::output_activation);
    let mut last = Some(network.nodes().len().saturating_sub(1));
    // The loss computes the activation of the last layer that is not a view.
    while let Some(i) = last.filter(|&i| network.nodes()[i].layer.is_view()) {
        last = i.checked_sub(1);
    }
    let mut encodings: Vec<Vec<NarrowEncoding>> = Vec::new();
    let mut layers: Vec<NarrowLayer> = Vec::new();
    let mut inputs = network.inputs();
    for (i, node) in network.nodes().iter().enumerate() {
        let (name, outputs) = (&node.name, node.shapes[0].elements() as u32);
        let offset = |i: usize| network.parameters()[node.parameters[i]].offset;
        let own = match node.layer.activation() {
            activation if activation == loss_activation && last == Some(i) => Activation::Identity,
            activation => activation,
        };
        let encoded = layers.is_empty() && !encodings.is_empty();
        let (encoding, dense) = match node.layer {
            // Outside training, dropout does nothing.
            Layer::Dropout(_) | Layer::SpatialDropout(_) => continue,
            _ if node.layer.is_view() => continue,
            Layer::Dense(dense) if node.shapes[0].len() == 1 => (None, Some(dense)),
            Layer::Encoding(encoding) => (Some(parts_of(&[(inputs, encoding)], offset)), None),
            Layer::CompositeEncoding(ref parts) => (Some(parts_of(parts, offset)), None),
            Layer::Activation(_) if own == Activation::Identity => continue,
            Layer::Activation(_) if node.shapes[0].len() == 1 => (None, None),
            _ => {
                // A dense layer may fail only because of the dimensions of its samples.
                let actual = match &node.shapes[0] {
                    row if row.len() == 1 => format!("a {} layer", node.layer.kind()),
                    shape => format!("a {} layer of several positions, {shape:?}", node.layer.kind()),
                };
                return fault(&format!("layer {name}"), kinds, actual);
            }
        };
        let widest = match (&encoding, encoded) {
            (Some(_), true) => 0,
            (Some(_), false) => inputs,
            (None, true) => outputs,
            (None, false) => inputs.max(outputs),
        };
        if widest > WIDEST_NARROW {
            let actual = format!("{inputs} inputs and {outputs} outputs");
            return fault(&format!("layer {name}"), format!("at most {WIDEST_NARROW} inputs and outputs"), actual);
        }
        match (encoding, dense) {
            (Some(parts), _) if layers.is_empty() => encodings.push(parts),
            (_, Some(dense)) => {
                let (weight, bias) = (offset(0), dense.has_bias().then(|| offset(1)));
                layers.push(NarrowLayer { weight, bias, inputs, units: outputs, activation: own });
            }
            (None, None) => match layers.last_mut().filter(|last| last.activation == Activation::Identity) {
                Some(last) => last.activation = own,
                None => return fault(&format!("layer {name}"), kinds, own.to_string()),
            },
            _ => return fault(&format!("layer {name}"), kinds, "an encoding after a dense layer".into()),
        }
        inputs = outputs;
    }
    if layers.is_empty() {
        return fault("network", "a dense layer after its encodings".into(), "none".into());
    }
    let rows: u64 = layers.iter().map(|layer| u64::from(layer.inputs)).sum();
    if rows > LONGEST_LOOP.into() {
        return fault("network", format!("at most {LONGEST_LOOP} inputs of all layers together"), rows.to_string());
    }
    Ok(NarrowNetwork { encodings, layers })
}

/// The parts of an encoding. `offset` returns the offset of a hash grid's table.
fn parts_of(parts: &[(u32, Encoding)], offset: impl Fn(usize) -> u32) -> Vec<NarrowEncoding> {
    let mut tables = 0..;
    let part = |(encoding, inputs, outputs): (Encoding, Range<u32>, Range<u32>)| {
        let is_grid = matches!(encoding, Encoding::HashGrid(_));
        NarrowEncoding {
            encoding,
            first_input: inputs.start,
            inputs: inputs.len() as u32,
            first_output: outputs.start,
            outputs: outputs.len() as u32,
            table: if is_grid { offset(tables.next().unwrap_or_default()) } else { 0 },
        }
    };
    columns(parts).map(part).collect()
}
